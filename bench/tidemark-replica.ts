/**
 * Replicas of Tidemark as the benchmark uses them: opened, filled, looked into.
 *
 * Imports the built package: what is measured is what its users load.
 */
import { openReplica, type Replica, type Store, type TableDefinition, table } from '../dist/core/index.js'
import { openLmdbStore } from '../dist/core/stores/lmdb.js'
import { openMemoryStore } from '../dist/core/stores/memory.js'
import type { Held } from './bulk.ts'
import type { Row, Update } from './data.ts'
import type { Load } from './workloads.ts'

export const tenant = 'bench'
export type StoreKind = 'memory' | 'LMDB'
export type BenchReplica = Replica<{ readonly rows: TableDefinition<Row> }>

export const openStore = async (kind: StoreKind, directory: string): Promise<Store> =>
  kind === 'memory' ? openMemoryStore() : openLmdbStore(directory)

/** `self`: syncs with its peers directly; `server`: through a server, the default of an app. */
export const openOn = (store: Store, authority: 'self' | 'server' = 'server'): Promise<BenchReplica> =>
  openReplica({ tenant, store, tables: { rows: table<Row>() }, authority })

export const openInMemory = (authority?: 'self' | 'server'): Promise<BenchReplica> =>
  openOn(openMemoryStore(), authority)

/** One transaction, and with LMDB one flush, after the other. */
export async function insertAll(replica: BenchReplica, rowBatches: Load['rowBatches']): Promise<void> {
  for (const batch of rowBatches) {
    await replica.transact((transaction) => {
      const rows = transaction.table('rows')
      for (const row of batch) rows.insert(row)
    })
  }
}

export async function updateAll(replica: BenchReplica, updateBatches: Load['updateBatches']): Promise<void> {
  for (const batch of updateBatches) {
    await replica.transact((transaction) => {
      const rows = transaction.table('rows')
      for (const { id, priority } of batch) rows.update(id, { priority })
    })
  }
}

/** One transaction for each, one after the other. */
export async function updateEach(replica: BenchReplica, updates: readonly Update[]): Promise<void> {
  const rows = replica.table('rows')
  for (const { id, priority } of updates) await rows.update(id, { priority })
}

export async function heldBy(replica: BenchReplica): Promise<Held> {
  let rows = 0
  let sum = 0
  for await (const { priority } of replica.table('rows').scan()) {
    rows++
    sum += priority
  }
  return { rows, sum }
}
