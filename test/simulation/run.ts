/**
 * The simulator's command: many schedules on all cores, or one of them again.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import progress from 'cli-progress'
import { Command } from 'commander'
import { count, wholeNumber } from '../whole-number.ts'
import { generatePlan, RENEWING } from './generate.ts'
import { withoutFilling } from './in-words.ts'
import type { Plan } from './plan.ts'
import { reportFailure, reportTally } from './report.ts'
import { runPlan } from './run-plan.ts'
import { addTally, createTally, type FailedSchedule, type ScheduleRange, type Tally } from './schedules.ts'
import { shrinkPlan } from './shrink.ts'
import { retell } from './tale.ts'
import type { WorkDone, WorkNews } from './worker.ts'

interface Options {
  readonly schedules: number
  readonly from: number
  readonly seed: string
  readonly jobs: number
  readonly replay: string | undefined
  readonly story: boolean
  readonly shrink: boolean
  readonly failures: number
  readonly renew: boolean
}

const BATCH = 25
/** A schedule takes milliseconds: one that takes so long goes round in circles. */
const STUCK_MS = 30_000
const DETAIL_MAX = 200

const options = new Command('simulate')
  .description(
    'Runs the real engine under simulated networks, disks, clocks and crashes, and checks every promise. Ctrl-C ends it, with the figures so far.',
  )
  .option('-n, --schedules <number>', 'how many schedules; CI runs 20,000', count, 1_000)
  .option(
    '--from <number>',
    'which one to begin with: a long run goes on where an earlier one ended',
    wholeNumber(0),
    0,
  )
  .option('-s, --seed <text>', 'what they are drawn from', '1')
  .option('-j, --jobs <number>', 'processes', count, availableParallelism())
  .option('-r, --replay <seed or file>', 'run one schedule again: its seed, or the file of a failure')
  .option('--story', 'with --replay: tell what happens when', false)
  .option('--no-shrink', 'show failures with all their events')
  .option('--renew', 'who is told that its store was restored or copied takes a new id', false)
  .option('-f, --failures <number>', 'stop after so many failures', count, 1)
  .parse()
  .opts<Options>()

process.exitCode = options.replay === undefined ? await runAll() : await replay(options.replay)

// ── One schedule ────────────────────────────────────────────────────────────────────────────────────────────────────

async function replay(what: string): Promise<number> {
  const plan = existsSync(what)
    ? (JSON.parse(readFileSync(what, 'utf8')) as Plan)
    : generatePlan(what, options.renew ? RENEWING : {})
  const tell = (atMs: number, line: string): void => console.log(`${atMs.toFixed(1).padStart(9)}  ${line}`)
  const outcome = await runPlan(plan, { teller: options.story ? tell : undefined })
  if (outcome.failure === undefined) console.log(reportFailure(plan, outcome))
  else if (existsSync(what)) console.log(reportFailure(plan, outcome, replayOf(what), await retell(plan)))
  else await show({ plan, outcome })
  return outcome.failure === undefined ? 0 : 1
}

function replayOf(file: string): string {
  return `npm run simulate -- --replay ${file} --story`
}

async function show({ plan, outcome }: FailedSchedule): Promise<void> {
  // What differs from run to run, or never ends, cannot be made smaller by running it.
  const isSteady = outcome.failure?.promise !== 'repeatable' && outcome.failure?.promise !== 'ends'
  const shrunk = options.shrink && isSteady ? await shrinkPlan(plan, outcome) : { plan, outcome }
  const file = join(tmpdir(), `tidemark-failure-${plan.options.seed.replace(/[^A-Za-z0-9.-]/g, '_')}.json`)
  writeFileSync(file, `${JSON.stringify(shrunk.plan, null, 1)}\n`)
  console.log(
    `\n${reportFailure(shrunk.plan, shrunk.outcome, replayOf(file), isSteady ? await retell(shrunk.plan) : [])}\n`,
  )
}

// ── Many schedules ──────────────────────────────────────────────────────────────────────────────────────────────────

async function runAll(): Promise<number> {
  const { schedules, from: first, seed, jobs, failures: failuresMax } = options
  const startedAt = performance.now()
  const tally = createTally()
  const failed: FailedSchedule[] = []
  const bar = new progress.SingleBar({
    format: 'simulating {bar} {value}/{total} · {speed}/s · {failed} failed · {eta_formatted} left',
    hideCursor: true,
    noTTYOutput: process.stderr.isTTY !== true,
    notTTYSchedule: 10_000,
  })
  bar.start(schedules, 0, { speed: 0, failed: 0 })
  let next = first
  let isStopped = false
  process.once('SIGINT', () => {
    isStopped = true
  })
  const takeOrder = (): ScheduleRange | undefined => {
    if (isStopped || next >= first + schedules || failed.length >= failuresMax) return undefined
    const from = next
    next = Math.min(first + schedules, from + BATCH)
    return { seed, from, to: next, failuresMax, isRenewing: options.renew }
  }
  const takeDone = (done: WorkDone): void => {
    addTally(tally, { ...done.tally, faults: new Map(done.faults) } satisfies Tally)
    failed.push(...done.failed)
    for (const { plan, outcome } of done.failed)
      console.log(`\n${plan.options.seed} failed, is made smaller: ${inShort(outcome.failure?.detail ?? '')}`)
    const seconds = (performance.now() - startedAt) / 1_000
    bar.update(tally.schedules, { speed: Math.round(tally.schedules / seconds), failed: failed.length })
  }
  const workers = Array.from({ length: Math.min(jobs, Math.ceil(schedules / BATCH)) }, () =>
    runWorker(takeOrder, takeDone),
  )
  await Promise.all(workers)
  bar.stop()
  console.log(`seed ${seed}, schedules ${first} to ${next - 1}`)
  console.log(reportTally(tally, (performance.now() - startedAt) / 1_000))
  for (const failure of failed.slice(0, failuresMax)) await show(failure)
  console.log(failed.length === 0 ? 'every promise held' : `${failed.length} schedules broke a promise`)
  return failed.length === 0 ? 0 : 1
}

/** What is told of a schedule whose process had to be ended. */
function neverEnded(seed: string): WorkDone {
  const detail = `Schedule ${seed} kept its process busy for ${STUCK_MS / 1_000} seconds and did not come to an end.`
  const { faults, ...tally } = { ...createTally(), schedules: 1 }
  const plan = generatePlan(seed, options.renew ? RENEWING : {})
  const failure = { promise: 'ends', detail, atMs: 0 } as const
  const outcome = {
    failure,
    faults,
    trace: 0,
    events: 0,
    frames: 0,
    changes: 0,
    refusals: 0,
    conflicts: 0,
    convergedMs: 0,
  }
  return { type: 'done', tally, faults: [], failed: [{ plan, outcome }] }
}

/** The first words of it: the smaller one is told in full. */
function inShort(detail: string): string {
  const text = withoutFilling(detail)
  return text.length > DETAIL_MAX ? `${text.slice(0, DETAIL_MAX)}…` : text
}

/** One process, fed until there is nothing left. */
function runWorker(takeOrder: () => ScheduleRange | undefined, takeDone: (done: WorkDone) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const worker: ChildProcess = fork(fileURLToPath(new URL('./worker.ts', import.meta.url)), {
      // What a schedule leaves behind is short-lived: with more room it is never moved.
      execArgv: [...process.execArgv, '--max-semi-space-size=32'],
    })
    let underWay: string | undefined
    let timer: NodeJS.Timeout | undefined
    const watch = (seed: string | undefined): void => {
      underWay = seed
      clearTimeout(timer)
      if (seed !== undefined) timer = setTimeout(() => worker.kill('SIGKILL'), STUCK_MS)
    }
    const feed = (): void => {
      watch(undefined)
      const order = takeOrder()
      if (order === undefined) worker.disconnect()
      else worker.send(order)
    }
    worker.on('message', (message) => {
      const news = message as WorkNews
      if (news.type === 'begins') return watch(news.seed)
      takeDone(news)
      feed()
    })
    worker.on('error', reject)
    worker.on('exit', (code, signal) => {
      clearTimeout(timer)
      if (code === 0) return resolve()
      if (signal !== 'SIGKILL' || underWay === undefined)
        return reject(new Error(`a worker ended with ${code ?? signal}`))
      takeDone(neverEnded(underWay))
      resolve()
    })
    feed()
  })
}
