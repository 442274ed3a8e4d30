/** PouchDB: the memory adapter where the others are in memory, the LevelDB adapter for what is persisted. */
import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { Row } from '../data.ts'
import { diskBytesOf } from '../disk.ts'
import { expectEqual, insertLoad, type Load, type Subject, secondsOf } from '../workloads.ts'

type Stored = Row & { readonly _id: string }
type Database = {
  readonly bulkDocs: (docs: Stored[]) => Promise<unknown>
  readonly get: (id: string) => Promise<Stored>
  readonly info: () => Promise<{ readonly doc_count: number }>
  readonly close: () => Promise<void>
}
type Pouch = { new (name: string, options: { adapter: string }): Database; plugin: (plugin: unknown) => Pouch }

// Its packages are CommonJS without types.
const require = createRequire(import.meta.url)
const PouchDB = (require('pouchdb-core') as Pouch)
  .plugin(require('pouchdb-adapter-memory'))
  .plugin(require('pouchdb-adapter-leveldb'))

const openLevel = (directory: string): Database => new PouchDB(join(directory, 'rows'), { adapter: 'leveldb' })

const insertAll = async (database: Database, batches: readonly Stored[][]): Promise<void> => {
  for (const batch of batches) await database.bulkDocs(batch)
}

const storedBatches = ({ rowBatches }: Load): Stored[][] =>
  rowBatches.map((batch) => batch.map((row) => ({ _id: row.id, ...row })))

export const subjects: readonly Subject[] = [
  {
    name: 'PouchDB',
    workload: 'W1',
    async run() {
      const load = insertLoad()
      const stored = storedBatches(load)
      const database = new PouchDB('bench', { adapter: 'memory' })
      const seconds = await secondsOf(() => insertAll(database, stored))
      expectEqual('rows', (await database.info()).doc_count, load.rows.length)
      return { rowsPerSecond: load.rows.length / seconds }
    },
  },
  {
    name: 'PouchDB, LevelDB',
    workload: 'W6',
    async prepare({ directory }) {
      const database = openLevel(directory)
      await insertAll(database, storedBatches(insertLoad()))
      await database.close()
    },
    async run({ directory }) {
      const { rows } = insertLoad()
      let found: Stored | undefined
      const seconds = await secondsOf(async () => {
        found = await openLevel(directory).get(rows[50_000].id)
      })
      expectEqual('priority', found?.priority ?? Number.NaN, rows[50_000].priority)
      return { firstReadMs: seconds * 1000, diskBytesPerRow: diskBytesOf(directory) / rows.length }
    },
  },
]
