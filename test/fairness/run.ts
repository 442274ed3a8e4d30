/**
 * `npm run fairness`: how long a change of a quiet tenant takes to the tenant's other replica: alone, while a tenant floods
 * another server on the same machine, and while it floods the same server. Fails when the last takes more than twice as long
 * as the first, at the p99, in the median of the rounds.
 *
 * What is asked is what sharing a server costs, and a tenant's writers do not share the server's machine. So where it is
 * possible the servers, the flood and this process have cores of their own, in all three measurements; what the flood
 * costs all the same by being on the machine, the second shows.
 */
import { type ChildProcess, fork, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
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

const PAUSE_MS = 10
const RATIO_MAX = 2
/** A server needs a second one: its store writes and its memory is collected beside the main thread. */
const SERVER_CORES = '0,1'
const FLOOD_CORES = '2'
const OWN_CORES = '3'
const CORES_MIN = 4

const { rounds, seconds, memory } = new Command('fairness')
  .description(
    `Measures what a tenant that floods costs another tenant of the same server. Fails when its p99 is more than ${RATIO_MAX} times
as long as alone, in the median of the rounds. Meant for a quiet machine with at least ${CORES_MIN} cores.`,
  )
  .option('-r, --rounds <number>', 'how many', count, 3)
  .option('-s, --seconds <number>', 'how long each measurement of a round takes', count, 8)
  .option('--memory', 'stores in memory instead of on disk', false)
  .parse()
  .opts<{ readonly rounds: number; readonly seconds: number; readonly memory: boolean }>()

const isPinned =
  process.platform === 'linux' &&
  availableParallelism() >= CORES_MIN &&
  spawnSync('taskset', ['--all-tasks', '--cpu-list', '--pid', OWN_CORES, String(process.pid)]).status === 0

const directories: string[] = []

function start(file: string, args: readonly string[], cores: string): ChildProcess {
  const node = ['--import', 'tsx']
  const how = isPinned
    ? { execPath: 'taskset', execArgv: ['--cpu-list', cores, process.execPath, ...node] }
    : { execArgv: node }
  return fork(fileURLToPath(new URL(file, import.meta.url)), args, how)
}

async function startServer() {
  const directory = mkdtempSync(join(tmpdir(), 'tidemark-fairness-'))
  directories.push(directory)
  const server = start('server-child.ts', memory ? [] : [directory], SERVER_CORES)
  const [{ url }] = (await once(server, 'message')) as [{ url: string }]
  return { url, stop: () => server.kill() }
}

const [shared, other] = [await startServer(), await startServer()]
const open = async () => {
  const replica = await openReplica({ tenant: 'quiet', store: openMemoryStore(), tables: { notes: table<Note>() } })
  return { replica, link: connect(replica, { url: shared.url }) }
}
const [writer, reader] = [await open(), await open()]
await Promise.all([writer.link.settled(), reader.link.settled()])

let written = 0
/** Writes a change, waits until the other replica has it, pauses, and so on. Answers with milliseconds, in order. */
async function measure(forMs: number): Promise<readonly number[]> {
  const times: number[] = []
  const endAtMs = performance.now() + forMs
  while (performance.now() < endAtMs) {
    const id = `n${written++}`
    const startedAtMs = performance.now()
    const arrived = new Promise<void>((resolve) => {
      const stop = reader.replica.subscribe({ table: 'notes', id }, () => {
        stop()
        resolve()
      })
    })
    await writer.replica.table('notes').insert({ id, title: 'a change that somebody waits for' })
    await arrived
    times.push(performance.now() - startedAtMs)
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
  }
  return times.sort((left, right) => left - right)
}

/** The same, while a tenant floods a server; answers with how many changes it wrote in a second as well. */
async function measureBeside(url: string): Promise<{ readonly times: readonly number[]; readonly rate: number }> {
  const flood = start('flood-child.ts', [url], FLOOD_CORES)
  let [floodWritten, atMs] = [0, 0]
  flood.on('message', (message: { written: number }) => {
    floodWritten = message.written
    atMs = performance.now()
  })
  // Both sides have been through some of it, and their code is compiled.
  for (let second = 0; second < 3; second++) await once(flood, 'message')
  const [before, sinceMs] = [floodWritten, atMs]
  const times = await measure(seconds * 1_000)
  await once(flood, 'message')
  const rate = ((floodWritten - before) * 1_000) / (atMs - sinceMs)
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
const show = (times: readonly number[]): string =>
  `p50 ${at(times, 0.5).toFixed(1)} ms, p99 ${at(times, 0.99).toFixed(1)} ms, ${times.length} changes`

console.log(
  isPinned
    ? `servers on cores ${SERVER_CORES}, the flood on ${FLOOD_CORES}, the quiet tenant's replicas on ${OWN_CORES}`
    : `all on the same cores: needs Linux with ${CORES_MIN} cores and taskset to keep them apart`,
)
await measure(2_000)
interface Round {
  readonly alone: readonly number[]
  readonly elsewhere: readonly number[]
  readonly beside: readonly number[]
}
const figures: Round[] = []
for (let round = 1; round <= rounds; round++) {
  const alone = await measure(seconds * 1_000)
  const elsewhere = await measureBeside(other.url)
  const beside = await measureBeside(shared.url)
  figures.push({ alone, elsewhere: elsewhere.times, beside: beside.times })
  console.log(`round ${round} of ${rounds}, stores ${memory ? 'in memory' : 'on LMDB'}`)
  console.log(`  alone: ${show(alone)}`)
  console.log(`  a flood of ${Math.round(elsewhere.rate)} changes/s at another server: ${show(elsewhere.times)}`)
  console.log(`  a flood of ${Math.round(beside.rate)} changes/s at the same server: ${show(beside.times)}`)
}
await Promise.all([writer.link.close(), reader.link.close()])
for (const server of [shared, other]) server.stop()
for (const directory of directories) rmSync(directory, { recursive: true, force: true })

const p99Of = (kind: keyof Round): number => median(figures.map((each) => at(each[kind], 0.99)))
const ratioOf = (kind: 'beside' | 'elsewhere'): number =>
  median(figures.map((each) => at(each[kind], 0.99) / at(each.alone, 0.99)))
console.log('medians of the rounds:')
console.log(`  p99 alone ${p99Of('alone').toFixed(1)} ms`)
console.log(`  × ${ratioOf('elsewhere').toFixed(2)} while the flood is elsewhere on the machine`)
console.log(`  × ${ratioOf('beside').toFixed(2)} beside the flood`)
const isWithin = ratioOf('beside') <= RATIO_MAX
console.log(isWithin ? `within × ${RATIO_MAX}` : `WRONG that is more than × ${RATIO_MAX}`)
process.exit(isWithin ? 0 : 1)
