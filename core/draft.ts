/**
 * A commit being built: rows, log records, clock entries and counters that will become durable together.
 *
 * The pipeline runs jobs against one draft, one after the other; nothing else writes to it, also while a job pauses. A job
 * that fails leaves the draft as it found it, and the others go on.
 *
 * Knows: rows, blocks, positions, undo. Must never know: who asked, policies, the store.
 *
 * Invariants:
 * W1  A seq is given out here, inside the commit that stores its change, from the durable counter.
 * W2  Every entry takes one position; a block takes as many as it has entries.
 * W3  The row remembers the position of its last change, and each change the position of the one before it on its row.
 * W4  For undo a row is kept once for each job that touched it, however often that did.
 */
import { type ChangeEntry, type Entry, VOID_CODES, type VoidEntry } from './block.ts'
import { BlockWriter } from './block-writer.ts'
import { ByteWriter, compareBytes, concatBytes } from './bytes.ts'
import type { Usage } from './gate.ts'
import { type Meeting, recordMeetings } from './journal.ts'
import { CURSOR_KEY, dotKey, type KeyRange, logKey, rowKeyAs, voidKey } from './keys.ts'
import type { LedgerState, Meta } from './ledger-state.ts'
import { DEFAULT_LIMITS, FIRST_BATCH_BYTES } from './limits.ts'
import { encodeLogRecord } from './log-record.ts'
import { packRecord } from './packing.ts'
import { applyChange, type RowState } from './row.ts'
import type { Origin, RowEntry } from './row-cache.ts'
import { decodeRow, encodeRow } from './row-codec.ts'
import { overwriteRow } from './row-overwrite.ts'
import type { StoreCommit, StoreEntry } from './store.ts'

/** A place in a log; of another log or epoch it means nothing. */
export interface LogCursor {
  readonly logId: string
  readonly epoch: number
  readonly position: number
}

/** What a job can be rolled back to. */
export interface DraftMark {
  readonly meta: Meta
  readonly touched: number
  readonly seqs: number
  readonly puts: number
  readonly deletes: number
  readonly meetings: number
}

/** Told of every row that has several heads after a touch. */
export type Witness = (draft: Draft, entry: RowEntry, before: RowState, after: RowState) => void

/** A row as a commit changed it; its states are decoded for who looks. */
export class TouchedRow {
  readonly entry: RowEntry
  readonly origin: Origin
  /** It has several heads now. */
  readonly isConflicted: boolean
  readonly #before: Uint8Array
  readonly #after: Uint8Array
  #states: { readonly before: RowState; readonly after: RowState } | undefined

  constructor(entry: RowEntry, before: Uint8Array) {
    this.entry = entry
    this.origin = entry.origin
    this.isConflicted = entry.isConflicted
    this.#before = before
    this.#after = entry.bytes
  }

  get before(): RowState {
    return this.#decoded().before
  }

  get after(): RowState {
    return this.#decoded().after
  }

  #decoded(): { readonly before: RowState; readonly after: RowState } {
    this.#states ??= { before: decodeRow(this.#before), after: decodeRow(this.#after) }
    return this.#states
  }
}

const ALL_ZERO = new Uint8Array([0])

export class Draft {
  readonly state: LedgerState
  /** Heads that met in this commit, for the journal. */
  readonly meetings: Meeting[] = []
  readonly #puts: StoreEntry[] = []
  readonly #deletes: Uint8Array[] = []
  /** The first touch of each row since each mark, for undo (W4): the row and, at the same place, its state before. */
  readonly #touched: RowEntry[] = []
  readonly #previous: Uint8Array[] = []
  readonly #dirty: RowEntry[] = []
  readonly #raisedSeqs: [replica: number, before: number][] = []
  #open: OpenBlock | undefined
  #isMetaTouched = false
  #savedReplicas = 0
  #savedNames = 0
  /** What rows wear that were touched since the last mark. */
  #sinceMark: object = {}

  readonly #witness: Witness | undefined

  constructor(state: LedgerState, witness?: Witness) {
    this.state = state
    this.#witness = witness
  }

  /** True when there is nothing to commit. */
  get isEmpty(): boolean {
    const isUnchanged = this.#dirty.every((entry) => entry.bytes === entry.before)
    return isUnchanged && this.#puts.length === 0 && this.#deletes.length === 0 && !this.#open && !this.#isMetaTouched
  }

  /** What is stored, with what this commit has added so far. */
  get usage(): Usage {
    const { meta, replicas } = this.state
    const openBytes = this.#open?.writer.bodyBytes ?? 0
    return { rows: meta.rows, storedBytes: meta.rowBytes + meta.logBytes + openBytes, replicas: replicas.size - 1 }
  }

  /** Says that a counter of the meta record changed, and nothing else. */
  touchMeta(): void {
    this.#isMetaTouched = true
  }

  // ── Rows ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Applies a change at its position of the log, which `append` has to be given in the same order. */
  apply(entry: RowEntry, change: ChangeEntry, position: number, origin: Origin): void {
    const { bytes } = entry
    const overwritten = overwriteRow(bytes, change, position)
    if (overwritten === undefined) return this.setRow(entry, this.#merge(entry, change, position), origin)
    this.#touch(entry, origin)
    const { meta } = this.state
    if (entry.isAlive) meta.rows--
    entry.overwrite(overwritten, change.op !== 'delete')
    if (entry.isAlive) meta.rows++
    meta.rowBytes += overwritten.length - bytes.length
    if (change.timestamp > meta.lastTimestamp) meta.lastTimestamp = change.timestamp
  }

  #merge({ state }: RowEntry, change: ChangeEntry, position: number): RowState {
    const after = applyChange(state, change, position, this.state.replicas)
    // A snapshot may have brought the change before the log does: the row still has to find it there (W3).
    return after === state ? { ...after, position } : after
  }

  setRow(entry: RowEntry, after: RowState, origin: Origin): void {
    this.#touch(entry, origin)
    if (after.heads.length > 1) this.#witness?.(this, entry, entry.state, after)
    const { meta } = this.state
    if (entry.isAlive) meta.rows--
    if (entry.isConflicted) meta.conflicts--
    meta.rowBytes -= entry.bytes.length
    entry.become(after)
    meta.rowBytes += entry.bytes.length
    if (entry.isAlive) meta.rows++
    if (entry.isConflicted) meta.conflicts++
    const last = after.heads[after.heads.length - 1]
    if (last !== undefined && last.timestamp > meta.lastTimestamp) meta.lastTimestamp = last.timestamp
  }

  #touch(entry: RowEntry, origin: Origin): void {
    const { bytes } = entry
    if (entry.before === undefined) {
      entry.before = bytes
      this.#dirty.push(entry)
    }
    entry.origin = origin
    if (entry.touchedSince === this.#sinceMark) return
    entry.touchedSince = this.#sinceMark
    this.#touched.push(entry)
    this.#previous.push(bytes)
  }

  /** Puts the agreed state of a row beside it. */
  setAgreed(entry: RowEntry, agreed: RowState | Uint8Array): void {
    this.put(rowKeyAs('a', entry.key), agreed instanceof Uint8Array ? agreed : encodeRow(agreed))
    this.state.meta.agreed++
  }

  // ── Clock and log ─────────────────────────────────────────────────────────────────────────────────────────────────

  raiseSeq(replica: number, seq: number): void {
    const before = this.state.seqOf(replica)
    if (seq <= before) return
    this.#raisedSeqs.push([replica, before])
    this.state.seqs[replica] = seq
  }

  /** Gives up dots that turned out to be another store's: only a replica that changes its id does this. */
  lowerSeq(replica: number, seq: number): void {
    this.#raisedSeqs.push([replica, this.state.seqOf(replica)])
    this.state.seqs[replica] = seq
  }

  /** Appends a block that is already encoded. `previous` has the position of each entry's predecessor on its row. */
  appendBlock(block: Uint8Array, entries: readonly Entry[], previous: readonly number[]): void {
    this.flushOpenBlock()
    this.#appendRecord(block, entries.length, lastSeqs(entries), previous)
    this.#count(entries)
  }

  /**
   * Appends entries that are encoded here, those of many callers into one block. Transactions stay whole. `bytes` is at
   * least what they will take.
   */
  appendEntries(
    authors: readonly number[],
    entries: readonly Entry[],
    previous: readonly number[],
    bytes: number,
  ): void {
    if (this.#open !== undefined && !this.#open.takes(authors, entries.length, bytes)) this.flushOpenBlock()
    this.#open ??= new OpenBlock(this.state, authors)
    this.#open.add(entries, previous)
    this.state.meta.nextPosition += entries.length
    this.#count(entries)
  }

  /** Positions are given out when entries are appended, so a block that is still open already has its own. */
  flushOpenBlock(): void {
    const open = this.#open
    if (open === undefined) return
    this.#open = undefined
    const { meta } = this.state
    meta.nextPosition -= open.entries
    this.#appendRecord(open.writer.finish(), open.entries, open.lastSeqs, open.previous)
  }

  #appendRecord(
    block: Uint8Array,
    entries: number,
    authors: ReadonlyMap<number, number>,
    previous: readonly number[],
  ): void {
    const { meta } = this.state
    const position = meta.nextPosition
    const record = encodeLogRecord(block, previous, position)
    this.put(logKey(position), record)
    for (const [replica, seq] of authors) {
      this.put(dotKey(replica, seq), encodePosition(position))
    }
    meta.logBytes += record.length
    meta.nextPosition += entries
  }

  #count(entries: readonly Entry[]): void {
    const { meta } = this.state
    let voids = 0
    for (const entry of entries) if (entry.op === 'void') voids++
    meta.voids += voids
    meta.changes += entries.length - voids
  }

  /** Remembers a refused dot, so that what builds on it can be refused with one look-up; and what its content was. */
  addVoid(entry: VoidEntry, fingerprint: Uint8Array): void {
    const key = voidKey(entry.replica, entry.seq)
    const record = concatBytes(new Uint8Array([VOID_CODES.indexOf(entry.code)]), fingerprint)
    this.put(key, record)
    // Most of what a void takes, and it never goes: whoever writes what is refused fills up the tenant like anybody else.
    this.state.meta.logBytes += key.length + record.length
    this.state.voidCounts[entry.replica] = (this.state.voidCounts[entry.replica] ?? 0) + 1
    this.#raisedSeqs.push([entry.replica, this.state.seqOf(entry.replica)])
  }

  /** How far the server's log has been read. */
  saveCursor(cursor: LogCursor): void {
    this.put(CURSOR_KEY, packRecord([cursor.logId, cursor.epoch, cursor.position]))
  }

  put(key: Uint8Array, value: Uint8Array): void {
    this.#puts.push({ key, value })
  }

  delete(key: Uint8Array): void {
    this.#deletes.push(key)
  }

  /** What other jobs of this commit have put there. */
  putsIn({ from, to }: KeyRange): StoreEntry[] {
    return this.#puts.filter(({ key }) => compareBytes(key, from) >= 0 && compareBytes(key, to) < 0)
  }

  // ── Undo and finish ───────────────────────────────────────────────────────────────────────────────────────────────

  /** A place to come back to. Jobs append to the log last, when nothing can fail any more. */
  mark(): DraftMark {
    this.#sinceMark = {}
    return {
      meta: { ...this.state.meta },
      touched: this.#touched.length,
      seqs: this.#raisedSeqs.length,
      puts: this.#puts.length,
      deletes: this.#deletes.length,
      meetings: this.meetings.length,
    }
  }

  rollBack(mark: DraftMark): void {
    this.#sinceMark = {}
    Object.assign(this.state.meta, mark.meta)
    while (this.#touched.length > mark.touched) {
      const entry = this.#touched.pop() as RowEntry
      entry.hold(this.#previous.pop() as Uint8Array)
    }
    for (const [replica, before] of this.#raisedSeqs.splice(mark.seqs).reverse()) this.state.seqs[replica] = before
    this.#puts.length = mark.puts
    this.#deletes.length = mark.deletes
    this.meetings.length = mark.meetings
  }

  /** The commit. Puts every touched row once, however often it was touched. */
  toCommit(): StoreCommit {
    this.flushOpenBlock()
    if (this.meetings.length > 0) recordMeetings(this)
    const { state } = this
    for (const entry of this.#dirty) {
      if (entry.bytes === entry.before) continue
      if (entry.bytes.length === 0) this.delete(entry.key)
      else this.put(entry.key, entry.bytes)
      this.#indexConflict(entry)
    }
    for (const replica of this.raisedReplicas()) this.#putEntry(state.replicaEntry(replica))
    this.#savedReplicas = state.replicas.size
    this.#savedNames = state.names.size
    for (let index = state.savedReplicas; index < state.replicas.size; index++)
      this.#putEntry(state.replicaEntry(index))
    for (let index = state.savedNames; index < state.names.size; index++) this.#putEntry(state.nameEntry(index))
    this.#putEntry(state.metaEntry())
    return { expectedHead: state.head, puts: this.#puts, deletes: this.#deletes }
  }

  /** After the commit is durable, and only then: what its dictionaries spelled out need not be spelled again (D1). */
  markSaved(): void {
    this.state.savedReplicas = this.#savedReplicas
    this.state.savedNames = this.#savedNames
  }

  #putEntry(entry: StoreEntry): void {
    this.#puts.push(entry)
  }

  #indexConflict(entry: RowEntry): void {
    const { isConflicted } = entry
    if (isConflicted === entry.isIndexed) return
    entry.isIndexed = isConflicted
    const key = rowKeyAs('o', entry.key)
    if (isConflicted) this.put(key, ALL_ZERO)
    else this.delete(key)
  }

  /** After the commit is durable. Answers with what it did to each row, if somebody wants to know. */
  settle(isWatched: boolean): TouchedRow[] {
    const rows: TouchedRow[] = []
    for (const entry of this.#dirty) {
      const before = entry.before as Uint8Array
      entry.before = undefined
      if (isWatched && entry.bytes !== before) rows.push(new TouchedRow(entry, before))
    }
    return rows
  }

  /** The replicas whose clock entry this commit raises. */
  raisedReplicas(): ReadonlySet<number> {
    return new Set(this.#raisedSeqs.map(([replica]) => replica))
  }
}

const positionWriter: ByteWriter = new ByteWriter(8)

function encodePosition(position: number): Uint8Array {
  positionWriter.reset()
  positionWriter.varint(position)
  return positionWriter.toBytes()
}

/** A block that still takes entries. */
class OpenBlock {
  readonly writer: BlockWriter
  readonly authors: readonly number[]
  readonly previous: number[] = []
  readonly lastSeqs = new Map<number, number>()
  entries = 0

  constructor(state: LedgerState, authors: readonly number[]) {
    this.writer = new BlockWriter(state, authors)
    this.authors = authors
  }

  takes(authors: readonly number[], entries: number, bytes: number): boolean {
    return (
      authors.length === this.authors.length &&
      authors.every((author, index) => author === this.authors[index]) &&
      this.entries + entries <= DEFAULT_LIMITS.transactionChangesMax &&
      this.writer.bodyBytes + bytes < FIRST_BATCH_BYTES
    )
  }

  add(entries: readonly Entry[], previous: readonly number[]): void {
    for (const entry of entries) {
      this.writer.add(entry)
      this.lastSeqs.set(entry.replica, entry.seq)
    }
    for (const position of previous) this.previous.push(position)
    this.entries += entries.length
  }
}

function lastSeqs(entries: readonly Entry[]): Map<number, number> {
  const seqs = new Map<number, number>()
  let replica = -1
  let seq = 0
  for (const entry of entries) {
    if (entry.replica !== replica && replica >= 0) seqs.set(replica, seq)
    replica = entry.replica
    seq = entry.seq
  }
  return seqs.set(replica, seq)
}
