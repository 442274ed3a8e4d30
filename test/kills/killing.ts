/**
 * Killing processes for real: a server and two replicas on LMDB under load, and SIGKILL at moments drawn from a seed: one
 * of them, all at once, or one that has only just begun to start.
 *
 * What has to hold:
 * 1  A replica that starts again has every row and every increment that its app was told is kept.
 * 2  A server that starts again has, before anybody can push to it, every change that a writer had its answer for.
 * 3  Nobody needs another identity: what was sent had been on the disk.
 * 4  In the end all hold the same rows, one who comes anew too, with every row that was ever said to be kept, and no
 *    increment twice.
 *
 * Knows: processes, what they say, when they die. Must never know: how anything is stored.
 */
import { Random } from '../simulation/random.ts'
import { type KillReport, Stage } from './stage.ts'

export interface KillOptions {
  readonly kills: number
  readonly seed: number
  readonly onKill?: (done: number) => void
}

/** Processes are killed after so long under load, and not before so many more rows were said to be kept. */
const LOAD_MS_MAX = 400
const KEPT_ROWS = 3
const LOOK_MS = 5
const STUCK_MS = 60_000

export async function killAll({ kills, seed, onKill = () => {} }: KillOptions): Promise<KillReport> {
  const random = new Random(`kills/${seed}`)
  const stage = await Stage.open({ replicas: 2, pauseMs: 0 })
  try {
    while (stage.kills < kills && stage.wrong.length === 0) {
      await wait(random.between(1, LOAD_MS_MAX))
      await awaitWrites(stage, stage.report.kept + KEPT_ROWS)
      await stage.strike(random.chance(0.15) ? stage.everybody : [random.pick(stage.everybody)], random)
      onKill(Math.min(stage.kills, kills))
    }
    if (stage.wrong.length === 0) await stage.compare()
    return stage.report
  } finally {
    await stage.close()
  }
}

/** A machine that is busy gets less done between two kills; nothing done is nothing to lose. */
async function awaitWrites(stage: Stage, kept: number): Promise<void> {
  const endsAt = performance.now() + STUCK_MS
  while (stage.report.kept < kept && stage.wrong.length === 0) {
    if (performance.now() > endsAt) throw new Error(`nothing was written for ${STUCK_MS / 1_000} s`)
    await wait(LOOK_MS)
  }
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
