/**
 * Raw LMDB: a key-value store without log, clocks or sync; the floor of what durable rows cost. Keys are row ids,
 * values MessagePack.
 */
import { type Database, open } from 'lmdb'
import type { Row } from '../data.ts'
import { diskBytesOf } from '../disk.ts'
import { expectEqual, insertLoad, type Load, type Subject, secondsOf, updateLoad } from '../workloads.ts'

const openRows = (directory: string): Database<Row, string> => open<Row, string>({ path: directory })

/** One transaction and one flush per batch, one after the other. */
async function insertAll(store: Database<Row, string>, { rowBatches }: Load): Promise<void> {
  for (const batch of rowBatches) {
    await store.batch(() => {
      for (const row of batch) void store.put(row.id, row)
    })
    await store.flushed
  }
}

export const subjects: readonly Subject[] = [
  {
    name: 'LMDB, durable',
    workload: 'W1',
    async run({ directory }) {
      const load = insertLoad()
      const store = openRows(directory)
      const seconds = await secondsOf(() => insertAll(store, load))
      expectEqual('rows', store.getCount(), load.rows.length)
      return { rowsPerSecond: load.rows.length / seconds }
    },
  },
  {
    name: 'LMDB, durable',
    workload: 'W2',
    async run({ directory }) {
      const load = updateLoad()
      const store = openRows(directory)
      await insertAll(store, load)
      const seconds = await secondsOf(async () => {
        for (const batch of load.updateBatches) {
          await store.transaction(() => {
            for (const { id, priority } of batch) {
              const row = store.get(id)
              if (row) void store.put(id, { ...row, priority })
            }
          })
          await store.flushed
        }
      })
      let sum = 0
      for (const { value } of store.getRange()) sum += value.priority
      expectEqual('sum of priorities', sum, load.sum)
      return { updatesPerSecond: load.updates.length / seconds }
    },
  },
  {
    name: 'LMDB, durable',
    workload: 'W6',
    async prepare({ directory }) {
      const store = openRows(directory)
      await insertAll(store, insertLoad())
      await store.close()
    },
    async run({ directory }) {
      const load = insertLoad()
      let found: Row | undefined
      const seconds = await secondsOf(() => {
        found = openRows(directory).get(load.rows[50_000].id)
      })
      expectEqual('priority', found?.priority ?? Number.NaN, load.rows[50_000].priority)
      return { firstReadMs: seconds * 1000, diskBytesPerRow: diskBytesOf(directory) / load.rows.length }
    },
  },
]
