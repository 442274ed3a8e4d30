/** Tidemark in one process: replicas that sync directly or through a server's side, over sessions and frames. */
import { deflateRawSync } from 'node:zlib'
import { type BenchReplica, heldBy, insertAll, openInMemory, updateAll, updateEach } from './tidemark-replica.ts'
import { clientEnd, type End, meshEnd, type OnFrame, openHub, openWire, serverEnd } from './tidemark-wire.ts'
import { expectEqual, type Figures, type Load, offlineLoad, replicaLoad, type Subject, secondsOf } from './workloads.ts'

/** Replicas without a server get the whole log of each other; a new replica of a server gets a snapshot. */
type Way = 'log' | 'snapshot'

/** The side that holds everything, with all inserts and updates in its log. */
async function openSource(way: Way, load: Load): Promise<End> {
  const writer = await openInMemory(way === 'log' ? 'self' : 'server')
  await insertAll(writer, load.rowBatches)
  await updateAll(writer, load.updateBatches)
  if (way === 'log') return meshEnd(writer)
  const server = serverEnd(await openHub())
  await transfer(clientEnd(writer), server)
  return server
}

async function openTarget(way: Way): Promise<{ readonly replica: BenchReplica; readonly end: End }> {
  const replica = await openInMemory(way === 'log' ? 'self' : 'server')
  return { replica, end: way === 'log' ? meshEnd(replica) : clientEnd(replica) }
}

async function transfer(initiator: End, acceptor: End, onFrame?: OnFrame): Promise<number> {
  const wire = openWire(initiator, acceptor, onFrame)
  await wire.settled()
  wire.close()
  return wire.bytes()
}

async function receive(way: Way): Promise<Figures> {
  const load = replicaLoad()
  const source = await openSource(way, load)
  const target = await openTarget(way)
  let wireBytes = 0
  const seconds = await secondsOf(async () => {
    wireBytes = await transfer(target.end, source)
  })
  const held = await heldBy(target.replica)
  expectEqual('rows', held.rows, load.rows.length)
  expectEqual('sum of priorities', held.sum, load.sum)
  return { seconds, wireBytes, deflatedBytes: await measureDeflated(source, way) }
}

/** What a transport sends that deflates each message on its own, as the server does when asked to. */
async function measureDeflated(source: End, way: Way): Promise<number> {
  let bytes = 0
  await transfer((await openTarget(way)).end, source, (frame) => {
    bytes += deflateRawSync(frame).byteLength
  })
  return bytes
}

async function meet(): Promise<Figures> {
  const load = offlineLoad()
  const [a, b] = [await openInMemory('self'), await openInMemory('self')]
  await insertAll(a, load.rowBatches)
  await transfer(meshEnd(a), meshEnd(b))
  await updateEach(a, load.updates)
  await updateEach(b, load.otherUpdates)
  let bytes = 0
  const seconds = await secondsOf(async () => {
    bytes = await transfer(meshEnd(a), meshEnd(b))
  })
  expectEqual('sum on both sides', (await heldBy(a)).sum, (await heldBy(b)).sum)
  return { seconds, bytesPerChange: bytes / (load.updates.length * 2) }
}

export const subjects: readonly Subject[] = [
  { name: 'Tidemark (log)', workload: 'W3', run: () => receive('log') },
  { name: 'Tidemark (snapshot)', workload: 'W3', run: () => receive('snapshot') },
  { name: 'Tidemark', workload: 'W4', run: meet },
]
