/**
 * A few hundred schedules for every run of the tests; the long forms are `npm run simulate`.
 */
import { describe, expect, it } from 'vitest'
import { generatePlan } from './generate.ts'
import { KEPT_PLANS } from './kept-plans.ts'
import { reportFailure } from './report.ts'
import { runPlan } from './run-plan.ts'
import { createTally, runSchedules } from './schedules.ts'

const SCHEDULES = 300
const RENEWING_SCHEDULES = 400

describe('the engine under simulated networks, disks, clocks and crashes', () => {
  it(`keeps every promise in ${SCHEDULES} schedules`, { timeout: 240_000 }, async () => {
    const tally = createTally()
    const failed = await runSchedules({ seed: 'vitest', from: 0, to: SCHEDULES }, tally)
    const [first] = failed
    expect(first === undefined ? undefined : reportFailure(first.plan, first.outcome)).toBeUndefined()
    expect(tally.repeated).toBe(SCHEDULES / 100)
    expect(tally.conflicted).toBeGreaterThan(SCHEDULES / 10)
  })

  it(`keeps every promise in ${RENEWING_SCHEDULES} more, in which restored and copied stores take new ids`, {
    timeout: 240_000,
  }, async () => {
    const tally = createTally()
    const to = RENEWING_SCHEDULES
    const [first] = await runSchedules({ seed: 'renew', from: 0, to, failuresMax: 1, isRenewing: true }, tally)
    expect(first === undefined ? undefined : reportFailure(first.plan, first.outcome)).toBeUndefined()
    expect(tally.faults.get('renewed identity')).toBeGreaterThan(RENEWING_SCHEDULES / 20)
  })

  it('does the same twice from the same seed, and something else from another', async () => {
    const [first, again, other] = [
      await runPlan(generatePlan('a')),
      await runPlan(generatePlan('a')),
      await runPlan(generatePlan('b')),
    ]
    expect(again).toEqual(first)
    expect(other.trace).not.toBe(first.trace)
  })
})

describe('a schedule that once broke a promise', () => {
  it.each(KEPT_PLANS)('$sentence', async ({ plan }) => {
    const outcome = await runPlan(plan)
    expect(outcome.failure === undefined ? undefined : reportFailure(plan, outcome)).toBeUndefined()
  })
})
