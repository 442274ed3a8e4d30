/**
 * The other process of the LMDB tests: `lmdb-child.ts <job> <directory> …`. Answers with lines on its standard output.
 *
 * Knows: the three jobs below. Must never know: who started it, and when it will be killed.
 */
import { writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { TidemarkError } from '../../core/errors.ts'
import type { Store, StoreEntry } from '../../core/store.ts'
import { openLmdbStore } from '../../core/stores/lmdb.ts'
import { batchCommit } from './numbered-batches.ts'

const [job, directory = '', count = '0'] = process.argv.slice(2)

switch (job) {
  case 'batches':
    await commitBatches(directory)
    break
  case 'increments':
    await increment(directory, Number(count))
    break
  case 'fill':
    await fillDisk(directory)
    break
  default:
    throw new Error(`no such job: ${job}`)
}

/** Commits numbered batches, two at a time, and says each number when it is acknowledged. Goes on until killed. */
async function commitBatches(path: string): Promise<void> {
  const store = await openLmdbStore(path)
  const commitAndSay = async (number: number): Promise<void> => {
    const { type } = await store.commit(batchCommit(number))
    say(`${type} ${number}`)
  }
  for (let number = (await store.head()) + 1; ; number += 2) {
    await Promise.all([commitAndSay(number), commitAndSay(number + 1)])
  }
}

/** Adds one to the number under the key 1, `times` times, against everybody else who does. */
async function increment(path: string, times: number): Promise<void> {
  const store = await openLmdbStore(path)
  const key = new Uint8Array([1])
  for (let done = 0; done < times; ) {
    const expectedHead = await store.head()
    const [value = new Uint8Array(4)] = await store.getMany([key])
    const next = new Uint8Array(Uint32Array.of((new Uint32Array(value.slice().buffer)[0] ?? 0) + 1).buffer)
    const { type } = await store.commit({ expectedHead, puts: [{ key, value: next }], deletes: [] })
    if (type === 'committed') done++
  }
  await store.close()
  say('done')
}

/** Commits until the small disk is full, makes room, and goes on. */
async function fillDisk(path: string): Promise<void> {
  const ballast = join(path, 'ballast')
  const store = await openLmdbStore(join(path, 'tenant'))
  writeFileSync(ballast, new Uint8Array(1 << 21))
  const full = await commitUntilRefused(store)
  say(`commit: ${full}`)
  say(`open: ${await openLmdbStore(join(path, 'other')).catch(codeOf)}`)
  const head = await store.head()
  const found = await store.range({ from: new Uint8Array(0), to: new Uint8Array([255]), limit: 1000 })
  say(`kept: ${found.length === head}`)
  writeFileSync(ballast, '')
  const { type } = await store.commit({ expectedHead: head, puts: [largeEntry(head)], deletes: [] })
  say(`afterwards: ${type}`)
  await store.close()
}

async function commitUntilRefused(store: Store): Promise<unknown> {
  for (let head = await store.head(); ; head++) {
    try {
      await store.commit({ expectedHead: head, puts: [largeEntry(head)], deletes: [] })
    } catch (error) {
      return codeOf(error)
    }
  }
}

function largeEntry(number: number): StoreEntry {
  const value = new Uint8Array(100_000)
  // Noise, so that it takes its length on the disk.
  for (let at = 0, state = number; at < value.length; at++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0
    value[at] = state >>> 24
  }
  return { key: new Uint8Array([number]), value }
}

function codeOf(error: unknown): unknown {
  return error instanceof TidemarkError ? error.code : error
}

/** Before anything else happens; a kill may follow. */
function say(line: string): void {
  writeSync(1, `${line}\n`)
}
