/** Tidemark alone: rows written and read on one replica, in memory and on LMDB with a flush awaited per transaction. */
import { diskBytesOf } from './disk.ts'
import { heldBy, insertAll, openOn, openStore, type StoreKind, updateAll } from './tidemark-replica.ts'
import { expectEqual, insertLoad, type Subject, secondsOf, updateLoad } from './workloads.ts'

const storeKinds: readonly StoreKind[] = ['memory', 'LMDB']
const nameOf = (kind: StoreKind): string => (kind === 'memory' ? 'Tidemark' : 'Tidemark, LMDB, durable')

const inserts = storeKinds.map(
  (kind): Subject => ({
    name: nameOf(kind),
    workload: 'W1',
    async run({ directory }) {
      const load = insertLoad()
      const replica = await openOn(await openStore(kind, directory))
      const seconds = await secondsOf(() => insertAll(replica, load.rowBatches))
      expectEqual('rows', (await heldBy(replica)).rows, load.rows.length)
      return { rowsPerSecond: load.rows.length / seconds }
    },
  }),
)

const updates = storeKinds.map(
  (kind): Subject => ({
    name: nameOf(kind),
    workload: 'W2',
    async run({ directory }) {
      const load = updateLoad()
      const replica = await openOn(await openStore(kind, directory))
      await insertAll(replica, load.rowBatches)
      const seconds = await secondsOf(() => updateAll(replica, load.updateBatches))
      expectEqual('sum of priorities', (await heldBy(replica)).sum, load.sum)
      return { updatesPerSecond: load.updates.length / seconds }
    },
  }),
)

const firstRead: Subject = {
  name: nameOf('LMDB'),
  workload: 'W6',
  async prepare({ directory }) {
    const store = await openStore('LMDB', directory)
    const replica = await openOn(store)
    await insertAll(replica, insertLoad().rowBatches)
    await replica.close()
    await store.close()
  },
  async run({ directory }) {
    const { rows } = insertLoad()
    let priority: number | undefined
    const seconds = await secondsOf(async () => {
      const replica = await openOn(await openStore('LMDB', directory))
      priority = (await replica.table('rows').get(rows[50_000].id))?.priority
    })
    expectEqual('priority', priority ?? Number.NaN, rows[50_000].priority)
    return { firstReadMs: seconds * 1000, diskBytesPerRow: diskBytesOf(directory) / rows.length }
  },
}

export const subjects: readonly Subject[] = [...inserts, ...updates, firstRead]
