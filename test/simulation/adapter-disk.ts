/**
 * A store adapter of a user's, standing where the simulated disk stands.
 *
 * Knows: the store port, and what the adapter has acknowledged. Must never know: how the adapter does it, what bytes mean.
 *
 * Invariants:
 * A1  Whatever a handle is told by the adapter is compared with what the acknowledged commits say. After a crash the store
 *     holds those, and of what was under way a prefix.
 * A2  Virtual time stands still while the adapter works. When its answer is heard the schedule decides, not the adapter.
 * A3  Nobody uses a handle from before a crash.
 */
import type { Store, StoreCommit, StoreCommitResult, StoreEntry, StoreRange } from '../../core/store.ts'
import { ByteTree } from '../../core/stores/byte-tree.ts'
import { BrokenPromise } from './broken-promise.ts'
import { type Disk, type DiskImage, type DiskOptions, EVERYTHING } from './disk.ts'
import { DiskTrouble } from './disk-trouble.ts'
import type { Incarnation } from './incarnation.ts'

/** Where a store of the user's keeps its data; empty when it is made. */
export interface CrashingPlace {
  /** All handles that are open share the data. */
  open(): Promise<Store>
  /**
   * The power fails: whatever has not reached stable storage is gone. What is still under way in handles from before must not
   * reach the place any more; they are used no more, nor closed.
   */
  crash(): Promise<void> | void
  /** Removes the data. */
  cleanup(): Promise<void> | void
}

export interface AdapterDiskOptions extends DiskOptions {
  readonly name: string
  readonly createPlace: (name: string) => CrashingPlace
  readonly onTrouble: (error: unknown) => void
}

interface Pending {
  readonly handle: AdapterStore
  readonly commit: StoreCommit
  readonly settle: (outcome: Outcome<StoreCommitResult>) => void
}

type Outcome<Answer> =
  | { readonly type: 'answer'; readonly answer: Answer }
  | { readonly type: 'error'; readonly error: unknown }

export class AdapterDisk implements Disk {
  readonly trouble: DiskTrouble
  readonly #options: AdapterDiskOptions
  #place: CrashingPlace | undefined
  /** What has to be true before a store opens: a crash is over, a place is filled. */
  #ready: Promise<void> = Promise.resolve()
  /** What the adapter has acknowledged, and how many commits that were. */
  #tree = new ByteTree()
  #head = 0
  /** What it had been given when the power failed: it may hold a prefix of these. */
  #underWay: readonly StoreCommit[] = []
  readonly #handles = new Set<AdapterStore>()
  #pending: Pending[] = []
  #isFlushing = false
  #reads = 0
  /** Commits that the adapter works on. */
  #given = 0

  constructor(options: AdapterDiskOptions) {
    this.#options = options
    this.trouble = new DiskTrouble(options.random, options.profile)
  }

  get isBusy(): boolean {
    return this.#isFlushing || this.#reads > 0
  }

  open(owner: Incarnation): Store {
    const isFirst = this.#handles.size === 0
    const handle = new AdapterStore(this, owner, () => this.#open(isFirst))
    this.#handles.add(handle)
    return handle
  }

  async #open(isFirst: boolean): Promise<Store> {
    await this.#ready
    const store = await (this.#place ?? this.#createPlace()).open()
    if (isFirst) await this.#audit(store)
    return store
  }

  #createPlace(): CrashingPlace {
    this.#place = this.#options.createPlace(this.#options.name)
    return this.#place
  }

  // ── Crashes ───────────────────────────────────────────────────────────────────────────────────────────────────────

  crash(handle: Store): void {
    if (!(handle instanceof AdapterStore) || !this.#handles.has(handle)) return
    const { random } = this.#options
    const own = this.#pending.splice(0)
    this.#handles.clear()
    const given: Pending[] = []
    while (given.length < own.length && random.chance(0.5)) given.push(own[given.length] as Pending)
    const turns = random.below(4)
    this.#underWay = given.map(({ commit }) => commit)
    this.#ready = this.#ready.then(async () => {
      const works = given.map(({ handle: { store }, commit }) => store?.commit(commit))
      for (let turn = 0; turn < turns; turn++) await Promise.resolve()
      await this.#place?.crash()
      // Nobody waits for these.
      for (const work of works) work?.catch(() => {})
    })
    this.#hold(this.#ready)
  }

  /** Of a store that was just opened, before anybody else uses it. */
  async #audit(store: Store): Promise<void> {
    const head = await store.head()
    if (head < this.#head) this.#fail(`had acknowledged ${this.#head} commits, and holds ${head} after a crash`)
    const kept = this.#underWay.slice(0, head - this.#head)
    this.#underWay = []
    for (const commit of kept) {
      if (commit.expectedHead !== this.#head) continue
      this.#options.onFault('flushed before a crash, not acknowledged')
      this.#apply(commit)
    }
    if (head !== this.#head) this.#fail(`was given ${this.#head} commits, and says that it holds ${head}`)
    const difference = differenceOf(await store.range(EVERYTHING), this.#scan(EVERYTHING))
    if (difference !== undefined) this.#fail(`did not hold what it had acknowledged when it was opened: ${difference}`)
  }

  // ── Copies ────────────────────────────────────────────────────────────────────────────────────────────────────────

  image(): DiskImage {
    return { head: this.#head, entries: this.#scan(EVERYTHING) }
  }

  /** A new place, which is given what the image holds. */
  load(image: DiskImage | undefined): void {
    const former = this.#place
    this.#place = undefined
    this.#tree = new ByteTree()
    this.#underWay = []
    this.#head = image?.head ?? 0
    for (const { key, value } of image?.entries ?? []) this.#tree.set(key, value)
    this.#ready = this.#ready.then(async () => {
      await former?.cleanup()
      const store = await this.#createPlace().open()
      for (let head = 0; head < (image?.head ?? 0); head++) {
        await store.commit({ expectedHead: head, puts: head === 0 ? (image?.entries ?? []) : [], deletes: [] })
      }
      await store.close()
    })
    this.#hold(this.#ready)
  }

  /** The run is over. */
  async end(): Promise<void> {
    await this.#ready
    for (const { store } of this.#handles) await store?.close()
    await this.#place?.cleanup()
  }

  // ── What the handles do ───────────────────────────────────────────────────────────────────────────────────────────

  head(handle: AdapterStore): Promise<number> {
    return this.#read(
      handle,
      (store) => store.head(),
      () => this.#head,
      (answer, right) =>
        answer === right ? undefined : `it says that it holds ${answer} commits, and it was given ${right}`,
    )
  }

  getMany(handle: AdapterStore, keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    const toEntries = (values: readonly (Uint8Array | undefined)[]): StoreEntry[] =>
      values.flatMap((value, index) => (value === undefined ? [] : [{ key: keys[index] as Uint8Array, value }]))
    return this.#read(
      handle,
      (store) => store.getMany(keys),
      () => keys.map((key) => this.#tree.get(key)),
      (answer, right) =>
        answer.length === right.length
          ? differenceOf(toEntries(answer), toEntries(right))
          : `it was asked for ${right.length} keys and gave ${answer.length} values`,
    )
  }

  range(handle: AdapterStore, range: StoreRange): Promise<readonly StoreEntry[]> {
    return this.#read(
      handle,
      (store) => store.range(range),
      () => this.#scan(range),
      differenceOf,
    )
  }

  #scan({ from, to, reverse = false, limit, bytesMax = Number.POSITIVE_INFINITY }: StoreRange): StoreEntry[] {
    const entries: StoreEntry[] = []
    let bytes = 0
    if (limit < 1) return entries
    this.#tree.scan(from, to, reverse, (key, value) => {
      entries.push({ key, value })
      bytes += key.length + value.length
      return entries.length < limit && bytes <= bytesMax
    })
    return entries
  }

  #read<Answer>(
    handle: AdapterStore,
    ask: (store: Store) => Promise<Answer>,
    right: () => Answer,
    difference: (answer: Answer, right: Answer) => string | undefined,
  ): Promise<Answer> {
    const slowMs = this.trouble.slowReadMs() ?? 0
    this.#reads++
    const work = async (): Promise<Answer> => {
      const failed = this.trouble.failedRead()
      if (failed !== undefined) {
        this.#options.onFault('failed read')
        throw failed
      }
      const store = await handle.opened
      const isQuiet = this.#given === 0
      const [answer, expected] = [await ask(store), right()]
      // Beside a commit that is being made, either of two answers is right.
      const wrong = isQuiet && this.#given === 0 ? difference(answer, expected) : undefined
      if (wrong !== undefined) this.#fail(`did not give what it held: ${wrong}`)
      return answer
    }
    return this.#deliver(handle, slowMs, work(), () => void this.#reads--)
  }

  commit(handle: AdapterStore, commit: StoreCommit): Promise<StoreCommitResult> {
    return new Promise((resolve, reject) => {
      const settle = (outcome: Outcome<StoreCommitResult>): void =>
        handle.owner.run(() => (outcome.type === 'answer' ? resolve(outcome.answer) : reject(outcome.error)))
      this.#pending.push({ handle, commit, settle })
      this.#work()
    })
  }

  #work(): void {
    if (this.#isFlushing || this.#pending.length === 0) return
    this.#isFlushing = true
    const { scheduler, random, onFault } = this.#options
    scheduler.after(this.trouble.flushMs(), () => {
      const pending = this.#pending.shift()
      const done = (): void => {
        this.#isFlushing = false
        this.#work()
      }
      if (pending === undefined) return done()
      const failed = this.trouble.failedFlush()
      if (failed !== undefined) onFault(failed.error.code)
      const work = async (): Promise<StoreCommitResult> => {
        if (failed === undefined || failed.isKept) {
          const result = await this.#give(pending)
          if (failed === undefined) return result
        }
        throw failed.error
      }
      this.#follow(random.chance(0.5) ? 0 : random.next(), work(), (outcome) => {
        pending.settle(outcome)
        done()
      })
    })
  }

  async #give({ handle, commit }: Pending): Promise<StoreCommitResult> {
    const store = await handle.opened
    this.#given++
    const result = await store.commit(commit)
    this.#given--
    const isNext = commit.expectedHead === this.#head
    if (isNext && result.type === 'committed') this.#apply(commit)
    if (result.type !== (isNext ? 'committed' : 'head-moved') || result.head !== this.#head)
      this.#fail(
        `answered ${result.type} with head ${result.head} to a commit for head ${commit.expectedHead}; it should stand at ${this.#head}`,
      )
    return result
  }

  /** The adapter has this commit, says the adapter. */
  #apply(commit: StoreCommit): void {
    for (const key of commit.deletes) this.#tree.delete(key)
    for (const { key, value } of commit.puts) this.#tree.set(key, value)
    this.#head++
    this.#options.onFlush(commit)
  }

  // ── Time ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  #deliver<Answer>(handle: AdapterStore, delayMs: number, work: Promise<Answer>, done: () => void): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#follow(delayMs, work, (outcome) => {
        done()
        handle.owner.run(() => (outcome.type === 'answer' ? resolve(outcome.answer) : reject(outcome.error)))
      })
    })
  }

  /** The event is planned at once, and what came out is there when it is its turn. */
  #follow<Answer>(delayMs: number, work: Promise<Answer>, hear: (outcome: Outcome<Answer>) => void): void {
    let outcome: Outcome<Answer> | undefined
    this.#hold(
      work.then(
        (answer) => {
          outcome = { type: 'answer', answer }
        },
        (error: unknown) => {
          if (error instanceof BrokenPromise) throw error
          outcome = { type: 'error', error }
        },
      ),
    )
    this.#options.scheduler.after(delayMs, () => {
      if (outcome !== undefined) hear(outcome)
    })
  }

  #hold(work: Promise<void>): void {
    const { scheduler, onTrouble } = this.#options
    scheduler.hold(work.catch(onTrouble), `the store of ${this.#options.name}`)
  }

  #fail(what: string): never {
    throw new BrokenPromise('stored', `The store of ${this.#options.name} ${what}.`)
  }
}

/** One handle of a process on the user's store. */
class AdapterStore implements Store {
  readonly owner: Incarnation
  readonly #disk: AdapterDisk
  readonly #open: () => Promise<Store>
  #opened: Promise<Store> | undefined
  store: Store | undefined

  constructor(disk: AdapterDisk, owner: Incarnation, open: () => Promise<Store>) {
    this.#disk = disk
    this.owner = owner
    this.#open = open
  }

  get opened(): Promise<Store> {
    this.#opened ??= this.#open().then((store) => {
      this.store = store
      return store
    })
    return this.#opened
  }

  head(): Promise<number> {
    return this.#disk.head(this)
  }

  getMany(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    return this.#disk.getMany(this, keys)
  }

  range(range: StoreRange): Promise<readonly StoreEntry[]> {
    return this.#disk.range(this, range)
  }

  commit(commit: StoreCommit): Promise<StoreCommitResult> {
    return this.#disk.commit(this, commit)
  }

  async close(): Promise<void> {
    await this.store?.close()
  }
}

/** How what a store gives differs from what it should give; undefined when it does not. */
function differenceOf(actual: readonly StoreEntry[], right: readonly StoreEntry[]): string | undefined {
  for (let at = 0; at < Math.max(actual.length, right.length); at++) {
    const [here, there] = [actual[at], right[at]]
    if (there === undefined) return `it had ${describeKey(here?.key)}, which nobody had put there`
    if (here === undefined) return `${describeKey(there.key)} was missing`
    if (Buffer.compare(here.key, there.key) !== 0) {
      const isKnown = right.some(({ key }) => Buffer.compare(key, here.key) === 0)
      if (!isKnown) return `it had ${describeKey(here.key)}, which nobody had put there`
      const isThere = actual.some(({ key }) => Buffer.compare(key, there.key) === 0)
      return `${describeKey(there.key)} was ${isThere ? 'in the wrong place' : 'missing'}`
    }
    if (Buffer.compare(here.value, there.value) !== 0) return `${describeKey(there.key)} had another value than was put`
  }
  return undefined
}

function describeKey(key: Uint8Array = new Uint8Array(0)): string {
  return `key ${JSON.stringify(Buffer.from(key).toString('latin1'))}`
}
