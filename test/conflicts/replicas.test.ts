/**
 * Convergence of replicas: real ones with skewed clocks, which write, sync by log and by snapshot, and decide conflicts. At
 * every moment each shows and reports what the explicit sets of changes say; in the end all say the same.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  type Conflict,
  causal,
  deleteWins,
  firstWriteWins,
  lastWriteWins,
  type Policy,
  table,
  updateWins,
} from '../../core/index.ts'
import { expectSame } from '../core/merge-history.ts'
import { type OraclePolicy, shownBy } from '../core/merge-oracle.ts'
import { openConflicts } from './group.ts'
import { type Cell, Life, ROW, type Step, stepsArbitrary, type Witness } from './life.ts'
import { byId, expectedReports, type OracleRules, settledReport, toForm } from './report-oracle.ts'

const RUNS = 100

const POLICIES: Readonly<Record<OraclePolicy, Policy>> = {
  lastWriteWins: lastWriteWins(),
  causal: causal(),
  firstWriteWins: firstWriteWins(),
  deleteWins: deleteWins(),
  updateWins: updateWins(),
}
const CASES = Object.keys(POLICIES).flatMap((policy) =>
  (['fields', 'row'] as const).flatMap((granularity) =>
    (['mesh', 'star'] as const).map((topology) => [policy as OraclePolicy, granularity, topology] as const),
  ),
)

/** What a replica shows and reports is what its set of changes says. Answers with how many heads the row has. */
async function expectExact({ replica, known }: Witness, rules: OracleRules): Promise<number> {
  const row = await replica.table('cells').get(ROW)
  const { id: _, ...values } = row ?? { id: ROW }
  expectSame(row && { ...values }, shownBy(known, rules.policy, rules.granularity))
  expectSame((await openConflicts(replica)).map(toForm).sort(byId), expectedReports(known, rules))
  return (await replica.explain('cells', ROW)).heads.length
}

/** What the journal says of conflicts that are settled is what the changes of the two and their pasts say. */
async function expectExactJournal({ replica, known }: Witness, rules: OracleRules): Promise<number> {
  const settled = (await replica.conflicts.journal()).filter(({ isOpen }) => !isOpen)
  for (const { conflict } of settled) {
    const form = toForm(conflict)
    expectSame(form, settledReport(known, [form.sides[0].dot, form.sides[1].dot], rules))
  }
  return settled.length
}

function withoutLog(conflict: Conflict): unknown {
  const sides = conflict.sides.map(({ context: _, ...side }) => side)
  return { ...conflict, sides, fields: conflict.fields.map(({ base: _, ...field }) => field) }
}

test.each(CASES)(
  'under %s, by %s, in a %s, replicas are exact at every moment and equal in the end',
  async (policy, granularity, topology) => {
    const rules: OracleRules = { policy, granularity }
    const counts = { crowded: 0, settled: 0 }
    await fc.assert(
      fc.asyncProperty(stepsArbitrary, async (steps: readonly Step[]) => {
        const life = await Life.begin(table<Cell>({ policy: POLICIES[policy], granularity }), rules, topology)
        for (const step of steps) {
          for (const witness of await life.take(step)) {
            if ((await expectExact(witness, rules)) > 2) counts.crowded++
          }
        }
        for (const witness of life.witnesses) {
          if (witness.hasWholeLog) counts.settled += await expectExactJournal(witness, rules)
        }
        await life.syncAll()
        for (const witness of life.witnesses) await expectExact(witness, rules)
        await expectEqual(life.witnesses)
      }),
      { numRuns: RUNS },
    )
    expect(counts.crowded).toBeGreaterThan(0)
    expect(counts.settled).toBeGreaterThan(0)
  },
)

/** Digests, rows, reports word for word, and what is said of each conflict that anybody remembers. */
async function expectEqual(witnesses: readonly Witness[]): Promise<void> {
  const [first, ...others] = witnesses as [Witness, ...Witness[]]
  const isWhole = witnesses.every(({ hasWholeLog }) => hasWholeLog)
  const shape = (conflict: Conflict): unknown => (isWhole ? conflict : withoutLog(conflict))
  const everything = async ({ replica }: Witness): Promise<unknown> => ({
    digest: await replica.digest(),
    row: await replica.table('cells').get(ROW),
    reports: (await openConflicts(replica)).map(shape),
  })
  const expected = await everything(first)
  for (const other of others) expectSame(await everything(other), expected)
  if (!isWhole) return
  const explanation = await first.replica.explain('cells', ROW)
  for (const { replica } of others) expectSame(await replica.explain('cells', ROW), explanation)
  for (const { conflict } of await first.replica.conflicts.journal()) {
    for (const { replica } of others) expectSame(await replica.conflicts.get(conflict.id), conflict)
  }
}
