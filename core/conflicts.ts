/**
 * The conflicts of a replica: a view of its rows with several heads, found through their index.
 */
import { type Conflict, rowConflicts } from './conflict.ts'
import { keyIndex, kindRange, rowKeyAs, rowKeyId } from './keys.ts'
import type { Ledger } from './ledger.ts'
import { scanRange } from './ledger-state.ts'
import { decodeRow } from './row-codec.ts'
import type { TableDefinition } from './table.ts'

export class ReplicaConflicts {
  readonly #ledger: Ledger
  readonly #tables: ReadonlyMap<string, TableDefinition>

  constructor(ledger: Ledger, tables: ReadonlyMap<string, TableDefinition>) {
    this.#ledger = ledger
    this.#tables = tables
  }

  /** Conflicts of rows that still have several heads, in the order of tables and ids. */
  async *open(): AsyncGenerator<Conflict> {
    const { store, state } = this.#ledger
    for await (const { key } of scanRange(store, kindRange('o'))) {
      const table = state.names.textOf(keyIndex(key))
      const definition = this.#tables.get(table)
      if (definition === undefined) continue
      const [bytes] = await store.getMany([rowKeyAs('r', key)])
      if (bytes === undefined) continue
      yield* rowConflicts({ table, row: rowKeyId(key), state: decodeRow(bytes), definition, dictionaries: state })
    }
  }
}
