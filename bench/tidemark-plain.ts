/**
 * Tidemark, W9p: what work without conflicts pays for the existence of conflicts.
 *
 * The engine is bundled twice: as it is, and with rows that know last write only (`plain-rows.ts`). Both run in this process,
 * in turn, on the same work: local updates, and changes of others that arrive in an empty replica. Each pair of rounds gives
 * one ratio of the CPU time that the process took; the first of a pair is now the one, now the other.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { bundleEngine } from '../scripts/bundle-engine.mjs'
import { batches, type Row, rows, type Update, updates } from './data.ts'
import { batchSize, expectEqual, type Figures, type RunContext, type Subject } from './workloads.ts'

type Engine = typeof import('./engine.ts')
type Engines = { readonly full: Engine; readonly plain: Engine }

const pairs = 31
const rowCount = 10_000
const updateCount = 20_000

const drawn = rows(rowCount)
const rowBatches = batches(drawn, batchSize)
const changes = updates(updateCount, drawn)
const updateBatches = batches(changes, batchSize)

const here = fileURLToPath(new URL('.', import.meta.url))
/** The modules that know what a row is. */
const plainRows = { filter: /\/row-(codec|overwrite)\.js$/, path: join(here, 'plain-rows.ts') }

async function openEngine(name: string, directory: string, replaced?: typeof plainRows): Promise<Engine> {
  const outfile = join(directory, `${name}.mjs`)
  await bundleEngine(join(here, 'engine.ts'), outfile, replaced)
  return (await import(pathToFileURL(outfile).href)) as Engine
}

/** Microseconds of CPU that `work` takes, user and system, on a heap that has just been collected. */
async function cpuOf(work: () => Promise<unknown>): Promise<number> {
  globalThis.gc?.()
  const before = process.cpuUsage()
  await work()
  const { user, system } = process.cpuUsage(before)
  return user + system
}

/** What is done in turn: it prepares, and answers with the work that counts and with how the outcome is checked. */
type Work = (engine: Engine) => Promise<{ readonly run: () => Promise<unknown>; readonly check: () => Promise<void> }>

const updateLocally: Work = async (engine) => {
  const replica = await engine.open()
  await engine.insertAll(replica, rowBatches)
  return { run: () => engine.updateAll(replica, updateBatches), check: () => expectAll(engine, replica) }
}

/** The log of a replica that has written everything; it is the same in both. */
async function logOf(engine: Engine): Promise<readonly Uint8Array[]> {
  const replica = await engine.open()
  await engine.insertAll(replica, rowBatches)
  await engine.updateAll(replica, updateBatches)
  return engine.blocksOf(replica)
}

const receiveBlocks =
  (blocks: readonly Uint8Array[]): Work =>
  async (engine) => {
    const replica = await engine.open()
    return { run: () => engine.receive(replica, blocks), check: () => expectAll(engine, replica) }
  }

async function expectAll(engine: Engine, replica: Awaited<ReturnType<Engine['open']>>): Promise<void> {
  const priorities = new Map<string, number>(drawn.map(({ id, priority }: Row) => [id, priority]))
  for (const { id, priority } of changes as readonly Update[]) priorities.set(id, priority)
  const held = await engine.prioritiesOf(replica)
  expectEqual('rows', held.size, priorities.size)
  for (const [id, priority] of priorities) expectEqual(`priority of ${id}`, held.get(id) ?? Number.NaN, priority)
}

async function measure({ full, plain }: Engines, work: Work): Promise<number[]> {
  const timeOf = async (engine: Engine): Promise<number> => {
    const { run, check } = await work(engine)
    const micros = await cpuOf(run)
    await check()
    return micros
  }
  // Compiled first, both of them.
  for (const engine of [full, plain, full, plain]) await timeOf(engine)
  const ratios: number[] = []
  for (let pair = 0; pair < pairs; pair++) {
    const order = pair % 2 === 0 ? [full, plain] : [plain, full]
    const micros = new Map<Engine, number>()
    for (const engine of order) micros.set(engine, await timeOf(engine))
    ratios.push((micros.get(full) ?? 0) / (micros.get(plain) ?? 1))
  }
  return ratios.sort((a, b) => a - b)
}

const quantile = (sorted: readonly number[], share: number): number => sorted[Math.round((sorted.length - 1) * share)]

async function measurePlain({ directory }: RunContext): Promise<Figures> {
  mkdirSync(directory, { recursive: true })
  const full = await openEngine('full', directory)
  const plain = await openEngine('plain', directory, plainRows)
  const local = await measure({ full, plain }, updateLocally)
  const received = await measure({ full, plain }, receiveBlocks(await logOf(full)))
  return {
    localCpuRatio: quantile(local, 0.5),
    localCpuRatioLow: quantile(local, 0.25),
    localCpuRatioHigh: quantile(local, 0.75),
    receivedCpuRatio: quantile(received, 0.5),
    receivedCpuRatioLow: quantile(received, 0.25),
    receivedCpuRatioHigh: quantile(received, 0.75),
  }
}

export const subjects: readonly Subject[] = [{ name: 'Tidemark', workload: 'W9p', run: measurePlain }]
