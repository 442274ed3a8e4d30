/**
 * A replica to look at a ledger with, beside whoever else uses it: an operator's view.
 *
 * Invariant RD1: looking changes nothing: the ledger does not begin to keep a journal of conflicts because somebody looked.
 */
import type { Ledger } from './ledger.ts'
import { Replica } from './replica.ts'
import type { TableDefinition } from './table.ts'

/** It must not be closed: its ledger belongs to whoever opened it. `now`: wall time in Unix milliseconds. */
export function readingReplica(
  ledger: Ledger,
  tables: ReadonlyMap<string, TableDefinition>,
  now: () => number,
): Replica {
  const { witness } = ledger
  const replica = new Replica(ledger, tables, now)
  ledger.witness = witness
  return replica
}
