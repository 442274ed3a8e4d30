/**
 * The store port in memory: the reference that the others are measured by, and what tests and short-lived replicas use.
 *
 * Knows: heads, handles, and the tree that holds the bytes. Must never know: what the bytes mean, or any platform.
 *
 * "Stable storage" (S2, S3) is the disk object: its data outlives every handle, and nothing else. A commit is applied
 * before `commit` returns its promise, so that S5 and S6 hold by themselves.
 */
import { TidemarkError } from '../errors.ts'
import type { Store, StoreCommit, StoreCommitResult, StoreEntry, StoreRange } from '../store.ts'
import { ByteTree } from './byte-tree.ts'

/** Data that several handles share, like the tabs of a browser or the runs of a process. */
export interface MemoryDisk {
  open(): Store
}

/** A store of its own, gone with its last reference. */
export function openMemoryStore(): Store {
  return createMemoryDisk().open()
}

export function createMemoryDisk(): MemoryDisk {
  const content: Content = { tree: new ByteTree(), head: 0 }
  return { open: () => new MemoryStore(content) }
}

/** One store for each name, there for as long as what this answers: for servers that keep nothing. */
export function createMemoryStores(): (name: string) => Store {
  const disks = new Map<string, MemoryDisk>()
  return (name) => {
    const disk = disks.get(name) ?? createMemoryDisk()
    disks.set(name, disk)
    return disk.open()
  }
}

interface Content {
  readonly tree: ByteTree
  head: number
}

class MemoryStore implements Store {
  readonly #content: Content
  #isClosed = false

  constructor(content: Content) {
    this.#content = content
  }

  async head(): Promise<number> {
    return this.#open().head
  }

  async getMany(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    const { tree } = this.#open()
    return keys.map((key) => tree.get(key))
  }

  async range(range: StoreRange): Promise<readonly StoreEntry[]> {
    const { tree } = this.#open()
    const { from, to, reverse = false, limit, bytesMax = Number.POSITIVE_INFINITY } = range
    const entries: StoreEntry[] = []
    if (limit < 1) return entries
    let bytes = 0
    tree.scan(from, to, reverse, (key, value) => {
      entries.push({ key, value })
      bytes += key.length + value.length
      return entries.length < limit && bytes <= bytesMax
    })
    return entries
  }

  async commit(commit: StoreCommit): Promise<StoreCommitResult> {
    const content = this.#open()
    if (commit.expectedHead !== content.head) return { type: 'head-moved', head: content.head }
    for (const key of commit.deletes) content.tree.delete(key)
    for (const { key, value } of commit.puts) content.tree.set(key, value)
    content.head++
    return { type: 'committed', head: content.head }
  }

  async close(): Promise<void> {
    this.#isClosed = true
  }

  #open(): Content {
    if (this.#isClosed) throw new TidemarkError('store-closed', 'the store is closed')
    return this.#content
  }
}
