/**
 * Convergence of rows: whatever the order, the repetitions and the mixture of changes and states by which a row comes to a
 * replica, it has the same heads, shows the same values, and the same is reported about it.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { toVectorClock } from '../../core/change.ts'
import { type Conflict, rowConflicts } from '../../core/conflict.ts'
import {
  causal,
  custom,
  customField,
  deleteWins,
  firstWriteWins,
  lastWriteWins,
  max,
  min,
  type TableDefinition,
  table,
  updateWins,
} from '../../core/index.ts'
import { joinRows, type RowState } from '../../core/row.ts'
import { decodeVersions, settleRow } from '../../core/settle.ts'
import {
  change,
  expectSame,
  formOf,
  historyArbitrary,
  live,
  type Moment,
  REPLICA_IDS,
  RowStore,
  type TravellingChange,
  type World,
} from '../core/merge-history.ts'
import { headsOf, ORACLE_POLICIES, type OracleOp, type OraclePolicy, shownBy } from '../core/merge-oracle.ts'
import { createPicker } from '../core/value-arbitrary.ts'
import { byId, expectedReports, toForm } from './report-oracle.ts'

const RUNS = 500
const ROUTES = 5

/** A number below the bound. */
type Choose = (bound: number) => number

const POLICIES = {
  lastWriteWins: lastWriteWins(),
  causal: causal(),
  firstWriteWins: firstWriteWins(),
  deleteWins: deleteWins(),
  updateWins: updateWins(),
} as const

/** The row that reads highest as text: goes by values and by the order of keys. */
const byText = custom('byText', 1, (versions) => {
  const rows = versions.flatMap(({ row }) => (row === undefined ? [] : [row]))
  const texts = rows.map((row) => JSON.stringify(row)).sort()
  return rows.find((row) => JSON.stringify(row) === texts.at(-1)) ?? null
})
/** Works for pairs, and fails for more: half of its rows fall back. */
const onlyPairs = custom('onlyPairs', 1, (versions) => {
  if (versions.length > 2) throw new Error(`${versions.length} are too many`)
  return versions.find(({ op }) => op !== 'delete')?.row ?? null
})
const sum = customField('sum', 1, (versions) => versions.reduce((total, { value }) => total + Number(value), 0))
const odd = customField('odd', 1, (versions) => {
  const value = versions.find((version) => Number(version.value) % 2 === 1)?.value
  if (value === undefined) throw new Error('none is odd')
  return value
})

interface Fields {
  readonly id: string
  readonly a?: number
  readonly b?: number
  readonly c?: number
}

const TABLES: Readonly<Record<string, TableDefinition>> = Object.fromEntries<TableDefinition>([
  ...Object.entries(POLICIES).flatMap(([name, policy]): [string, TableDefinition][] => [
    [`${name} by fields`, table({ policy })],
    [`${name} by row`, table({ policy, granularity: 'row' })],
  ]),
  ['max, min and a sum', table<Fields>({ fields: { a: max(), b: min(), c: sum } }) as TableDefinition],
  ['policies by field', table<Fields>({ fields: { a: firstWriteWins(), b: odd, c: odd } }) as TableDefinition],
  ['code of its own by fields', table({ policy: byText })],
  ['code of its own by row', table({ policy: byText, granularity: 'row' })],
  ['code that fails by fields', table({ policy: onlyPairs })],
  ['code that fails by row', table({ policy: onlyPairs, granularity: 'row' })],
])

// ── Ways ────────────────────────────────────────────────────────────────────────────────────────────────────────────

/**
 * Brings all changes of row x to a new store. They come in some order that nothing contradicts, some of them again, and
 * between them come states that some replica once had, or that another such store has by now.
 */
function bring({ changes, moments }: World, choose: Choose, turn: number): RowStore {
  const [store, other] = [new RowStore(turn), new RowStore(turn + 1)]
  for (const to of [other, store]) {
    const waiting = changes.filter(({ row }) => row === 'x')
    const came: TravellingChange[] = []
    while (waiting.length > 0) {
      const known = new Set(came.map(({ oracle }) => oracle.dot))
      const ready = waiting.filter(({ oracle }) => [...oracle.seen].every((dot) => known.has(dot)))
      const next = ready[choose(ready.length)] as TravellingChange
      waiting.splice(waiting.indexOf(next), 1)
      came.push(next)
      to.apply(next)
      if (choose(3) === 0) to.apply(came[choose(came.length)] as TravellingChange)
      if (choose(4) === 0) join(to, moments[choose(moments.length)] as Moment, choose)
      if (to === store && choose(6) === 0) join(to, { store: other, state: other.row('x') }, choose)
      // Half of the other one's way is enough.
      if (to === other && choose(changes.length) === 0) break
    }
  }
  return store
}

function join(to: RowStore, { store, state }: Omit<Moment, 'known'>, choose: Choose): void {
  const [ours, theirs] = [to.row('x'), to.import(state, store)]
  to.rows.set('x', choose(2) === 0 ? joinRows(ours, theirs, to.replicas) : joinRows(theirs, ours, to.replicas))
}

/** Everything about a row that must not depend on its way: as plain data, spelled out. */
function everythingOf(store: RowStore, state: RowState): unknown {
  const clocks = state.heads.map((head) => toVectorClock(head.clock, store).toJSON())
  const tables = Object.entries(TABLES).map(([name, rules]) => {
    const settled = settleRow(state, rules, store)
    const value = settled.isAlive ? { ...decodeVersions(settled.versions, store) } : undefined
    return [name, value, settled.fallback, reportsOf(store, state, rules)]
  })
  return { form: formOf(state, store), clocks, tables }
}

function reportsOf(store: RowStore, state: RowState, rules: TableDefinition): Conflict[] {
  return rowConflicts({ table: 'cities', row: 'x', state, rules, dictionaries: store })
}

// ── Properties ──────────────────────────────────────────────────────────────────────────────────────────────────────

test('a row is the same by every way, under every policy: heads, values, fallbacks, reports word for word', async () => {
  let conflicted = 0
  let crowded = 0
  await fc.assert(
    fc.property(historyArbitrary, fc.nat(), (history, seed) => {
      const world = live(history)
      const choose = createPicker(seed)
      const first = bring(world, choose, 0)
      const expected = everythingOf(first, first.row('x'))
      const heads = first.row('x').heads.length
      if (heads > 1) conflicted++
      if (heads > 2) crowded++
      for (let route = 1; route < ROUTES; route++) {
        const store = bring(world, choose, route)
        expectSame(everythingOf(store, store.row('x')), expected)
      }
    }),
    { numRuns: RUNS },
  )
  expect(conflicted).toBeGreaterThan(RUNS / 4)
  expect(crowded).toBeGreaterThan(RUNS / 20)
})

test.each(ORACLE_POLICIES)(
  'what is shown and reported under %s is what the sets of dots say, by every way',
  async (name) => {
    let reported = 0
    await fc.assert(
      fc.property(historyArbitrary, fc.nat(), (history, seed) => {
        const world = live(history)
        const known = world.changes.filter(({ row }) => row === 'x').map(({ oracle }) => oracle)
        const store = bring(world, createPicker(seed), seed % 5)
        const state = store.row('x')
        for (const granularity of ['fields', 'row'] as const) {
          const rules = TABLES[`${name} by ${granularity}`] as TableDefinition
          const settled = settleRow(state, rules, store)
          const value = settled.isAlive ? { ...decodeVersions(settled.versions, store) } : undefined
          expectSame(value, shownBy(known, name, granularity))
          const reports = reportsOf(store, state, rules).map(toForm).sort(byId)
          reported += reports.length
          expectSame(reports, expectedReports(known, { policy: name, granularity }))
        }
      }),
      { numRuns: RUNS },
    )
    expect(reported).toBeGreaterThan(RUNS / 2)
  },
)

test('nobody is told of a conflict among replicas that have the same changes, of which one covers all others', async () => {
  await fc.assert(
    fc.property(historyArbitrary, fc.nat(), (history, seed) => {
      const world = live(history)
      const known = world.changes.filter(({ row }) => row === 'x').map(({ oracle }) => oracle)
      if (headsOf(known).length !== 1) return
      const store = bring(world, createPicker(seed), 2)
      for (const rules of Object.values(TABLES)) expect(reportsOf(store, store.row('x'), rules)).toEqual([])
    }),
    { numRuns: RUNS },
  )
})

// ── Symmetry ────────────────────────────────────────────────────────────────────────────────────────────────────────

const MIRROR: Readonly<Record<string, string>> = { 'update-delete': 'delete-update', 'delete-update': 'update-delete' }
const OPS: readonly OracleOp[] = ['insert', 'update', 'delete', 'replace']
const fieldsArbitrary = fc.record(
  { a: fc.constantFrom('1', '2'), b: fc.constantFrom('1', '2') },
  { requiredKeys: ['a'] },
) as fc.Arbitrary<Record<string, string>>

describe('regression 8: swapping the two sides', () => {
  test.each(Object.entries(POLICIES))('swaps the type, and nothing else, under %s', async (_name, policy) => {
    await fc.assert(
      fc.property(
        fc.constantFrom(...OPS),
        fc.constantFrom(...OPS),
        fieldsArbitrary,
        fieldsArbitrary,
        fc.constantFrom('fields' as const, 'row' as const),
        (leftOp, rightOp, leftFields, rightFields, granularity) => {
          const [left, right] = [
            { op: leftOp, fields: leftOp === 'delete' ? {} : leftFields },
            { op: rightOp, fields: rightOp === 'delete' ? {} : rightFields },
          ]
          const rules = table({ policy, granularity })
          // The same two changes, made by the same two replicas at two times; then with the times exchanged.
          const [straight, swapped] = [reportOf([left, 5], [right, 6], rules), reportOf([left, 6], [right, 5], rules)]
          expect(swapped?.type).toBe(straight && (MIRROR[straight.type] ?? straight.type))
          if (straight === undefined || swapped === undefined) return
          const [a, b] = straight.sides
          const [c, d] = swapped.sides
          expect([a.dot, a.op, a.values, b.dot, b.op, b.values]).toEqual([d.dot, d.op, d.values, c.dot, c.op, c.values])
          expect(straight.fields.map(({ name }) => name)).toEqual(swapped.fields.map(({ name }) => name))
          const isByOp = straight.type !== 'update-update' && straight.type !== 'insert-insert'
          if (isByOp && (policy.name === 'deleteWins' || policy.name === 'updateWins')) {
            expect(swapped.winner).toEqual(straight.winner)
          } else if (straight.winner !== undefined) {
            expect(swapped.winner).not.toEqual(straight.winner)
          }
        },
      ),
      { numRuns: RUNS },
    )
  })
})

interface Side {
  readonly op: OracleOp
  readonly fields: Readonly<Record<string, string>>
}

function reportOf(
  [left, leftTime]: readonly [Side, number],
  [right, rightTime]: readonly [Side, number],
  rules: TableDefinition,
): Conflict | undefined {
  const base = change(2, 'insert', { a: '0', b: '0' }, 1)
  const seen = { [REPLICA_IDS[2] as string]: 1 }
  const store = new RowStore()
  store.apply(base)
  store.apply(change(0, left.op, left.fields, leftTime, seen))
  store.apply(change(1, right.op, right.fields, rightTime, seen))
  const [report] = reportsOf(store, store.row('x'), rules)
  return report
}

/** The policies that the oracle knows are all that come with the engine. */
test('every policy that comes with the engine is among those that are tried', () => {
  expect(Object.keys(POLICIES).sort()).toEqual([...ORACLE_POLICIES].sort() satisfies OraclePolicy[])
})
