/**
 * A worker process of the simulator: runs the ranges that it is given, one after the other.
 */
import { createTally, type FailedSchedule, runSchedules, type ScheduleRange, type Tally } from './schedules.ts'

export interface WorkDone {
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
  const failed = await runSchedules(order, tally)
  const { user, system } = process.cpuUsage(before)
  tally.cpuSeconds = (user + system) / 1e6
  // Maps do not pass between processes.
  const { faults, ...counts } = tally
  const done = { tally: counts, faults: [...faults], failed: failed.map(withoutFaults) }
  process.send?.(done)
}

function withoutFaults({ plan, outcome }: FailedSchedule): FailedSchedule {
  return { plan, outcome: { ...outcome, faults: new Map() } }
}
