/**
 * How much one row may come to be: heads, and bytes. Asked about a change before the row takes it in.
 *
 * A row is stored, loaded, sent in a snapshot and merged as a whole, however small the change is. So what it may be is bounded
 * by what fits a frame, not by what one change may bring.
 *
 * Knows: rows, the changes of one transaction. Must never know: who wrote them, where rows are kept.
 *
 * Invariants:
 * RB1  A change is judged by the row as the earlier changes of its transaction leave it.
 * RB2  A row never grows beyond `ROW_BYTES_MAX` as `sizeOf` reckons. Deletes pass, and so does what makes it smaller.
 */
import type { ChangeEntry } from './block.ts'
import { clockGet, clockIncludes, EMPTY_CLOCK, type SparseClock } from './clock.ts'
import type { Dictionary } from './dictionary.ts'
import { applyChange, EMPTY_ROW, type RowChange, type RowState } from './row.ts'
import type { RowEntry } from './row-cache.ts'

/** With its id, and with the names and replicas that explain it, a row fits the frame of a snapshot. */
export const ROW_BYTES_MAX: number = 1_000 * 1_024
/** Merging costs by the version and by the replica as much as by the byte. */
const VERSION_BYTES = 64
const CLOCK_ENTRY_BYTES = 24
/** What a version or an entry of a clock counts for, at most, for each byte that it takes in a row. */
const RECKONED_PER_BYTE = 17

/** A row as it is reckoned. */
export function sizeOf({ versions, clock }: RowState): number {
  return addedBy(versions, clock)
}

/** True for a row whose bytes say already that it is within bounds. */
export function isSmall(bytes: Uint8Array): boolean {
  return bytes.length * RECKONED_PER_BYTE <= ROW_BYTES_MAX
}

function addedBy(versions: RowState['versions'], clock: SparseClock): number {
  let bytes = versions.length * VERSION_BYTES + (clock.length / 2) * CLOCK_ENTRY_BYTES
  for (const { start, end } of versions) bytes += end - start
  return bytes
}

interface Touched {
  /** As it was before the change that touched it last; undefined: as it is stored. */
  readonly before: RowState | undefined
  readonly change: RowChange
}

/** The rows of one transaction. */
export class RowBounds {
  readonly #replicas: Dictionary
  readonly #headsMax: number
  /** Rows that the store does not know by table and id. */
  readonly #touched: Map<RowEntry | string, Touched> | undefined

  constructor(replicas: Dictionary, headsMax: number, changes: number) {
    this.#replicas = replicas
    this.#headsMax = headsMax
    this.#touched = changes > 1 ? new Map() : undefined
  }

  /** Why the row does not take the change in, if it does not. */
  refusalOf(change: ChangeEntry, row: RowEntry | undefined): 'too-many-heads' | 'too-large' | undefined {
    const key = row ?? `${change.table} ${change.id}`
    const earlier = this.#touched?.get(key)
    const before = earlier && applyChange(earlier.before ?? stateOf(row), earlier.change, 0, this.#replicas)
    this.#touched?.set(key, { before, change })
    // Of most rows the header is enough.
    const isCovered = before === undefined && clockIncludes(change.context, row?.header.clock ?? EMPTY_CLOCK)
    if (!isCovered && this.#isFull(change, before ?? stateOf(row))) return 'too-many-heads'
    const bound = before === undefined ? (row?.bytes.length ?? 0) * RECKONED_PER_BYTE : sizeOf(before)
    const added = addedBy(change.versions, change.context) + CLOCK_ENTRY_BYTES
    if (change.op === 'delete' || bound + added <= ROW_BYTES_MAX) return undefined
    const state = before ?? stateOf(row)
    const size = sizeOf(applyChange(state, change, 0, this.#replicas))
    return size > ROW_BYTES_MAX && size > sizeOf(state) ? 'too-large' : undefined
  }

  #isFull({ context }: ChangeEntry, { heads }: RowState): boolean {
    return heads.filter((head) => clockGet(context, head.replica) < head.seq).length >= this.#headsMax
  }
}

function stateOf(row: RowEntry | undefined): RowState {
  return row?.state ?? EMPTY_ROW
}
