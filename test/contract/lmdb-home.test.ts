/** Copies of a directory with a store in it, while somebody has the original open, and when nobody has. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { openLmdbEnvironment, openLmdbStore } from '../../core/stores/lmdb.ts'
import { batchCommit } from './numbered-batches.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

let folder: string
let [original, copy] = ['', '']

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tidemark-home-'))
  original = join(folder, 'original')
  copy = join(folder, 'copy')
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const copyDirectory = (): Promise<void> => cp(original, copy, { recursive: true })
const openAndClose = async (path: string): Promise<void> => (await openLmdbStore(path)).close()

/** A process of its own that writes there until it is killed; resolves when it has begun. */
async function startWriter(path: string): Promise<ChildProcess> {
  const job = ['--import', 'tsx', fileURLToPath(new URL('lmdb-child.ts', import.meta.url)), 'batches', path]
  const child = spawn(process.execPath, job, { cwd: ROOT, stdio: ['ignore', 'pipe', 'ignore'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  await once(child.stdout, 'data')
  child.stdout.resume()
  return child
}

describe('LH1: a copied directory', () => {
  test('is refused while this process has the original open, with both paths, and then not any more', async () => {
    const store = await openLmdbStore(original)
    await store.commit(batchCommit(1))
    await copyDirectory()
    const refusal = { code: 'replica-cloned', details: { path: copy, original, pid: process.pid } }
    await expect(openLmdbStore(copy)).rejects.toMatchObject(refusal)
    await expect(openLmdbStore(copy)).rejects.toThrow(
      `${copy} is a copy of ${original}, which process ${process.pid} has open`,
    )
    await store.close()
    const copied = await openLmdbStore(copy)
    expect(await copied.head()).toBe(1)
    // It is at home there now: the original is the copy of nobody.
    await openAndClose(original)
    await copied.close()
  })

  test('is refused while another process has the original open, until that one is killed', async () => {
    const writer = await startWriter(original)
    await copyDirectory()
    const refusal = { code: 'replica-cloned', details: { path: copy, original, pid: writer.pid } }
    await expect(openLmdbStore(copy)).rejects.toMatchObject(refusal)
    writer.kill('SIGKILL')
    await once(writer, 'close')
    await openAndClose(copy)
    await openAndClose(original)
    expect((await readdir(original)).filter((name) => name.startsWith('.open-'))).toEqual([])
  })

  test('that was made while nobody had it open is refused as well, once somebody has', async () => {
    await openAndClose(original)
    await copyDirectory()
    const store = await openLmdbStore(original)
    await expect(openLmdbStore(copy)).rejects.toMatchObject({ code: 'replica-cloned' })
    await store.close()
  })

  test('of many stores is refused, too', async () => {
    const many = await openLmdbEnvironment(original)
    await copyDirectory()
    await expect(openLmdbEnvironment(copy)).rejects.toMatchObject({ code: 'replica-cloned' })
    await many.close()
    await (await openLmdbEnvironment(copy)).close()
  })
})

describe('LH1: data.mdb copied alone', () => {
  const copyData = async (): Promise<void> => {
    await mkdir(copy, { recursive: true })
    await cp(join(original, 'data.mdb'), join(copy, 'data.mdb'))
  }

  test('is refused while somebody has the original open, and changed only when nobody has', async () => {
    const store = await openLmdbStore(original)
    await store.commit(batchCommit(1))
    await copyData()
    const before = await readFile(join(copy, 'data.mdb'))
    const refusal = { code: 'replica-cloned', details: { path: copy, original, pid: process.pid } }
    for (let times = 0; times < 2; times++) await expect(openLmdbStore(copy)).rejects.toMatchObject(refusal)
    expect((await readFile(join(copy, 'data.mdb'))).equals(before)).toBe(true)
    await store.close()
    const copied = await openLmdbStore(copy)
    expect(await copied.head()).toBe(1)
    await openAndClose(original)
    await copied.close()
  })

  test('is refused in the place of other data as well, and takes its id along', async () => {
    await openAndClose(copy)
    const writer = await startWriter(original)
    await copyData()
    await expect(openLmdbStore(copy)).rejects.toMatchObject({ code: 'replica-cloned', details: { pid: writer.pid } })
    writer.kill('SIGKILL')
    await once(writer, 'close')
    const copied = await openLmdbStore(copy)
    const third = join(folder, 'third')
    await cp(copy, third, { recursive: true })
    await expect(openLmdbStore(third)).rejects.toMatchObject({ code: 'replica-cloned', details: { original: copy } })
    await copied.close()
  })

  test('of many stores is refused, too, and of another machine or a moved original it is not', async () => {
    const many = await openLmdbEnvironment(original)
    await (await many.open('a')).commit(batchCommit(1))
    await copyData()
    await expect(openLmdbEnvironment(copy)).rejects.toMatchObject({ code: 'replica-cloned' })
    await many.close()
    await rename(original, join(folder, 'moved'))
    const moved = await openLmdbEnvironment(join(folder, 'moved'))
    // Where the data says that it was there is nothing, or something else that somebody has open.
    await (await openLmdbEnvironment(copy)).close()
    await moved.close()
  })
})

describe('a directory', () => {
  test('is open as often as anybody likes, here and elsewhere, also by another name', async () => {
    const [first, second] = [await openLmdbStore(original), await openLmdbStore(join(copy, '..', 'original'))]
    await startWriter(original)
    await first.close()
    const third = await openLmdbStore(original)
    await second.close()
    await third.close()
  })

  test('that was moved is no copy, whatever has taken its place', async () => {
    await openAndClose(original)
    await rename(original, copy)
    await openAndClose(copy)
    await rename(copy, join(folder, 'third'))
    const other = await openLmdbStore(copy)
    await openAndClose(join(folder, 'third'))
    await other.close()
  })

  test('LH2: opens although its marks are damaged, or cannot be written', async () => {
    await openAndClose(original)
    for (const content of ['', '{', 'null', '{"path":7}', '{"path":"/nowhere","id":"x"}']) {
      await writeFile(join(original, '.home'), content)
      await openAndClose(original)
    }
    await rm(join(original, '.home'))
    await writeFile(join(original, '.open-999999999'), '')
    await writeFile(join(original, '.open-x'), '')
    await openAndClose(original)
    expect((await readdir(original)).filter((name) => name.startsWith('.open-'))).toEqual(['.open-x'])
  })
})
