/** Tidemark in one process: two replicas that sync directly, through sessions and frames. */
import { deflateRawSync } from 'node:zlib'
import { rows } from './data.ts'
import { type BenchReplica, heldBy, insertAll, openInMemory, updateAll, updateEach } from './tidemark-replica.ts'
import { meshEnd, type OnFrame, openWire } from './tidemark-wire.ts'
import { expectEqual, type Figures, offlineLoad, replicaLoad, type Subject, secondsOf } from './workloads.ts'

/** A replica that has never written anything is sent a snapshot; one with a row of its own gets the whole log. */
type Way = 'log' | 'snapshot'

const [ownRow] = rows(1, 9)

async function openTarget(way: Way): Promise<BenchReplica> {
  const target = await openInMemory('self')
  if (way === 'log') await target.table('rows').insert({ ...ownRow, priority: 0 })
  return target
}

async function receive(way: Way): Promise<Figures> {
  const load = replicaLoad()
  const source = await openInMemory('self')
  await insertAll(source, load.rowBatches)
  await updateAll(source, load.updateBatches)
  const target = await openTarget(way)
  let wireBytes = 0
  const seconds = await secondsOf(async () => {
    wireBytes = await transfer(source, target)
  })
  const held = await heldBy(target)
  expectEqual('rows', held.rows, load.rows.length + (way === 'log' ? 1 : 0))
  expectEqual('sum of priorities', held.sum, load.sum)
  return { seconds, wireBytes, deflatedBytes: await measureDeflated(source, way) }
}

async function transfer(source: BenchReplica, target: BenchReplica, onFrame?: OnFrame): Promise<number> {
  const wire = openWire(meshEnd(target), meshEnd(source), onFrame)
  await wire.settled()
  wire.close()
  return wire.bytes()
}

/** What a transport sends that deflates each message on its own, as the server does when asked to. */
async function measureDeflated(source: BenchReplica, way: Way): Promise<number> {
  let bytes = 0
  await transfer(source, await openTarget(way), (frame) => {
    bytes += deflateRawSync(frame).byteLength
  })
  return bytes
}

async function meet(): Promise<Figures> {
  const load = offlineLoad()
  const [a, b] = [await openInMemory('self'), await openInMemory('self')]
  await insertAll(a, load.rowBatches)
  await transfer(a, b)
  await updateEach(a, load.updates)
  await updateEach(b, load.otherUpdates)
  let bytes = 0
  const seconds = await secondsOf(async () => {
    bytes = await transfer(a, b)
  })
  expectEqual('sum on both sides', (await heldBy(a)).sum, (await heldBy(b)).sum)
  return { seconds, bytesPerChange: bytes / (load.updates.length * 2) }
}

export const subjects: readonly Subject[] = [
  { name: 'Tidemark (log)', workload: 'W3', run: () => receive('log') },
  { name: 'Tidemark (snapshot)', workload: 'W3', run: () => receive('snapshot') },
  { name: 'Tidemark', workload: 'W4', run: meet },
]
