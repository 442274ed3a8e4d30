/** RxDB with its memory storage, no schema validation; over sockets its own websocket replication. */
import { createServer } from 'node:net'
import { createRxDatabase, type RxCollection, type RxDatabase, type RxReplicationHandler } from 'rxdb'
import { replicateRxCollection } from 'rxdb/plugins/replication'
import {
  getReplicationHandlerByCollection,
  replicateWithWebsocketServer,
  startWebsocketServer,
} from 'rxdb/plugins/replication-websocket'
import { getRxStorageMemory } from 'rxdb/plugins/storage-memory'
import { type BulkPeer, type Held, measureBulk } from '../bulk.ts'
import type { Row } from '../data.ts'
import {
  expectEqual,
  type Figures,
  insertLoad,
  type Load,
  replicaLoad,
  type Subject,
  secondsOf,
  updateLoad,
} from '../workloads.ts'

type Rows = RxCollection<Row>
type Database = RxDatabase<{ rows: Rows }>

const schema = {
  version: 0,
  primaryKey: 'id',
  type: 'object',
  properties: {
    id: { type: 'string', maxLength: 36 },
    title: { type: 'string' },
    done: { type: 'boolean' },
    priority: { type: 'number' },
    updatedAt: { type: 'number' },
    notes: { type: 'string' },
  },
} as const
const replicationBatch = 1_000

export const subjects: readonly Subject[] = [
  {
    name: 'RxDB',
    workload: 'W1',
    async run() {
      const load = insertLoad()
      const { rows } = await openDatabase('bench')
      const seconds = await secondsOf(() => insertAll(rows, load))
      expectEqual('rows', (await heldBy(rows)).rows, load.rows.length)
      return { rowsPerSecond: load.rows.length / seconds }
    },
  },
  {
    name: 'RxDB',
    workload: 'W2',
    async run() {
      const load = updateLoad()
      const { rows } = await openDatabase('bench')
      await insertAll(rows, load)
      const seconds = await secondsOf(() => updateAll(rows, load))
      expectEqual('sum of priorities', (await heldBy(rows)).sum, load.sum)
      return { updatesPerSecond: load.updates.length / seconds }
    },
  },
  { name: 'RxDB', workload: 'W3', run: receive },
  {
    name: 'RxDB',
    workload: 'W3s',
    run: ({ directory }) => measureBulk({ file: import.meta.url, name: 'bulk' }, directory),
  },
]

async function openDatabase(name: string): Promise<Database> {
  const database: Database = await createRxDatabase({ name, storage: getRxStorageMemory(), multiInstance: false })
  await database.addCollections({ rows: { schema } })
  return database
}

async function insertAll(rows: Rows, { rowBatches }: Load): Promise<void> {
  for (const batch of rowBatches) await rows.bulkInsert(batch as Row[])
}

/** Patches of one batch are written together by RxDB's own queue. */
async function updateAll(rows: Rows, { updateBatches }: Load): Promise<void> {
  for (const batch of updateBatches) {
    const found = await rows.findByIds(batch.map(({ id }) => id)).exec()
    await Promise.all(batch.map(({ id, priority }) => found.get(id)?.incrementalPatch({ priority })))
  }
}

async function heldBy(rows: Rows): Promise<Held> {
  const found = await rows.find().exec()
  return { rows: found.length, sum: found.reduce((sum, { priority }) => sum + priority, 0) }
}

async function receive(): Promise<Figures> {
  const load = replicaLoad()
  const source = await openDatabase('source')
  await insertAll(source.rows, load)
  await updateAll(source.rows, load)
  const target = await openDatabase('target')
  const handler: RxReplicationHandler<Row, unknown> = getReplicationHandlerByCollection(source, 'rows')
  let wireBytes = 0
  const seconds = await secondsOf(async () => {
    const replication = replicateRxCollection<Row, unknown>({
      replicationIdentifier: 'bench',
      collection: target.rows,
      live: false,
      pull: {
        batchSize: replicationBatch,
        async handler(checkpoint, batchSize) {
          const bytes = Buffer.from(JSON.stringify(await handler.masterChangesSince(checkpoint, batchSize)))
          wireBytes += bytes.byteLength
          return JSON.parse(bytes.toString())
        },
      },
    })
    await replication.awaitInitialReplication()
  })
  const held = await heldBy(target.rows)
  expectEqual('rows', held.rows, load.rows.length)
  expectEqual('sum of priorities', held.sum, load.sum)
  return { seconds, wireBytes }
}

export const bulk: BulkPeer = {
  async openServer(load) {
    const database = await openDatabase('server')
    await insertAll(database.rows, load)
    await updateAll(database.rows, load)
    const port = await freePort()
    startWebsocketServer({ database, host: '127.0.0.1', port })
    return { port }
  },
  async receive(port) {
    const { rows } = await openDatabase('client')
    const replication = await replicateWithWebsocketServer({
      replicationIdentifier: 'bench',
      collection: rows,
      url: `ws://127.0.0.1:${port}`,
      batchSize: replicationBatch,
      live: true,
    })
    await replication.awaitInitialReplication()
    return () => heldBy(rows)
  },
}

/** RxDB's server does not tell which port it was given. */
function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const address = probe.address()
      probe.close(() => resolve(typeof address === 'object' && address ? address.port : 0))
    })
  })
}
