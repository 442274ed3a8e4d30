/**
 * One isolation mode, in a process of its own: founds tenants with a few rows each, or opens them all and says what that
 * costs. Arguments: `found` or `open`, the data directory, the mode, the number of tenants.
 */
import { readFileSync } from 'node:fs'
import { PerformanceObserver } from 'node:perf_hooks'
import { openReplica, parseTenantName, table } from '../../core/index.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import { storesIn } from '../../sync-server/stores.ts'
import { type IsolationMode, TenantManager } from '../../tenant/index.ts'
import { connect } from '../tenant/session.ts'

export interface IdleCost {
  readonly openMsMedian: number
  readonly openMsP99: number
  readonly openMsMax: number
  /** Which one took longest, and the time that garbage was collected during all openings. */
  readonly slowest: number
  readonly collectedMs: number
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
  let collectedMs = 0
  const watch = new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) collectedMs += duration
  })
  watch.observe({ entryTypes: ['gc'] })
  for (const name of names) {
    const startedAtMs = performance.now()
    const { release } = await manager.lease(name)
    times.push(performance.now() - startedAtMs)
    release()
    manager.sweep()
  }
  // Those that are being closed are none of the open ones.
  for (let turn = 0; turn < 100; turn++) await new Promise((resolve) => setTimeout(resolve, 10))
  watch.disconnect()
  globalThis.gc?.()
  const after = resident()
  const slowest = times.indexOf(Math.max(...times))
  times.sort((left, right) => left - right)
  return {
    openMsMedian: times[Math.floor(times.length / 2)] ?? 0,
    openMsP99: times[Math.floor(times.length * 0.99)] ?? 0,
    openMsMax: times[times.length - 1] ?? 0,
    slowest: slowest + 1,
    collectedMs,
    open: manager.open.length,
    ownBytes: after.ownBytes - before.ownBytes,
    fileBytes: after.fileBytes - before.fileBytes,
  }
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
