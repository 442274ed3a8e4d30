/**
 * One of several fuzzing processes: takes a job, tells how far it is, and hands in its tally.
 */
import { type JobOptions, runJob, type Tally } from './job.ts'

export type WorkerReport =
  | { readonly type: 'progress'; readonly frames: number }
  | { readonly type: 'done'; readonly tally: Tally }
  | { readonly type: 'failed'; readonly what: string }

const tell = (report: WorkerReport): void => {
  process.send?.(report)
}

let isStopped = false
/** Ctrl-C reaches all processes of a terminal; so does what the command sends. */
process.on('SIGINT', () => {
  isStopped = true
})
process.on('disconnect', () => process.exit(1))
process.once('message', (options: JobOptions) => {
  const onProgress = (frames: number): void => tell({ type: 'progress', frames })
  runJob(options, onProgress, () => isStopped).then(
    (tally) => {
      process.send?.({ type: 'done', tally } satisfies WorkerReport, () => process.exit(0))
    },
    (error: unknown) => {
      const what = error instanceof Error ? (error.stack ?? error.message) : String(error)
      process.send?.({ type: 'failed', what } satisfies WorkerReport, () => process.exit(1))
    },
  )
})
