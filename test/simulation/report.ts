/**
 * Reports: what a run of many schedules showed, and what a failure looked like, for people.
 */
import { PROMISES } from './broken-promise.ts'
import type { Plan } from './plan.ts'
import type { Outcome } from './run-plan.ts'
import type { Tally } from './schedules.ts'

export function reportTally(tally: Tally, seconds: number): string {
  const per = (count: number): string => (count / Math.max(1, tally.schedules)).toFixed(1)
  const lines = [
    `${tally.schedules} schedules in ${seconds.toFixed(1)} s: ${(tally.schedules / seconds).toFixed(0)} per second`,
    `in each about ${per(tally.events)} events, ${per(tally.frames)} frames, ${per(tally.changes)} changes, ${per(tally.refusals)} of them refused`,
    `${tally.conflicted} schedules had conflicts open; ${tally.repeated} ran twice and did the same twice`,
    `the slowest needed ${(tally.slowestMs / 1_000).toFixed(1)} virtual seconds to converge`,
    'faults that took effect:',
    ...[...tally.faults]
      .sort(([, a], [, b]) => b - a)
      .map(([kind, times]) => `  ${String(times).padStart(8)}  ${kind}`),
  ]
  return lines.join('\n')
}

export function reportFailure(plan: Plan, outcome: Outcome, file: string | undefined): string {
  const { failure } = outcome
  if (failure === undefined) return `seed ${plan.options.seed}: every promise held`
  return [
    `BROKEN PROMISE: ${PROMISES[failure.promise]}.`,
    failure.detail,
    `(seed ${plan.options.seed}, ${(failure.atMs / 1_000).toFixed(3)} virtual seconds in)`,
    '',
    `options: ${JSON.stringify(plan.options)}`,
    `${plan.events.length} events are enough:`,
    ...plan.events.map(({ at, type, ...rest }) => `  ${String(at).padStart(8)} ms  ${type} ${JSON.stringify(rest)}`),
    '',
    `replay: npm run simulate -- --replay ${file ?? plan.options.seed} --story`,
  ].join('\n')
}
