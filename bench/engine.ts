/**
 * The engine as W9p bundles it, twice: what it takes to write rows and to receive them.
 *
 * Imports the built package; which modules stand for rows is up to the bundle.
 */
import { openReplica, type Replica, type TableDefinition, table } from '../dist/core/index.js'
import { ReceiveChanges } from '../dist/core/receive.js'
import { openMemoryStore } from '../dist/core/stores/memory.js'
import type { Row, Update } from './data.ts'

type Rows = { readonly rows: TableDefinition<Row> }

export function open(): Promise<Replica<Rows>> {
  return openReplica({ tenant: 'bench', store: openMemoryStore(), tables: { rows: table<Row>() }, authority: 'self' })
}

export async function insertAll(replica: Replica<Rows>, batches: readonly (readonly Row[])[]): Promise<void> {
  for (const batch of batches) {
    await replica.transact((transaction) => {
      for (const row of batch) transaction.table('rows').insert(row)
    })
  }
}

export async function updateAll(replica: Replica<Rows>, batches: readonly (readonly Update[])[]): Promise<void> {
  for (const batch of batches) {
    await replica.transact((transaction) => {
      for (const { id, priority } of batch) transaction.table('rows').update(id, { priority })
    })
  }
}

/** The changes that a replica wrote itself, as they lie in its log. */
export async function blocksOf({ ledger }: Replica<Rows>): Promise<readonly Uint8Array[]> {
  const { own, meta } = ledger.state
  const blocks: Uint8Array[] = []
  for (let after = 0; after < meta.ownSeq; ) {
    const found = await ledger.log.blocksOf(own, after, meta.ownSeq, Number.POSITIVE_INFINITY)
    for (const { block, lastSeq } of found) {
      blocks.push(block)
      after = lastSeq
    }
  }
  return blocks
}

/** One commit for each block, as they come over a wire. */
export async function receive({ ledger }: Replica<Rows>, blocks: readonly Uint8Array[]): Promise<void> {
  for (const block of blocks) await ledger.submit(new ReceiveChanges([block], undefined))
}

export async function prioritiesOf(replica: Replica<Rows>): Promise<Map<string, number>> {
  const priorities = new Map<string, number>()
  for await (const { id, priority } of replica.table('rows').scan()) priorities.set(id, priority)
  return priorities
}
