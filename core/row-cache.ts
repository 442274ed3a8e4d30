/**
 * The rows that the commit pipeline works on, as the bytes that a store has or will have.
 *
 * The common change never needs more (`row-overwrite.ts`); the others decode a row when they look at it.
 *
 * Rows of the group under way are always here. A row stays beyond its group only when it was there before: inserts, imports
 * and snapshots pass through once and would drive out the rows that are really used (2Q, Johnson and Shasha 1994).
 * What stays, stays in two generations: when the young one is full it becomes the old one, and what was not touched since
 * is dropped. That bounds memory without bookkeeping per access.
 *
 * Invariants:
 * K1  An entry's state is the committed one, except while the pipeline is building or flushing a commit.
 * K2  What stays is bounded in rows and in bytes, those by which rows have grown since included.
 * K3  What stays is bytes alone: decoded, a row of many versions takes thirty times as much.
 */

import { rowKey } from './keys.ts'
import type { RowState } from './row.ts'
import { decodeRow, encodeRow, type RowHeader, readRowHeader, readRowPosition } from './row-codec.ts'

/** The bytes of a row that is not there. */
const NO_ROW: Uint8Array = new Uint8Array(0)

export class RowEntry {
  readonly table: number
  readonly id: string
  readonly key: Uint8Array
  bytes: Uint8Array = NO_ROW
  #state: RowState | undefined = undefined
  /** Its bytes before the commit under way touched it; undefined while none has. */
  before: Uint8Array | undefined = undefined
  /** The mark of the commit under way since which it was touched. */
  touchedSince: object | undefined = undefined
  /** Who touched it last in the commit under way. */
  origin: Origin = 'local'
  /** Whether it has several heads, and whether it exists when the last of them counts. */
  isConflicted = false
  isAlive = false
  /** Whether the index of conflicted rows holds this row. */
  isIndexed = false
  /** How many of its bytes the cache has counted. */
  countedBytes = 0
  /** The generation that has it, and whether the group under way has found it here. */
  keptIn: RowMap | undefined
  isInGroup = false

  constructor(table: number, id: string) {
    this.table = table
    this.id = id
    this.key = rowKey('r', table, id)
  }

  get header(): RowHeader {
    return readRowHeader(this.bytes)
  }

  /** The header's first number alone. */
  get position(): number {
    return this.bytes.length === 0 ? 0 : readRowPosition(this.bytes)
  }

  /** Decoded for who looks first, until the row is another, or its group ends. */
  get state(): RowState {
    this.#state ??= decodeRow(this.bytes)
    return this.#state
  }

  /** Keeps the bytes alone. */
  forgetState(): void {
    this.#state = undefined
  }

  /** As it is in a store. */
  load(bytes: Uint8Array): void {
    this.hold(bytes)
    this.isIndexed = this.isConflicted
  }

  hold(bytes: Uint8Array): void {
    const { heads, op } = readRowHeader(bytes)
    this.bytes = bytes
    this.#state = undefined
    this.isConflicted = heads > 1
    this.isAlive = heads > 1 ? isLastAlive(this.state) : op !== undefined && op !== 'delete'
  }

  become(state: RowState): void {
    this.bytes = state.heads.length === 0 ? NO_ROW : encodeRow(state)
    this.isConflicted = state.heads.length > 1
    this.#state = this.isConflicted ? state : undefined
    this.isAlive = isLastAlive(state)
  }

  /** Other bytes, of a row with one head. */
  overwrite(bytes: Uint8Array, isAlive: boolean): void {
    this.bytes = bytes
    this.#state = undefined
    this.isConflicted = false
    this.isAlive = isAlive
  }
}

/** True for a row that exists under last write wins: the statistics of a store that knows no policies. */
function isLastAlive({ heads }: RowState): boolean {
  const last = heads[heads.length - 1]
  return last !== undefined && last.op !== 'delete'
}

export type Origin = 'local' | 'remote'

/** Rows by table index, then by id. */
class RowMap {
  readonly #tables: (Map<string, RowEntry> | undefined)[] = []
  size = 0

  get(table: number, id: string): RowEntry | undefined {
    return this.#tables[table]?.get(id)
  }

  add(entry: RowEntry): void {
    let rows = this.#tables[entry.table]
    if (rows === undefined) {
      rows = new Map()
      this.#tables[entry.table] = rows
    }
    rows.set(entry.id, entry)
    this.size++
  }
}

export class RowCache {
  readonly #rowsMax: number
  readonly #bytesMax: number
  #group = new RowMap()
  #groupLoaded: RowEntry[] = []
  /** Those of the group that were here before it. */
  #groupKnown: RowEntry[] = []
  #young = new RowMap()
  #youngBytes = 0
  #old = new RowMap()

  /** What stays, over both generations. */
  constructor(rowsMax: number, bytesMax: number) {
    this.#rowsMax = rowsMax
    this.#bytesMax = bytesMax
  }

  get(table: number, id: string): RowEntry | undefined {
    const known = this.#young.get(table, id) ?? this.#old.get(table, id)
    if (known === undefined) return this.#group.get(table, id)
    if (!known.isInGroup) this.#groupKnown.push(known)
    known.isInGroup = true
    return known
  }

  /** A row of the group under way. */
  add(entry: RowEntry): void {
    this.#group.add(entry)
  }

  /** The row was there before the group touched it: it may stay. */
  keep(entry: RowEntry): void {
    this.#groupLoaded.push(entry)
  }

  /** Between groups: drops what passes through, and in turn what was not used lately. */
  endGroup(): void {
    for (const entry of this.#groupLoaded) this.#stay(entry)
    for (const entry of this.#groupKnown) this.#stay(entry)
    this.#groupLoaded = []
    this.#groupKnown = []
    this.#group = new RowMap()
    if (this.#young.size * 2 < this.#rowsMax && this.#youngBytes * 2 < this.#bytesMax) return
    this.#old = this.#young
    this.#young = new RowMap()
    this.#youngBytes = 0
  }

  clear(): void {
    this.#group = new RowMap()
    this.#groupLoaded = []
    this.#groupKnown = []
    this.#young = new RowMap()
    this.#youngBytes = 0
    this.#old = new RowMap()
  }

  #stay(entry: RowEntry): void {
    entry.forgetState()
    entry.isInGroup = false
    if (entry.keptIn === this.#young) this.#youngBytes -= entry.countedBytes
    else this.#young.add(entry)
    entry.keptIn = this.#young
    entry.countedBytes = entry.bytes.length
    this.#youngBytes += entry.countedBytes
  }
}
