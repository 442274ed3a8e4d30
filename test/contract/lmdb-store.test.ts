/**
 * The LMDB store against the contract, and what only it can meet: other processes, kills, full disks, foreign files.
 *
 * Knows: directories and child processes. Must never know: the layout inside.
 */
import { type ChildProcessByStdio, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import * as lmdb from 'lmdb'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Store, StoreRange } from '../../core/store.ts'
import { type LmdbEnvironment, openLmdbEnvironment, openLmdbStore } from '../../core/stores/lmdb.ts'
import { batchCommit, describeBatches, describeEntry } from './numbered-batches.ts'
import { storeContract } from './store-contract.ts'

storeContract('the LMDB store', async () => {
  const place = await makeDirectory()
  return {
    open: () => openLmdbStore(join(place, 'tenant')),
    cleanup: () => rm(place, { recursive: true, force: true }),
  }
})

storeContract('one of many LMDB stores in a directory', async () => {
  const place = await makeDirectory()
  const environments: LmdbEnvironment[] = []
  return {
    open: async () => {
      const environment = await openLmdbEnvironment(join(place, 'many'))
      environments.push(environment)
      const neighbour = await environment.open('neighbour')
      // Whatever it does must not show next door, nor the other way round.
      await neighbour.commit({ expectedHead: await neighbour.head(), puts: [], deletes: [] })
      return environment.open('tenant')
    },
    cleanup: async () => {
      for (const environment of environments) await environment.close()
      await rm(place, { recursive: true, force: true })
    },
  }
})

const ALL: StoreRange = { from: new Uint8Array(0), to: new Uint8Array([255]), limit: 1_000_000 }

describe('the LMDB store', () => {
  let directory: string
  beforeEach(async () => {
    directory = await makeDirectory()
  })
  afterEach(() => rm(directory, { recursive: true, force: true }))

  test('S2, S3: a process that is killed leaves every commit it acknowledged, no part of another, and no lock', async () => {
    const path = join(directory, 'tenant')
    const survivor = await openLmdbStore(path)
    let head = 0
    for (const lines of [1, 2, 3, 5, 8, 13, 21, 34, 55, 89]) {
      const acknowledged = await killAfter(lines, 'batches', path)
      expect(acknowledged.length).toBeGreaterThanOrEqual(lines)
      expect(acknowledged).toEqual(acknowledged.map((_, index) => `committed ${head + 1 + index}`))

      head = await survivor.head()
      expect(head).toBeGreaterThanOrEqual(Number(acknowledged.at(-1)?.split(' ')[1]))
      expect((await survivor.range(ALL)).map(describeEntry)).toEqual(describeBatches(head))
      head = await commitNextBatch(survivor)
      expect((await survivor.range(ALL)).map(describeEntry)).toEqual(describeBatches(head))
    }
    await survivor.close()
    const store = await openLmdbStore(path)
    expect((await store.range(ALL)).map(describeEntry)).toEqual(describeBatches(head))
    await store.close()
    // Ten processes, one after the other, on a machine that may be busy.
  }, 120_000)

  test('L6: whoever reads on and on keeps nobody from their turn, and gets on with it himself', async () => {
    const store = await openLmdbStore(join(directory, 'tenant'))
    const reads = new Array<number>(20).fill(0)
    let turns = 0
    let isOver = false
    const keepReading = async (reader: number): Promise<void> => {
      // The bound is for stores that never let the turn end: no timer could.
      for (let left = 100_000; left > 0 && !isOver; left--) {
        await store.head()
        reads[reader] = (reads[reader] ?? 0) + 1
      }
    }
    const readers = Promise.all(reads.map((_, reader) => keepReading(reader)))
    while (turns < 50) {
      await new Promise((resolve) => setTimeout(resolve, 0))
      turns++
    }
    isOver = true
    await readers
    expect(Math.max(...reads)).toBeLessThan(100_000)
    expect(Math.min(...reads)).toBeGreaterThan(0)
    await store.close()
  })

  test('L8: what is closed leaves nothing in the list that lmdb-js keeps', async () => {
    const { allDbs } = lmdb as unknown as { readonly allDbs: ReadonlyMap<string, unknown> }
    const before = allDbs.size
    for (let n = 0; n < 5; n++) {
      const store = await openLmdbStore(join(directory, `${n}`))
      await store.close()
    }
    const environment = await openLmdbEnvironment(join(directory, 'many'))
    for (let n = 0; n < 5; n++) await (await environment.open(`${n}`)).close()
    await environment.close()
    expect(allDbs.size).toBe(before)
  })

  test('S4: processes that race for the head never lose a commit', async () => {
    const path = join(directory, 'tenant')
    const children = [1, 2, 3].map(() => linesOf(start(jobCommand('increments', path, '60'))))
    expect(await Promise.all(children)).toEqual([['done'], ['done'], ['done']])
    const store = await openLmdbStore(path)
    const [value] = await store.getMany([new Uint8Array([1])])
    expect(new Uint32Array((value ?? new Uint8Array(4)).slice().buffer)[0]).toBe(180)
    expect(await store.head()).toBe(180)
    await store.close()
  })

  // A small disk is a mount in a namespace of its own, which not every system lets everybody make.
  test.runIf(spawnSync('unshare', ['-Urm', 'mount', '-t', 'tmpfs', 'tmpfs', tmpdir()]).status === 0)(
    'S2: a full disk refuses a commit with store-full, keeps what was there, and takes commits again later',
    async () => {
      const mount = `mount -t tmpfs -o size=6m tmpfs ${directory} && exec "$0" "$@"`
      const child = start(['unshare', '-Urm', 'sh', '-c', mount, ...jobCommand('fill', directory)])
      expect(await linesOf(child)).toEqual([
        'commit: store-full',
        'open: store-full',
        'kept: true',
        'afterwards: committed',
      ])
    },
  )

  test('refuses a key that LMDB cannot keep, and with it the whole commit', async () => {
    const store = await openLmdbStore(directory)
    const put = { key: new Uint8Array([1]), value: new Uint8Array(0) }
    const long = { key: new Uint8Array(1978), value: new Uint8Array(0) }
    await expect(store.commit({ expectedHead: 0, puts: [put, long], deletes: [] })).rejects.toMatchObject({
      code: 'too-large',
    })
    expect(await store.range(ALL)).toEqual([])
    const longest = { key: new Uint8Array(1977), value: new Uint8Array(0) }
    expect((await store.commit({ expectedHead: 0, puts: [put, longest], deletes: [] })).type).toBe('committed')
    expect((await store.range(ALL)).map(({ key }) => key.length)).toEqual([1977, 1])
    await store.close()
  })

  test('creates the directories on the way to its own', async () => {
    const path = join(directory, 'data', 'tenants', 'a.b')
    const store = await openLmdbStore(path)
    await store.commit({ expectedHead: 0, puts: [], deletes: [] })
    await store.close()
    const again = await openLmdbStore(path)
    expect(await again.head()).toBe(1)
    await again.close()
  })

  test.each<[string, (path: string) => Promise<unknown>, string]>([
    ['a file', (path) => writeFile(path, 'hello'), ''],
    ['a path below a file', (path) => writeFile(path, 'hello'), 'tenant'],
    ['a directory of other files', (path) => mkdir(path).then(() => writeFile(join(path, 'notes.txt'), 'hello')), ''],
    ['a data file that is a directory', (path) => mkdir(join(path, 'data.mdb'), { recursive: true }), ''],
    [
      'a data file of something else',
      (path) => mkdir(path).then(() => writeFile(join(path, 'data.mdb'), 'hello'.repeat(9999))),
      '',
    ],
    ['a database of another program', (path) => useLmdb(path, {}), ''],
    ['a database of another kind', (path) => useLmdb(path, { dupSort: true, encoding: 'ordered-binary' }), ''],
  ])('refuses %s with store-foreign and leaves it alone', async (_, make, below) => {
    const path = join(directory, 'taken')
    await make(path)
    const before = await contentOf(path)
    await expect(openLmdbStore(join(path, below))).rejects.toMatchObject({
      code: 'store-foreign',
      message: expect.stringMatching(/taken.* is not a store: .*\. Give the store a directory of its own$/),
    })
    expect(await contentOf(path)).toEqual(before)
  })

  test('says what to do about a path that cannot be', async () => {
    await expect(openLmdbStore(join(directory, 'a\0b'))).rejects.toMatchObject({
      code: 'store-failed',
      remedy: expect.any(String),
    })
  })
})

/** The last commit of a killed process, if it got as far as the disk, may come to light only with the next write. */
async function commitNextBatch(store: Store): Promise<number> {
  for (;;) {
    const result = await store.commit(batchCommit((await store.head()) + 1))
    if (result.type === 'committed') return result.head
  }
}

function makeDirectory(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'tidemark-lmdb-'))
}

async function useLmdb(path: string, options: object): Promise<void> {
  const other = lmdb.open<string, string>(path, { noSubdir: false, overlappingSync: false, ...options })
  await other.put('greeting', 'hello')
  await other.close()
}

/** The bytes of what is in the way, if it is a file or has a known one. */
async function contentOf(path: string): Promise<Buffer | undefined> {
  for (const file of [path, join(path, 'notes.txt'), join(path, 'data.mdb')]) {
    const content = await readFile(file).catch(() => undefined)
    if (content !== undefined) return content
  }
  return undefined
}

// ── Children ────────────────────────────────────────────────────────────────────────────────────────────────────────

type Child = ChildProcessByStdio<null, Readable, null>

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

function jobCommand(...job: readonly string[]): string[] {
  return [process.execPath, '--import', 'tsx', fileURLToPath(new URL('lmdb-child.ts', import.meta.url)), ...job]
}

function start([command = '', ...options]: readonly string[]): Child {
  return spawn(command, options, { cwd: ROOT, stdio: ['ignore', 'pipe', 'ignore'] })
}

/** Kills a job as soon as it has said `count` lines; gives all that it said until it was dead. */
async function killAfter(count: number, ...job: readonly string[]): Promise<string[]> {
  const child = start(jobCommand(...job))
  return linesOf(child, (lines) => {
    if (lines === count) child.kill('SIGKILL')
  })
}

/** What a child says until its end. */
async function linesOf(child: Child, onLine: (count: number) => void = () => {}): Promise<string[]> {
  const lines: string[] = []
  createInterface({ input: child.stdout }).on('line', (line) => {
    lines.push(line)
    onLine(lines.length)
  })
  await once(child, 'close')
  return lines
}
