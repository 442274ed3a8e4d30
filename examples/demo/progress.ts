/**
 * Progress: a bar on a terminal, a few plain lines elsewhere.
 */
import { SingleBar } from 'cli-progress'

export interface Progress {
  /** Of `total`, as given to `startProgress`. */
  update(done: number): void
  stop(): void
}

const LABEL_WIDTH = 34
/** Without a terminal, a line each time so much more is done. */
const PLAIN_STEP = 0.25

export function startProgress(label: string, total: number): Progress {
  return process.stdout.isTTY === true ? startBar(label, total) : startLines(label, total)
}

function startBar(label: string, total: number): Progress {
  const bar = new SingleBar({
    format: `  ${label.padEnd(LABEL_WIDTH)} {bar} {percentage} %  {value} of {total}`,
    barCompleteChar: '█',
    barIncompleteChar: '░',
    barsize: 24,
    // Ctrl-C is to end the program, not the bar.
    gracefulExit: false,
    clearOnComplete: true,
  })
  bar.start(total, 0)
  return { update: (done) => bar.update(Math.min(done, total)), stop: () => bar.stop() }
}

function startLines(label: string, total: number): Progress {
  let next = PLAIN_STEP
  return {
    update: (done) => {
      const part = done / total
      if (part < next || part >= 1) return
      next = part - (part % PLAIN_STEP) + PLAIN_STEP
      console.log(`  ${label}: ${Math.floor(part * 100)} %`)
    },
    stop: () => {},
  }
}

const WATCH_MS = 100

/** Runs `work` and shows meanwhile how far `read` has come. */
export async function withProgress<Result>(
  label: string,
  total: number,
  read: () => number,
  work: () => Promise<Result>,
): Promise<Result> {
  if (total < 1) return work()
  const progress = startProgress(label, total)
  const timer = setInterval(() => progress.update(read()), WATCH_MS)
  try {
    return await work()
  } finally {
    clearInterval(timer)
    progress.update(read())
    progress.stop()
  }
}
