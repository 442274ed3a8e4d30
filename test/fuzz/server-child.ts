/**
 * The server under fire, in a process of its own: serves one store, watches itself, and tells its parent.
 *
 * Knows: createSyncServer, the stores, and how a process is measured. Must never know: what is sent to it.
 *
 * A stall is a turn of the event loop that took long *and* was busy: on a loaded machine a process may also just wait for
 * its turn of the processor, which is nobody's fault.
 */
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { pino } from 'pino'
import type { Limits, Store } from '../../core/index.ts'
import { openLmdbStore } from '../../core/stores/lmdb.ts'
import { createMemoryDisk } from '../../core/stores/memory.ts'
import { createSyncServer } from '../../sync-server/index.ts'

/** What the parent asks for. */
export type Request = { readonly type: 'audit'; readonly tenant: string } | { readonly type: 'end' }

export interface Audit {
  /** Over all rows, log records, dots, voids, conflicts and journal records of the tenant. */
  readonly content: string
  /** Names of tables and fields that the tenant has learned. */
  readonly names: number
}

/** What the child tells. */
export type Report =
  | { readonly type: 'listening'; readonly host: string; readonly port: number }
  | { readonly type: 'audit'; readonly audit: Audit }
  | { readonly type: 'stall'; readonly ms: number; readonly busyMs: number }
  | { readonly type: 'memory'; readonly bytes: number; readonly sockets: number }
  | { readonly type: 'trouble'; readonly what: string }

const TICK_MS = 5
const STALL_MS = 100
const MEMORY_EVERY_TICKS = 20

const tell = (report: Report): void => {
  process.send?.(report)
}
const stopWith = (what: string) => (error: unknown) => {
  tell({ type: 'trouble', what: `${what}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}` })
}
process.on('uncaughtException', stopWith('uncaught exception'))
process.on('unhandledRejection', stopWith('unhandled rejection'))
// A parent that is gone asks for nothing more.
// Who interrupts the command wants to see what was found so far: the worker ends its server.
process.on('SIGINT', () => {})
process.on('disconnect', () => process.exit(0))

const [kind = 'memory', limits = '{}'] = process.argv.slice(2)
const directory = mkdtempSync(join(tmpdir(), 'tidemark-fuzz-'))
const disks = new Map<string, ReturnType<typeof createMemoryDisk>>()

function openStore(tenant: string): Store | Promise<Store> {
  if (kind === 'lmdb') return openLmdbStore(join(directory, tenant))
  const disk = disks.get(tenant) ?? createMemoryDisk()
  disks.set(tenant, disk)
  return disk.open()
}

/** Whatever the server logs as an error is trouble: bytes from outside are never worth more than a warning. */
const complaints = new Writable({
  write: (line: Buffer, _encoding, done) => {
    tell({ type: 'trouble', what: `the server logged ${line.toString().slice(0, 1_000)}` })
    done()
  },
})

const server = await createSyncServer({
  dev: true,
  port: 0,
  openStore,
  logger: pino({ level: 'error', base: null }, complaints),
  idleMs: 3_600_000,
  // On a machine that is shared with much else, nobody is to be thrown out for being late.
  heartbeat: { intervalMs: 10_000, timeoutMs: 60_000 },
  limits: JSON.parse(limits) as Partial<Limits>,
})

/** Meta records, clocks, cursors and table definitions change when somebody says hello. */
const CONTENT_KINDS = 'rldvojax'
const PAGE = 1_000

async function audit(tenant: string): Promise<Audit> {
  const store = await openStore(tenant)
  const hash = createHash('sha256')
  let names = 0
  let from: Uint8Array = new Uint8Array(0)
  for (;;) {
    const page = await store.range({ from, to: new Uint8Array([0xff]), limit: PAGE })
    for (const { key, value } of page) {
      const letter = String.fromCharCode(key[0] ?? 0)
      if (letter === 'n') names++
      if (!CONTENT_KINDS.includes(letter)) continue
      hash
        .update(new Uint32Array([key.length, value.length]))
        .update(key)
        .update(value)
    }
    const last = page.at(-1)
    if (last === undefined || page.length < PAGE) break
    from = Uint8Array.from([...last.key, 0])
    // The audit itself must not count as a stall.
    await nextTurn()
  }
  await store.close()
  return { content: hash.digest('hex'), names }
}

process.on('message', (request: Request) => {
  if (request.type === 'audit') {
    audit(request.tenant).then((found) => tell({ type: 'audit', audit: found }), stopWith('audit'))
    return
  }
  server.close().then(() => {
    rmSync(directory, { recursive: true, force: true })
    process.disconnect()
  }, stopWith('close'))
})

function countSockets(): number {
  return process.getActiveResourcesInfo().filter((what) => what === 'TCPSocketWrap').length
}

/** Of the main thread alone, where the system tells; else of all threads, which also collect and compile. */
function spentMs(): number {
  try {
    return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'latin1').split(' ')[0]) / 1e6
  } catch {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1_000
  }
}

let lastMs = performance.now()
let lastSpentMs = spentMs()
let ticks = 0
setInterval(() => {
  const nowMs = performance.now()
  const nowSpentMs = spentMs()
  const gapMs = nowMs - lastMs
  const busyMs = nowSpentMs - lastSpentMs
  if (gapMs > STALL_MS && busyMs > STALL_MS) tell({ type: 'stall', ms: gapMs, busyMs })
  if (++ticks % MEMORY_EVERY_TICKS === 0)
    tell({ type: 'memory', bytes: process.memoryUsage.rss(), sockets: countSockets() })
  lastMs = nowMs
  lastSpentMs = nowSpentMs
}, TICK_MS)

tell({ type: 'listening', host: server.host, port: server.port })
