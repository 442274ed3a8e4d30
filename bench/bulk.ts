/**
 * W3s and W3m: everything a server holds, received by an empty replica over a loopback socket.
 *
 * Knows: when the replica began to connect and when it had everything. Must never know: how a peer carries it.
 * 1. The server has a process of its own and is filled before the clock starts; the receiver's process is fresh, and
 *    its peak memory is the receiver's alone.
 * 2. Bytes are counted at the receiver's TCP sockets, both directions, handshake included.
 */
import { startActor } from './actor.ts'
import { peakRssBytes } from './child.ts'
import { watchSockets } from './live.ts'
import { expectEqual, type Figures, type Load, replicaLoad, secondsOf, tenMegabyteLoad } from './workloads.ts'

/** What a peer offers to be measured; exported by its file under the name given in `BulkPeerPlace`. */
export type BulkPeer = {
  /** Opens a server on a free port of 127.0.0.1 that holds all of `load`. */
  readonly openServer: (load: Load, directory: string) => Promise<{ readonly port: number }>
  /** Connects an empty replica; resolves when it holds everything. What it returns is called after the clock. */
  readonly receive: (port: number, directory: string) => Promise<() => Held | Promise<Held>>
}
export type Held = { readonly rows: number; readonly sum: number }
export type BulkPeerPlace = { readonly file: string; readonly name: string }

const loads = { replica: replicaLoad, tenMegabytes: tenMegabyteLoad } as const
export type BulkLoadName = keyof typeof loads

type Spot = { readonly place: BulkPeerPlace; readonly directory: string; readonly loadName: BulkLoadName }
type BulkServer = Awaited<ReturnType<typeof createBulkServer>>

export async function measureBulk(
  place: BulkPeerPlace,
  directory: string,
  loadName: BulkLoadName = 'replica',
): Promise<Figures> {
  const spot: Spot = { place, directory, loadName }
  const server = await startActor<BulkServer>(import.meta.url, 'createBulkServer', spot)
  try {
    const { port, rows, sum } = await server.call('expected', undefined)
    const peer = await loadBulkPeer(place)
    const countBytes = watchSockets()
    let inspect = (): Held | Promise<Held> => ({ rows: 0, sum: 0 })
    const seconds = await secondsOf(async () => {
      inspect = await peer.receive(port, directory)
    })
    const peak = peakRssBytes()
    const held = await inspect()
    expectEqual('rows received', held.rows, rows)
    expectEqual('sum of priorities', held.sum, sum)
    return { seconds, wireBytes: countBytes(), peakRssBytes: peak }
  } finally {
    server.stop()
  }
}

async function loadBulkPeer({ file, name }: BulkPeerPlace): Promise<BulkPeer> {
  const module = (await import(file)) as Record<string, BulkPeer>
  return module[name]
}

/** Actor: the server. */
export async function createBulkServer({ place, directory, loadName }: Spot) {
  const peer = await loadBulkPeer(place)
  const load = loads[loadName]()
  const { port } = await peer.openServer(load, directory)
  return { expected: () => ({ port, rows: load.rows.length, sum: load.sum }) }
}
