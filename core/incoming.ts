/**
 * Incoming: blocks of others as their bytes say, before anybody decides about them.
 *
 * Knows: how a block becomes entries and the rows they need. Must never know: what is held, what is taken.
 */
import { type BlockResolver, decodeBlockInSlices, type Entry } from './block.ts'
import { TidemarkError } from './errors.ts'
import type { Ledger } from './ledger.ts'
import { STORED_LIMITS } from './limits.ts'
import { isNewName } from './new-names.ts'
import type { RowEntry } from './row-cache.ts'
import type { Slices } from './slices.ts'

/** A block of somebody else, read; `rows` are loaded before it is applied. */
export interface DecodedBlock {
  readonly block: Uint8Array
  readonly entries: readonly Entry[]
  /** The row of each entry; undefined for a void, and while its table is new. */
  readonly rows: readonly (RowEntry | undefined)[]
}

/** A slice ends after so many rows were asked for. */
const SLICE_ROWS = 64

export function gap(held: number, seq: number): TidemarkError {
  return new TidemarkError('gap', `seq ${seq} arrived, but ${held + 1} is the next of its replica`, {
    retryable: true,
    remedy: 'Continue from the seq after the one that is held',
    details: { held },
  })
}

/** The entries of blocks, and the rows they need. */
export function* decodeAll(
  ledger: Ledger,
  blocks: readonly Uint8Array[],
  resolver: BlockResolver,
): Slices<DecodedBlock[]> {
  const decoded: DecodedBlock[] = []
  for (const block of blocks) {
    // A change above the limits of this replica is refused on its own, not with its block.
    const entries = yield* decodeBlockInSlices(block, resolver, STORED_LIMITS)
    const rows: (RowEntry | undefined)[] = []
    for (const entry of entries) {
      const hasRow = entry.op !== 'void' && !isNewName(entry.table)
      rows.push(hasRow ? ledger.need(entry.table, entry.id) : undefined)
      if (rows.length % SLICE_ROWS === 0) yield
    }
    decoded.push({ block, entries, rows })
    yield
  }
  return decoded
}

/** Runs of entries that are admitted, or not, together. */
export function transactionsOf(entries: readonly Entry[]): Entry[][] {
  const transactions: Entry[][] = []
  let open: Entry[] = []
  for (const entry of entries) {
    open.push(entry)
    if (entry.op !== 'void' && entry.more) continue
    transactions.push(open)
    open = []
  }
  return transactions
}
