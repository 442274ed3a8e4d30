/**
 * A simulated disk, and the store port on it.
 *
 * Knows: time, bytes, and what a crash leaves of them. Must never know: what the bytes mean.
 *
 * Invariants:
 * 1  Reads see what is flushed, and nothing else. A commit may be flushed before its owner is told.
 * 2  Commits are flushed one after the other, in the order of their calls (S6 of the port).
 * 3  A crash keeps what is flushed. Of what its owner still waited for, a prefix is kept.
 */
import { TidemarkError } from '../../core/errors.ts'
import type { Store, StoreCommit, StoreCommitResult, StoreEntry, StoreRange } from '../../core/store.ts'
import { ByteTree } from '../../core/stores/byte-tree.ts'
import { type DiskProfile, DiskTrouble } from './disk-trouble.ts'
import type { Incarnation } from './incarnation.ts'
import type { Random } from './random.ts'
import type { Scheduler } from './scheduler.ts'

/** What a replica's data stands on. */
export interface Disk {
  readonly trouble: DiskTrouble
  /** Commits wait to be flushed, or somebody waits for what a slow disk reads. */
  readonly isBusy: boolean
  open(owner: Incarnation): Store
  /** The owner of a handle is gone. */
  crash(handle: Store): void
  image(): DiskImage
  /** Replaces all that is there. */
  load(image: DiskImage | undefined): void
}

/** Sees every commit at the moment at which it becomes durable. */
export type FlushWatcher = (commit: StoreCommit) => void

/** All that a disk holds at one moment. */
export interface DiskImage {
  readonly head: number
  readonly entries: readonly StoreEntry[]
}

interface Pending {
  readonly handle: SimulatedStore
  readonly commit: StoreCommit
  readonly settle: (outcome: StoreCommitResult | TidemarkError) => void
}

export interface DiskOptions {
  readonly scheduler: Scheduler
  readonly random: Random
  readonly profile: DiskProfile
  readonly onFlush: FlushWatcher
  /** Told of each fault that took effect. */
  readonly onFault: (kind: string) => void
}

export const EVERYTHING: StoreRange = {
  from: new Uint8Array(0),
  to: new Uint8Array(600).fill(255),
  limit: 1_000_000,
}

export class SimulatedDisk implements Disk {
  readonly trouble: DiskTrouble
  readonly #options: DiskOptions
  #tree = new ByteTree()
  #head = 0
  #pending: Pending[] = []
  /** Slow reads that are under way. */
  #reads = 0
  #isFlushing = false

  constructor(options: DiskOptions) {
    this.#options = options
    this.trouble = new DiskTrouble(options.random, options.profile)
  }

  open(owner: Incarnation): SimulatedStore {
    return new SimulatedStore(this, owner)
  }

  /** The owner of a handle is gone. */
  crash(handle: Store): void {
    const { random } = this.#options
    const own = this.#pending.filter((pending) => pending.handle === handle)
    this.#pending = this.#pending.filter((pending) => pending.handle !== handle)
    for (const { commit } of own) {
      if (random.chance(0.5)) break
      if (this.#flush(commit).type !== 'committed') break
      this.#options.onFault('flushed before a crash, not acknowledged')
    }
  }

  image(): DiskImage {
    return { head: this.#head, entries: this.scan(EVERYTHING) }
  }

  /** Replaces all that is there. */
  load(image: DiskImage | undefined): void {
    this.#tree = new ByteTree()
    this.#head = image?.head ?? 0
    for (const { key, value } of image?.entries ?? []) this.#tree.set(key, value)
  }

  // ── What the handles do ───────────────────────────────────────────────────────────────────────────────────────────

  /** Commits wait to be flushed, or somebody waits for what a slow disk reads. */
  get isBusy(): boolean {
    return this.#isFlushing || this.#reads > 0
  }

  get head(): number {
    return this.#head
  }

  get(key: Uint8Array): Uint8Array | undefined {
    return this.#tree.get(key)
  }

  scan({ from, to, reverse = false, limit, bytesMax = Number.POSITIVE_INFINITY }: StoreRange): StoreEntry[] {
    const entries: StoreEntry[] = []
    if (limit < 1) return entries
    let bytes = 0
    this.#tree.scan(from, to, reverse, (key, value) => {
      entries.push({ key, value })
      bytes += key.length + value.length
      return entries.length < limit && bytes <= bytesMax
    })
    return entries
  }

  read<Answer>(owner: Incarnation, answer: () => Answer): Promise<Answer> {
    const slowMs = this.trouble.slowReadMs()
    if (slowMs === undefined && owner.isAlive && !owner.isPaused) {
      const error = this.#failedRead()
      return error === undefined ? Promise.resolve(answer()) : Promise.reject(error)
    }
    return new Promise((resolve, reject) => {
      this.#reads++
      this.#options.scheduler.after(slowMs ?? this.trouble.readMs(), () => {
        this.#reads--
        owner.run(() => {
          const error = this.#failedRead()
          if (error === undefined) resolve(answer())
          else reject(error)
        })
      })
    })
  }

  #failedRead(): TidemarkError | undefined {
    const error = this.trouble.failedRead()
    if (error !== undefined) this.#options.onFault('failed read')
    return error
  }

  commit(handle: SimulatedStore, commit: StoreCommit): Promise<StoreCommitResult> {
    return new Promise((resolve, reject) => {
      const settle = (outcome: StoreCommitResult | TidemarkError): void =>
        handle.owner.run(() => (outcome instanceof TidemarkError ? reject(outcome) : resolve(outcome)))
      this.#pending.push({ handle, commit, settle })
      this.#work()
    })
  }

  #work(): void {
    if (this.#isFlushing || this.#pending.length === 0) return
    this.#isFlushing = true
    this.#options.scheduler.after(this.trouble.flushMs(), () => {
      this.#isFlushing = false
      const pending = this.#pending.shift()
      if (pending !== undefined) this.#carryOut(pending)
      this.#work()
    })
  }

  #carryOut({ commit, settle }: Pending): void {
    const { random, scheduler, onFault } = this.#options
    const outcome = this.#attempt(commit)
    if (outcome instanceof TidemarkError) onFault(outcome.code)
    if (random.chance(0.5)) settle(outcome)
    else scheduler.after(random.next(), () => settle(outcome))
  }

  #attempt(commit: StoreCommit): StoreCommitResult | TidemarkError {
    const failed = this.trouble.failedFlush()
    if (failed === undefined || failed.isKept) {
      const result = this.#flush(commit)
      if (failed === undefined) return result
    }
    return failed.error
  }

  #flush(commit: StoreCommit): StoreCommitResult {
    if (commit.expectedHead !== this.#head) return { type: 'head-moved', head: this.#head }
    for (const key of commit.deletes) this.#tree.delete(key)
    for (const { key, value } of commit.puts) this.#tree.set(key, value)
    this.#head++
    this.#options.onFlush(commit)
    return { type: 'committed', head: this.#head }
  }
}

/** One handle of a process on a disk. */
export class SimulatedStore implements Store {
  readonly owner: Incarnation
  readonly #disk: SimulatedDisk
  #isClosed = false

  constructor(disk: SimulatedDisk, owner: Incarnation) {
    this.#disk = disk
    this.owner = owner
  }

  head(): Promise<number> {
    return this.#open().read(this.owner, () => this.#disk.head)
  }

  getMany(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    return this.#open().read(this.owner, () => keys.map((key) => this.#disk.get(key)))
  }

  range(range: StoreRange): Promise<readonly StoreEntry[]> {
    return this.#open().read(this.owner, () => this.#disk.scan(range))
  }

  commit(commit: StoreCommit): Promise<StoreCommitResult> {
    return this.#open().commit(this, commit)
  }

  close(): Promise<void> {
    this.#isClosed = true
    return Promise.resolve()
  }

  #open(): SimulatedDisk {
    if (this.#isClosed) throw new TidemarkError('store-closed', 'the simulated store is closed')
    return this.#disk
  }
}
