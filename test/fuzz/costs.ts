/**
 * What a hostile frame costs the one who decodes it, in time and in memory.
 *
 * It is measured in a process whose young generation holds all that one frame can take, so that no collection hides it.
 *
 * Knows: the process that measures. Must never know: what a frame is made of.
 */
import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { FrameCost } from './costs-child.ts'

interface CostLimits {
  readonly ms: number
  readonly bytes: number
}

/** For a frame that is refused, and for one that is taken: it may be the largest there is. */
const REFUSED_LIMITS: CostLimits = { ms: 20, bytes: 8 * 1024 * 1024 }
const TAKEN_LIMITS: CostLimits = { ms: 50, bytes: 12 * 1024 * 1024 }

export function measureCosts(mutatedFrames: number): Promise<readonly FrameCost[]> {
  const path = fileURLToPath(new URL('costs-child.ts', import.meta.url))
  const flags = ['--expose-gc', '--min-semi-space-size=64', '--max-semi-space-size=64']
  const child = fork(path, [`${mutatedFrames}`], { execArgv: [...flags, '--import', 'tsx'] })
  return new Promise((resolve, reject) => {
    child.on('message', (costs: readonly FrameCost[]) => resolve(costs))
    child.on('exit', (code) => reject(new Error(`measuring ended with ${code}`)))
  })
}

/** A sentence for each frame that costs too much. */
export function tooDear(costs: readonly FrameCost[]): string[] {
  return costs.flatMap(({ sentence, isRefused, ms, bytes }) => {
    const limits = isRefused ? REFUSED_LIMITS : TAKEN_LIMITS
    if (ms <= limits.ms && bytes <= limits.bytes) return []
    return [`${sentence} It takes ${ms.toFixed(1)} ms and ${(bytes / 1024 / 1024).toFixed(1)} MiB.`]
  })
}

/** The most that any frame took. */
export function describeCosts(costs: readonly FrameCost[]): string {
  const most = (isRefused: boolean): string => {
    const of = costs.filter((cost) => cost.isRefused === isRefused)
    const ms = Math.max(...of.map((cost) => cost.ms)).toFixed(1)
    const mib = (Math.max(...of.map(({ bytes }) => bytes)) / 1024 / 1024).toFixed(1)
    return `${ms} ms and ${mib} MiB of ${of.length}`
  }
  return `decoding one frame took at most ${most(true)} that were refused, ${most(false)} that were taken`
}
