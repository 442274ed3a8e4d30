/**
 * Reports: what a run of many schedules showed, and what a failure looked like, for people.
 */
import { PROMISES } from './broken-promise.ts'
import { describeEvent, withoutFilling } from './in-words.ts'
import type { Plan, PlanOptions } from './plan.ts'
import type { Outcome } from './run-plan.ts'
import type { Tally } from './schedules.ts'

/** What speed is counted in. */
const USUAL_EVENTS = 300

export function reportTally(tally: Tally, seconds: number): string {
  const per = (count: number): string => (count / Math.max(1, tally.schedules)).toFixed(1)
  const perCore = tally.events / Math.max(tally.cpuSeconds, 0.001)
  const lines = [
    `${tally.schedules} schedules in ${seconds.toFixed(1)} s: ${(tally.schedules / seconds).toFixed(0)} per second`,
    `${(tally.events / seconds).toFixed(0)} events per second; in each second of a core ${perCore.toFixed(0)}, as many as ${(perCore / USUAL_EVENTS).toFixed(0)} schedules of ${USUAL_EVENTS} have`,
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

/** `replay`: what runs it again. `tale`: what came to the disks, in words. */
export function reportFailure(plan: Plan, outcome: Outcome, replay?: string, tale: readonly string[] = []): string {
  const { failure } = outcome
  const { seed } = plan.options
  if (failure === undefined) return `seed ${seed}: every promise held`
  if (failure.promise === 'ends')
    return [
      `BROKEN PROMISE: ${PROMISES.ends}.`,
      failure.detail,
      `To see where: node --import tsx --inspect test/simulation/run.ts --replay ${seed}, and pause it.`,
    ].join('\n')
  return [
    `BROKEN PROMISE: ${PROMISES[failure.promise]}.`,
    withoutFilling(failure.detail),
    `(seed ${plan.options.seed}, ${(failure.atMs / 1_000).toFixed(3)} virtual seconds in)`,
    ...(tale.length > 0 ? ['', 'what happened (red-0.1 is the first change that red-0 wrote):', ...tale] : []),
    '',
    ...describeOptions(plan.options),
    '',
    plan.events.length === 0 ? 'it needs no event: starting is enough' : `${plan.events.length} events are enough:`,
    ...plan.events.map((event) => `  ${String(event.at).padStart(8)} ms  ${describeEvent(event)}`),
    '',
    `again: ${replay ?? `npm run simulate -- --replay ${plan.options.seed} --story`}`,
  ].join('\n')
}

function describeOptions(options: PlanOptions): string[] {
  const {
    topology,
    tenants,
    clients,
    edges,
    upstreams = [],
    tables,
    hasSnapshots,
    judge,
    network,
    disk,
    creditBytes,
  } = options
  const people = tenants.length === 1 ? `${clients}` : `${clients} of each of ${tenants.join(', ')}`
  const rules = tables.map(({ name, policy, granularity }) => `${name} (${policy}, by ${granularity})`)
  const lines = [
    `who      ${topology !== 'mesh' ? `a server, ${upstreams.length} relays and ${people} clients` : `${people} peers, ${edges.map((edge) => edge.join('→')).join(' ')}`}`,
    `tables   ${rules.join(', ')}`,
    `network  ${network.latencyMs} ms, jitter ${network.jitterMs} ms, ${network.bandwidth} bytes per ms; credit ${creditBytes} bytes`,
    `disks    flush ${disk.flushMs} ms, ${disk.slowReads * 100} % of reads slow, by ${disk.readMs} ms`,
  ]
  if (hasSnapshots) lines.push('newcomers get a snapshot')
  if (judge !== undefined)
    lines.push(`the server refuses one change in ${judge.oneIn}${judge.isMoody ? ', at times' : ''}`)
  return lines
}
