/**
 * The rows that the commit pipeline worked on last, decoded.
 *
 * Two generations: when the young one is full it becomes the old one, and what was not touched since is dropped. That
 * bounds memory without bookkeeping per access.
 * Invariant K1: an entry's state is the committed one, except while the pipeline is building or flushing a commit.
 */
import { rowKey } from './keys.ts'
import { EMPTY_ROW, type RowState } from './row.ts'

export interface RowEntry {
  readonly table: number
  readonly id: string
  readonly key: Uint8Array
  state: RowState
  /** The state before the commit under way touched it; undefined while none has. */
  before: RowState | undefined
  /** Whether the index of conflicted rows holds this row. */
  isIndexed: boolean
}

export function createRowEntry(table: number, id: string, state: RowState): RowEntry {
  return { table, id, key: rowKey('r', table, id), state, before: undefined, isIndexed: state.heads.length > 1 }
}

export function absentRow(table: number, id: string): RowEntry {
  return createRowEntry(table, id, EMPTY_ROW)
}

type Generation = Map<string, RowEntry>[]

export class RowCache {
  readonly #rowsMax: number
  #young: Generation = []
  #old: Generation = []
  #youngCount = 0

  constructor(rowsMax: number) {
    this.#rowsMax = rowsMax
  }

  get(table: number, id: string): RowEntry | undefined {
    const young = this.#young[table]?.get(id)
    if (young !== undefined) return young
    const old = this.#old[table]?.get(id)
    if (old !== undefined) this.add(old)
    return old
  }

  add(entry: RowEntry): void {
    let rows = this.#young[entry.table]
    if (rows === undefined) {
      rows = new Map()
      this.#young[entry.table] = rows
    }
    rows.set(entry.id, entry)
    this.#youngCount++
  }

  /** Drops the rows that were not used lately. Only between commits: a commit under way holds on to its entries. */
  trim(): void {
    if (this.#youngCount * 2 < this.#rowsMax) return
    this.#old = this.#young
    this.#young = []
    this.#youngCount = 0
  }

  clear(): void {
    this.#young = []
    this.#old = []
    this.#youngCount = 0
  }
}
