/** Tidemark over sockets: the sync server and its client, with stores in memory and on LMDB. */
import { join } from 'node:path'
import { createMemoryStores } from '../dist/core/stores/memory.js'
import { connect } from '../dist/sync-client/index.js'
import { createSyncServer, type ServerOptions } from '../dist/sync-server/index.js'
import { type BulkPeer, measureBulk } from './bulk.ts'
import { batches } from './data.ts'
import { type LivePeer, measureBurst, measurePaced } from './live.ts'
import { heldBy, insertAll, openInMemory, openOn, openStore, type StoreKind, updateAll } from './tidemark-replica.ts'
import { batchSize, type Subject } from './workloads.ts'

const urlOf = (port: number): string => `http://127.0.0.1:${port}`

async function openServer(kind: StoreKind, directory: string): Promise<number> {
  const storage: ServerOptions =
    kind === 'memory' ? { openStore: createMemoryStores() } : { dataDir: join(directory, 'server') }
  const { port } = await createSyncServer({ ...storage, dev: true, port: 0 })
  return port
}

/** On LMDB the receiver is durable as well. */
const bulkOn = (kind: StoreKind): BulkPeer => ({
  async openServer(load, directory) {
    const port = await openServer(kind, directory)
    const writer = await openInMemory()
    await insertAll(writer, load.rowBatches)
    await updateAll(writer, load.updateBatches)
    const link = connect(writer, { url: urlOf(port) })
    await link.settled()
    await link.close()
    return { port }
  },
  async receive(port, directory) {
    const replica = await openOn(await openStore(kind, join(directory, 'receiver')))
    await connect(replica, { url: urlOf(port) }).settled()
    return () => heldBy(replica)
  },
})

/** The clients are in memory, 50 of them on one machine; what LMDB adds is the server's durability. */
const liveOn = (kind: StoreKind): LivePeer => ({
  openServer: async (directory) => ({ port: await openServer(kind, directory) }),
  async openClient(port, onChange) {
    const replica = await openInMemory()
    let rowCount = 0
    replica.subscribe({ table: 'rows' }, ({ type, origin, row }) => {
      if (type === 'insert') rowCount++
      else if (origin === 'remote' && row !== undefined) onChange(row.priority)
    })
    const link = connect(replica, { url: urlOf(port) })
    await link.settled()
    const rows = replica.table('rows')
    return {
      async insert(drawn) {
        await insertAll(replica, batches(drawn, batchSize))
        await link.settled()
      },
      update: (id, priority) => rows.update(id, { priority }),
      rowCount: () => rowCount,
    }
  },
})

export const memoryBulk = bulkOn('memory')
export const lmdbBulk = bulkOn('LMDB')
export const memoryLive = liveOn('memory')
export const lmdbLive = liveOn('LMDB')

const file = import.meta.url

export const subjects: readonly Subject[] = [
  { name: 'Tidemark', bulk: 'memoryBulk', live: 'memoryLive' },
  { name: 'Tidemark, LMDB, durable', bulk: 'lmdbBulk', live: 'lmdbLive' },
].flatMap(({ name, bulk, live }): Subject[] => [
  { name, workload: 'W3s', run: ({ directory }) => measureBulk({ file, name: bulk }, directory) },
  { name, workload: 'W3m', run: ({ directory }) => measureBulk({ file, name: bulk }, directory, 'tenMegabytes') },
  { name, workload: 'W5', run: ({ directory }) => measurePaced({ file, name: live }, directory) },
  { name, workload: 'W5b', run: ({ directory }) => measureBurst({ file, name: live }, directory) },
])
