/**
 * The fuzzer's command: mutated and hand-made frames at the decoders and at the real port of a server.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import progress from 'cli-progress'
import { Command } from 'commander'
import { count, wholeNumber } from '../whole-number.ts'
import { fireAssaults, fireKillers } from './barrage.ts'
import { corpusPath, type KeptFrame } from './corpus.ts'
import { describeCosts, measureCosts, tooDear } from './costs.ts'
import { addTally, createTally, type JobOptions, type Tally } from './job.ts'
import type { StoreKind } from './server-process.ts'
import type { WorkerReport } from './worker.ts'

interface Options {
  readonly frames: number
  readonly from: number
  readonly seed: number
  readonly jobs: number
  readonly store: StoreKind
  readonly keep: boolean
}

const options = new Command('fuzz')
  .description(
    'Sends mutated and hand-made frames to the decoders and to the real port, and looks who is hurt. Ctrl-C ends it, with the figures so far.',
  )
  .option('-n, --frames <number>', 'how many mutated frames; 5,000,000 is the long form', count, 20_000)
  .option('--from <number>', 'which mutated frame to begin with, after an earlier run', wholeNumber(0), 0)
  .option('-s, --seed <number>', 'what they are drawn from', count, 1)
  .option(
    '-j, --jobs <number>',
    'processes, each with a server of its own',
    count,
    Math.max(1, availableParallelism() >> 1),
  )
  .option('--store <kind>', 'what the server keeps its log in: lmdb or memory', 'lmdb')
  .option('--keep', 'add what is found to the corpus', false)
  .parse()
  .opts<Options>()

/** Mutated frames whose costs are measured one by one. */
const COST_FRAMES = 2_000

const workers: ChildProcess[] = []
process.once('SIGINT', () => {
  for (const worker of workers) worker.kill('SIGINT')
})
process.exitCode = await runAll()

async function runAll(): Promise<number> {
  const startedAt = performance.now()
  console.log('hand-made frames and assaults …')
  const costs = await measureCosts(COST_FRAMES)
  console.log(describeCosts(costs))
  const barrage = [...tooDear(costs), ...(await fireKillers(options.store)), ...(await fireAssaults(options.store))]
  const tally = await runJobs()
  const seconds = (performance.now() - startedAt) / 1_000
  report(tally, barrage, seconds)
  if (options.keep) keep(tally)
  return tally.findings.length + barrage.length === 0 ? 0 : 1
}

async function runJobs(): Promise<Tally> {
  const { frames, from, seed, jobs, store } = options
  const bar = new progress.SingleBar({
    format: '{bar} {value}/{total} frames, {eta_formatted} left, {speed} per second',
    noTTYOutput: true,
    notTTYSchedule: 10_000,
  })
  const startedAt = performance.now()
  let done = 0
  bar.start(frames, 0, { speed: 0 })
  const advance = (more: number): void => {
    done += more
    bar.update(done, { speed: Math.round((done / (performance.now() - startedAt)) * 1_000) })
  }
  const share = Math.ceil(frames / jobs)
  const orders = Array.from({ length: jobs }, (_, at) => ({
    seed,
    store,
    from: from + at * share,
    to: from + Math.min(frames, (at + 1) * share),
  }))
  const sum = createTally()
  for (const tally of await Promise.all(orders.map((order) => runWorker(order, advance)))) addTally(sum, tally)
  bar.stop()
  return sum
}

function runWorker(order: JobOptions, onProgress: (frames: number) => void): Promise<Tally> {
  const path = fileURLToPath(new URL('worker.ts', import.meta.url))
  const child = fork(path, { execArgv: ['--import', 'tsx'] })
  workers.push(child)
  return new Promise((resolve, reject) => {
    child.on('message', (report: WorkerReport) => {
      if (report.type === 'progress') onProgress(report.frames)
      else if (report.type === 'done') resolve(report.tally)
      else reject(new Error(`a worker failed: ${report.what}`))
    })
    child.on('exit', (code) => reject(new Error(`a worker ended with ${code}`)))
    child.send(order)
  })
}

function report(tally: Tally, barrage: readonly string[], seconds: number): void {
  const { frames, refused, closed, codes, findings, unexplainedStalls, memoryBytesMax } = tally
  const mib = Math.round(memoryBytesMax / 1024 / 1024)
  console.log(
    `\nseed ${options.seed}, from frame ${options.from}, store ${options.store}, ${options.jobs} jobs, ${seconds.toFixed(0)} s`,
  )
  console.log(`${frames} mutated frames: ${refused} refused by a decoder, ${closed} ended their session`)
  for (const [code, times] of Object.entries(codes).sort(([, a], [, b]) => b - a)) {
    console.log(`${times.toString().padStart(10)}  ${code}`)
  }
  console.log(`server: at most ${mib} MiB; stalls above 100 ms that never came again: ${unexplainedStalls}`)
  console.log(
    `the well-behaved pairs: ${tally.calmWrites} writes, the slowest arrived after ${tally.arrivalMsMax.toFixed(0)} ms`,
  )
  for (const sentence of barrage) console.log(`FOUND ${sentence}`)
  for (const { sentence, frame } of findings) console.log(`FOUND ${sentence}\n      ${frame.slice(0, 400)}`)
  console.log(findings.length + barrage.length === 0 ? 'nobody was hurt' : `${findings.length + barrage.length} found`)
}

function keep({ findings }: Tally): void {
  const kept = JSON.parse(readFileSync(corpusPath, 'utf8')) as KeptFrame[]
  for (const { sentence, frame } of findings) {
    if (frame !== '' && kept.every((other) => other.frame !== frame)) kept.push({ sentence, frame })
  }
  writeFileSync(corpusPath, `${JSON.stringify(kept, null, 2)}\n`)
}
