/**
 * Counting against sets: every increment, insert and rewrite is an element with the explicit set of those that its writer had
 * seen. A counter shows the sum of all that no insert or rewrite had seen (G1), whatever way it arrived.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ByteReader, ByteWriter, writeUuid } from '../../core/bytes.ts'
import { clockIncludes } from '../../core/clock.ts'
import { type CounterPart, decodeField, decodePart, encodeCounter, encodePart, scanField } from '../../core/counter.ts'
import { beginAnew, goOn } from '../../core/counting.ts'
import { Dictionary } from '../../core/dictionary.ts'
import { counter } from '../../core/policy.ts'
import { applyChange, EMPTY_ROW, joinRows, type RowChange, type RowState, type Version } from '../../core/row.ts'
import { decodeRow, encodeRow } from '../../core/row-codec.ts'
import { settleFields } from '../../core/settle.ts'
import { table } from '../../core/table.ts'

const REPLICA_IDS = [2, 0, 1].map((digit) => `${digit}a000000-0000-4000-8000-00000000000${digit}`)
const FIELD = 'n'
const RULES = table({ fields: { [FIELD]: counter() } as Readonly<Record<never, never>> })

// ── What is judged ──────────────────────────────────────────────────────────────────────────────────────────────────

type Op = 'count' | 'insert' | 'rewrite' | 'insertWithout' | 'delete' | 'other'

/** What was written, as a set sees it. */
interface Written {
  readonly op: Op
  readonly by: number
  readonly seen: ReadonlySet<number>
  readonly change: RowChange
  readonly author: Store
}

/** A row in a store with numbers of its own for replicas and names. */
class Store {
  readonly replicas = new Dictionary()
  readonly names = new Dictionary()
  readonly own: number
  row: RowState = EMPTY_ROW
  known: ReadonlySet<number> = new Set()
  #seq = 0

  constructor(number: number) {
    for (let at = 0; at < 3; at++) this.replicas.intern(REPLICA_IDS[(at + number) % 3] as string)
    for (const name of number === 1 ? ['other', FIELD] : [FIELD, 'other']) this.names.intern(name)
    this.own = this.replicas.find(REPLICA_IDS[number] as string)
  }

  write(op: Op, by: number, timestamp: number): Written {
    this.#seq++
    const stamp = { replica: this.own, seq: this.#seq, timestamp }
    const field = op === 'other' ? 'other' : FIELD
    const bytes = encodeCounter(by)
    const version: Version = { name: this.names.find(field), stamp, bytes, start: 0, end: bytes.length }
    let versions: readonly Version[] = op === 'delete' || op === 'insertWithout' ? [] : [version]
    const isUpdate = op === 'count' || op === 'other'
    if (isUpdate) goOn(versions, this.row, this.replicas)
    else if (op !== 'delete') versions = beginAnew(versions, this.row, stamp, this.replicas)
    const kind = isUpdate ? 'update' : op === 'rewrite' ? 'replace' : op === 'delete' ? 'delete' : 'insert'
    const change: RowChange = { ...stamp, op: kind, context: this.row.clock, versions }
    return { op, by, seen: this.known, change, author: this }
  }

  take(number: number, { change, author }: Written): void {
    const stamp = { ...change, replica: this.replicas.find(author.replicas.textOf(change.replica)) }
    const context = this.#translate(change.context, author)
    const versions = change.versions.map((version) => {
      expectCanonical(version)
      return { ...version, stamp, name: this.names.find(author.names.textOf(version.name)) }
    })
    versions.sort((a, b) => a.name - b.name)
    expect(clockIncludes(this.row.clock, context)).toBe(true)
    this.row = applyChange(this.row, { ...stamp, context, versions }, 1, this.replicas)
    this.known = new Set([...this.known, number])
  }

  #translate(clock: readonly number[], from: Store): number[] {
    const pairs: [number, number][] = []
    for (let at = 0; at < clock.length; at += 2) {
      pairs.push([this.replicas.find(from.replicas.textOf(clock[at] as number)), clock[at + 1] as number])
    }
    return pairs.sort(([a], [b]) => a - b).flat()
  }

  join(other: Store): void {
    const state = decodeRow(encodeRow(other.row), {
      replica: (index) => this.replicas.find(other.replicas.textOf(index)),
      name: (index) => this.names.find(other.names.textOf(index)),
    })
    this.row = joinRows(this.row, state, this.replicas)
    this.known = new Set([...this.known, ...other.known])
  }

  shown(): number | undefined {
    const { versions } = settleFields(this.row.versions, RULES, this)
    const version = versions.find(({ name }) => name === this.names.find(FIELD))
    return version && (decodeField(version) as number)
  }
}

function expectCanonical({ bytes, start, end }: Version): void {
  const reader = new ByteReader(bytes, start, end)
  scanField(reader)
  reader.expectEnd()
  expect(encodePart(decodePart(bytes, start))).toEqual(bytes.slice(start, end))
}

/** The definition. */
function expected(written: readonly Written[], known: ReadonlySet<number>): number {
  const isWhole = ({ op }: Written): boolean => op === 'insert' || op === 'rewrite' || op === 'insertWithout'
  let sum = 0
  for (const number of known) {
    const { op, by } = written[number] as Written
    const isUndone = [...known].some((other) => {
      const later = written[other] as Written
      return isWhole(later) && later.seen.has(number)
    })
    if (!isUndone && (op === 'count' || op === 'insert' || op === 'rewrite')) sum += by
  }
  return sum
}

interface Step {
  readonly type: Op | 'pull' | 'join'
  readonly who: number
  readonly from: number
  readonly by: number
}

function live(steps: readonly Step[]): void {
  const stores = [0, 1, 2].map((number) => new Store(number))
  const written: Written[] = []
  for (const [time, { type, who, from, by }] of steps.entries()) {
    const store = stores[who] as Store
    const other = stores[from] as Store
    if (type === 'join') store.join(other)
    else if (type === 'pull') {
      // In the order of writing, which is causal, and not all of it.
      const news = [...other.known].filter((number) => !store.known.has(number)).sort((a, b) => a - b)
      for (const number of news.slice(0, by)) store.take(number, written[number] as Written)
    } else {
      const made = store.write(type, by - 3, by % 2 === 0 ? time : 1_000 - time)
      store.take(written.push(made) - 1, made)
    }
    for (const each of stores) {
      expect(each.shown() ?? 0, JSON.stringify(steps.slice(0, time + 1))).toBe(expected(written, each.known))
    }
  }
}

const step: fc.Arbitrary<Step> = fc.record({
  type: fc.constantFrom<Step['type']>(
    ...(['count', 'count', 'count', 'count', 'insert', 'rewrite', 'insertWithout', 'delete', 'other'] as const),
    ...(['pull', 'pull', 'pull', 'pull', 'join'] as const),
  ),
  who: fc.nat(2),
  from: fc.nat(2),
  by: fc.integer({ min: 1, max: 9 }),
})

describe('a counter shows what no whole row had seen', () => {
  test('G1: after any history of three replicas, by log and by state', async () => {
    await fc.assert(
      fc.property(fc.array(step, { maxLength: 40, size: 'max' }), (steps) => live(steps)),
      { numRuns: 3_000 },
    )
  })

  test('where a replica goes on that a new insert had seen in part', () => {
    const of = (type: Step['type'], who: number, from: number, by: number): Step => ({ type, who, from, by })
    // 5, seen; one more, not seen beside the insert of 0; all of it meets.
    live([of('count', 0, 0, 8), of('pull', 1, 0, 9), of('count', 0, 0, 4), of('insert', 1, 1, 3), of('pull', 1, 0, 9)])
  })
})

// ── Bytes ───────────────────────────────────────────────────────────────────────────────────────────────────────────

const seenPart = (digit: number, seq: number, total: number) => ({ replica: REPLICA_IDS[digit] as string, seq, total })

function scan(bytes: Uint8Array): void {
  const reader = new ByteReader(bytes)
  scanField(reader)
  reader.expectEnd()
}

describe('the bytes of a part', () => {
  const parts: readonly [what: string, part: CounterPart, length: number][] = [
    ['that begins a run', { total: 5, age: 0, seen: [] }, 10],
    ['that goes on', { total: -6, age: 1, seen: [] }, 5],
    ['of a long run', { total: 1_000_000, age: 100_000, seen: [] }, 9],
    ['as large as it gets', { total: Number.MAX_SAFE_INTEGER, age: 0, seen: [seenPart(1, 3, -7)] }, 33],
    [
      'as small as it gets',
      { total: -Number.MAX_SAFE_INTEGER, age: 7, seen: [seenPart(1, 1, 0), seenPart(2, 2, 1)] },
      51,
    ],
  ]
  test.each(parts)('%s come back as they were', (_, part, length) => {
    const bytes = encodePart(part)
    expect(bytes).toHaveLength(length)
    expect(decodePart(bytes, 0)).toEqual(part)
    expect(() => scan(bytes)).not.toThrow()
    for (let end = 0; end < bytes.length; end++) expect(() => scan(bytes.slice(0, end))).toThrow(/malformed/)
  })

  const long = (...body: readonly ((writer: ByteWriter) => void)[]): Uint8Array => {
    const inside = new ByteWriter(64)
    for (const write of body) write(inside)
    const writer = new ByteWriter(64)
    writer.byte(0xc9)
    writer.fixed(inside.length, 4)
    writer.byte(2)
    writer.raw(inside.bytes, 0, inside.length)
    return writer.toBytes()
  }
  const head = (writer: ByteWriter): void => {
    writer.zigzag(1)
    writer.varint(0)
  }
  const seen =
    (digit: number, seq = 1) =>
    (writer: ByteWriter): void => {
      writeUuid(writer, REPLICA_IDS[digit] as string)
      writer.varint(seq)
      writer.zigzag(0)
    }
  const malformed: readonly [what: string, bytes: Uint8Array][] = [
    ['goes on and began just now', Uint8Array.of(0xc7, 2, 2, 2, 0)],
    ['goes on with more than that', Uint8Array.of(0xc7, 3, 2, 2, 1, 0)],
    ['is longer than it needs to be', Uint8Array.of(0xc7, 3, 2, 0x82, 0, 1)],
    ['has seen nobody', long(head)],
    ['has seen two in the wrong order', long(head, seen(0), seen(2))],
    ['has seen one twice', long(head, seen(2), seen(2))],
    ['has seen a seq of 0', long(head, seen(2, 0))],
    ['has seen a part that is cut', long(head, (writer) => writer.raw(new Uint8Array(10)))],
  ]
  test.each(malformed)('are refused where a part %s', (_, bytes) => {
    expect(() => scan(bytes)).toThrow(/malformed/)
  })

  test('are few for whoever counts alone, however often', () => {
    const store = new Store(0)
    const lengths = new Set<number>()
    for (let count = 0; count < 2_000; count++) {
      const made = store.write('count', 1, count)
      store.take(count, made)
      lengths.add((made.change.versions[0] as Version).end)
    }
    expect(Math.max(...lengths)).toBe(10)
  })
})
