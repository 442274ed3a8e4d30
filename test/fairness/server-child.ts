/**
 * The server under measurement, in a process of its own and as `tidemark serve` runs it: a development server on LMDB in the
 * directory it is told, or in memory.
 */
import { pino } from 'pino'
import { createMemoryStores } from '../../core/stores/memory.ts'
import { growHeapFreely } from '../../sync-server/heap.ts'
import { createSyncServer } from '../../sync-server/index.ts'

growHeapFreely()
const [dataDir = ''] = process.argv.slice(2)
const stores = dataDir === '' ? { openStore: createMemoryStores() } : { dataDir }
const server = await createSyncServer({ dev: true, port: 0, ...stores, logger: pino({ level: 'error' }) })
process.send?.({ url: server.url })
process.on('disconnect', () => process.exit(0))
