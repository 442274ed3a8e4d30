/**
 * `npm run fairness`: how long a change of a quiet tenant takes to the tenant's other replica, alone and beside a tenant
 * that floods the same server. Prints both and their ratio, round by round, and fails when the flood costs more than twice.
 * `npm run fairness -- 3 5000 lmdb`: three rounds of five seconds, with stores on disk instead of in memory.
 *
 * On a machine that is busy with other things the times say little; the processor time of the longest turns of the server's
 * event loop does, and how much the server has worked, on whatever, between a change's writing and its arrival.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, openSync, readSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { openReplica, table } from '../../core/index.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import { connect } from '../../sync-client/index.ts'
import type { TurnFigures } from './server-child.ts'

interface Note {
  readonly id: string
  readonly title: string
}

const ROUNDS = Number(process.argv[2] ?? 3)
const ROUND_MS = Number(process.argv[3] ?? 5_000)
const PAUSE_MS = 10
const RATIO_MAX = 2

const directory = mkdtempSync(join(tmpdir(), 'tidemark-fairness-'))
const start = (file: string, args: readonly string[]) =>
  fork(fileURLToPath(new URL(file, import.meta.url)), args, { execArgv: ['--import', 'tsx'] })

const server = start('server-child.ts', process.argv[4] === 'lmdb' ? [directory] : [])
const [{ url }] = (await once(server, 'message')) as [{ url: string }]
const open = async () => {
  const replica = await openReplica({ tenant: 'quiet', store: openMemoryStore(), tables: { notes: table<Note>() } })
  return { replica, link: connect(replica, { url }) }
}
const [writer, reader] = [await open(), await open()]
await Promise.all([writer.link.settled(), reader.link.settled()])

/** Processor time that the server's thread has had, in milliseconds; 0 where that cannot be read. */
const schedule = process.platform === 'linux' ? openSync(`/proc/${server.pid}/schedstat`, 'r') : undefined
const buffer = Buffer.alloc(128)
function serverMs(): number {
  if (schedule === undefined) return 0
  const length = readSync(schedule, buffer, 0, buffer.length, 0)
  return Number(buffer.toString('latin1', 0, length).split(' ')[0]) / 1e6
}

/** Of each change: how long it took, and how much the server's thread has worked meanwhile, on whatever. */
interface Times {
  readonly took: number[]
  readonly work: number[]
}

let count = 0
async function measure(forMs: number): Promise<Times> {
  const times: Times = { took: [], work: [] }
  const endAtMs = performance.now() + forMs
  while (performance.now() < endAtMs) {
    const id = `n${count++}`
    const [startedAtMs, workedMs] = [performance.now(), serverMs()]
    const arrived = new Promise<void>((resolve) => {
      const stop = reader.replica.subscribe({ table: 'notes', id }, () => {
        stop()
        resolve()
      })
    })
    await writer.replica.table('notes').insert({ id, title: 'a change that somebody waits for' })
    await arrived
    times.took.push(performance.now() - startedAtMs)
    times.work.push(serverMs() - workedMs)
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
  }
  for (const each of [times.took, times.work]) each.sort((left, right) => left - right)
  return times
}

async function readTurns(): Promise<TurnFigures> {
  server.send('turns')
  const [figures] = (await once(server, 'message')) as [TurnFigures]
  return figures
}

const at = (times: readonly number[], part: number): number => times[Math.floor(times.length * part)] ?? 0
const show = ({ took, work }: Times): string => {
  const [p50, p99, workP50, workP99] = [at(took, 0.5), at(took, 0.99), at(work, 0.5), at(work, 0.99)]
  const worked = `the server worked p50 ${workP50.toFixed(1)} ms, p99 ${workP99.toFixed(1)} ms meanwhile`
  return `p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms; ${worked}; ${took.length} changes`
}

await measure(1_000)
const ratios: number[] = []
for (let round = 1; round <= ROUNDS; round++) {
  const alone = await measure(ROUND_MS)
  const flood = start('flood-child.ts', [url])
  await once(flood, 'message')
  const [{ written: before }] = (await once(flood, 'message')) as [{ written: number }]
  await readTurns()
  const [startedAtMs, beside] = [performance.now(), await measure(ROUND_MS)]
  const { turnMsMax, longShare } = await readTurns()
  const [{ written: after }] = (await once(flood, 'message')) as [{ written: number }]
  const rate = ((after - before) * 1_000) / (performance.now() - startedAtMs)
  flood.kill('SIGKILL')
  await once(flood, 'exit')
  ratios.push(at(beside.took, 0.99) / at(alone.took, 0.99))
  console.log(`round ${round}: alone ${show(alone)}`)
  console.log(`         beside a flood of ${Math.round(rate)} changes/s ${show(beside)}`)
  const share = (100 * longShare).toFixed(1)
  console.log(
    `         longest turn ${turnMsMax.toFixed(1)} ms of processor time; ${share} % of it in turns above 10 ms`,
  )
  console.log(`         p99 × ${ratios[ratios.length - 1]?.toFixed(2)}`)
}
await Promise.all([writer.link.close(), reader.link.close()])
server.kill()
rmSync(directory, { recursive: true, force: true })
const median = at(
  [...ratios].sort((left, right) => left - right),
  0.5,
)
console.log(`median: the flood takes p99 × ${median.toFixed(2)}`)
process.exit(median > RATIO_MAX ? 1 : 0)
