/**
 * Snapshots, as they are received: row states in key order for a replica that is new or too far behind, resumable, while writes
 * go on. `snapshot-feed.ts` sends them.
 *
 * Invariants:
 * Q2  The receiver's clock covers the snapshot's only once all rows are there; its cursor is set in the same commit.
 * Q3  A chunk names the range it covers. A row of the receiver inside it that is absent from the chunk, and whose dots the
 *     snapshot's clock covers, is gone.
 * Q4  The clock of a snapshot is what its sender held, whatever other snapshots began before it.
 * Q5  A snapshot begins in the commit with its first rows: what has begun can be gone on with.
 */
import { hasUnanswered } from './agreed.ts'
import { badFrame } from './bytes.ts'
import { clockGet, VectorClock } from './clock.ts'
import type { Draft, LogCursor } from './draft.ts'
import { TidemarkError } from './errors.ts'
import { packClock, ROWS_MAX, readClock } from './frame.ts'
import {
  BASE_CLOCK_KEY,
  keyAfter,
  rowKey,
  rowKeyAs,
  rowKeyId,
  rowRange,
  SNAPSHOT_CLOCK_KEY,
  SNAPSHOT_KEY,
} from './keys.ts'
import type { Job, Ledger } from './ledger.ts'
import type { ClockEntry, SnapshotRow, SnapshotRows } from './message.ts'
import { isName, type ReplicaId } from './names.ts'
import { asArray, asCount, asText, packRecord, unpackRecord } from './packing.ts'
import { EMPTY_ROW, joinRows, type RowState } from './row.ts'
import type { RowEntry } from './row-cache.ts'
import { decodeRow, type IndexMap } from './row-codec.ts'

// ── Chunks ──────────────────────────────────────────────────────────────────────────────────────────────────────────

export interface SnapshotPlace {
  readonly table: string
  readonly id: string
}

/** So many bytes of rows are looked through in a turn. */
const TURN_BYTES = 32 * 1024

/** Rows with what is needed to read them elsewhere. */
export async function chunkOf(
  ledger: Ledger,
  table: string,
  after: string | undefined,
  through: string | undefined,
  rows: readonly SnapshotRow[],
): Promise<SnapshotRows> {
  const replicas = new Set<number>()
  const names = new Set<number>()
  const collect: IndexMap = {
    replica: (index) => {
      replicas.add(index)
      return index
    },
    name: (index) => {
      names.add(index)
      return index
    },
  }
  let left = TURN_BYTES
  for (const { row } of rows) {
    decodeRow(row, collect)
    left -= row.length
    if (left > 0) continue
    await ledger.turn()
    left = TURN_BYTES
  }
  const { state } = ledger
  return {
    type: 'snapshot-rows',
    table,
    after,
    through,
    replicas: [...replicas].map((index) => [index, state.replicas.textOf(index) as ReplicaId] as const),
    names: [...names].map((index) => [index, state.names.textOf(index)] as const),
    rows,
  }
}

/** The place after a chunk. A table that is done leaves its place at its last row: what follows is the next table. */
export function placeAfter(chunk: SnapshotRows): SnapshotPlace {
  const last = chunk.rows[chunk.rows.length - 1]
  return { table: chunk.table, id: chunk.through ?? last?.id ?? '' }
}

// ── Receiving ───────────────────────────────────────────────────────────────────────────────────────────────────────

/** How far a snapshot has been received: durable, so that the next session goes on from there. */
export interface SnapshotProgress {
  readonly cursor: LogCursor
  readonly place: SnapshotPlace | undefined
}

export async function readSnapshotProgress(ledger: Ledger): Promise<SnapshotProgress | undefined> {
  const [bytes] = await ledger.store.getMany([SNAPSHOT_KEY])
  if (bytes === undefined) return undefined
  const [logId, epoch, position, table, id] = asArray(unpackRecord(bytes))
  const cursor = { logId: asText(logId), epoch: asCount(epoch), position: asCount(position) }
  return { cursor, place: table === null ? undefined : { table: asText(table), id: asText(id) } }
}

/** What the sender held when the snapshot under way began: not what an earlier one, that was given up, would have brought. */
export async function readSnapshotClock(ledger: Ledger): Promise<VectorClock> {
  const [bytes, base] = await ledger.store.getMany([SNAPSHOT_CLOCK_KEY, BASE_CLOCK_KEY])
  const clock = bytes ?? base
  return new VectorClock(clock === undefined ? [] : readClock(clock))
}

function saveProgress(draft: Draft, cursor: LogCursor, place: SnapshotPlace | undefined): void {
  const record = [cursor.logId, cursor.epoch, cursor.position, place?.table ?? null, place?.id ?? null]
  draft.put(SNAPSHOT_KEY, packRecord(record))
}

export class BeginSnapshot implements Job<void> {
  readonly weight = 1
  readonly #cursor: LogCursor
  readonly #clock: readonly ClockEntry[]
  #base: VectorClock = new VectorClock()

  constructor(cursor: LogCursor, clock: readonly ClockEntry[]) {
    this.#cursor = cursor
    this.#clock = clock
  }

  /** The base of the log grows: what an earlier snapshot brought is not in the log either. */
  async prepare(ledger: Ledger): Promise<void> {
    const [bytes] = await ledger.store.getMany([BASE_CLOCK_KEY])
    this.#base = new VectorClock(bytes === undefined ? [] : readClock(bytes)).merge(new VectorClock(this.#clock))
  }

  apply(draft: Draft): void {
    this.begin(draft)
    saveProgress(draft, this.#cursor, undefined)
  }

  /** For whoever saves how far it has come. */
  begin(draft: Draft): void {
    draft.put(BASE_CLOCK_KEY, packClock([...this.#base.entries()]))
    draft.put(SNAPSHOT_CLOCK_KEY, packClock(this.#clock))
  }
}

export class ReceiveRows implements Job<void> {
  readonly weight: number
  readonly startsGroup = true
  readonly #chunk: SnapshotRows
  readonly #cursor: LogCursor
  readonly #covered: VectorClock
  readonly #beginning: BeginSnapshot | undefined
  #rows: { readonly entry: RowEntry; readonly state: RowState }[] = []
  #gone: RowEntry[] = []
  readonly #agreed = new Map<RowEntry, RowState>()

  /** `covered` is the clock that the snapshot began with; the first rows come with its `beginning` (Q5). */
  constructor(chunk: SnapshotRows, cursor: LogCursor, covered: VectorClock, beginning?: BeginSnapshot) {
    this.#beginning = beginning
    this.#chunk = chunk
    this.#cursor = cursor
    this.#covered = covered
    this.weight = chunk.rows.length
  }

  async prepare(ledger: Ledger): Promise<void> {
    const { state } = ledger
    await this.#beginning?.prepare(ledger)
    if (!isName(this.#chunk.table)) throw badFrame('a table name is not allowed')
    const table = state.internName(this.#chunk.table)
    const map = indexMapOf(state, this.#chunk)
    this.#rows = this.#chunk.rows.map(({ id, row }) => ({ entry: ledger.need(table, id), state: decodeRow(row, map) }))
    this.#gone = await this.#absentRows(ledger, table)
  }

  /** Rows of ours in the chunk's range that the sender does not have (any more). */
  async #absentRows(ledger: Ledger, table: number): Promise<RowEntry[]> {
    if (ledger.state.meta.nextPosition === 1) return []
    const { after, through } = this.#chunk
    const range = rowRange('r', table)
    const from = after === undefined ? range.from : keyAfter(rowKey('r', table, after))
    const to = through === undefined ? range.to : keyAfter(rowKey('r', table, through))
    const sent = new Set(this.#chunk.rows.map(({ id }) => id))
    const absent: RowEntry[] = []
    let next = from
    for (;;) {
      const page = await ledger.store.range({ from: next, to, limit: ROWS_MAX })
      for (const { key } of page) if (!sent.has(rowKeyId(key))) absent.push(ledger.need(table, rowKeyId(key)))
      const last = page[page.length - 1]
      if (last === undefined || page.length < ROWS_MAX) return absent
      next = keyAfter(last.key)
    }
  }

  /** Rows with unanswered changes of our own keep an agreed state: the snapshot joins that one too. */
  async inspect(ledger: Ledger): Promise<void> {
    const { own, meta } = ledger.state
    this.#agreed.clear()
    if (meta.ownSeq === meta.ackedSeq) return
    for (const { entry } of this.#rows) {
      if (!hasUnanswered(entry, own, meta.ackedSeq)) continue
      const [bytes] = await ledger.store.getMany([rowKeyAs('a', entry.key)])
      this.#agreed.set(entry, bytes === undefined ? EMPTY_ROW : decodeRow(bytes))
    }
  }

  apply(draft: Draft, ledger: Ledger): void {
    const { replicas, own, meta } = draft.state
    this.#beginning?.begin(draft)
    for (const { entry, state } of this.#rows) {
      // Our next change would have the dot of one that the row covers already, and so do nothing.
      if (clockGet(state.clock, own) > meta.ownSeq) {
        throw new TidemarkError('replica-restored', 'a peer has changes of this replica that its own store lost')
      }
      const agreed = this.#agreed.get(entry)
      if (agreed !== undefined) draft.setAgreed(entry, joinRows(agreed, state, replicas))
      draft.setRow(entry, joinRows(entry.state, state, replicas), 'remote')
    }
    for (const entry of this.#gone) {
      if (this.#isCovered(ledger, entry.state)) draft.setRow(entry, EMPTY_ROW, 'remote')
    }
    saveProgress(draft, this.#cursor, placeAfter(this.#chunk))
  }

  #isCovered(ledger: Ledger, { clock }: RowState): boolean {
    for (let at = 0; at < clock.length; at += 2) {
      const replica = ledger.state.replicas.textOf(clock[at] as number)
      if (this.#covered.get(replica) < (clock[at + 1] as number)) return false
    }
    return true
  }
}

/** What learns replicas and names, and gives them indexes of its own. */
interface Interner {
  readonly internReplica: (id: ReplicaId) => number
  readonly internName: (name: string) => number
}

/** How the indexes of a chunk read here; learns the replicas and names it brings. */
export function indexMapOf(interner: Interner, chunk: SnapshotRows): IndexMap {
  const replicas = new Map(chunk.replicas.map(([index, id]) => [index, interner.internReplica(id)]))
  const names = new Map<number, number>()
  for (const [index, name] of chunk.names) {
    if (!isName(name)) throw badFrame('a field name is not allowed')
    names.set(index, interner.internName(name))
  }
  const known = (map: ReadonlyMap<number, number>, index: number): number => {
    const ours = map.get(index)
    if (ours === undefined) throw badFrame('a row uses an index that its chunk does not explain')
    return ours
  }
  return { replica: (index) => known(replicas, index), name: (index) => known(names, index) }
}

/** All rows are there: the clock covers the snapshot's, and reading goes on in the log. */
export class EndSnapshot implements Job<void> {
  readonly weight = 1
  /** It deletes the note that a piece of the snapshot puts: in one commit the put would win. */
  readonly startsGroup = true
  readonly #cursor: LogCursor
  readonly #clock: VectorClock

  constructor(cursor: LogCursor, clock: VectorClock) {
    this.#cursor = cursor
    this.#clock = clock
  }

  prepare(): void {}

  apply(draft: Draft): void {
    const { state } = draft
    for (const [replica, seq] of this.#clock.entries()) {
      const index = state.internReplica(replica)
      if (index === state.own && seq > state.meta.ownSeq) {
        throw new TidemarkError('replica-restored', 'a peer has changes of this replica that its own store lost')
      }
      draft.raiseSeq(index, seq)
    }
    draft.delete(SNAPSHOT_KEY)
    draft.delete(SNAPSHOT_CLOCK_KEY)
    draft.saveCursor(this.#cursor)
  }
}
