/**
 * `npm run fairness`: how long a change of a quiet tenant takes to the tenant's other replica: alone, while a tenant floods
 * another server on the same machine, and while it floods the same server. Fails when the last takes more than twice as long
 * as the first, at the p99, in the median of the rounds.
 *
 * Clients and servers share the machine's cores. What the flood costs by that, and not by sharing the server, is what the
 * second shows: on a machine that is busy with other things it says as well how much the verdict is worth.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import { openReplica, table } from '../../core/index.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import { connect } from '../../sync-client/index.ts'

interface Note {
  readonly id: string
  readonly title: string
}

/** Milliseconds, in order. */
type Times = readonly number[]

const PAUSE_MS = 10
const RATIO_MAX = 2

const count = (text: string): number => {
  const number = Number(text)
  if (!Number.isInteger(number) || number < 1) throw new RangeError(`${text} is not a whole number from 1`)
  return number
}

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
/** Writes a change, waits until the other replica has it, pauses, and so on. */
async function measure(forMs: number): Promise<Times> {
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

const at = (times: Times, part: number): number => times[Math.floor(times.length * part)] ?? 0
const medianOf = (values: readonly number[]): number =>
  at(
    [...values].sort((left, right) => left - right),
    0.5,
  )
const show = (times: Times): string =>
  `p50 ${at(times, 0.5).toFixed(1)} ms, p99 ${at(times, 0.99).toFixed(1)} ms (${times.length} changes)`

await measure(1_000)
const figures: { alone: number; elsewhere: number; beside: number }[] = []
for (let round = 1; round <= rounds; round++) {
  const alone = await measure(seconds * 1_000)
  const elsewhere = await measureBeside(other.url)
  const beside = await measureBeside(shared.url)
  const [first, second, third] = [alone, elsewhere.times, beside.times].map((times) => at(times, 0.99)) as [
    number,
    number,
    number,
  ]
  figures.push({ alone: first, elsewhere: second, beside: third })
  console.log(`round ${round} of ${rounds}, stores ${lmdb ? 'on LMDB' : 'in memory'}`)
  console.log(`  alone                        ${show(alone)}`)
  console.log(`  a flood at another server    ${show(elsewhere.times)}; ${Math.round(elsewhere.rate)} changes/s`)
  console.log(`  a flood at the same server   ${show(beside.times)}; ${Math.round(beside.rate)} changes/s`)
}
await Promise.all([writer.link.close(), reader.link.close()])
for (const server of [shared, other]) server.stop()
for (const directory of directories) rmSync(directory, { recursive: true, force: true })

const ratio = medianOf(figures.map(({ alone, beside }) => beside / alone))
const machine = medianOf(figures.map(({ alone, elsewhere }) => elsewhere / alone))
const [alone, beside] = [medianOf(figures.map((each) => each.alone)), medianOf(figures.map((each) => each.beside))]
console.log(`medians: p99 ${alone.toFixed(1)} ms alone, ${beside.toFixed(1)} ms beside the flood`)
console.log(`the flood takes p99 × ${ratio.toFixed(2)}; by its share of the machine alone × ${machine.toFixed(2)}`)
const isWithin = ratio <= RATIO_MAX
console.log(isWithin ? `within × ${RATIO_MAX}` : `WRONG that is more than × ${RATIO_MAX}`)
process.exit(isWithin ? 0 : 1)
