/**
 * Places for tenants of each mode, with a view on every byte that lies in them.
 *
 * Knows: memory and LMDB stores. Must never know: tenants, ledgers.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Store, StoreEntry } from '../../core/store.ts'
import { type LmdbEnvironment, openLmdbEnvironment, openLmdbStore } from '../../core/stores/lmdb.ts'
import { createMemoryDisk, type MemoryDisk } from '../../core/stores/memory.ts'
import { type IsolationMode, SharedStores, type StoreFactory } from '../../tenant/index.ts'

/** Where tenants live, and where the registry does. Outlives every manager that is opened on it. */
export interface Place {
  readonly mode: IsolationMode
  openRegistry(): Promise<Store>
  openFactory(): Promise<StoreFactory>
  /** Closes what `openFactory` opened, as the end of the process would. */
  closeFactory(factory: StoreFactory): Promise<void>
  /** All there is, of all tenants. */
  entries(): Promise<readonly StoreEntry[]>
  cleanup(): Promise<void>
}

const ALL = { from: new Uint8Array(0), to: new Uint8Array([255]), limit: 1_000_000 }

/** One store for all; `openOuter` opens the same one each time. */
export async function sharedPlace(openOuter: () => Promise<Store>, cleanup: () => Promise<void>): Promise<Place> {
  const registry = createMemoryDisk()
  return {
    mode: 'shared',
    openRegistry: async () => registry.open(),
    openFactory: async () => new SharedStores(await openOuter()),
    closeFactory: (factory) => (factory as SharedStores).close(),
    entries: async () => (await openOuter()).range(ALL),
    cleanup,
  }
}

export async function sharedMemoryPlace(): Promise<Place> {
  const disk = createMemoryDisk()
  return sharedPlace(
    async () => disk.open(),
    async () => {},
  )
}

export async function sharedLmdbPlace(): Promise<Place> {
  const directory = mkdtempSync(join(tmpdir(), 'tidemark-shared-'))
  const opened: Store[] = []
  const open = async (): Promise<Store> => {
    const store = await openLmdbStore(directory)
    opened.push(store)
    return store
  }
  return sharedPlace(open, async () => {
    await Promise.all(opened.map((store) => store.close()))
    rmSync(directory, { recursive: true })
  })
}

/** A store for each name. */
export async function memoryPlace(mode: IsolationMode): Promise<Place> {
  const registry = createMemoryDisk()
  const disks = new Map<string, MemoryDisk>()
  const factory: StoreFactory = {
    open: async (name) => {
      const disk = disks.get(name) ?? createMemoryDisk()
      disks.set(name, disk)
      return disk.open()
    },
    remove: async (name) => {
      disks.delete(name)
    },
  }
  return {
    mode,
    openRegistry: async () => registry.open(),
    openFactory: async () => factory,
    closeFactory: async () => {},
    entries: async () => (await Promise.all([...disks.values()].map((disk) => disk.open().range(ALL)))).flat(),
    cleanup: async () => {},
  }
}

/** One LMDB environment, with a database for each name. */
export async function environmentPlace(): Promise<Place> {
  const directory = mkdtempSync(join(tmpdir(), 'tidemark-namespace-'))
  const registry = createMemoryDisk()
  const names = new Set<string>()
  const environments = new Map<StoreFactory, LmdbEnvironment>()
  return {
    mode: 'namespace',
    openRegistry: async () => registry.open(),
    openFactory: async () => {
      const environment = await openLmdbEnvironment(directory)
      const factory: StoreFactory = {
        open: (name) => {
          names.add(name)
          return environment.open(name)
        },
        remove: (name) => environment.remove(name),
      }
      environments.set(factory, environment)
      return factory
    },
    closeFactory: async (factory) => environments.get(factory)?.close(),
    entries: async () => {
      const environment = await openLmdbEnvironment(directory)
      const entries: StoreEntry[] = []
      for (const name of names) entries.push(...(await (await environment.open(name)).range(ALL)))
      await environment.close()
      return entries
    },
    cleanup: async () => rmSync(directory, { recursive: true }),
  }
}

/** A directory for each name. */
export async function lmdbPlace(): Promise<Place> {
  const directory = mkdtempSync(join(tmpdir(), 'tidemark-dedicated-'))
  const registry = createMemoryDisk()
  const names = new Set<string>()
  const factory: StoreFactory = {
    open: async (name) => {
      names.add(name)
      return openLmdbStore(join(directory, name))
    },
    remove: async (name) => {
      names.delete(name)
      rmSync(join(directory, name), { recursive: true, force: true })
    },
  }
  return {
    mode: 'dedicated',
    openRegistry: async () => registry.open(),
    openFactory: async () => factory,
    closeFactory: async () => {},
    entries: async () => {
      const entries: StoreEntry[] = []
      for (const name of names) {
        const store = await openLmdbStore(join(directory, name))
        entries.push(...(await store.range(ALL)))
        await store.close()
      }
      return entries
    },
    cleanup: async () => rmSync(directory, { recursive: true }),
  }
}
