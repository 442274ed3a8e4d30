/**
 * Incoming: blocks of others as their bytes say, before anybody decides about them.
 *
 * Knows: how a block becomes entries and the rows they need. Must never know: what is held, what is taken.
 */
import { type BlockResolver, decodeBlock, type Entry } from './block.ts'
import { TidemarkError } from './errors.ts'
import type { Ledger } from './ledger.ts'
import { STORED_LIMITS } from './limits.ts'
import { isNewName } from './new-names.ts'
import type { RowEntry } from './row-cache.ts'

/** A block of somebody else, read; `rows` are loaded before it is applied. */
export interface DecodedBlock {
  readonly block: Uint8Array
  readonly entries: readonly Entry[]
  /** The row of each entry; undefined for a void, and while its table is new. */
  readonly rows: readonly (RowEntry | undefined)[]
}

export function gap(held: number, seq: number): TidemarkError {
  return new TidemarkError('gap', `seq ${seq} arrived, but ${held + 1} is the next of its replica`, {
    retryable: true,
    remedy: 'Continue from the seq after the one that is held',
    details: { held },
  })
}

/** The entries of a block, and the rows they need. */
export function decode(ledger: Ledger, block: Uint8Array, resolver: BlockResolver): DecodedBlock {
  // A change above the limits of this replica is refused on its own, not with its block.
  const entries = decodeBlock(block, resolver, STORED_LIMITS)
  const rows = entries.map((entry) =>
    entry.op === 'void' || isNewName(entry.table) ? undefined : ledger.need(entry.table, entry.id),
  )
  return { block, entries, rows }
}
