/**
 * Disks of each kind, as they were after each commit of a recording.
 *
 * Knows: how a store of each adapter is filled and copied. Must never know: what is in it.
 */
import { cp, mkdtemp, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { IDBFactory, IDBKeyRange } from 'fake-indexeddb'
import type { Store } from '../../core/store.ts'
import { openIndexedDbStore } from '../../core/stores/indexeddb.ts'
import { openLmdbStore } from '../../core/stores/lmdb.ts'
import { createMemoryDisk } from '../../core/stores/memory.ts'
import { fill } from './aftermath.ts'
import { DiskContent, type RecordedCommit } from './recording.ts'

/** A disk that a recording is played onto. */
export interface PlayedDisk {
  play(commit: RecordedCommit): Promise<void>
  /** A store on a copy of the disk as it is now; `end` when it is not needed any more. */
  copy(): Promise<{ readonly store: Store; readonly end: () => Promise<void> }>
  end(): Promise<void>
}

export type Adapter = () => Promise<PlayedDisk>

/** Disks that are put together from what they hold. */
function playedInMemory(open: () => Promise<Store>): Adapter {
  return async () => {
    const content = new DiskContent()
    return {
      play: async (commit) => content.play(commit),
      copy: async () => {
        const store = await open()
        await fill(store, content.entries)
        return { store, end: () => store.close() }
      },
      end: async () => {},
    }
  }
}

export const memoryAdapter: Adapter = playedInMemory(async () => createMemoryDisk().open())

// fake-indexeddb asks for `detached`, and where that is missing (Node 20) takes every empty key for a detached one.
if (!('detached' in ArrayBuffer.prototype)) {
  Object.defineProperty(ArrayBuffer.prototype, 'detached', { get: () => false, configurable: true })
}

export const indexedDbAdapter: Adapter = playedInMemory(() =>
  openIndexedDbStore('tenant', { indexedDB: new IDBFactory(), IDBKeyRange }),
)

/** An LMDB environment that is copied between commits, files and all. */
export const lmdbAdapter: Adapter = async () => {
  const place = await mkdtemp(join(tmpdir(), 'tidemark-crash-'))
  const content = new DiskContent()
  let number = 0
  let path = join(place, '0')
  let store = await openLmdbStore(path)
  let head = 0
  return {
    play: async (commit) => {
      content.play(commit)
      if (commit.isRestore) {
        await store.close()
        path = join(place, `${++number}`)
        store = await openLmdbStore(path)
        head = 0
      }
      await store.commit({ expectedHead: head++, puts: commit.puts, deletes: commit.deletes })
    },
    copy: async () => {
      const copyPath = join(place, `${++number}`)
      // What a crash leaves, beside what goes on: two stores that would not be opened together where they are known as such.
      // So the one that goes on has no mark while the other one moves in, as if it were on another machine.
      await cp(path, copyPath, { recursive: true, filter: (source) => !basename(source).startsWith('.') })
      const [mark, aside] = [join(path, '.home'), join(place, 'home')]
      await rename(mark, aside)
      const copied = await openLmdbStore(copyPath)
      await rename(aside, mark)
      return {
        store: copied,
        end: async () => {
          await copied.close()
          await rm(copyPath, { recursive: true, force: true })
        },
      }
    },
    end: async () => {
      await store.close()
      await rm(place, { recursive: true, force: true })
    },
  }
}
