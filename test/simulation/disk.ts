/**
 * A simulated disk, and the store port on it.
 *
 * Knows: time, bytes, and all that a disk can do to its owner. Must never know: what the bytes mean.
 *
 * Invariants:
 * 1  Reads see what is flushed, and nothing else. A commit may be flushed before its owner is told.
 * 2  Commits are flushed one after the other, in the order of their calls (S6 of the port).
 * 3  A crash keeps what is flushed. Of what its owner still waited for, a prefix is kept.
 */
import { TidemarkError } from '../../core/errors.ts'
import type { Store, StoreCommit, StoreCommitResult, StoreEntry, StoreRange } from '../../core/store.ts'
import { ByteTree } from '../../core/stores/byte-tree.ts'
import type { Incarnation } from './incarnation.ts'
import type { Random } from './random.ts'
import type { Scheduler } from './scheduler.ts'

export interface DiskProfile {
  /** A usual flush; the time of each is spread around it. */
  readonly flushMs: number
  /** How many of the reads take time at all, and how much. */
  readonly slowReads: number
  readonly readMs: number
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

const EVERYTHING: StoreRange = {
  from: new Uint8Array(0),
  to: new Uint8Array(600).fill(255),
  limit: Number.POSITIVE_INFINITY,
}

export class SimulatedDisk {
  readonly #options: DiskOptions
  #tree = new ByteTree()
  #head = 0
  #pending: Pending[] = []
  /** Slow reads that are under way. */
  #reads = 0
  #isFlushing = false
  #slowness = 1
  #isFull = false
  #isFailing = false
  #failures: boolean[] = []

  constructor(options: DiskOptions) {
    this.#options = options
  }

  open(owner: Incarnation): SimulatedStore {
    return new SimulatedStore(this, owner)
  }

  // ── Faults ────────────────────────────────────────────────────────────────────────────────────────────────────────

  setFull(isFull: boolean): void {
    this.#isFull = isFull
  }

  setSlowness(factor: number): void {
    this.#slowness = factor
  }

  /** Nothing can be read or written. */
  setFailing(isFailing: boolean): void {
    this.#isFailing = isFailing
  }

  /** The next flush fails; `isKept`: its content is on the disk all the same. */
  failNextFlush(isKept: boolean): void {
    this.#failures.push(isKept)
  }

  heal(): void {
    this.#isFull = false
    this.#slowness = 1
    this.#isFailing = false
    this.#failures = []
  }

  /** The owner of a handle is gone. */
  crash(handle: SimulatedStore): void {
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
    const { random, scheduler, profile } = this.#options
    const isSlow = random.chance(profile.slowReads)
    if (!isSlow && owner.isAlive && !owner.isPaused) {
      return this.#isFailing ? Promise.reject(this.#failedRead()) : Promise.resolve(answer())
    }
    return new Promise((resolve, reject) => {
      const delayMs = random.exponential(profile.readMs) * this.#slowness
      this.#reads++
      scheduler.after(delayMs, () => {
        this.#reads--
        owner.run(() => (this.#isFailing ? reject(this.#failedRead()) : resolve(answer())))
      })
    })
  }

  #failedRead(): TidemarkError {
    this.#options.onFault('failed read')
    return new TidemarkError('store-failed', 'a simulated read failed', { retryable: true })
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
    const { random, scheduler, profile } = this.#options
    if (this.#isFlushing || this.#pending.length === 0) return
    this.#isFlushing = true
    const delayMs = (profile.flushMs / 2 + random.exponential(profile.flushMs / 2)) * this.#slowness
    scheduler.after(delayMs, () => {
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
    if (this.#isFailing) return new TidemarkError('store-failed', 'a simulated flush failed', { retryable: true })
    if (this.#isFull) return new TidemarkError('store-full', 'a simulated disk is full', { retryable: true })
    const isKept = this.#failures.shift()
    if (isKept === undefined) return this.#flush(commit)
    if (isKept) this.#flush(commit)
    return new TidemarkError('store-failed', 'a simulated flush failed', { retryable: true })
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
