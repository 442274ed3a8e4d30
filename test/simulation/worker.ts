/**
 * A worker process of the simulator: runs the ranges that it is given, one after the other.
 */
import { createTally, type FailedSchedule, runSchedules, type Tally } from './schedules.ts'

export interface WorkOrder {
  readonly seed: string
  readonly from: number
  readonly to: number
  /** How many are enough: the rest of the range is not run then. */
  readonly failuresMax: number
  readonly isRenewing: boolean
}

export interface WorkDone {
  readonly tally: Omit<Tally, 'faults'>
  readonly faults: readonly (readonly [kind: string, times: number])[]
  readonly failed: readonly FailedSchedule[]
}

process.on('message', (order: WorkOrder) => {
  void carryOut(order)
})

async function carryOut({ seed, from, to, failuresMax, isRenewing }: WorkOrder): Promise<void> {
  const tally = createTally()
  const failed = await runSchedules(seed, from, to, tally, failuresMax, isRenewing)
  // Maps do not pass between processes.
  const { faults, ...counts } = tally
  const done = { tally: counts, faults: [...faults], failed: failed.map(withoutFaults) }
  process.send?.(done)
}

function withoutFaults({ plan, outcome }: FailedSchedule): FailedSchedule {
  return { plan, outcome: { ...outcome, faults: new Map() } }
}
