/**
 * A machine with tenants of every mode: disks that outlive processes which stop, or hold still, at any of their commits.
 *
 * Knows: stores in memory, managers. Must never know: the steps of a move.
 */
import { parseTenantName, type Store, TidemarkError } from '../../core/index.ts'
import { createMemoryDisk, type MemoryDisk } from '../../core/stores/memory.ts'
import { type IsolationMode, SharedStores, type StoreFactory, TenantManager } from '../../tenant/index.ts'
import { type Client, NOW_MS, readNotes, sync } from './session.ts'

export const ACME = parseTenantName('acme')
export const ALL = { from: new Uint8Array(0), to: new Uint8Array([255]), limit: 1_000_000 }
export const MODES = ['shared', 'namespace', 'dedicated'] as const
export const PAIRS = MODES.flatMap((from) => MODES.filter((to) => to !== from).map((to) => [from, to] as const))
/** A mover that gave no sign of life for so long is dead. */
export const PATIENCE_MS = 10_000

/** Asked before each commit and each removal of a store; that waits for the answer. */
export type OnCommit = () => void | Promise<void>

export class Machine {
  readonly registry = createMemoryDisk()
  readonly shared = createMemoryDisk()
  readonly disks = new Map<string, MemoryDisk>()
  #nowMs = 0

  /** Time goes by, for all processes. */
  wait(milliseconds: number): void {
    this.#nowMs += milliseconds
  }

  start(onCommit: OnCommit = () => {}, onReload?: () => void): Promise<TenantManager> {
    const watched = (store: Store): Store => ({
      head: () => store.head(),
      getMany: (keys) => store.getMany(keys),
      range: (range) => store.range(range),
      commit: async (commit) => {
        await onCommit()
        return store.commit(commit)
      },
      close: () => store.close(),
    })
    const stores = (mode: IsolationMode): StoreFactory => ({
      open: async (name) => {
        const disk = this.disks.get(`${mode}/${name}`) ?? createMemoryDisk()
        this.disks.set(`${mode}/${name}`, disk)
        return watched(disk.open())
      },
      remove: async (name) => {
        await onCommit()
        this.disks.delete(`${mode}/${name}`)
      },
    })
    return TenantManager.open({
      registry: watched(this.registry.open()),
      stores: {
        shared: new SharedStores(watched(this.shared.open())),
        namespace: stores('namespace'),
        dedicated: stores('dedicated'),
      },
      now: () => NOW_MS,
      monotonicMs: () => this.#nowMs,
      onReload,
    })
  }

  /** How much of the tenant lies in each kind of place. */
  async footprint(): Promise<Record<IsolationMode, number>> {
    const count = async (disk: MemoryDisk | undefined): Promise<number> =>
      disk === undefined ? 0 : (await disk.open().range(ALL)).length
    return {
      shared: await count(this.shared),
      namespace: await count(this.disks.get('namespace/acme')),
      dedicated: await count(this.disks.get('dedicated/acme')),
    }
  }
}

/** Ends a process before its nth commit: none of those that follow takes place. */
export function dyingAfter(commits: number): OnCommit {
  let left = commits
  return () => {
    if (left-- <= 0) throw new TidemarkError('store-failed', 'power cut')
  }
}

/** Holds a process still before its nth commit, and lets it go on when it is told to. */
export function pausingAfter(commits: number): {
  readonly onCommit: OnCommit
  /** Resolves when it holds still. */
  readonly paused: Promise<'paused'>
  readonly resume: () => void
} {
  let left = commits
  let tell: (state: 'paused') => void = () => {}
  let resume: () => void = () => {}
  const paused = new Promise<'paused'>((resolve) => {
    tell = resolve
  })
  const resumed = new Promise<void>((resolve) => {
    resume = resolve
  })
  const onCommit = async (): Promise<void> => {
    if (left-- !== 0) return
    tell('paused')
    await resumed
  }
  return { onCommit, paused, resume }
}

/** Inserts notes and brings them to the tenant. */
export async function write(manager: TenantManager, client: Client, ids: readonly string[]): Promise<void> {
  const { tenant, release } = await manager.lease(ACME)
  for (const id of ids) await client.table('notes').insert({ id, text: `text of ${id}` })
  await sync(client, tenant.hub).finally(release)
}

/** The ids of all notes that the tenant holds. */
export async function read(manager: TenantManager): Promise<readonly string[]> {
  const { tenant, release } = await manager.lease(ACME)
  const notes = await readNotes('acme', tenant.hub).finally(release)
  return notes.map(({ id }) => id).toSorted()
}
