/**
 * The ledger: the durable state of one tenant on one replica, and the one pipeline that commits to it.
 *
 * Everything that changes a replica (a local write, changes from a peer, an answer of the server, a piece of a snapshot)
 * is a job. Jobs that wait together share one commit and one flush: group commit (DeWitt et al. 1984).
 *
 * Knows: jobs, commits, who has to be told. Must never know: what a job means.
 *
 * Invariants:
 * P1  One order: persist → apply → acknowledge → broadcast. A job's promise resolves after the flush.
 * P2  A job that fails changes nothing and disturbs no other job of its commit.
 * P3  When another writer moved the head, everything in memory is read anew and the jobs run again.
 * P4  No decision is made after an await on state read before it, except under P3.
 * P5  Between the slices of a job other ledgers and readers of this one have their turn; no other job of this one has.
 */
import { VectorClock } from './clock.ts'
import { Draft, type TouchedRow, type Witness } from './draft.ts'
import { InvariantError, isTidemarkError, TidemarkError } from './errors.ts'
import { rowKey } from './keys.ts'
import { createMeta, LedgerState } from './ledger-state.ts'
import { type Limits, STORED_LIMITS } from './limits.ts'
import { LogReader } from './log-reader.ts'
import { quote, type TenantName } from './names.ts'
import { EMPTY_ROW, type RowState } from './row.ts'
import { RowEntry } from './row-cache.ts'
import { decodeRow } from './row-codec.ts'
import { type AskForTurn, runInTurns, runSlices, type Slices } from './slices.ts'
import type { Store } from './store.ts'

/** A group of jobs closes at this many changes: bounds the memory of a commit and the wait of those behind it. */
const GROUP_CHANGES_MAX = 8_192
/** Rows that are read in one piece, where others wait for their turn; fewer at first, and as long as they are large. */
const SLICE_ROWS = 64
const FIRST_SLICE_ROWS = 8
const SLICE_ROWS_BYTES = 1 << 20
/** How often jobs run again because another process wrote to the same store first. */
const ATTEMPTS_MAX = 64

interface JobBase {
  /** How many changes it carries, roughly: groups are closed by their sum. */
  readonly weight: number
  /**
   * Asks the ledger for the rows that `apply` will touch; their states are there once all jobs of the group have asked.
   * May read the store; must not keep what it reads for later decisions (P4). Runs again when the job does.
   */
  prepare(ledger: Ledger): void | Promise<void>
  /** Reads what depends on the rows, once they are loaded. A job with this needs `startsGroup`. */
  inspect?(ledger: Ledger): Promise<void>
  /** True when no other job may change rows between this one's reading and its `apply`. */
  readonly startsGroup?: boolean
}

export interface Job<Result> extends JobBase {
  /** Changes the draft, whole or (by throwing) not at all. */
  apply(draft: Draft, ledger: Ledger): Result
}

/** A job that may hold many changes. */
export interface SlicedJob<Result> extends JobBase {
  /** Like `apply`, in slices (P5). */
  applyInSlices(draft: Draft, ledger: Ledger): Slices<Result>
}

type AnyJob<Result> = Job<Result> | SlicedJob<Result>

interface Waiting {
  readonly job: AnyJob<unknown>
  readonly resolve: (result: unknown) => void
  readonly reject: (error: unknown) => void
  attempts: number
}

export interface LedgerOptions {
  readonly tenant: TenantName
  readonly store: Store
  readonly limits: Limits
  /** 0: a server admits our changes; 1: nobody does, we admit for ourselves; 2: we are the server. */
  readonly authority: number
  /** How many changes a group of jobs may have, asked for each one: others may have to wait for it. Default 8,192. */
  readonly groupChangesMax?: () => number
  /** Asked before each piece of work, so that a long commit lets others have their turn. Undefined: go on. */
  readonly turn?: AskForTurn
}

export class Ledger {
  readonly store: Store
  readonly limits: Limits
  readonly state: LedgerState
  readonly log: LogReader
  /** Told of conflicts inside the commit that makes them. */
  witness: Witness | undefined
  readonly #commitListeners = new Set<() => void>()
  readonly #rowListeners = new Set<(rows: readonly TouchedRow[]) => void>()
  /** How many changes a group of jobs may have now. */
  readonly groupChangesMax: () => number
  readonly #turn: AskForTurn | undefined
  #queue: Waiting[] = []
  /** Rows that were asked for and are not loaded yet. */
  readonly #missing: RowEntry[] = []
  #running: Promise<void> | undefined
  /** True while memory may hold what no commit has made durable: nothing runs before it is read anew. */
  #isDoubtful = false
  #durablePosition = 1
  #durableSeqs: number[] = []
  #durableAckedSeq = 0
  #isClosed = false
  /** What the store holds, once it was founded: a store with another log, or none, is not read on. */
  #logId: string | undefined

  private constructor(options: LedgerOptions, state: LedgerState) {
    this.store = options.store
    this.limits = options.limits
    this.state = state
    this.groupChangesMax = options.groupChangesMax ?? (() => GROUP_CHANGES_MAX)
    this.#turn = options.turn
    this.log = new LogReader(options.store, state, STORED_LIMITS)
    this.#takeDurable()
  }

  /** Opens what the store holds, or begins a new ledger in an empty store. Throws `store-foreign` for another tenant's. */
  static async open(options: LedgerOptions): Promise<Ledger> {
    const state = new LedgerState(createMeta(options.tenant, options.authority), options.limits)
    if (!(await state.load(options.store))) {
      const isEmpty = state.head === 0
      if (!isEmpty) {
        throw new TidemarkError('store-foreign', 'the store has content but no Tidemark record', {
          remedy: 'Open an empty place, or restore the store from a backup',
        })
      }
      state.internReplica(state.meta.replicaId)
    }
    const { tenant } = state.meta
    if (tenant !== options.tenant) {
      throw new TidemarkError('store-foreign', `the store belongs to tenant ${quote(tenant)}`, {
        remedy: 'Use one store per tenant and replica',
      })
    }
    const ledger = new Ledger(options, state)
    if (state.head === 0) await ledger.submit(FOUND)
    ledger.#logId = state.meta.logId
    return ledger
  }

  /** The position after the last entry that is flushed: readers and sessions go no further. */
  get durablePosition(): number {
    return this.#durablePosition
  }

  /** The highest seq of a replica, by index, that is flushed. */
  durableSeqOf(replica: number): number {
    return this.#durableSeqs[replica] ?? 0
  }

  /** Own changes that are flushed and that no server has answered yet. */
  get pending(): number {
    return Math.max(0, this.durableSeqOf(this.state.own) - this.#durableAckedSeq)
  }

  /** Own changes up to here were answered, and what the answer did is flushed. */
  get durableAckedSeq(): number {
    return this.#durableAckedSeq
  }

  /** Everything that is flushed. */
  durableClock(): VectorClock {
    const { replicas } = this.state
    const entries: [string, number][] = []
    for (let index = 0; index < replicas.size; index++) entries.push([replicas.textOf(index), this.durableSeqOf(index)])
    return new VectorClock(entries)
  }

  #takeDurable(): void {
    this.#durablePosition = this.state.meta.nextPosition
    this.#durableSeqs = this.state.seqs.slice()
    this.#durableAckedSeq = this.state.meta.ackedSeq
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  /** Asked before a piece of work for somebody. Undefined: go on; else what to wait for. */
  turn(): Promise<void> | undefined {
    return this.#turn?.()
  }

  /** Does work in slices, of a job or for a reader. */
  inTurns<Result>(slices: Slices<Result>): Result | Promise<Result> {
    return this.#turn === undefined ? runSlices(slices) : runInTurns(slices, this.#turn)
  }

  /** Runs a job in the next commit. Resolves after the flush, with what `apply` answered. */
  submit<Result>(job: AnyJob<Result>): Promise<Result> {
    if (this.#isClosed) return Promise.reject(new TidemarkError('closed', 'the replica is closed'))
    return new Promise<Result>((resolve, reject) => {
      this.#queue.push({ job, resolve: resolve as (result: unknown) => void, reject, attempts: 0 })
      this.#running ??= this.#run()
    })
  }

  /** A row as it is durable now; decoded with dictionaries that know all its names, also those of other processes. */
  async readRow(tableName: string, id: string): Promise<RowState> {
    const read = async (): Promise<Uint8Array | undefined> => {
      const table = this.state.names.find(tableName)
      if (table < 0) return undefined
      const [bytes] = await this.store.getMany([rowKey('r', table, id)])
      return bytes
    }
    if (!this.state.isNameSaved(this.state.names.find(tableName))) await this.catchUp()
    const bytes = await read()
    if (bytes === undefined) return EMPTY_ROW
    const row = decodeRow(bytes)
    if (this.state.knowsAll(row)) return row
    await this.catchUp()
    const again = await read()
    return again === undefined ? EMPTY_ROW : decodeRow(again)
  }

  /** Resolves when everything in memory is at least as new as the store was at the call. */
  catchUp(): Promise<void> {
    return this.submit(CATCH_UP)
  }

  /** Calls back after each commit, in their order. Answers with the way to stop. */
  onCommit(listener: () => void): () => void {
    this.#commitListeners.add(listener)
    return () => this.#commitListeners.delete(listener)
  }

  /** Like `onCommit`, with what became of each row that the commit changed. */
  onRows(listener: (rows: readonly TouchedRow[]) => void): () => void {
    this.#rowListeners.add(listener)
    return () => this.#rowListeners.delete(listener)
  }

  /** The row, for a job that prepares: its state is loaded before the job applies. */
  need(table: number, id: string): RowEntry {
    const known = this.state.cache.get(table, id)
    if (known !== undefined) return known
    const entry = new RowEntry(table, id)
    this.state.cache.add(entry)
    this.#missing.push(entry)
    return entry
  }

  /** Waits for the jobs under way. The store stays open: it belongs to whoever opened it. */
  async close(): Promise<void> {
    this.#isClosed = true
    await this.#running
    this.#commitListeners.clear()
    this.#rowListeners.clear()
  }

  // ── The pipeline ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** Runs until nothing waits. Starting a microtask later lets the calls of one tick share the first commit. */
  async #run(): Promise<void> {
    await Promise.resolve()
    while (this.#queue.length > 0) {
      const turn = this.turn()
      if (turn !== undefined) await turn
      const group = this.#takeGroup()
      try {
        await this.#commit(group)
        this.state.cache.endGroup()
      } catch (error) {
        await this.#recover(group, error)
      }
    }
    this.#running = undefined
  }

  #takeGroup(): Waiting[] {
    const weightMax = this.groupChangesMax()
    let weight = 0
    let count = 0
    for (const { job } of this.#queue) {
      if (count > 0 && (weight + job.weight > weightMax || job.startsGroup === true)) break
      weight += job.weight
      count++
    }
    return this.#queue.splice(0, count)
  }

  /** Nobody is answered, well or badly, before it is certain that what the jobs saw was the newest state (P3). */
  async #commit(group: readonly Waiting[]): Promise<void> {
    if (this.#isDoubtful) await this.#reload()
    const answers: Answer[] = []
    const ready = await this.#prepare(group, answers)
    const draft = new Draft(this.state, this.witness)
    const applyTurn = this.turn()
    if (applyTurn !== undefined) await applyTurn
    for (const waiting of ready) {
      const mark = draft.mark()
      try {
        const applying = this.#apply(waiting.job, draft)
        const result = applying instanceof Promise ? await applying : applying
        answers.push(() => waiting.resolve(result))
      } catch (error) {
        if (!isTidemarkError(error)) throw error
        draft.rollBack(mark)
        answers.push(() => waiting.reject(error))
      }
    }
    if (draft.isEmpty) await this.#expectHead()
    else {
      const turn = this.turn()
      if (turn !== undefined) await turn
      const outcome = await this.store.commit(draft.toCommit())
      if (outcome.type === 'head-moved') throw new HeadMoved('another writer came first')
      this.state.head = outcome.head
      draft.markSaved()
    }
    const rows = draft.settle(this.#rowListeners.size > 0)
    this.#durablePosition = this.state.meta.nextPosition
    this.#durableAckedSeq = this.state.meta.ackedSeq
    for (const replica of draft.raisedReplicas()) this.#durableSeqs[replica] = this.state.seqOf(replica)
    for (const answer of answers) answer()
    this.#notify(rows)
  }

  #apply(job: AnyJob<unknown>, draft: Draft): unknown {
    return 'apply' in job ? job.apply(draft, this) : this.inTurns(job.applyInSlices(draft, this))
  }

  async #expectHead(): Promise<void> {
    if ((await this.store.head()) !== this.state.head) throw new HeadMoved('another process has written')
  }

  /** Lets the jobs say what they need, and loads the rows that are not in memory with one read. */
  async #prepare(group: readonly Waiting[], answers: Answer[]): Promise<Waiting[]> {
    const ready: Waiting[] = []
    for (const waiting of group) {
      try {
        const turn = this.turn()
        if (turn !== undefined) await turn
        const asking = waiting.job.prepare(this)
        if (asking instanceof Promise) await asking
        ready.push(waiting)
      } catch (error) {
        if (!isTidemarkError(error)) throw error
        answers.push(() => waiting.reject(error))
      }
    }
    let readMax = this.#turn === undefined ? Number.POSITIVE_INFINITY : FIRST_SLICE_ROWS
    while (this.#missing.length > 0) {
      const turn = this.turn()
      if (turn !== undefined) await turn
      const isLarge = (await this.#loadRows(this.#missing.splice(0, readMax))) > SLICE_ROWS_BYTES
      if (isLarge) readMax = Math.max(1, readMax / 8)
      else if (readMax < SLICE_ROWS) readMax *= 2
    }
    const [first] = ready
    if (first?.job.inspect !== undefined) await first.job.inspect(this)
    return ready
  }

  /** Answers with how many bytes they have. */
  async #loadRows(entries: readonly RowEntry[]): Promise<number> {
    let loaded = 0
    const values = await this.store.getMany(entries.map((entry) => entry.key))
    for (let at = 0; at < entries.length; at++) {
      const bytes = values[at]
      if (bytes === undefined) continue
      const entry = entries[at] as RowEntry
      entry.load(bytes)
      loaded += bytes.length
      this.state.cache.keep(entry)
    }
    return loaded
  }

  /**
   * After a failed commit nothing in memory can be trusted: back to what the store holds. When the reason is that another
   * process wrote first (also where stale dictionaries made nonsense of newer rows), the jobs run again.
   */
  async #recover(group: readonly Waiting[], error: unknown): Promise<void> {
    let isStale = error instanceof HeadMoved
    this.#isDoubtful = true
    try {
      // A commit that failed may have been kept all the same: whoever asked has to hear of it, and nothing runs twice.
      isStale ||= !isTidemarkError(error) && (await this.store.head()) !== this.state.head
      await this.#reload()
    } catch (failure) {
      for (const waiting of group) waiting.reject(isStale ? failure : error)
      return
    }
    const retried: Waiting[] = []
    for (const waiting of group) {
      if (waiting.job === CATCH_UP) waiting.resolve(undefined)
      else if (!isStale) waiting.reject(error)
      else if (++waiting.attempts < ATTEMPTS_MAX) retried.push(waiting)
      else
        waiting.reject(
          new TidemarkError('store-busy', 'other processes kept writing to this store', { retryable: true }),
        )
    }
    this.#queue.unshift(...retried)
    this.#notify([])
  }

  async #reload(): Promise<void> {
    this.log.forget()
    this.#missing.length = 0
    const isThere = await this.state.load(this.store)
    if (this.#logId !== undefined && (!isThere || this.state.meta.logId !== this.#logId)) {
      throw new TidemarkError('store-foreign', 'the store was emptied or replaced while it was open', {
        remedy: 'Close it, and see what happened to it',
      })
    }
    this.#takeDurable()
    this.#isDoubtful = false
  }

  #notify(rows: readonly TouchedRow[]): void {
    for (const listener of this.#rowListeners) tell(() => listener(rows))
    for (const listener of this.#commitListeners) tell(listener)
  }
}

/** Tells one waiting caller how its job ended. */
type Answer = () => void

class HeadMoved extends InvariantError {}

/** A listener's error is its owner's: it surfaces as uncaught, and disturbs neither the pipeline nor other listeners. */
export function tell(listener: () => void): void {
  try {
    listener()
  } catch (error) {
    queueMicrotask(() => {
      throw error
    })
  }
}

/** Does nothing; what it waits for is that memory has caught up with the store. */
const CATCH_UP: Job<void> = { weight: 0, prepare: () => {}, apply: () => {} }

/** The first commit of a new ledger: its identity becomes durable before anything uses it. */
const FOUND: Job<void> = {
  weight: 0,
  prepare: () => {},
  apply: (draft) => draft.touchMeta(),
}
