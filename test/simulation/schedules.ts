/**
 * Many schedules in a row: generate, run, and for one in a hundred run again and compare.
 */
import { generatePlan, RENEWING } from './generate.ts'
import type { Plan } from './plan.ts'
import { type Outcome, runPlan } from './run-plan.ts'

/** One schedule in so many runs twice and must do the same twice. */
const REPEATED_ONE_IN = 100

export interface Tally {
  schedules: number
  repeated: number
  events: number
  frames: number
  changes: number
  refusals: number
  conflicted: number
  slowestMs: number
  readonly faults: Map<string, number>
}

export interface FailedSchedule {
  readonly plan: Plan
  readonly outcome: Outcome
}

export function createTally(): Tally {
  return {
    schedules: 0,
    repeated: 0,
    events: 0,
    frames: 0,
    changes: 0,
    refusals: 0,
    conflicted: 0,
    slowestMs: 0,
    faults: new Map(),
  }
}

export function seedOf(seed: string, number: number): string {
  return `${seed}.${number}`
}

/**
 * Runs schedules `from` up to, not including, `to`, or until `failuresMax` have failed. Answers with those that failed, and
 * adds all to the tally.
 */
export async function runSchedules(
  seed: string,
  from: number,
  to: number,
  tally: Tally,
  failuresMax: number = Number.POSITIVE_INFINITY,
  isRenewing = false,
): Promise<FailedSchedule[]> {
  const failed: FailedSchedule[] = []
  for (let number = from; number < to && failed.length < failuresMax; number++) {
    const plan = generatePlan(seedOf(seed, number), isRenewing ? RENEWING : {})
    let outcome = await runPlan(plan)
    if (outcome.failure === undefined && number % REPEATED_ONE_IN === 0) {
      tally.repeated++
      outcome = expectRepeated(outcome, await runPlan(plan))
    }
    addOutcome(tally, outcome)
    if (outcome.failure !== undefined) failed.push({ plan, outcome })
  }
  return failed
}

function expectRepeated(first: Outcome, second: Outcome): Outcome {
  if (first.trace === second.trace && first.events === second.events) return first
  const detail = `It took ${first.events} events and ended with trace ${first.trace}; then ${second.events} and ${second.trace}.`
  return { ...first, failure: { promise: 'repeatable', detail, atMs: 0 } }
}

function addOutcome(tally: Tally, outcome: Outcome): void {
  tally.schedules++
  tally.events += outcome.events
  tally.frames += outcome.frames
  tally.changes += outcome.changes
  tally.refusals += outcome.refusals
  if (outcome.conflicts > 0) tally.conflicted++
  tally.slowestMs = Math.max(tally.slowestMs, outcome.convergedMs)
  addFaults(tally, outcome.faults)
}

export function addTally(tally: Tally, other: Tally): void {
  tally.schedules += other.schedules
  tally.repeated += other.repeated
  tally.events += other.events
  tally.frames += other.frames
  tally.changes += other.changes
  tally.refusals += other.refusals
  tally.conflicted += other.conflicted
  tally.slowestMs = Math.max(tally.slowestMs, other.slowestMs)
  addFaults(tally, other.faults)
}

function addFaults(tally: Tally, faults: ReadonlyMap<string, number>): void {
  for (const [kind, times] of faults) tally.faults.set(kind, (tally.faults.get(kind) ?? 0) + times)
}
