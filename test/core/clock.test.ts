/**
 * Vector clocks against what they stand for: a clock is a set of dots, `{a: 3}` is {a1, a2, a3}. The oracle compares and
 * joins those sets, and knows nothing of entries.
 */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type ClockOrder,
  clockCovers,
  clockGet,
  clockIncludes,
  clockMerge,
  clockWith,
  EMPTY_CLOCK,
  type SparseClock,
  VectorClock,
} from '../../core/clock.ts'
import { isTidemarkError } from '../../core/errors.ts'
import type { ReplicaId } from '../../core/names.ts'

/** Ids whose order as texts is not the order of their indexes. */
const REPLICAS = [4, 1, 3, 0, 2].map((digit) => `${digit}0000000-0000-4000-8000-00000000000${digit}` as ReplicaId)
const A = REPLICAS[0] as ReplicaId
const B = REPLICAS[1] as ReplicaId

type DotSet = ReadonlySet<string>

/** Seqs by replica number; zeros stand for nothing. */
type Seqs = readonly number[]

const seqsArbitrary: fc.Arbitrary<Seqs> = fc.array(fc.nat(4), {
  minLength: REPLICAS.length,
  maxLength: REPLICAS.length,
})

function toClock(seqs: Seqs): VectorClock {
  return new VectorClock(seqs.map((seq, index) => [REPLICAS[index] as ReplicaId, seq]))
}

function toSparse(seqs: Seqs): SparseClock {
  return seqs.flatMap((seq, index) => (seq === 0 ? [] : [index, seq]))
}

function toDots(seqs: Seqs): DotSet {
  return new Set(seqs.flatMap((seq, index) => Array.from({ length: seq }, (_, at) => `${REPLICAS[index]}:${at + 1}`)))
}

function dotsOf(clock: VectorClock): DotSet {
  return toDots(REPLICAS.map((replica) => clock.get(replica)))
}

function isSubset(inner: DotSet, outer: DotSet): boolean {
  return [...inner].every((dot) => outer.has(dot))
}

function orderOf(left: DotSet, right: DotSet): ClockOrder {
  if (isSubset(left, right)) return isSubset(right, left) ? 'equal' : 'before'
  return isSubset(right, left) ? 'after' : 'concurrent'
}

function sorted(dots: DotSet): readonly string[] {
  return [...dots].sort()
}

describe('the order of clocks', () => {
  test('C2: is inclusion of the sets of dots that they stand for', async () => {
    await fc.assert(
      fc.property(seqsArbitrary, seqsArbitrary, (left, right) => {
        const order = orderOf(toDots(left), toDots(right))
        expect(toClock(left).compare(toClock(right))).toBe(order)
        expect(toClock(left).happensBefore(toClock(right))).toBe(order === 'before')
        expect(toClock(left).concurrentWith(toClock(right))).toBe(order === 'concurrent')
        expect(toClock(left).equals(toClock(right))).toBe(order === 'equal')
      }),
      { numRuns: 10_000 },
    )
  })

  test('C1, C2: regression 1: equal clocks are equal, never concurrent, and a zero entry changes nothing', () => {
    const pairs = [
      [{}, {}],
      [{ [A]: 0 }, {}],
      [{ [A]: 0 }, { [B]: 0 }],
      [{ [A]: 2, [B]: 0 }, { [A]: 2 }],
      [
        { [A]: 2, [B]: 1 },
        { [B]: 1, [A]: 2 },
      ],
    ] as const
    for (const [left, right] of pairs) {
      for (const [a, b] of [
        [VectorClock.from(left), VectorClock.from(right)],
        [VectorClock.from(right), VectorClock.from(left)],
      ] as const) {
        expect(a.compare(b)).toBe('equal')
        expect(a.concurrentWith(b)).toBe(false)
        expect(a.toString()).toBe(b.toString())
        expect(a.size).toBe(b.size)
        expect([...a.entries()].sort()).toEqual([...b.entries()].sort())
      }
    }
  })

  test('C1: a missing entry reads as 0, and the dot 0 of nobody is covered', () => {
    const clock = VectorClock.from({ [A]: 2 })
    expect(clock.get(B)).toBe(0)
    expect(clock.covers({ replica: A, seq: 2 })).toBe(true)
    expect(clock.covers({ replica: A, seq: 3 })).toBe(false)
    expect(clock.covers({ replica: B, seq: 1 })).toBe(false)
    expect(VectorClock.from({}).get('toString')).toBe(0)
  })

  test('C1: a clock covers exactly the dots of its set', async () => {
    await fc.assert(
      fc.property(seqsArbitrary, fc.nat(4), fc.integer({ min: 1, max: 6 }), (seqs, index, seq) => {
        const replica = REPLICAS[index] as ReplicaId
        expect(toClock(seqs).covers({ replica, seq })).toBe(toDots(seqs).has(`${replica}:${seq}`))
      }),
      { numRuns: 3_000 },
    )
  })
})

describe('merging', () => {
  test('C3: is the union of the sets of dots, so it counts no event of its own', async () => {
    await fc.assert(
      fc.property(seqsArbitrary, seqsArbitrary, (left, right) => {
        const union = new Set([...toDots(left), ...toDots(right)])
        expect(sorted(dotsOf(toClock(left).merge(toClock(right))))).toEqual(sorted(union))
      }),
      { numRuns: 5_000 },
    )
  })

  test('C3: is a join: commutative, associative, idempotent, and the least clock above both', async () => {
    await fc.assert(
      fc.property(seqsArbitrary, seqsArbitrary, seqsArbitrary, (x, y, z) => {
        const [a, b, c] = [toClock(x), toClock(y), toClock(z)]
        const joined = a.merge(b)
        expect(joined.equals(b.merge(a))).toBe(true)
        expect(joined.merge(c).equals(a.merge(b.merge(c)))).toBe(true)
        expect(a.merge(a).equals(a)).toBe(true)
        expect(['equal', 'before']).toContain(a.compare(joined))
        expect(['equal', 'before']).toContain(b.compare(joined))
        const isAboveBoth = [a.compare(c), b.compare(c)].every((order) => order === 'equal' || order === 'before')
        expect(['equal', 'before'].includes(joined.compare(c))).toBe(isAboveBoth)
      }),
      { numRuns: 5_000 },
    )
  })

  test('C3: regression 2: receiving does not advance the own counter, so the next own change is not concurrent', () => {
    const own = VectorClock.from({ [A]: 3 })
    const received = own.merge(VectorClock.from({ [B]: 7 }))
    expect(received.get(A)).toBe(3)
    expect(received.toJSON()).toEqual({ [A]: 3, [B]: 7 })
    expect(received.increment(A).compare(received)).toBe('after')
  })

  test('C3: leaves both clocks as they were', () => {
    const left = VectorClock.from({ [A]: 1 })
    const right = VectorClock.from({ [A]: 2, [B]: 1 })
    left.merge(right)
    left.increment(B)
    expect(left.toJSON()).toEqual({ [A]: 1 })
    expect(right.toJSON()).toEqual({ [A]: 2, [B]: 1 })
  })

  test('C4: regression 21: a clock of ten thousand replicas keeps every entry, so "after" stays "after"', () => {
    const ids = Array.from(
      { length: 10_000 },
      (_, at) => `${at.toString(16).padStart(8, '0')}-0000-4000-8000-000000000000`,
    )
    const all = new VectorClock(ids.map((id) => [id, 1]))
    expect(all.size).toBe(10_000)
    for (const id of [ids[0], ids[5_000], ids[9_999]] as ReplicaId[]) {
      const next = all.increment(id)
      expect(next.size).toBe(10_000)
      expect(next.compare(all)).toBe('after')
      expect(all.merge(next).get(ids[4_999] as string)).toBe(1)
    }
    let sparse: SparseClock = EMPTY_CLOCK
    for (let index = 0; index < 3_000; index++) sparse = clockWith(sparse, (index * 7) % 3_000, index + 1)
    expect(sparse.length).toBe(6_000)
  })
})

describe('incrementing', () => {
  test('C2: gives the least clock after this one that has one dot more', async () => {
    await fc.assert(
      fc.property(seqsArbitrary, fc.nat(4), (seqs, index) => {
        const replica = REPLICAS[index] as ReplicaId
        const next = toClock(seqs).increment(replica)
        const dot = `${replica}:${(seqs[index] as number) + 1}`
        expect(sorted(dotsOf(next))).toEqual(sorted(new Set([...toDots(seqs), dot])))
      }),
      { numRuns: 3_000 },
    )
  })
})

describe('a clock from outside', () => {
  test.each([
    ['bad-id', { a: 1 }],
    ['bad-id', { [A.replace('4', 'G')]: 1 }],
    ['bad-id', { 'ABCDEF00-0000-4000-8000-000000000000': 1 }],
    ['bad-value', { [A]: -1 }],
    ['bad-value', { [A]: 1.5 }],
    ['bad-value', { [A]: Number.NaN }],
    ['bad-value', { [A]: 2 ** 53 }],
    ['bad-value', { [A]: '1' as unknown as number }],
  ])('is refused as %s when it is %j', (code, entries) => {
    let refusal: unknown
    try {
      VectorClock.from(entries)
    } catch (error) {
      refusal = error
    }
    expect(isTidemarkError(refusal) && refusal.code).toBe(code)
  })

  test('C1: reads back from its JSON, in the order of replica ids whatever order it was made in', async () => {
    await fc.assert(
      fc.property(seqsArbitrary, fc.boolean(), (seqs, isReversed) => {
        const entries = Object.entries(toClock(seqs).toJSON())
        expect(entries.map(([id]) => id)).toEqual(entries.map(([id]) => id).sort())
        const again = VectorClock.from(Object.fromEntries(isReversed ? entries.reverse() : entries))
        expect(again.equals(toClock(seqs))).toBe(true)
        expect(again.toString()).toBe(toClock(seqs).toString())
      }),
      { numRuns: 2_000 },
    )
  })
})

describe('the flat form', () => {
  test('C1 to C3: agrees with VectorClock on every question', async () => {
    await fc.assert(
      fc.property(
        seqsArbitrary,
        seqsArbitrary,
        fc.nat(4),
        fc.integer({ min: 1, max: 6 }),
        (left, right, index, seq) => {
          const [a, b] = [toClock(left), toClock(right)]
          const [flatA, flatB] = [toSparse(left), toSparse(right)]
          const replica = REPLICAS[index] as ReplicaId
          expect(clockGet(flatA, index)).toBe(a.get(replica))
          expect(clockCovers(flatA, index, seq)).toBe(a.covers({ replica, seq }))
          expect(clockIncludes(flatA, flatB)).toBe(['equal', 'after'].includes(a.compare(b)))
          expect(toVector(clockMerge(flatA, flatB)).equals(a.merge(b))).toBe(true)
          const dot = VectorClock.from({ [replica]: seq })
          expect(toVector(clockWith(flatA, index, seq)).equals(a.merge(dot))).toBe(true)
        },
      ),
      { numRuns: 10_000 },
    )
  })

  test('C1: stays sorted by replica index, without zeros and without repeats', async () => {
    await fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(6), fc.integer({ min: 1, max: 9 }))), seqsArbitrary, (dots, other) => {
        let clock: SparseClock = EMPTY_CLOCK
        for (const [replica, seq] of dots) clock = clockWith(clock, replica, seq)
        for (const built of [clock, clockMerge(clock, toSparse(other)), clockMerge(toSparse(other), clock)]) {
          const replicas = built.filter((_, at) => at % 2 === 0)
          expect(replicas).toEqual([...new Set(replicas)].sort((a, b) => a - b))
          expect(built.filter((seq, at) => at % 2 === 1 && seq < 1)).toEqual([])
        }
      }),
      { numRuns: 3_000 },
    )
  })

  test('C3: never changes a clock in place, and answers with the same one when nothing is new', () => {
    const clock = Object.freeze([0, 2, 3, 1])
    expect(clockWith(clock, 0, 2)).toBe(clock)
    expect(clockWith(clock, 3, 1)).toBe(clock)
    expect(clockMerge(clock, Object.freeze([3, 1]))).toBe(clock)
    expect(clockMerge(Object.freeze([3, 1]), clock)).toBe(clock)
    expect(clockWith(clock, 0, 5)).toEqual([0, 5, 3, 1])
    expect(clockWith(clock, 1, 5)).toEqual([0, 2, 1, 5, 3, 1])
    expect(clockWith(clock, 9, 5)).toEqual([0, 2, 3, 1, 9, 5])
    expect(clockMerge(clock, Object.freeze([0, 1, 1, 1, 3, 9]))).toEqual([0, 2, 1, 1, 3, 9])
    expect(EMPTY_CLOCK).toEqual([])
  })
})

function toVector(clock: SparseClock): VectorClock {
  const entries: [string, number][] = []
  for (let at = 0; at < clock.length; at += 2)
    entries.push([REPLICAS[clock[at] as number] as string, clock[at + 1] as number])
  return new VectorClock(entries)
}
