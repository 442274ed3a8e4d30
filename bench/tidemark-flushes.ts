/** Tidemark, W8: what a durable write costs beside a flush of the same disk, and how many share one. */
import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import type { Store } from '../dist/core/index.js'
import { type Row, rows } from './data.ts'
import { type BenchReplica, openOn, openStore } from './tidemark-replica.ts'
import { expectEqual, type Figures, type Subject, secondsOf } from './workloads.ts'

const rounds = 20
const writesPerRound = 25
const concurrentWrites = 1_000
const pageBytes = 4_096

/** Counts the commits that reach the store. */
function countCommits(store: Store): { readonly store: Store; readonly commits: () => number } {
  let commits = 0
  const counted: Store = {
    head: () => store.head(),
    getMany: (keys) => store.getMany(keys),
    range: (range) => store.range(range),
    commit(commit) {
      commits++
      return store.commit(commit)
    },
    close: () => store.close(),
  }
  return { store: counted, commits: () => commits }
}

/** A page written over, then `fdatasync`: what LMDB asks of the disk, without LMDB. */
async function openRawFile(directory: string): Promise<FileHandle> {
  const file = await open(join(directory, 'raw'), 'w')
  await file.write(new Uint8Array(pageBytes * writesPerRound))
  await file.sync()
  return file
}

async function flushPages(file: FileHandle): Promise<void> {
  const page = new Uint8Array(pageBytes).fill(1)
  for (let n = 0; n < writesPerRound; n++) {
    await file.write(page, 0, pageBytes, n * pageBytes)
    await file.datasync()
  }
}

async function insertOneByOne(replica: BenchReplica, drawn: readonly Row[]): Promise<void> {
  for (const row of drawn) await replica.table('rows').insert(row)
}

/** Both take turns, because a disk that is shared has good and bad moments. */
async function measureFlushes(directory: string): Promise<Figures> {
  const { store, commits } = countCommits(await openStore('LMDB', join(directory, 'store')))
  const replica = await openOn(store)
  const file = await openRawFile(directory)
  const drawn = rows(rounds * writesPerRound + concurrentWrites)
  let [writing, flushing] = [0, 0]
  for (let round = 0; round < rounds; round++) {
    const begin = round * writesPerRound
    writing += await secondsOf(() => insertOneByOne(replica, drawn.slice(begin, begin + writesPerRound)))
    flushing += await secondsOf(() => flushPages(file))
  }
  await file.close()
  const before = commits()
  const table = replica.table('rows')
  const concurrent = drawn.slice(rounds * writesPerRound)
  const seconds = await secondsOf(async () => {
    await Promise.all(concurrent.map((row) => table.insert(row)))
  })
  expectEqual('rows', replica.log.stats().rows, drawn.length)
  const writes = rounds * writesPerRound
  return {
    writesPerSecond: writes / writing,
    flushesPerSecond: writes / flushing,
    writesPerFlush: flushing / writing,
    thousandMs: seconds * 1000,
    thousandCommits: commits() - before,
  }
}

export const subjects: readonly Subject[] = [
  { name: 'Tidemark, LMDB, durable', workload: 'W8', run: ({ directory }) => measureFlushes(directory) },
]
