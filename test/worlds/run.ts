/**
 * The command for worlds: as many as there is time for, from a seed; a counterexample is printed as code.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import progress from 'cli-progress'
import { Command } from 'commander'
import fc from 'fast-check'
import type { Store } from '../../core/index.ts'
import { openLmdbStore } from '../../core/stores/lmdb.ts'
import { count } from '../whole-number.ts'
import { EMPTY_CENSUS } from './judge.ts'
import { planArbitrary, type WorldPlan } from './plan.ts'
import { planToCode, tryWorld } from './trial.ts'

interface Options {
  readonly seconds: number
  readonly seed: number
  readonly steps: number
  readonly lmdb: boolean
}

const options = new Command('worlds')
  .description('Looks for two replicas with equal clocks that show, report or explain different things.')
  .option('--seconds <number>', 'how long to look', count, 60)
  .option('--seed <number>', 'what the worlds are drawn from', count, 1)
  .option('--steps <number>', 'steps of a world, at most', count, 40)
  .option('--lmdb', 'every replica on a disk', false)
  .parse()
  .opts<Options>()

const CHUNK = 100
const startedAt = performance.now()
const seconds = (): number => (performance.now() - startedAt) / 1_000
const census = { ...EMPTY_CENSUS }
const bar = new progress.SingleBar({
  format: '{bar} {value}/{total} s · {worlds} worlds · seed {seed}',
  noTTYOutput: process.stderr.isTTY !== true,
  notTTYSchedule: 10_000,
})
bar.start(options.seconds, 0, { worlds: 0, seed: options.seed })
let worlds = 0
for (let { seed } = options; seconds() < options.seconds; seed++) {
  const found = await fc.check(
    fc.asyncProperty(planArbitrary(options.steps), async (plan) => {
      await inStores((createStore) => tryWorld(plan, census, createStore))
      worlds++
      bar.update(Math.min(options.seconds, Math.floor(seconds())), { worlds, seed })
    }),
    { numRuns: CHUNK, seed },
  )
  if (!found.failed) continue
  bar.stop()
  const [plan] = found.counterexample as [WorldPlan]
  console.log(
    `\nseed ${seed}, shrunk ${found.numShrinks} times:\n\n${planToCode(plan)}\n\n${String(found.errorInstance)}`,
  )
  process.exit(1)
}
bar.stop()
const summary = Object.entries(census).map(([what, number]) => `${number.toLocaleString('en')} ${what}`)
console.log(`${worlds.toLocaleString('en')} worlds in ${seconds().toFixed(0)} s, nothing found: ${summary.join(', ')}`)

/** Runs `work` with the stores that were asked for; those on disk are gone afterwards. */
async function inStores(work: (createStore: Parameters<typeof tryWorld>[2]) => Promise<void>): Promise<void> {
  if (!options.lmdb) return work(undefined)
  const directory = mkdtempSync(join(tmpdir(), 'tidemark-worlds-'))
  const stores: Store[] = []
  try {
    await work(async () => {
      const store = await openLmdbStore(join(directory, String(stores.length)))
      stores.push(store)
      return store
    })
  } finally {
    for (const store of stores) await store.close()
    rmSync(directory, { recursive: true })
  }
}
