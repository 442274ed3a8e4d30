/**
 * One isolation mode, in a process of its own: founds tenants with a few rows each, or opens them all and says what that
 * costs. Arguments: `found` or `open`, the data directory, the mode, the number of tenants.
 */
import { openSync, readFileSync, readSync } from 'node:fs'
import { PerformanceObserver } from 'node:perf_hooks'
import { openReplica, parseTenantName, table } from '../../core/index.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import { growHeapFreely } from '../../sync-server/heap.ts'
import { storesIn } from '../../sync-server/stores.ts'
import { type IsolationMode, TenantManager } from '../../tenant/index.ts'
import { connect } from '../tenant/session.ts'

export interface IdleCost {
  readonly openMsMedian: number
  readonly openMsP99: number
  readonly openMsMax: number
  /** The same in processor time of the thread: what it takes on a machine that has nothing else to do but to write. */
  readonly workMsMedian: number
  readonly workMsP99: number
  readonly workMsMax: number
  /** The longest time that garbage was collected at once. */
  readonly collectedMsMax: number
  readonly open: number
  /** Of the process's own; pages of files are the system's to take back. */
  readonly ownBytes: number
  readonly fileBytes: number
}

interface Note {
  readonly id: string
  readonly text: string
}

const [phase = '', dataDir = '', mode = 'dedicated', count = '1000'] = process.argv.slice(2)
const names = Array.from({ length: Number(count) }, (_, n) => parseTenantName(`tenant-${n}`))
const ROWS = 10
// As `tidemark serve` does.
growHeapFreely()
const stores = storesIn(dataDir)
const manager = await TenantManager.open({
  registry: await stores.openRegistry(),
  stores: stores.byMode,
  now: Date.now,
  monotonicMs: () => performance.now(),
})

async function found(): Promise<void> {
  for (const [n, name] of names.entries()) {
    await manager.register({ name, plan: 'pro', mode: mode as IsolationMode })
    const { tenant, release } = await manager.lease(name)
    const replica = await openReplica({
      tenant: name,
      store: openMemoryStore(),
      tables: { notes: table<Note>() },
      now: () => Date.now(),
    })
    await replica.transact((transaction) => {
      for (let row = 0; row < ROWS; row++)
        transaction.table('notes').insert({ id: `${row}`, text: 'a row of a small tenant' })
    })
    const session = connect(replica as never, tenant.hub)
    await session.settled()
    session.close()
    await replica.close()
    release()
    if (n % 100 === 99) {
      process.send?.({ founded: n + 1 })
      manager.sweep()
    }
  }
}

async function open(): Promise<IdleCost> {
  globalThis.gc?.()
  const before = resident()
  const times: number[] = []
  const workTimes: number[] = []
  let collectedMsMax = 0
  const watch = new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) collectedMsMax = Math.max(collectedMsMax, duration)
  })
  watch.observe({ entryTypes: ['gc'] })
  for (const name of names) {
    const [startedAtMs, workedMs] = [performance.now(), workMs()]
    const { release } = await manager.lease(name)
    times.push(performance.now() - startedAtMs)
    workTimes.push(workMs() - workedMs)
    release()
    manager.sweep()
  }
  // Those that are being closed are none of the open ones.
  for (let turn = 0; turn < 100; turn++) await new Promise((resolve) => setTimeout(resolve, 10))
  watch.disconnect()
  globalThis.gc?.()
  const after = resident()
  for (const each of [times, workTimes]) each.sort((left, right) => left - right)
  const at = (sorted: readonly number[], part: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0
  return {
    openMsMedian: at(times, 0.5),
    openMsP99: at(times, 0.99),
    openMsMax: at(times, 1),
    workMsMedian: at(workTimes, 0.5),
    workMsP99: at(workTimes, 0.99),
    workMsMax: at(workTimes, 1),
    collectedMsMax,
    open: manager.open.length,
    ownBytes: after.ownBytes - before.ownBytes,
    fileBytes: after.fileBytes - before.fileBytes,
  }
}

const schedule = openSync(`/proc/self/task/${process.pid}/schedstat`, 'r')
const buffer = Buffer.alloc(128)

/** Processor time of this thread, in milliseconds. */
function workMs(): number {
  const length = readSync(schedule, buffer, 0, buffer.length, 0)
  return Number(buffer.toString('latin1', 0, length).split(' ')[0]) / 1e6
}

function resident(): Pick<IdleCost, 'ownBytes' | 'fileBytes'> {
  const status = readFileSync('/proc/self/status', 'utf8')
  const bytesOf = (name: string): number => Number(new RegExp(`${name}:\\s*(\\d+) kB`).exec(status)?.[1] ?? 0) * 1_024
  return { ownBytes: bytesOf('RssAnon'), fileBytes: bytesOf('RssFile') + bytesOf('RssShmem') }
}

if (phase === 'found') await found()
else process.send?.({ cost: await open() })
await manager.close()
await stores.close()
process.disconnect?.()
