/**
 * Where the server keeps what it keeps: the registry of tenants, and the tenants of each isolation mode.
 *
 * In a data directory: `registry`, `shared` and `namespaces` are stores of that use; a directory that is named by a hash
 * is a dedicated tenant's. What is not used is not made.
 *
 * Knows: LMDB, directories, stores that a program opens by itself. Must never know: what lies in them.
 *
 * Invariants:
 * Y4  No name of a tenant means anything to a file system: dedicated stores are named by its hash.
 * Y5  A store that many tenants share is opened once for all of them, when the first one asks.
 */
import { createHash } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type Store, type TenantName, TidemarkError } from '../core/index.ts'
import { openLmdbEnvironment, openLmdbStore } from '../core/stores/lmdb.ts'
import { openMemoryStore } from '../core/stores/memory.ts'
import { type IsolationMode, SharedStores, type StoreFactory } from '../tenant/index.ts'

export interface ServerStores {
  openRegistry(): Promise<Store>
  /** What tenants of each mode live in. */
  readonly byMode: Readonly<Partial<Record<IsolationMode, StoreFactory>>>
  /** Closes what many tenants share. Their own stores and the registry are closed by whoever opened them. */
  close(): Promise<void>
}

/** Stores that a program opens by itself. */
export interface StoreOpener {
  readonly openStore: (tenant: TenantName) => Store | Promise<Store>
  readonly removeStore: ((tenant: TenantName) => void | Promise<void>) | undefined
  readonly openRegistry: (() => Store | Promise<Store>) | undefined
}

export function storesIn(dataDir: string): ServerStores {
  const shared = new LazyStores(async () => new SharedStores(await openLmdbStore(join(dataDir, 'shared'))))
  const namespace = new LazyStores(() => openLmdbEnvironment(join(dataDir, 'namespaces')))
  const dedicated: StoreFactory = {
    open: (name) => openLmdbStore(directoryOf(dataDir, name)),
    remove: (name) => rm(directoryOf(dataDir, name), { recursive: true, force: true }),
  }
  return {
    openRegistry: () => openLmdbStore(join(dataDir, 'registry')),
    byMode: { dedicated, namespace, shared },
    close: async () => {
      await Promise.all([shared.close(), namespace.close()])
    },
  }
}

/** Tenants are dedicated, and a registry that nobody keeps is as short-lived as the server. */
export function storesOf({ openStore, removeStore, openRegistry = openMemoryStore }: StoreOpener): ServerStores {
  const dedicated: StoreFactory = {
    open: async (name) => openStore(name as TenantName),
    remove: async (name) => {
      if (removeStore !== undefined) return removeStore(name as TenantName)
      throw new TidemarkError('bad-option', 'this server was not told how to remove a store', {
        remedy: 'Give `removeStore` beside `openStore`',
      })
    },
  }
  return { openRegistry: async () => openRegistry(), byMode: { dedicated }, close: async () => {} }
}

function directoryOf(dataDir: string, name: string): string {
  return join(dataDir, createHash('sha256').update(name).digest('hex').slice(0, 32))
}

interface ClosableStores extends StoreFactory {
  close(): Promise<void>
}

class LazyStores implements StoreFactory {
  readonly #openAll: () => Promise<ClosableStores>
  #opening: Promise<ClosableStores> | undefined

  constructor(openAll: () => Promise<ClosableStores>) {
    this.#openAll = openAll
  }

  async open(name: string): Promise<Store> {
    return (await this.#all()).open(name)
  }

  async remove(name: string): Promise<void> {
    return (await this.#all()).remove(name)
  }

  async close(): Promise<void> {
    await (await this.#opening)?.close()
  }

  /** A failure to open is told to those who asked, and not kept. */
  #all(): Promise<ClosableStores> {
    this.#opening ??= this.#openAll().catch((error: unknown) => {
      this.#opening = undefined
      throw error
    })
    return this.#opening
  }
}
