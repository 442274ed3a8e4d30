/**
 * The merge against an oracle that keeps explicit sets of dots (merge-oracle.ts), over random histories of two to five
 * replicas with partial pulls, skewed and equal timestamps, and dictionaries in different orders (merge-history.ts).
 */

import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { causal, deleteWins, firstWriteWins, lastWriteWins, type Policy, updateWins } from '../../core/policy.ts'
import { EMPTY_ROW, joinRows, type RowState, rowIncludes } from '../../core/row.ts'
import { encodeRow } from '../../core/row-codec.ts'
import { decodeVersions, isRowAlive, type SettleRules, settleRow } from '../../core/settle.ts'
import {
  change,
  expectedForm,
  expectSame,
  FIELDS,
  formOf,
  historyArbitrary,
  live,
  type Moment,
  orderlyArbitrary,
  REPLICA_IDS,
  ROWS,
  type RowForm,
  RowStore,
  syncAll,
  type TravellingChange,
  unionOf,
} from './merge-history.ts'
import {
  headsOf,
  ORACLE_POLICIES,
  type OracleChange,
  type OracleOp,
  type OraclePolicy,
  overwrites,
  shownBy,
} from './merge-oracle.ts'
import { createPicker } from './value-arbitrary.ts'

const RUNS = 2_500

const POLICIES: Readonly<Record<OraclePolicy, Policy>> = {
  lastWriteWins: lastWriteWins(),
  causal: causal(),
  firstWriteWins: firstWriteWins(),
  deleteWins: deleteWins(),
  updateWins: updateWins(),
}

type Shown = Readonly<Record<string, unknown>> | undefined

function rulesOf(policy: Policy, granularity: 'fields' | 'row'): SettleRules {
  return { policy, granularity, fields: new Map() }
}

function shownValue(store: RowStore, state: RowState, policy: Policy, granularity: 'fields' | 'row'): Shown {
  const { isAlive, versions } = settleRow(state, rulesOf(policy, granularity), store)
  expect(isAlive).toBe(isRowAlive(state, rulesOf(policy, granularity), store))
  return isAlive ? { ...decodeVersions(versions, store) } : undefined
}

function isConflicted({ state }: Moment): boolean {
  return state.heads.length > 1
}

// ── Replaying ───────────────────────────────────────────────────────────────────────────────────────────────────────

describe('replaying changes', () => {
  test('M2, M3, M4: gives at every moment the heads, versions and clock that the sets of dots give', async () => {
    let conflicted = 0
    await fc.assert(
      fc.property(historyArbitrary, (history) => {
        for (const { store, state, known } of live(history).moments) {
          if (state.heads.length > 1) conflicted++
          expectSame(formOf(state, store), expectedForm(known))
        }
      }),
      { numRuns: RUNS },
    )
    expect(conflicted).toBeGreaterThan(RUNS)
  })

  test('M1: does nothing for a change that the row covers: the state stays the very same', async () => {
    await fc.assert(
      fc.property(historyArbitrary, (history) => {
        for (const replica of live(history).replicas) {
          for (const travelling of replica.log) {
            const before = replica.row(travelling.row)
            expect(replica.apply(travelling, 99)).toBe(before)
          }
        }
      }),
      { numRuns: RUNS },
    )
  })

  test('M2: gives equal states in any causal order, with any change delivered twice, in any numbering', async () => {
    await fc.assert(
      fc.property(historyArbitrary, fc.nat(), (history, seed) => {
        const { changes } = live(history)
        const pick = createPicker(seed)
        for (const turn of [0, 1, 2]) {
          const store = new RowStore(turn)
          const delivered: TravellingChange[] = []
          for (const travelling of inSomeCausalOrder(changes, pick)) {
            store.apply(travelling)
            delivered.push(travelling)
            store.apply(delivered[pick(delivered.length)] as TravellingChange)
          }
          for (const row of ROWS) {
            const known = changes.filter((change) => change.row === row).map((change) => change.oracle)
            expectSame(formOf(store.row(row), store), expectedForm(known))
          }
        }
      }),
      { numRuns: RUNS },
    )
  })

  test('M6: leaves every earlier state as it was', async () => {
    await fc.assert(
      fc.property(historyArbitrary, (history) => {
        const store = new RowStore()
        const states: [state: RowState, form: RowForm][] = []
        for (const travelling of live(history).changes.filter(({ row }) => row === 'x')) {
          const joined = joinRows(store.row('x'), states[0]?.[0] ?? EMPTY_ROW, store.replicas)
          for (const state of [store.apply(travelling), joined]) {
            freeze(state)
            states.push([state, formOf(state, store)])
          }
          encodeRow(store.row('x'))
        }
        for (const [state, form] of states) expectSame(formOf(state, store), form)
      }),
      { numRuns: RUNS },
    )
  })

  test('M3: the clock covers what the change had seen, also where the row was forgotten before it came', () => {
    const store = new RowStore()
    const { heads } = store.apply(change(0, 'update', { a: 1 }, 5, { [R0]: 9, [R1]: 4 }))
    expect(store.namedClock(store.row('x').clock)).toEqual({ [R0]: 9, [R1]: 4 })
    store.apply(change(1, 'update', { a: 2 }, 6))
    expect(store.row('x').heads).toEqual(heads)
  })

  test('M5: a delete writes no field, also when it carries some', () => {
    const store = new RowStore()
    store.apply(change(0, 'insert', { a: 1 }))
    const { versions } = store.apply(change(1, 'delete', { a: 2, b: 3 }, 2, { [R0]: 1 }))
    expect(versions.map(({ stamp }) => stamp.replica)).toEqual([store.replicas.find(R0)])
  })

  test('the row remembers the position of the change that came last, not of one it had already', () => {
    const store = new RowStore()
    const [first, second] = [change(0, 'insert', { a: 1 }), change(1, 'update', { a: 2 })]
    expect(store.apply(first, 7).position).toBe(7)
    expect(store.apply(second, 9).position).toBe(9)
    expect(store.apply(first, 11).position).toBe(9)
  })
})

/** A random one of the orders in which nothing comes before what it has seen. */
function inSomeCausalOrder(changes: readonly TravellingChange[], pick: (bound: number) => number): TravellingChange[] {
  const waiting = [...changes]
  const delivered = new Set<string>()
  const order: TravellingChange[] = []
  while (waiting.length > 0) {
    const ready = waiting.filter(({ oracle }) => [...oracle.seen].every((dot) => delivered.has(dot)))
    const next = ready[pick(ready.length)] as TravellingChange
    waiting.splice(waiting.indexOf(next), 1)
    delivered.add(next.oracle.dot)
    order.push(next)
  }
  return order
}

/** All but the versions themselves, whose bytes may move. */
function freeze(state: RowState): void {
  Object.freeze(state)
  Object.freeze(state.clock)
  Object.freeze(state.versions)
  Object.freeze(state.heads)
  for (const head of state.heads) {
    Object.freeze(head)
    Object.freeze(head.fields)
  }
}

// ── Joining ─────────────────────────────────────────────────────────────────────────────────────────────────────────

describe('joining states', () => {
  const threeMoments = fc.tuple(historyArbitrary, fc.nat(), fc.nat(), fc.nat())

  test('M2: of any parts of a history gives what replaying those parts gives', async () => {
    let conflicted = 0
    await fc.assert(
      fc.property(threeMoments, ([history, ...picks]) => {
        const { moments } = live(history)
        const [a, b] = picks.map((pick) => moments[pick % moments.length]) as [Moment, Moment, Moment]
        const store = new RowStore(4)
        const joined = joinRows(store.import(a.state, a.store), store.import(b.state, b.store), store.replicas)
        if (joined.heads.length > Math.max(a.state.heads.length, b.state.heads.length)) conflicted++
        expectSame(formOf(joined, store), expectedForm(unionOf(a.known, b.known)))
      }),
      { numRuns: RUNS * 2 },
    )
    expect(conflicted).toBeGreaterThan(RUNS / 20)
  })

  test('M2: is a join: commutative, associative and idempotent, and includes what it joined', async () => {
    await fc.assert(
      fc.property(threeMoments, ([history, ...picks]) => {
        const { moments } = live(history)
        const store = new RowStore(3)
        const [a, b, c] = picks
          .map((pick) => moments[pick % moments.length] as Moment)
          .map((moment) => store.import(moment.state, moment.store)) as [RowState, RowState, RowState]
        const join = (left: RowState, right: RowState): RowState => joinRows(left, right, store.replicas)
        const form = (state: RowState): RowForm => formOf(state, store)
        expectSame(form(join(a, b)), form(join(b, a)))
        expectSame(form(join(join(a, b), c)), form(join(a, join(b, c))))
        expectSame(form(join(a, a)), form(a))
        expectSame(form(join(a, EMPTY_ROW)), form(a))
        expectSame(form(join(EMPTY_ROW, a)), form(a))
        for (const part of [a, b]) expect(rowIncludes(join(a, b), part)).toBe(true)
        expect(rowIncludes(a, b)).toBe(isDeepStrictEqual(form(join(a, b)), form(a)))
      }),
      { numRuns: RUNS },
    )
  })

  test('M2: may happen anywhere between replayed changes', async () => {
    await fc.assert(
      fc.property(historyArbitrary, fc.nat(), (history, seed) => {
        const { moments, changes } = live(history)
        const pick = createPicker(seed)
        const store = new RowStore(2)
        const ofRow = changes.filter(({ row }) => row === 'x')
        for (const travelling of inSomeCausalOrder(ofRow, pick)) {
          const moment = moments[pick(moments.length * 2)]
          if (moment !== undefined) {
            const snapshot = store.import(moment.state, moment.store)
            const isOurs = pick(2) === 0
            const [left, right] = isOurs ? [store.row('x'), snapshot] : [snapshot, store.row('x')]
            store.rows.set('x', joinRows(left, right, store.replicas))
          }
          store.apply(travelling)
        }
        expectSame(formOf(store.row('x'), store), expectedForm(ofRow.map(({ oracle }) => oracle)))
      }),
      { numRuns: RUNS },
    )
  })

  test('the position stays that of our own log: a snapshot knows nothing of it', () => {
    const store = new RowStore()
    const other = new RowStore(1)
    const ours = store.apply(change(0, 'insert', { a: 1 }), 5)
    const theirs = store.import(other.apply(change(1, 'insert', { a: 2 }), 8), other)
    expect(joinRows(ours, theirs, store.replicas).position).toBe(5)
    expect(joinRows(EMPTY_ROW, theirs, store.replicas).position).toBe(0)
  })
})

// ── Converging ──────────────────────────────────────────────────────────────────────────────────────────────────────

describe('replicas that have the same changes', () => {
  test('M4: have the same row, in an order by replica id and not by index, down to the bytes in a common store', async () => {
    await fc.assert(
      fc.property(historyArbitrary, (history) => {
        const { replicas, changes } = live(history)
        syncAll(replicas)
        for (const row of ROWS) {
          const expected = expectedForm(changes.filter((change) => change.row === row).map(({ oracle }) => oracle))
          const common = new RowStore(1)
          const encodings = replicas.map((replica) => {
            expectSame(formOf(replica.row(row), replica), expected)
            const imported = common.import(replica.row(row), replica)
            return Buffer.from(encodeRow({ ...imported, position: 0 })).toString('hex')
          })
          expect(new Set(encodings).size).toBe(1)
        }
      }),
      { numRuns: RUNS },
    )
  })

  test.each(ORACLE_POLICIES)(
    'show the value that the sets of dots give under %s, by fields and by row',
    async (name) => {
      const outcomes = { alive: 0, gone: 0 }
      await fc.assert(
        fc.property(historyArbitrary, (history) => {
          const { replicas, moments } = live(history)
          for (const { store, state, known } of moments.filter(isConflicted)) {
            for (const granularity of ['fields', 'row'] as const) {
              const value = shownBy(known, name, granularity)
              outcomes[value === undefined ? 'gone' : 'alive']++
              expectSame(shownValue(store, state, POLICIES[name], granularity), value)
            }
          }
          syncAll(replicas)
          for (const replica of replicas) {
            for (const row of ROWS) {
              for (const granularity of ['fields', 'row'] as const) {
                const value = shownBy(replica.knownOf(row), name, granularity)
                expectSame(shownValue(replica, replica.row(row), POLICIES[name], granularity), value)
              }
            }
          }
        }),
        { numRuns: RUNS },
      )
      expect(Math.min(outcomes.alive, outcomes.gone)).toBeGreaterThan(RUNS / 5)
    },
  )
})

// ── What others got wrong ───────────────────────────────────────────────────────────────────────────────────────────

const [R0, R1, R2] = REPLICA_IDS as [string, string, string]

describe('regressions', () => {
  test('regressions 2 and 3: whoever has pulled everything conflicts with nobody by writing', async () => {
    await fc.assert(
      fc.property(
        historyArbitrary,
        fc.nat(4),
        fc.constantFrom<OracleOp>('insert', 'update', 'delete'),
        (history, number, op) => {
          const { replicas } = live(history)
          syncAll(replicas)
          const writer = replicas[number % replicas.length] as (typeof replicas)[number]
          const step = {
            type: 'write' as const,
            replica: number,
            row: 0,
            op,
            values: ['1', undefined, undefined],
            time: 0,
          }
          if (writer.write(step, { timestamps: history.timestamps, writers: 'any' }) === undefined) return
          for (const replica of replicas) {
            replica.pull(writer, Number.POSITIVE_INFINITY)
            expect(replica.row('x').heads.map((head) => replica.replicas.textOf(head.replica))).toEqual([writer.id])
          }
        },
      ),
      { numRuns: RUNS },
    )
  })

  test('regressions 4 and 5: causal order decides before timestamps do, in every order of arrival', () => {
    // x, then y that saw x with a lower timestamp, and z beside both, between them: pair by pair x < y < z < x.
    const x = change(0, 'insert', { a: 1 }, 10)
    const y = change(1, 'update', { a: 2 }, 1, { [R0]: 1 })
    const z = change(2, 'update', { a: 3 }, 5)
    for (const order of [
      [x, y, z],
      [x, z, y],
      [z, x, y],
    ]) {
      const store = new RowStore()
      for (const travelling of order) store.apply(travelling)
      expect(store.row('x').heads.map((head) => store.replicas.textOf(head.replica))).toEqual([R1, R2])
      expect(shownValue(store, store.row('x'), lastWriteWins(), 'fields')).toEqual({ a: 3 })
      expect(shownValue(store, store.row('x'), firstWriteWins(), 'fields')).toEqual({ a: 2 })
    }
  })

  test('regression 5: no replica ever shows a value that somebody had seen and overwritten', async () => {
    await fc.assert(
      fc.property(historyArbitrary, (history) => {
        for (const { store, state, known } of live(history).moments) {
          for (const policy of Object.values(POLICIES)) {
            for (const version of settleRow(state, rulesOf(policy, 'fields'), store).versions) {
              const dot = `${store.replicas.textOf(version.stamp.replica)}:${version.stamp.seq}`
              const field = store.names.textOf(version.name)
              const shown = known.find((other) => other.dot === dot) as OracleChange
              expect(known.some((other) => other.seen.has(dot) && overwrites(other, shown, field))).toBe(false)
            }
          }
        }
      }),
      { numRuns: RUNS },
    )
  })

  test('regression 6: equal timestamps of two replicas are ordered by replica id on all of them', () => {
    const changes = REPLICA_IDS.map((_, number) => change(number, 'update', { a: number }, 7))
    for (const turn of [0, 1, 2, 3, 4]) {
      const store = new RowStore(turn)
      for (let at = 0; at < changes.length; at++) store.apply(changes[(at + turn) % changes.length] as TravellingChange)
      const order = store.row('x').heads.map((head) => store.replicas.textOf(head.replica))
      expect(order).toEqual([...REPLICA_IDS].sort())
      const highest = REPLICA_IDS.indexOf(order.at(-1) as string)
      expect(shownValue(store, store.row('x'), lastWriteWins(), 'fields')).toEqual({ a: highest })
    }
  })

  const OPS: readonly OracleOp[] = ['insert', 'update', 'delete', 'replace']
  const PAIRS = OPS.flatMap((left) => OPS.map((right) => [left, right] as const))

  test.each(PAIRS)(
    'regressions 7 and 8: %s against %s leaves both heads, the same on both sides, under every policy',
    (left, right) => {
      const base = change(2, 'insert', { a: 0, b: 0, c: 0 }, 1)
      const seen = { [R2]: 1 }
      const fieldsOf = (op: OracleOp, value: number): Record<string, number> =>
        op === 'delete' ? {} : op === 'update' ? { a: value } : { a: value, b: value, c: value }
      for (const [leftTime, rightTime] of [
        [5, 6],
        [6, 5],
        [5, 5],
      ] as const) {
        const one = change(0, left, fieldsOf(left, 1), leftTime, seen)
        const other = change(1, right, fieldsOf(right, 2), rightTime, seen)
        const stores = [
          [one, other],
          [other, one],
        ].map((order, turn) => {
          const store = new RowStore(turn)
          for (const travelling of [base, ...order]) store.apply(travelling)
          return store
        }) as [RowStore, RowStore]
        const forms = stores.map((store) => formOf(store.row('x'), store))
        expect(forms[0]).toEqual(forms[1])
        expect(forms[0]?.heads).toHaveLength(2)
        for (const policy of Object.values(POLICIES)) {
          for (const granularity of ['fields', 'row'] as const) {
            const values = stores.map((store) => shownValue(store, store.row('x'), policy, granularity))
            expect(values[0]).toEqual(values[1])
          }
        }
      }
    },
  )

  test('M5: regression 8: an update that wins against a delete gives back the whole row, whichever came first', () => {
    const base = change(2, 'insert', { a: 0, b: 0, c: 0 }, 1)
    const seen = { [R2]: 1 }
    for (const [deleteTime, policy] of [
      [5, lastWriteWins()],
      [5, causal()],
      [9, firstWriteWins()],
      [5, updateWins()],
      [9, updateWins()],
    ] as const) {
      const update = change(0, 'update', { b: 7 }, 7, seen)
      const removal = change(1, 'delete', {}, deleteTime, seen)
      for (const order of [
        [update, removal],
        [removal, update],
      ]) {
        const store = new RowStore()
        for (const travelling of [base, ...order]) store.apply(travelling)
        expect(shownValue(store, store.row('x'), policy, 'fields')).toEqual({ a: 0, b: 7, c: 0 })
        expect(shownValue(store, store.row('x'), deleteWins(), 'fields')).toBeUndefined()
      }
    }
  })

  test('M5: where writers insert whole rows, a row that exists is whole: under any policy, at any moment', async () => {
    let rescued = 0
    await fc.assert(
      fc.property(orderlyArbitrary, (history) => {
        for (const { store, state, known } of live(history).moments) {
          const ops = new Set(headsOf(known).map((head) => head.op))
          if (ops.has('delete') && ops.has('update')) rescued++
          for (const policy of Object.values(POLICIES)) {
            const value = shownValue(store, state, policy, 'fields')
            if (value !== undefined) expectSame(Object.keys(value).sort(), FIELDS)
          }
        }
      }),
      { numRuns: RUNS },
    )
    expect(rescued).toBeGreaterThan(RUNS / 10)
  })

  test('M5: an insert over a delete begins anew: nothing of the old row comes back', () => {
    const store = new RowStore()
    store.apply(change(0, 'insert', { a: 1, b: 1 }))
    store.apply(change(1, 'delete', {}, 2, { [R0]: 1 }))
    store.apply(change(2, 'insert', { a: 3 }, 3, { [R0]: 1, [R1]: 1 }))
    expect(shownValue(store, store.row('x'), lastWriteWins(), 'fields')).toEqual({ a: 3 })
  })
})
