/**
 * A worker process of the simulator: runs the ranges that it is given, one after the other.
 */
import { createTally, type FailedSchedule, runSchedules, type ScheduleRange, type Tally } from './schedules.ts'

/** What a worker tells: that it begins with a schedule, and what came of a range. */
export type WorkNews = { readonly type: 'begins'; readonly seed: string } | WorkDone

export interface WorkDone {
  readonly type: 'done'
  readonly tally: Omit<Tally, 'faults'>
  readonly faults: readonly (readonly [kind: string, times: number])[]
  readonly failed: readonly FailedSchedule[]
}

process.on('message', (order: ScheduleRange) => {
  void carryOut(order)
})

// Who interrupts the command wants to see what was run so far: the command ends its workers.
process.on('SIGINT', () => {})

async function carryOut(order: ScheduleRange): Promise<void> {
  const tally = createTally()
  const before = process.cpuUsage()
  const failed = await runSchedules(order, tally, (seed) => process.send?.({ type: 'begins', seed } satisfies WorkNews))
  const { user, system } = process.cpuUsage(before)
  tally.cpuSeconds = (user + system) / 1e6
  // Maps do not pass between processes.
  const { faults, ...counts } = tally
  process.send?.({
    type: 'done',
    tally: counts,
    faults: [...faults],
    failed: failed.map(withoutFaults),
  } satisfies WorkNews)
}

function withoutFaults({ plan, outcome }: FailedSchedule): FailedSchedule {
  return { plan, outcome: { ...outcome, faults: new Map() } }
}
