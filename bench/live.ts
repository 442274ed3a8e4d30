/**
 * W5 and W5b: one writer, one server, 49 other clients, each side in processes of its own.
 *
 * Knows: when a change was made and when each client showed it, on one clock of the machine. Must never know: how a
 * peer carries a change.
 * 1. The server is alone in its process: its CPU time is the server's and nobody else's.
 * 2. A delivery counts when a client's own replica (or handler) shows the new value, not when bytes arrive.
 * 3. Bytes are counted at the clients' TCP sockets, both directions, everything included after the connection stands.
 * 4. Every change sets another priority, above those of the rows, so that a delivered value names its change.
 */
import { subscribe } from 'node:diagnostics_channel'
import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Actor, startActor } from './actor.ts'
import { priorityEnd, type Row, rows } from './data.ts'
import type { Figures } from './workloads.ts'

/** What a peer offers to be measured live; exported by its file and named in `LivePeerPlace`. */
export type LivePeer = {
  /** Opens a server on a free port of 127.0.0.1; `directory` is empty, for servers that store. */
  readonly openServer: (directory: string) => Promise<{ readonly port: number }>
  /** Resolves when connected; `onChange` is called once per change of another client that this client has taken in. */
  readonly openClient: (port: number, onChange: (priority: number) => void) => Promise<LiveClient>
}
export type LiveClient = {
  /** Makes the rows that later changes update; sent to the others as the peer does it. */
  readonly insert: (rows: readonly Row[]) => void | Promise<void>
  /** One change: one field of one row. Must not wait for the server. */
  readonly update: (id: string, priority: number) => unknown
  readonly rowCount: () => number
}
export type LivePeerPlace = { readonly file: string; readonly name: string }

type Spot = { readonly place: LivePeerPlace; readonly directory: string }
type LiveServer = Awaited<ReturnType<typeof createLiveServer>>
type Fleet = Awaited<ReturnType<typeof createFleet>>
type Stage = {
  readonly server: Actor<LiveServer>
  readonly fleets: readonly Actor<Fleet>[]
  readonly writer: LiveClient
  /** When each change was made, in microseconds. */
  readonly madeAt: number[]
}

export const liveRowCount = 2_000
const fleetSizes = [25, 24]
const clientCount = 49
const changeEveryMs = 10
const warmUpChanges = 200
const pacedChanges = 1_000
const burstChanges = 2_000
const deliveryMsMax = 60_000

export function measurePaced(place: LivePeerPlace, directory: string): Promise<Figures> {
  return onStage({ place, directory }, async (stage) => {
    await pace(stage, warmUpChanges)
    await delivered(stage)
    const before = await marks(stage)
    await pace(stage, pacedChanges)
    await delivered(stage)
    const after = await marks(stage)
    const arrivals = await Promise.all(stage.fleets.map((fleet) => fleet.call('arrivals', warmUpChanges)))
    const latencies = arrivals.flatMap(({ changes, at }) =>
      Array.from(at, (time, index) => (time - stage.madeAt[changes[index]]) / 1000),
    )
    const deliveries = pacedChanges * clientCount
    if (latencies.length !== deliveries) throw new Error(`${latencies.length} of ${deliveries} deliveries`)
    latencies.sort((a, b) => a - b)
    return {
      latencyP50Ms: latencies[Math.floor(latencies.length * 0.5)],
      latencyP99Ms: latencies[Math.floor(latencies.length * 0.99)],
      serverCpuMicros: (after.cpuMicros - before.cpuMicros) / deliveries,
      bytesPerDelivery: (after.bytes - before.bytes) / deliveries,
      peakRssBytes: after.peakRssBytes,
    }
  })
}

export function measureBurst(place: LivePeerPlace, directory: string): Promise<Figures> {
  return onStage({ place, directory }, async (stage) => {
    burst(stage, burstChanges)
    await delivered(stage)
    const before = await marks(stage)
    const first = stage.madeAt.length
    burst(stage, burstChanges)
    await delivered(stage)
    const after = await marks(stage)
    const arrivals = await Promise.all(stage.fleets.map((fleet) => fleet.call('arrivals', first)))
    const last = Math.max(...arrivals.map(({ at }) => at.reduce((a, b) => Math.max(a, b), 0)))
    const deliveries = burstChanges * clientCount
    return {
      deliveriesPerSecond: deliveries / ((last - stage.madeAt[first]) / 1e6),
      serverCpuMicros: (after.cpuMicros - before.cpuMicros) / deliveries,
      bytesPerDelivery: (after.bytes - before.bytes) / deliveries,
      peakRssBytes: after.peakRssBytes,
    }
  })
}

async function onStage(spot: Spot, measure: (stage: Stage) => Promise<Figures>): Promise<Figures> {
  const actors: { stop: () => void }[] = []
  try {
    const server = await startActor<LiveServer>(import.meta.url, 'createLiveServer', spot)
    actors.push(server)
    const port = await server.call('port', undefined)
    const peer = await loadLivePeer(spot.place)
    const writer = await peer.openClient(port, () => {})
    await writer.insert(rows(liveRowCount))
    const fleets: Actor<Fleet>[] = []
    for (const size of fleetSizes) {
      const fleet = await startActor<Fleet>(import.meta.url, 'createFleet', { place: spot.place, port, size })
      actors.push(fleet)
      fleets.push(fleet)
    }
    await Promise.all(fleets.map((fleet) => fleet.call('ready', undefined)))
    return await measure({ server, fleets, writer, madeAt: [] })
  } finally {
    for (const actor of actors) actor.stop()
  }
}

/** On an absolute schedule: a late change does not delay the ones after it. */
async function pace(stage: Stage, changes: number): Promise<void> {
  const begin = performance.now()
  for (let n = 0; n < changes; n++) {
    const wait = begin + n * changeEveryMs - performance.now()
    if (wait > 0) await sleep(wait)
    makeChange(stage)
  }
}

function burst(stage: Stage, changes: number): void {
  for (let n = 0; n < changes; n++) makeChange(stage)
}

const liveRows = rows(liveRowCount)

function makeChange({ writer, madeAt }: Stage): void {
  const change = madeAt.length
  madeAt.push(nowMicros())
  void writer.update(liveRows[change % liveRowCount].id, priorityEnd + change)
}

async function delivered({ fleets, madeAt }: Stage): Promise<void> {
  await Promise.all(fleets.map((fleet) => fleet.call('delivered', madeAt.length)))
}

async function marks({ server, fleets }: Stage): Promise<{ cpuMicros: number; bytes: number; peakRssBytes: number }> {
  const { cpuMicros, peakRssBytes } = await server.call('mark', undefined)
  const counted = await Promise.all(fleets.map((fleet) => fleet.call('bytes', undefined)))
  return { cpuMicros, peakRssBytes, bytes: counted.reduce((sum, bytes) => sum + bytes, 0) }
}

/** One clock for all processes of the machine. */
function nowMicros(): number {
  return Number(process.hrtime.bigint() / 1000n)
}

async function loadLivePeer({ file, name }: LivePeerPlace): Promise<LivePeer> {
  const module = (await import(file)) as Record<string, LivePeer>
  return module[name]
}

/** Actor: the server. */
export async function createLiveServer({ place, directory }: Spot) {
  const { peakRssBytes } = await import('./child.ts')
  const peer = await loadLivePeer(place)
  const { port } = await peer.openServer(directory)
  return {
    port: () => port,
    mark: () => {
      const { user, system } = process.cpuUsage()
      return { cpuMicros: user + system, peakRssBytes: peakRssBytes() }
    },
  }
}

/** Actor: some of the clients. */
export async function createFleet({ place, port, size }: { place: LivePeerPlace; port: number; size: number }) {
  const countBytes = watchSockets()
  const peer = await loadLivePeer(place)
  const changes: number[] = []
  const at: number[] = []
  const onChange = (priority: number) => {
    if (priority < priorityEnd) return
    changes.push(priority - priorityEnd)
    at.push(nowMicros())
  }
  const clients: LiveClient[] = []
  for (let n = 0; n < size; n++) clients.push(await peer.openClient(port, onChange))
  const until = async (isReached: () => boolean, what: () => string) => {
    const limit = performance.now() + deliveryMsMax
    while (!isReached()) {
      if (performance.now() > limit) throw new Error(`after ${deliveryMsMax / 1000} s: ${what()}`)
      await sleep(20)
    }
  }
  return {
    ready: () =>
      until(
        () => clients.every((client) => client.rowCount() >= liveRowCount),
        () => `clients have ${clients.map((client) => client.rowCount())} rows`,
      ),
    delivered: (made: number) =>
      until(
        () => changes.length >= made * size,
        () => `${changes.length} of ${made * size} deliveries`,
      ),
    /** Changes from `first` on, and when each was shown. */
    arrivals: (first: number) => {
      const chosen = changes.flatMap((change, index) => (change >= first ? [index] : []))
      return {
        changes: Int32Array.from(chosen, (index) => changes[index]),
        at: Float64Array.from(chosen, (index) => at[index]),
      }
    },
    bytes: countBytes,
  }
}

/** Counts what all client sockets of this process, opened from now on, send and receive. */
export function watchSockets(): () => number {
  const sockets: Socket[] = []
  subscribe('net.client.socket', (message) => void sockets.push((message as { socket: Socket }).socket))
  return () => sockets.reduce((sum, socket) => sum + socket.bytesRead + socket.bytesWritten, 0)
}
