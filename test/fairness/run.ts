/**
 * `npm run fairness`: how long a change of a quiet tenant takes to the tenant's other replica, alone and beside a tenant
 * that floods the same server. Prints both and their ratio, round by round, and fails when the flood costs more than twice.
 * `npm run fairness -- 3 5000 lmdb`: three rounds of five seconds, with stores on disk instead of in memory.
 *
 * On a machine that is busy with other things the times say little; the processor time of the longest turns of the server's
 * event loop does: nobody waits longer than that for a neighbour.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
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

let count = 0
async function measure(forMs: number): Promise<number[]> {
  const times: number[] = []
  const endAtMs = performance.now() + forMs
  while (performance.now() < endAtMs) {
    const id = `n${count++}`
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

async function readTurns(): Promise<TurnFigures> {
  server.send('turns')
  const [figures] = (await once(server, 'message')) as [TurnFigures]
  return figures
}

const at = (times: readonly number[], part: number): number => times[Math.floor(times.length * part)] ?? 0
const show = (times: readonly number[]): string =>
  `p50 ${at(times, 0.5).toFixed(1)} ms, p99 ${at(times, 0.99).toFixed(1)} ms, ${times.length} changes`

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
  ratios.push(at(beside, 0.99) / at(alone, 0.99))
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
