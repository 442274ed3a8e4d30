/**
 * Conflicts: which pairs of heads are reported, as what, with which winner, and in which words. The oracle (merge-oracle.ts)
 * says which changes are concurrent, what each wrote, and whose values are shown.
 */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Conflict, classify, parseConflictId, rowConflicts } from '../../core/conflict.ts'
import {
  causal,
  custom,
  deleteWins,
  firstWriteWins,
  type Granularity,
  lastWriteWins,
  max,
  type Policy,
  updateWins,
} from '../../core/policy.ts'
import { type ChangeOp, type Head, publicOp, type RowState } from '../../core/row.ts'
import { type TableDefinition, table } from '../../core/table.ts'
import { timestampToMs } from '../../core/timestamp.ts'
import {
  change,
  expectSame,
  historyArbitrary,
  live,
  REPLICA_IDS,
  RowStore,
  syncAll,
  type TravellingChange,
} from './merge-history.ts'
import {
  broughtBy,
  fieldsOf,
  headsOf,
  inCanonicalOrder,
  isPart,
  type Known,
  knows,
  type News,
  newsOf,
  numberOf,
  type OracleChange,
  type OracleOp,
  type OraclePolicy,
  pickOf,
} from './merge-oracle.ts'
import { isSameValue } from './value-arbitrary.ts'

const RUNS = 2_000
const OPS: readonly ChangeOp[] = ['insert', 'update', 'delete']
const [R0, R1, R2] = REPLICA_IDS as [string, string, string]

const POLICIES: Readonly<Record<OraclePolicy, Policy>> = {
  lastWriteWins: lastWriteWins(),
  causal: causal(),
  firstWriteWins: firstWriteWins(),
  deleteWins: deleteWins(),
  updateWins: updateWins(),
}

function conflictsOf(store: RowStore, state: RowState, rules: TableDefinition): Conflict[] {
  return rowConflicts({ table: 'cities', row: 'x', state, rules, dictionaries: store })
}

/** The conflicts of row x where these changes have arrived, in this order. */
function conflictsAfter(
  changes: readonly TravellingChange[],
  policy: Policy = lastWriteWins(),
  granularity: Granularity = 'fields',
  turn = 0,
): Conflict[] {
  const store = new RowStore(turn)
  for (const travelling of changes) store.apply(travelling)
  return conflictsOf(store, store.row('x'), table({ policy, granularity }))
}

// ── Classification ──────────────────────────────────────────────────────────────────────────────────────────────────

describe('classify', () => {
  type Answer = 'agreement' | 'merged' | 'update-update' | 'update-delete' | 'delete-update' | 'insert-insert'
  /** What each pair is when both sides wrote a field in common with other content; nothing in common; equal content. */
  const TABLE: Readonly<Record<string, readonly [common: Answer, apart: Answer, equal: Answer]>> = {
    'insert insert': ['insert-insert', 'insert-insert', 'agreement'],
    'insert update': ['update-update', 'merged', 'agreement'],
    'insert delete': ['update-delete', 'update-delete', 'update-delete'],
    'update insert': ['update-update', 'merged', 'agreement'],
    'update update': ['update-update', 'merged', 'agreement'],
    'update delete': ['update-delete', 'update-delete', 'update-delete'],
    'delete insert': ['delete-update', 'delete-update', 'delete-update'],
    'delete update': ['delete-update', 'delete-update', 'delete-update'],
    'delete delete': ['agreement', 'agreement', 'agreement'],
  }
  const PAIRS = OPS.flatMap((left) => OPS.map((right) => [left, right] as const))

  test.each(PAIRS)('regression 7: answers %s against %s', (left, right) => {
    const [common, apart, equal] = TABLE[`${left} ${right}`] as readonly [Answer, Answer, Answer]
    expect(classify(left, right, 1, false)).toBe(common)
    expect(classify(left, right, 5, false)).toBe(common)
    expect(classify(left, right, 0, false)).toBe(apart)
    expect(classify(left, right, 1, true)).toBe(equal)
    expect(classify(left, right, 0, true)).toBe(equal)
  })

  test.each(PAIRS)(
    'F2: regression 8: answers %s against %s with the mirror image of the other way round',
    (left, right) => {
      const mirror: Readonly<Record<string, string>> = {
        'update-delete': 'delete-update',
        'delete-update': 'update-delete',
      }
      for (const common of [0, 1, 2]) {
        for (const isEqual of [false, true]) {
          const answer = classify(left, right, common, isEqual)
          expect(classify(right, left, common, isEqual)).toBe(mirror[answer] ?? answer)
        }
      }
    },
  )

  test('counts a replace as an update', () => {
    const head: Head = { replica: 0, seq: 1, timestamp: 1, op: 'replace', fields: [], clock: [0, 1] }
    expect(publicOp(head)).toBe('update')
    for (const op of OPS) expect(publicOp({ ...head, op })).toBe(op)
  })
})

// ── Reports, against the oracle ─────────────────────────────────────────────────────────────────────────────────────

interface ExpectedReport {
  readonly id: string
  readonly type: string
  /** Dot, operation, and what it changed that the other had not seen. */
  readonly sides: readonly (readonly [dot: string, op: string, values: Readonly<Record<string, number>>])[]
  /** Field and winner, sorted. */
  readonly fields: readonly (readonly [name: string, winner: string])[]
  readonly winner: string | undefined
}

/** Every pair of heads that is not in agreement. */
function expectedReports(known: Known, policy: OraclePolicy, granularity: Granularity): ExpectedReport[] {
  const heads = headsOf(known)
  const pairs = heads.flatMap((right, at) => heads.slice(0, at).map((left) => [left, right] as const))
  return pairs.flatMap((pair) => expectedReport(known, pair, policy, granularity) ?? [])
}

function expectedReport(
  known: Known,
  [left, right]: readonly [OracleChange, OracleChange],
  policy: OraclePolicy,
  granularity: Granularity,
): ExpectedReport | undefined {
  const leftNews = newsOf(known, left, right)
  const rightNews = newsOf(known, right, left)
  const contested = fieldsOf(known).filter((field) =>
    [leftNews, rightNews].every((news) => news.some((part) => part.field === field && !isPart(part.change, field))),
  )
  const [leftOp, rightOp] = [opAgainst(left, right), opAgainst(right, left)]
  const relation = relationOf(
    leftOp,
    rightOp,
    contested.length > 0 || granularity === 'row',
    isEqualNews(leftNews, rightNews),
  )
  if (relation === 'agreement') return undefined
  const isByField = granularity === 'fields' && left.op !== 'delete' && right.op !== 'delete'
  const decider = pickOf([left, right], policy) as OracleChange
  const fields = contested.map((field) => {
    const news = [...leftNews, ...rightNews].filter((part) => part.field === field && !isPart(part.change, field))
    const sorted = inCanonicalOrder(news.map((part) => part.change))
    const shown = policy === 'firstWriteWins' ? sorted[0] : sorted.at(-1)
    const author = shown !== undefined && knows(right, shown) ? right : left
    return [field, (isByField ? author : decider).dot] as const
  })
  const winners = new Set(isByField ? fields.map(([, winner]) => winner) : [decider.dot])
  const sideOf = (head: OracleChange, op: string, other: OracleChange): ExpectedReport['sides'][number] => {
    const news = broughtBy(known, head, other, granularity)
    return [head.dot, op, Object.fromEntries(news.map(({ field }) => [field, shownOf(news, field, policy)]))]
  }
  return {
    id: `${left.dot}~${right.dot}@cities/x`,
    type: relation,
    sides: [sideOf(left, leftOp, right), sideOf(right, rightOp, left)],
    fields: relation === 'merged' ? [] : fields,
    winner: relation === 'merged' || winners.size !== 1 ? undefined : [...winners][0],
  }
}

/** What a side showed of its own in a field: of several that it had not brought together, what the policy makes of them. */
function shownOf(news: readonly News[], field: string, policy: OraclePolicy): number {
  const writers = news.filter((part) => part.field === field).map((part) => part.change)
  const plain = writers.filter((writer) => !isPart(writer, field))
  const shown = policy === 'firstWriteWins' ? plain[0] : plain.at(-1)
  const parts = writers.filter((writer) => isPart(writer, field))
  return parts.reduce((sum, part) => sum + numberOf(part, field), shown === undefined ? 0 : numberOf(shown, field))
}

/** Two sides without a common past both inserted the row, whatever they call it. */
function opAgainst(head: OracleChange, other: OracleChange): ChangeOp {
  if (head.op === 'insert' || head.op === 'delete') return head.op
  return [...head.seen].some((dot) => other.seen.has(dot)) ? 'update' : 'insert'
}

function relationOf(left: ChangeOp, right: ChangeOp, isContested: boolean, isEqual: boolean): string {
  if (left === 'delete' && right === 'delete') return 'agreement'
  if (left === 'delete') return 'delete-update'
  if (right === 'delete') return 'update-delete'
  if (isEqual) return 'agreement'
  if (left === 'insert' && right === 'insert') return 'insert-insert'
  return isContested ? 'update-update' : 'merged'
}

function isEqualNews(left: readonly News[], right: readonly News[]): boolean {
  const list = (news: readonly News[]): string =>
    news
      .map((part) =>
        isPart(part.change, part.field) ? part.change.dot : `${part.field}=${numberOf(part.change, part.field)}`,
      )
      .join()
  return list(left) === list(right)
}

function toExpected(report: Conflict): ExpectedReport {
  const dotOf = (dot: { readonly replica: string; readonly seq: number }): string => `${dot.replica}:${dot.seq}`
  return {
    id: report.id,
    type: report.type,
    sides: report.sides.map(
      ({ dot, op, values }) => [dotOf(dot), op, { ...values } as Record<string, number>] as const,
    ),
    fields: report.fields.map(({ name, winner }) => [name, winner === undefined ? '' : dotOf(winner)] as const).sort(),
    winner: report.winner && dotOf(report.winner),
  }
}

const byId = (left: { id: string }, right: { id: string }): number => (left.id < right.id ? -1 : 1)

describe('the conflicts of a row', () => {
  test.each(Object.entries(POLICIES))(
    'F1: under %s are those of the sets of dots: none missed, none false',
    async (name, policy) => {
      let reported = 0
      await fc.assert(
        fc.property(historyArbitrary, fc.constantFrom<Granularity>('fields', 'row'), (history, granularity) => {
          for (const { store, state, known } of live(history).moments) {
            const reports = conflictsOf(store, state, table({ policy, granularity }))
            reported += reports.length
            const expected = expectedReports(known, name as OraclePolicy, granularity)
            expectSame(reports.map(toExpected).sort(byId), expected.sort(byId))
          }
        }),
        { numRuns: RUNS },
      )
      expect(reported).toBeGreaterThan(RUNS)
    },
  )

  test.each(Object.values(POLICIES))(
    'F3: under $name are equal, word for word, on replicas that number things differently',
    async (policy) => {
      await fc.assert(
        fc.property(historyArbitrary, fc.constantFrom<Granularity>('fields', 'row'), (history, granularity) => {
          const { replicas } = live(history)
          syncAll(replicas)
          const reports = replicas.map((replica) =>
            conflictsOf(replica, replica.row('x'), table({ policy, granularity })),
          )
          for (const other of reports) if (!isSameValue(other, reports[0])) expect(other).toEqual(reports[0])
        }),
        { numRuns: RUNS },
      )
    },
  )

  test.each(Object.entries(POLICIES))(
    'F3: under %s say who, when and why, in the canonical order',
    async (name, policy) => {
      await fc.assert(
        fc.property(historyArbitrary, fc.constantFrom<Granularity>('fields', 'row'), (history, granularity) => {
          for (const { store, state, known } of live(history).moments) {
            for (const report of conflictsOf(store, state, table({ policy, granularity }))) {
              expect([report.table, report.row, report.policy]).toEqual(['cities', 'x', `${name}@1`])
              const sides = report.sides.map(({ dot }) =>
                known.find((each) => each.dot === `${dot.replica}:${dot.seq}`),
              )
              expect(inCanonicalOrder(sides as OracleChange[])).toEqual(sides)
              for (const [at, { timestamp, time }] of report.sides.entries()) {
                expect([timestamp, time]).toEqual([sides[at]?.timestamp, timestampToMs(timestamp)])
              }
              expect(report.isProvisional).toBe(name === 'causal' && report.type !== 'merged')
              expect(report.fallback).toBeUndefined()
              expect(parseConflictId(report.id)).toEqual({
                table: 'cities',
                row: 'x',
                dots: report.sides.map(({ dot }) => dot),
              })
              expectTrueSentences(report)
              expectTrueFieldSentences(report, known, sides as OracleChange[])
            }
          }
        }),
        { numRuns: RUNS },
      )
    },
  )

  test('F3: name their fields, and explain them, in an order that does not depend on how a replica numbers names', () => {
    const sides = [change(0, 'insert', { a: 1, b: 4, c: 1 }), change(1, 'insert', { a: 2, b: 2, c: 2 })]
    const rules = table({ fields: { a: max(), b: max(), c: max() } as object })
    const reports = [0, 1, 2, 3].map((turn) => {
      const store = new RowStore(turn)
      for (const travelling of sides) store.apply(travelling)
      return conflictsOf(store, store.row('x'), rules)[0] as Conflict
    })
    for (const report of reports) {
      expect(report.fields).toEqual(reports[0]?.fields)
      expect(report.reason).toBe(reports[0]?.reason)
    }
  })
})

const FIELD_SENTENCE = /Field (\w+) shows the value of replica (\S+) \(change (\d+)\): it was made ([^.]+)\./g

/** What a reason says of one field is so for what both sides wrote to it. */
function expectTrueFieldSentences({ reason }: Conflict, known: Known, [left, right]: readonly OracleChange[]): void {
  if (left === undefined || right === undefined) throw new Error('a conflict has two sides')
  for (const [sentence, field, replica, seq, when] of reason.matchAll(FIELD_SENTENCE)) {
    const news = [...newsOf(known, left, right), ...newsOf(known, right, left)]
    const rivals = news.filter((part) => part.field === field && !isPart(part.change, part.field))
    const written = rivals.map((part) => part.change)
    const shown = written.find(({ dot }) => dot === `${replica}:${seq}`) as OracleChange
    const orders = written.filter((each) => each !== shown).map((each) => Math.sign(shown.timestamp - each.timestamp))
    if (when === 'later') expect(new Set(orders), sentence).toEqual(new Set([1]))
    else if (when === 'earlier') expect(new Set(orders), sentence).toEqual(new Set([-1]))
    else expect(orders, sentence).toContain(0)
  }
}

/** Reasons are sentences, and what they say about winners, time and replica ids is so. */
function expectTrueSentences({ reason, winner, sides, type }: Conflict): void {
  expect(reason).toMatch(/^[A-Z][^\n]*[a-z]\.$/)
  expect(reason).not.toMatch(/undefined|local|remote|\bours?\b|\btheirs?\b/i)
  if (type === 'merged') expect(winner).toBeUndefined()
  if (winner === undefined) {
    expect(reason).not.toMatch(/ wins| is shown for now/)
    return
  }
  const won = sides.find(({ dot }) => dot.replica === winner.replica && dot.seq === winner.seq)
  const lost = sides.find((side) => side !== won)
  if (won === undefined || lost === undefined) throw new Error('the winner is neither side')
  expect(reason).toContain(` of replica ${won.dot.replica} (change ${won.dot.seq}) `)
  const order = Math.sign(won.timestamp - lost.timestamp)
  if (/later/.test(reason)) expect(order, reason).toBe(1)
  if (/earlier/.test(reason)) expect(order, reason).toBe(-1)
  if (/a write survives/.test(reason)) expect([won.op === 'delete', lost.op], reason).toEqual([false, 'delete'])
  if (/a delete wins/.test(reason)) expect(won.op, reason).toBe('delete')
  if (/same time/.test(reason)) expect(order, reason).toBe(0)
  if (/higher replica id/.test(reason)) expect([order, won.dot.replica > lost.dot.replica], reason).toEqual([0, true])
  if (/lower replica id/.test(reason)) expect([order, won.dot.replica < lost.dot.replica], reason).toEqual([0, true])
}

// ── By example ──────────────────────────────────────────────────────────────────────────────────────────────────────

const seen = { [R2]: 1 }
const base = change(2, 'insert', { a: 0, b: 0, c: 0 }, 1)

describe('two concurrent changes', () => {
  test.each<[OracleOp, OracleOp, string | undefined]>([
    ['insert', 'insert', 'insert-insert'],
    ['insert', 'update', 'update-update'],
    ['insert', 'delete', 'update-delete'],
    ['update', 'insert', 'update-update'],
    ['update', 'update', 'update-update'],
    ['update', 'delete', 'update-delete'],
    ['delete', 'insert', 'delete-update'],
    ['delete', 'update', 'delete-update'],
    ['delete', 'delete', undefined],
  ])('regression 7: %s at 5 and %s at 6 are reported as %s, in both orders of arrival', (early, late, type) => {
    const one = change(0, early, early === 'delete' ? {} : { a: 1 }, 5, seen)
    const other = change(1, late, late === 'delete' ? {} : { a: 2 }, 6, seen)
    const reports = conflictsAfter([base, one, other])
    expect(reports.map((report) => report.type)).toEqual(type === undefined ? [] : [type])
    expect(conflictsAfter([base, other, one], lastWriteWins(), 'fields', 3)).toEqual(reports)
    for (const { winner, sides, id, isProvisional } of reports) {
      expect(winner).toEqual({ replica: R1, seq: 1 })
      expect(sides.map(({ dot }) => dot.replica)).toEqual([R0, R1])
      expect(id).toBe(`${R0}:1~${R1}:1@cities/x`)
      expect(isProvisional).toBe(false)
    }
  })

  test('F2: regression 8: update against delete and delete against update have mirrored types and the same winner by rule', () => {
    const cases = [
      [5, 6],
      [6, 5],
    ] as const
    const [first, second] = cases.map(([updated, deleted]) =>
      conflictsAfter(
        [base, change(0, 'update', { a: 1 }, updated, seen), change(1, 'delete', {}, deleted, seen)],
        updateWins(),
      ),
    ) as [Conflict[], Conflict[]]
    expect(first.map(({ type }) => type)).toEqual(['update-delete'])
    expect(second.map(({ type }) => type)).toEqual(['delete-update'])
    for (const [report] of [first, second]) {
      expect(report?.winner).toEqual({ replica: R0, seq: 1 })
      expect(report?.reason).toMatch(/a write survives a concurrent delete/)
      expect(report?.sides.find(({ op }) => op === 'delete')?.values).toEqual({})
    }
  })

  test('that wrote equal content agree, and nothing is reported', () => {
    for (const op of ['insert', 'update', 'replace'] as const) {
      expect(conflictsAfter([base, change(0, op, { a: 1 }, 5, seen), change(1, op, { a: 1 }, 6, seen)])).toEqual([])
    }
  })

  test('that wrote different fields are merged, with no winner and nobody to decide, under any policy', () => {
    for (const policy of Object.values(POLICIES)) {
      const changes = [base, change(0, 'update', { a: 1 }, 5, seen), change(1, 'update', { b: 2 }, 6, seen)]
      const [report, ...more] = conflictsAfter(changes, policy)
      expect(more).toEqual([])
      expect(report).toMatchObject({ type: 'merged', winner: undefined, fields: [], isProvisional: false })
      expect(report?.reason).toMatch(/different fields.*both edits are kept\.$/)
    }
  })

  test('of which nobody covers the other are found even when their timestamps are equal, and settled by replica id', () => {
    const changes = [base, change(0, 'update', { a: 1 }, 5, seen), change(1, 'update', { a: 2 }, 5, seen)]
    for (const [policy, winner] of [
      [lastWriteWins(), R0],
      [firstWriteWins(), R1],
    ] as const) {
      const [report] = conflictsAfter(changes, policy)
      expect(report?.winner?.replica).toBe(winner)
      expect(report?.reason).toMatch(/at the same time, and then the (higher|lower) replica id prevails\.$/)
    }
  })

  test('F1: of which one covers the other are no conflict, whatever their timestamps', () => {
    expect(conflictsAfter([base, change(0, 'update', { a: 1 }, 0, seen)])).toEqual([])
  })

  test('under the causal policy wait for somebody to decide, until a write covers both', () => {
    const changes = [base, change(0, 'update', { a: 1 }, 5, seen), change(1, 'update', { a: 2 }, 6, seen)]
    const [report] = conflictsAfter(changes, causal())
    expect(report).toMatchObject({ isProvisional: true, winner: { replica: R1, seq: 1 } })
    expect(report?.reason).toMatch(/somebody has to decide\.$/)
    const decided = change(3, 'update', { a: 3 }, 7, { ...seen, [R0]: 1, [R1]: 1 })
    expect(conflictsAfter([...changes, decided], causal())).toEqual([])
  })

  test('under the causal policy at equal timestamps are not said to be one later than the other', () => {
    const changes = [base, change(0, 'update', { a: 1 }, 5, seen), change(1, 'update', { a: 2 }, 5, seen)]
    expect(conflictsAfter(changes, causal())[0]?.reason).not.toMatch(/later/)
  })

  test('that replaced the row with different fields, by row, are no merge: one of them is not shown', () => {
    const changes = [base, change(0, 'replace', { a: 1 }, 5, seen), change(1, 'replace', { b: 2 }, 6, seen)]
    const [report] = conflictsAfter(changes, lastWriteWins(), 'row')
    expect(report).toMatchObject({ type: 'update-update', winner: { replica: R1, seq: 1 } })
  })

  test('that a policy of the app settles are not explained by the time', () => {
    const decided = custom('decided', 1, ([version]) => ({ ...version?.row }))
    const changes = [base, change(0, 'update', { a: 1 }, 5, seen), change(1, 'update', { a: 2 }, 6, seen)]
    const [report] = conflictsAfter(changes, decided)
    expect(report?.winner).toEqual({ replica: R0, seq: 1 })
    expect(report?.reason).not.toMatch(/later|same time/)
  })

  test('are won by the side whose value is shown, also when it was not its head that wrote it', () => {
    // R1 wrote a at 1, then b at 9 having seen that; R0 wrote a at 5. Field a shows what R0 wrote.
    const earlier = change(1, 'update', { a: 1 }, 1, seen)
    const later = change(1, 'update', { b: 1 }, 9, { ...seen, [R1]: 1 }, 2)
    const other = change(0, 'update', { a: 2 }, 5, seen)
    const [report] = conflictsAfter([base, earlier, later, other])
    expect(report?.fields).toEqual([{ name: 'a', winner: { replica: R0, seq: 1 } }])
    expect(report?.reason).toContain(`replica ${R0} (change 1)`)
  })

  test('that won one field each have no winner, and the reason names none', () => {
    // R0 wrote a at 8 and b at 9, R1 wrote b at 10 and a at 5.
    const changes = [
      change(0, 'update', { a: 1 }, 8, seen),
      change(0, 'update', { b: 1 }, 9, { ...seen, [R0]: 1 }, 2),
      change(1, 'update', { b: 2 }, 10, seen),
      change(1, 'update', { a: 2 }, 5, { ...seen, [R1]: 1 }, 2),
    ]
    const [report] = conflictsAfter([base, ...changes])
    expect([...(report?.fields ?? [])].sort((a, b) => (a.name < b.name ? -1 : 1))).toEqual([
      { name: 'a', winner: { replica: R0, seq: 2 } },
      { name: 'b', winner: { replica: R1, seq: 2 } },
    ])
    expect(report?.winner).toBeUndefined()
    expect(report?.reason).toMatch(/^[A-Z].*\.$/)
    expect(report?.reason).not.toMatch(/ wins/)
  })

  test('that inserted the row with different fields have a reason too', () => {
    const [report] = conflictsAfter([change(0, 'insert', { a: 1 }, 5), change(1, 'insert', { b: 1 }, 6)])
    expect(report).toMatchObject({ type: 'insert-insert', winner: undefined, fields: [] })
    expect(report?.reason).toMatch(/^[A-Z].*\.$/)
  })
})

describe('three concurrent changes', () => {
  test('report a value that lost although a third change decided the row', () => {
    const changes = [
      base,
      change(0, 'update', { a: 1 }, 5, seen),
      change(1, 'update', { a: 2 }, 6, seen),
      change(3, 'update', { b: 3 }, 7, seen),
    ]
    const conflict = conflictsAfter(changes).find(({ type }) => type === 'update-update')
    expect(conflict).toMatchObject({ fields: [{ name: 'a' }], winner: { replica: R1, seq: 1 } })
  })

  test('are reported pair by pair', () => {
    const changes = [5, 6, 7].map((time, at) => change([0, 1, 3][at] as number, 'update', { a: time }, time, seen))
    const pairs = conflictsAfter([base, ...changes]).map(({ sides, winner }) => [
      ...sides.map(({ dot }) => dot),
      winner,
    ])
    const R3 = REPLICA_IDS[3] as string
    expect(pairs.map((dots) => dots.map((dot) => dot?.replica)).sort()).toEqual(
      [
        [R0, R1, R1],
        [R0, R3, R3],
        [R1, R3, R3],
      ].sort(),
    )
  })
})

test('ids tell rows, tables and dots apart, whatever the row ids look like', () => {
  const store = new RowStore()
  for (const travelling of [change(0, 'insert', { a: 1 }), change(1, 'insert', { a: 2 })]) store.apply(travelling)
  const idOf = (name: string, row: string): string | undefined =>
    rowConflicts({ table: name, row, state: store.row('x'), rules: table(), dictionaries: store })[0]?.id
  const ids = [idOf('a', 'b/c'), idOf('a', 'c'), idOf('b', 'c'), idOf('a', 'b/c~x'), idOf('a', '@b/c'), idOf('a', '')]
  expect(ids).not.toContain(undefined)
  expect(new Set(ids).size).toBe(ids.length)
})
