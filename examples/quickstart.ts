/**
 * The example of the README: two replicas and their server in one program. Run it with `npx tsx examples/quickstart.ts`.
 */

// README: begin
import { pino } from 'pino'
import { openReplica, table } from 'tidemark/core'
import { createMemoryStores, openMemoryStore } from 'tidemark/stores/memory'
import { connect } from 'tidemark/sync-client'
import { createSyncServer } from 'tidemark/sync-server'

type Note = { id: string; title: string; done: boolean }

const logger = pino({ level: 'warn' })
const server = await createSyncServer({ dev: true, port: 0, openStore: createMemoryStores(), logger })
const open = () => openReplica({ tenant: 'acme', store: openMemoryStore(), tables: { notes: table<Note>() } })
const [phone, laptop] = [await open(), await open()]

async function sync() {
  for (const replica of [phone, laptop, phone]) {
    const link = connect(replica, { url: server.url })
    await link.settled() // both directions are drained
    await link.close()
  }
}

await phone.table('notes').insert({ id: 'n1', title: 'Pump 4', done: false })
await sync()
await phone.table('notes').update('n1', { title: 'Pump 4, east side' }) // both are offline now
await laptop.table('notes').update('n1', { title: 'Pump 4a', done: true })
await sync()

for (const replica of [phone, laptop]) console.log(await replica.table('notes').get('n1'))
for await (const { type, row, reason } of phone.conflicts.open()) console.log(`${type} of ${row}: ${reason}`)
await server.close()
// README: end
