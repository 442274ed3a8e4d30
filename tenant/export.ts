/**
 * Export: everything a tenant holds, as records for another system: its rows as they are settled, then its log.
 *
 * Rows are read while writes go on. The changes tell the rest: whoever applies those behind `position` to the rows has
 * what the tenant held at the end of the export.
 *
 * Knows: rows and changes as plain values. Must never know: files, lines, sockets.
 *
 * Invariant TX1: an export that was not read to its `end` is no export; `end` says what has to be there.
 */
import { type Change, type Ledger, type Replica, type TableDefinition, table, type Value } from '../core/index.ts'
import { readingReplica } from '../core/server-door.ts'

export type ExportRecord =
  | {
      readonly type: 'tenant'
      readonly format: 1
      readonly name: string
      readonly logId: string
      readonly epoch: number
      /** The first change of the log that is still held, and the one that the next write gets. */
      readonly floor: number
      readonly position: number
      /** Unix milliseconds. */
      readonly exportedAtMs: number
    }
  | { readonly type: 'row'; readonly table: string; readonly row: Readonly<Record<string, Value>> }
  | { readonly type: 'change'; readonly change: Change }
  | { readonly type: 'end'; readonly rows: number; readonly changes: number; readonly digest: string }

export interface ExportOptions {
  /** Definitions of tables that are not settled by last write. */
  readonly tables?: Readonly<Record<string, TableDefinition>>
  /** Unix milliseconds. */
  readonly nowMs: number
}

/** Those of a page are decoded at once. */
const PAGE_CHANGES = 64

export async function* exportLedger(ledger: Ledger, { tables, nowMs }: ExportOptions): AsyncGenerator<ExportRecord> {
  const replica = readingReplica(ledger, definitionsFor(ledger, tables ?? {}), () => nowMs)
  const { logId, epoch, floor, end } = replica.log.stats()
  const name = replica.tenant
  yield { type: 'tenant', format: 1, name, logId, epoch, floor, position: end, exportedAtMs: nowMs }
  let rows = 0
  for (const name of replica.tables.keys()) {
    for await (const row of replica.table(name).scan()) {
      rows++
      await ledger.turn()
      yield { type: 'row', table: name, row: row as unknown as Readonly<Record<string, Value>> }
    }
  }
  let changes = 0
  for await (const change of readChanges(replica, floor - 1)) {
    changes++
    await ledger.turn()
    yield { type: 'change', change }
  }
  yield { type: 'end', rows, changes, digest: (await replica.digest()).hash }
}

/** Tables and fields share one list of names; a name that is only a field has no rows. */
function definitionsFor(
  { state }: Ledger,
  given: Readonly<Record<string, TableDefinition>>,
): ReadonlyMap<string, TableDefinition> {
  const definitions = new Map<string, TableDefinition>()
  for (let index = 0; index < state.names.size; index++) {
    const name = state.names.textOf(index)
    definitions.set(name, given[name] ?? table())
  }
  return definitions
}

async function* readChanges(replica: Replica, after: number): AsyncGenerator<Change> {
  for (let last = after; ; ) {
    const page = await replica.log.query({ after: last, limit: PAGE_CHANGES })
    yield* page
    const [final] = page.slice(-1)
    if (final === undefined) return
    last = final.position
  }
}
