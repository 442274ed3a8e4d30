/**
 * The server under measurement, in a process of its own: a development server on LMDB in the directory it is told, or in
 * memory. Asked for it, it tells how much processor time its turns of the event loop took since it was asked last: what
 * a neighbour waits for, whatever else the machine does. For Linux; elsewhere it tells nothing.
 */
import { openSync, readSync } from 'node:fs'
import { pino } from 'pino'
import { createMemoryStores } from '../../core/stores/memory.ts'
import { createSyncServer } from '../../sync-server/index.ts'

/** Milliseconds of processor time. */
export interface TurnFigures {
  readonly turnMsMax: number
  /** Which part of all of it was spent in turns that took longer than 10 ms. */
  readonly longShare: number
}

const LONG_MS = 10
/** A turn with less than this had nothing to do. */
const IDLE_MS = 0.4
const [dataDir = ''] = process.argv.slice(2)
const stores = dataDir === '' ? { openStore: createMemoryStores() } : { dataDir }
const server = await createSyncServer({ dev: true, port: 0, ...stores, logger: pino({ level: 'error' }) })

let figures = { turnMsMax: 0, longMs: 0, allMs: 0 }
if (process.platform === 'linux') {
  const file = openSync(`/proc/self/task/${process.pid}/schedstat`, 'r')
  const buffer = Buffer.alloc(128)
  const processorMs = (): number => {
    const length = readSync(file, buffer, 0, buffer.length, 0)
    return Number(buffer.toString('latin1', 0, length).split(' ')[0]) / 1e6
  }
  let before = processorMs()
  const look = (): void => {
    const now = processorMs()
    const turnMs = now - before
    before = now
    figures.turnMsMax = Math.max(figures.turnMsMax, turnMs)
    figures.allMs += turnMs
    if (turnMs > LONG_MS) figures.longMs += turnMs
    if (turnMs > IDLE_MS) setImmediate(look)
    else setTimeout(look, 1).unref()
  }
  look()
}
process.on('message', () => {
  const { turnMsMax, longMs, allMs } = figures
  figures = { turnMsMax: 0, longMs: 0, allMs: 0 }
  process.send?.({ turnMsMax, longShare: allMs === 0 ? 0 : longMs / allMs } satisfies TurnFigures)
})
process.send?.({ url: server.url })
process.on('disconnect', () => process.exit(0))
