/**
 * The command for small worlds: all sizes, on all cores.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import progress from 'cli-progress'
import { Command } from 'commander'
import { count } from '../whole-number.ts'
import { describeCounting, LARGE_COUNTING, SMALL_COUNTING, visitCounting } from './counting.ts'
import { allShapes } from './shapes.ts'
import type { WorldsOrder, WorldsReport } from './worker.ts'
import { type Census, describeSize, LARGE_SIZES, type Size, SMALL_SIZES } from './worlds.ts'

interface Options {
  readonly small: boolean
  readonly jobs: number
}

const options = new Command('small-worlds')
  .description('Looks at every order in which the changes of a small world can arrive.')
  .option('--small', 'only the sizes of a test run', false)
  .option('-j, --jobs <number>', 'processes', count, availableParallelism())
  .parse()
  .opts<Options>()

const path = fileURLToPath(new URL('worker.ts', import.meta.url))
const workers = Array.from({ length: options.jobs }, () => fork(path, { execArgv: ['--import', 'tsx'] }))
const bar = new progress.SingleBar({
  format: '{bar} {value}/{total} shapes, {eta_formatted} left',
  noTTYOutput: true,
  notTTYSchedule: 10_000,
})

for (const size of options.small ? SMALL_SIZES : LARGE_SIZES) {
  const startedAt = performance.now()
  bar.start(allShapes(size.replicas, size.changes).length, 0)
  const parts = await Promise.all(workers.map((worker, index) => visitPart(worker, size, index)))
  bar.stop()
  const sum = (of: (census: Census) => number): string =>
    parts.reduce((all, part) => all + of(part), 0).toLocaleString('en')
  const seconds = ((performance.now() - startedAt) / 1_000).toFixed(0)
  const counted = `${sum(({ worlds }) => worlds)} worlds, ${sum(({ orders }) => orders)} orders of arrival`
  console.log(`${describeSize(size)}: ${counted}, ${seconds} s`)
  const fault = parts.find((part) => part.fault !== undefined)?.fault
  if (fault === undefined) continue
  console.log(`FAULT ${fault}`)
  process.exitCode = 1
  break
}
for (const worker of workers) worker.disconnect()
for (const size of options.small ? SMALL_COUNTING : LARGE_COUNTING) {
  const startedAt = performance.now()
  const { worlds, fault } = visitCounting(size)
  const seconds = ((performance.now() - startedAt) / 1_000).toFixed(0)
  console.log(`counter, ${describeCounting(size)}: ${worlds.toLocaleString('en')} worlds, ${seconds} s`)
  if (fault === undefined) continue
  console.log(`FAULT ${fault}`)
  process.exitCode = 1
}

function visitPart(worker: ChildProcess, size: Size, index: number): Promise<Census> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null): void => reject(new Error(`a worker ended with ${code}`))
    const onMessage = (report: WorldsReport): void => {
      if (report.type === 'progress') return bar.increment()
      worker.off('message', onMessage).off('exit', onExit)
      resolve(report.census)
    }
    worker.on('message', onMessage).on('exit', onExit)
    worker.send({ size, part: { index, count: options.jobs } } satisfies WorldsOrder)
  })
}
