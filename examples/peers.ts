/**
 * Two replicas without a server: they admit their own changes and sync directly, here within one process. Run it with
 * `npx tsx examples/peers.ts`.
 */
import { openReplica, syncDirectly, table } from 'tidemark/core'
import { openMemoryStore } from 'tidemark/stores/memory'

type Stock = { id: string; shelf: string; count: number }

const open = () =>
  openReplica({
    tenant: 'warehouse',
    store: openMemoryStore(),
    authority: 'self',
    tables: { stock: table<Stock>() },
  })
const [left, right] = [await open(), await open()]

await left.table('stock').insert({ id: 'bolts', shelf: 'A1', count: 500 })
await right.table('stock').insert({ id: 'nuts', shelf: 'B2', count: 480 })

const link = syncDirectly(left, right)
await link.settled()
console.log(`each has ${left.log.stats().rows} rows, clocks are ${left.clock.compare(right.clock)}`)

right.subscribe({ table: 'stock', id: 'bolts' }, ({ row, origin }) => console.log(`${origin}: ${row?.count} bolts`))
await left.table('stock').update('bolts', { count: 460 })
await link.settled()
link.close()

const [leftDigest, rightDigest] = [await left.digest(), await right.digest()]
console.log(`digests are ${leftDigest.hash === rightDigest.hash ? 'equal' : 'different'}`)
