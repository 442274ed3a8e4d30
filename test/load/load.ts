/**
 * Load with faults: a server and replicas on LMDB, each replica behind a network of its own, all of them writing for as long
 * as one likes, while processes are killed and networks go wrong. In the end everything is healed, and all of them
 * have to hold the same rows: those that anybody was ever told are kept, and no increment twice.
 *
 * Knows: stages, wires, time. Must never know: what a replica writes.
 */
import type { FaultWire } from '../faults/fault-wire.ts'
import { type KillReport, Stage } from '../kills/stage.ts'
import { Random } from '../simulation/random.ts'

export interface LoadOptions {
  readonly seconds: number
  /** It goes on beyond its time until so many things went wrong: a busy machine takes longer for each. Default 0. */
  readonly troublesMin?: number
  /** And so many rows were said to be kept. Default 0. */
  readonly keptMin?: number
  readonly seed: number
  readonly replicas: number
  readonly pauseMs: number
  readonly onProgress?: (progress: LoadProgress) => void
}

export interface LoadProgress extends KillReport {
  readonly seconds: number
  readonly faults: number
}

/** Between two faults. */
const CALM_MS_MAX = 3_000
/** How long a network is wrong. */
const FAULT_MS_MAX = 4_000
const CUT_BYTES_MAX = 200_000
const DELAY_MS_MAX = 500

export async function loadWithFaults(options: LoadOptions): Promise<LoadProgress> {
  const { seconds, troublesMin = 0, keptMin = 0, seed, replicas, pauseMs, onProgress = () => {} } = options
  const random = new Random(`load/${seed}`)
  const startedAt = performance.now()
  const stage = await Stage.open({ replicas, pauseMs })
  let faults = 0
  const progress = (): LoadProgress => ({
    ...stage.report,
    seconds: Math.round((performance.now() - startedAt) / 1_000),
    faults,
  })
  try {
    const isShort = (): boolean => {
      const { kills, kept } = stage.report
      return kills + faults < troublesMin || kept < keptMin
    }
    while ((performance.now() - startedAt < seconds * 1_000 || isShort()) && stage.wrong.length === 0) {
      await wait(random.between(1, CALM_MS_MAX))
      if (random.chance(0.4)) {
        await stage.strike(random.chance(0.1) ? stage.everybody : [random.pick(stage.everybody)], random)
      } else {
        faults++
        await disturb(random.pick(stage.wires), random)
      }
      onProgress(progress())
    }
    for (const wire of stage.wires) wire.heal()
    if (stage.wrong.length === 0) await stage.compare()
    return progress()
  } finally {
    await stage.close()
  }
}

const KINDS = { cut: 2, refuse: 2, hold: 2, delay: 2, up: 1, down: 1, truncate: 3 } as const

/** One network is wrong for a while. */
async function disturb(wire: FaultWire, random: Random): Promise<void> {
  const kind = random.weighted(KINDS)
  switch (kind) {
    case 'cut':
      return wire.cut()
    case 'refuse':
      wire.refuse()
      break
    case 'hold':
      wire.hold()
      break
    case 'delay':
      wire.delay(random.between(1, DELAY_MS_MAX))
      break
    case 'up':
    case 'down':
      wire.swallow(kind)
      break
    case 'truncate':
      wire.cutAfter(random.between(1, CUT_BYTES_MAX))
      break
  }
  await wait(random.between(1, FAULT_MS_MAX))
  wire.heal()
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
