/**
 * Shrinking: takes events out of a plan as long as it breaks the same promise.
 *
 * Source: Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (2002): halves, then quarters, and so
 * on. It works because each event's luck comes from a stream of its own (see random.ts).
 */
import type { Plan, PlanEvent } from './plan.ts'
import { type Outcome, runPlan } from './run-plan.ts'

const RUNS_MAX = 600

export interface Shrunk {
  readonly plan: Plan
  readonly outcome: Outcome
  readonly runs: number
}

/** The plan must fail. */
export async function shrinkPlan(plan: Plan, outcome: Outcome, runsMax: number = RUNS_MAX): Promise<Shrunk> {
  let best = { plan, outcome }
  let runs = 0
  const attempt = async (events: readonly PlanEvent[]): Promise<boolean> => {
    runs++
    const smaller = { ...plan, events }
    const result = await runPlan(smaller)
    if (result.failure?.promise !== outcome.failure?.promise) return false
    best = { plan: smaller, outcome: result }
    return true
  }
  for (let size = Math.ceil(plan.events.length / 2); size >= 1 && runs < runsMax; ) {
    const before = best.plan.events.length
    for (let at = 0; at < best.plan.events.length && runs < runsMax; ) {
      const events = best.plan.events
      const isSmaller = await attempt([...events.slice(0, at), ...events.slice(at + size)])
      if (!isSmaller) at += size
    }
    // What could not go alone may go now that others have gone.
    if (size > 1) size = Math.ceil(size / 2)
    else if (best.plan.events.length === before) break
  }
  return { ...best, runs }
}
