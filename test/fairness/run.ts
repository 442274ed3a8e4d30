/**
 * `npm run fairness`: how long a change of a quiet tenant takes to the tenant's other replica: alone, while a tenant floods
 * another server on the same machine, and while it floods the same server. Fails when the last takes more than twice as long
 * as the first, at the p99, in the median of the rounds.
 *
 * Clients and servers share the machine's cores, with each other and with whatever else it does. What the flood costs by that,
 * and not by sharing the server, is what the second shows. And the verdict is about what is left of each change's time when
 * that is taken away in which this process or the server was ready to go on and waited for a core: on a quiet machine
 * that is next to nothing. What waits for a core besides, such as the helpers of a garbage collection, still counts.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, openSync, readSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import { openReplica, table } from '../../core/index.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import { connect } from '../../sync-client/index.ts'
import { count } from '../whole-number.ts'

interface Note {
  readonly id: string
  readonly title: string
}

/** Milliseconds, in order: by the clock, and without those in which a core was waited for. */
interface Times {
  readonly took: readonly number[]
  readonly atWork: readonly number[]
}

const PAUSE_MS = 10
const RATIO_MAX = 2

const { rounds, seconds, lmdb } = new Command('fairness')
  .description(
    `Measures what a tenant that floods costs another tenant of the same server. Fails when its p99 is more than ${RATIO_MAX} times
as long as alone, in the median of the rounds. Meant for a quiet machine: what the flood costs at another server on
the same machine is printed too.`,
  )
  .option('-r, --rounds <number>', 'how many', count, 3)
  .option('-s, --seconds <number>', 'how long each measurement of a round takes', count, 5)
  .option('--lmdb', 'stores on disk instead of in memory', false)
  .parse()
  .opts<{ readonly rounds: number; readonly seconds: number; readonly lmdb: boolean }>()

const directories: string[] = []
const start = (file: string, args: readonly string[]) =>
  fork(fileURLToPath(new URL(file, import.meta.url)), args, { execArgv: ['--import', 'tsx'] })

async function startServer() {
  const directory = mkdtempSync(join(tmpdir(), 'tidemark-fairness-'))
  directories.push(directory)
  const server = start('server-child.ts', lmdb ? [directory] : [])
  const [{ url }] = (await once(server, 'message')) as [{ url: string }]
  return { url, pid: server.pid ?? 0, stop: () => server.kill() }
}

/** How long the main thread of a process has been ready to go on and waited for a core, in milliseconds. For Linux; else 0. */
function openCoreWait(pid: number): () => number {
  if (process.platform !== 'linux') return () => 0
  const file = openSync(`/proc/${pid}/schedstat`, 'r')
  const buffer = Buffer.alloc(128)
  return () => {
    const length = readSync(file, buffer, 0, buffer.length, 0)
    return Number(buffer.toString('latin1', 0, length).split(' ')[1]) / 1e6
  }
}

const [shared, other] = [await startServer(), await startServer()]
const open = async () => {
  const replica = await openReplica({ tenant: 'quiet', store: openMemoryStore(), tables: { notes: table<Note>() } })
  return { replica, link: connect(replica, { url: shared.url }) }
}
const [writer, reader] = [await open(), await open()]
await Promise.all([writer.link.settled(), reader.link.settled()])

const coreWaits = [openCoreWait(process.pid), openCoreWait(shared.pid)]
const coreWaitMs = (): number => coreWaits.reduce((sum, read) => sum + read(), 0)

let written = 0
/** Writes a change, waits until the other replica has it, pauses, and so on. */
async function measure(forMs: number): Promise<Times> {
  const times: { took: number[]; atWork: number[] } = { took: [], atWork: [] }
  const endAtMs = performance.now() + forMs
  while (performance.now() < endAtMs) {
    const id = `n${written++}`
    const [startedAtMs, waitedMs] = [performance.now(), coreWaitMs()]
    const arrived = new Promise<void>((resolve) => {
      const stop = reader.replica.subscribe({ table: 'notes', id }, () => {
        stop()
        resolve()
      })
    })
    await writer.replica.table('notes').insert({ id, title: 'a change that somebody waits for' })
    await arrived
    const tookMs = performance.now() - startedAtMs
    times.took.push(tookMs)
    times.atWork.push(tookMs - (coreWaitMs() - waitedMs))
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
  }
  for (const each of [times.took, times.atWork]) each.sort((left, right) => left - right)
  return times
}

/** The same, while a tenant floods a server; answers with how many changes it wrote in a second as well. */
async function measureBeside(url: string): Promise<{ readonly times: Times; readonly rate: number }> {
  const flood = start('flood-child.ts', [url])
  // Both sides have been through some of it, and their code is compiled.
  for (let second = 0; second < 2; second++) await once(flood, 'message')
  const [{ written: before }] = (await once(flood, 'message')) as [{ written: number }]
  const startedAtMs = performance.now()
  const times = await measure(seconds * 1_000)
  const [{ written: after }] = (await once(flood, 'message')) as [{ written: number }]
  const rate = ((after - before) * 1_000) / (performance.now() - startedAtMs)
  flood.kill('SIGKILL')
  await once(flood, 'exit')
  return { times, rate }
}

const at = (values: readonly number[], part: number): number => values[Math.floor(values.length * part)] ?? 0
const median = (values: readonly number[]): number =>
  at(
    [...values].sort((left, right) => left - right),
    0.5,
  )
const show = ({ took, atWork }: Times): string =>
  [
    `p50 ${at(took, 0.5).toFixed(1)} ms, p99 ${at(took, 0.99).toFixed(1)} ms`,
    `not waiting for a core p50 ${at(atWork, 0.5).toFixed(1)} ms, p99 ${at(atWork, 0.99).toFixed(1)} ms`,
    `${took.length} changes`,
  ].join('; ')

await measure(1_000)
interface Round {
  readonly alone: Times
  readonly elsewhere: Times
  readonly beside: Times
}
const figures: Round[] = []
for (let round = 1; round <= rounds; round++) {
  const alone = await measure(seconds * 1_000)
  const elsewhere = await measureBeside(other.url)
  const beside = await measureBeside(shared.url)
  figures.push({ alone, elsewhere: elsewhere.times, beside: beside.times })
  console.log(`round ${round} of ${rounds}, stores ${lmdb ? 'on LMDB' : 'in memory'}`)
  console.log(`  alone: ${show(alone)}`)
  console.log(`  a flood of ${Math.round(elsewhere.rate)} changes/s at another server: ${show(elsewhere.times)}`)
  console.log(`  a flood of ${Math.round(beside.rate)} changes/s at the same server: ${show(beside.times)}`)
}
await Promise.all([writer.link.close(), reader.link.close()])
for (const server of [shared, other]) server.stop()
for (const directory of directories) rmSync(directory, { recursive: true, force: true })

const ratioOf = (kind: 'beside' | 'elsewhere', times: keyof Times): number =>
  median(figures.map((each) => at(each[kind][times], 0.99) / at(each.alone[times], 0.99)))
const ratio = ratioOf('beside', 'atWork')
console.log(`medians: p99 × ${ratioOf('beside', 'took').toFixed(2)} by the clock beside the flood`)
console.log(
  `         p99 × ${ratioOf('elsewhere', 'took').toFixed(2)} by the clock while the flood is elsewhere on the machine`,
)
console.log(`         p99 × ${ratio.toFixed(2)} beside the flood, not waiting for a core`)
const isWithin = ratio <= RATIO_MAX
console.log(isWithin ? `within × ${RATIO_MAX}` : `WRONG that is more than × ${RATIO_MAX}`)
process.exit(isWithin ? 0 : 1)
