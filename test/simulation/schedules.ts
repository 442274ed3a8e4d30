/**
 * Many schedules in a row: generate, run, and for one in a hundred run again and compare.
 */
import { generatePlan, RENEWING } from './generate.ts'
import type { Plan } from './plan.ts'
import { type Outcome, runPlan } from './run-plan.ts'
import type { Subject } from './subject.ts'

/** One schedule in so many runs twice and must do the same twice. */
export const REPEATED_ONE_IN = 100

export interface Tally {
  schedules: number
  repeated: number
  events: number
  frames: number
  changes: number
  refusals: number
  conflicted: number
  slowestMs: number
  /** Of the processor, as far as somebody has counted it. */
  cpuSeconds: number
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
    cpuSeconds: 0,
    faults: new Map(),
  }
}

export function seedOf(seed: string, number: number): string {
  return `${seed}.${number}`
}

export interface ScheduleRange {
  readonly seed: string
  /** Up to `to`, which is not run. */
  readonly from: number
  readonly to: number
  /** How many are enough; all of them by default. */
  readonly failuresMax?: number
  readonly isRenewing?: boolean
}

/**
 * Runs schedules until `failuresMax` have failed. Answers with those that failed, and adds all to the tally. `onBegin` is told of
 * each before it runs: one that never ends can tell nothing afterwards.
 */
export async function runSchedules(
  range: ScheduleRange,
  tally: Tally,
  onBegin?: (seed: string) => void,
): Promise<FailedSchedule[]> {
  const { seed, from, to, failuresMax = Number.POSITIVE_INFINITY, isRenewing = false } = range
  const failed: FailedSchedule[] = []
  for (let number = from; number < to && failed.length < failuresMax; number++) {
    onBegin?.(seedOf(seed, number))
    const plan = generatePlan(seedOf(seed, number), isRenewing ? RENEWING : {})
    const outcome = await runSchedule(plan, number % REPEATED_ONE_IN === 0, tally)
    if (outcome.failure !== undefined) failed.push({ plan, outcome })
  }
  return failed
}

/** Runs one of many, twice if it is to be repeated, and adds it to the tally. */
export async function runSchedule(plan: Plan, isRepeated: boolean, tally: Tally, subject?: Subject): Promise<Outcome> {
  let outcome = await runPlan(plan, { subject })
  if (outcome.failure === undefined && isRepeated) {
    tally.repeated++
    outcome = expectRepeated(outcome, await runPlan(plan, { subject }))
  }
  addOutcome(tally, outcome)
  return outcome
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
  tally.cpuSeconds += other.cpuSeconds
  addFaults(tally, other.faults)
}

function addFaults(tally: Tally, faults: ReadonlyMap<string, number>): void {
  for (const [kind, times] of faults) tally.faults.set(kind, (tally.faults.get(kind) ?? 0) + times)
}
