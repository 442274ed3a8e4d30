/**
 * A group: replicas of one tenant in one process, with wall clocks that a test sets.
 *
 * Knows: how to open replicas and to bring them together, by log, by snapshot, directly or through a server. Must never
 * know: what they write.
 */
import {
  type Conflict,
  type ConflictSide,
  clientRole,
  type Gate,
  Hub,
  Ledger,
  Link,
  openReplica,
  parseLimits,
  parseTenantName,
  type Replica,
  type Store,
  syncDirectly,
  type Transport,
} from '../../core/index.ts'
import { serverRole } from '../../core/server-door.ts'
import { BeginSnapshot, EndSnapshot, placeAfter, ReceiveRows, type SnapshotPlace } from '../../core/snapshot.ts'
import { readSnapshotRows } from '../../core/snapshot-feed.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import type { TableDefinitions } from '../../core/table.ts'

export const TENANT = 'acme'
/** A wall time that all clocks start from: a round number of Unix milliseconds. */
export const START_MS = 1_800_000_000_000

/** A wall clock that stands until it is moved. */
export class HandClock {
  ms = START_MS

  readonly now = (): number => this.ms

  tick(ms = 1): void {
    this.ms += ms
  }
}

/** What this file needs of a replica, whatever its tables are. */
export type Peer = Pick<Replica, 'id' | 'clock' | 'conflicts' | 'hub' | 'ledger' | 'log' | 'now' | 'tables'>

/** Three replicas that read one clock, in the order of their ids: of two that write at the same time, Ann loses a tie. */
export interface Trio<Tables extends TableDefinitions> {
  readonly clock: HandClock
  readonly ann: Replica<Tables>
  readonly bob: Replica<Tables>
  readonly cas: Replica<Tables>
}

/** Replicas without a server. */
export async function openTrio<const Tables extends TableDefinitions>(tables: Tables): Promise<Trio<Tables>> {
  const clock = new HandClock()
  const replicas = [1, 2, 3].map(() => openMember(tables, clock.now))
  return toTrio(clock, await Promise.all(replicas))
}

export function openMember<const Tables extends TableDefinitions>(
  tables: Tables,
  now: () => number,
): Promise<Replica<Tables>> {
  return openReplica({ tenant: TENANT, store: openMemoryStore(), tables, authority: 'self', now })
}

function toTrio<Tables extends TableDefinitions>(clock: HandClock, replicas: readonly Replica<Tables>[]): Trio<Tables> {
  const [ann, bob, cas] = [...replicas].sort((a, b) => (a.id < b.id ? -1 : 1))
  if (ann === undefined || bob === undefined || cas === undefined) throw new Error('a trio has three')
  return { clock, ann, bob, cas }
}

/** Every open conflict, with those that are merged. */
export async function openConflicts({ conflicts }: Peer): Promise<Conflict[]> {
  const open: Conflict[] = []
  for await (const conflict of conflicts.open()) open.push(conflict)
  return open
}

/** The only open conflict. */
export async function onlyConflict(peer: Peer): Promise<Conflict> {
  const [conflict, ...others] = await openConflicts(peer)
  if (conflict === undefined || others.length > 0) throw new Error(`not one conflict, but ${others.length}`)
  return conflict
}

/** The side of a conflict that a replica wrote. */
export function sideOf({ sides }: Conflict, { id }: Peer): ConflictSide {
  const side = sides.find(({ dot }) => dot.replica === id)
  if (side === undefined) throw new Error('the replica has no side in this conflict')
  return side
}

// ── Bringing together ───────────────────────────────────────────────────────────────────────────────────────────────

/** Both get everything that the other has, by the log. */
export async function sync(left: Peer, right: Peer): Promise<void> {
  const link = syncDirectly(left as Replica, right as Replica)
  await link.settled()
  link.close()
}

/** Everybody gets everything. */
export async function syncAll(...peers: readonly Peer[]): Promise<void> {
  const [first, ...others] = peers
  if (first === undefined) return
  for (const other of others) await sync(first, other)
  for (const other of others) await sync(first, other)
}

// ── A star ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/** A trio that syncs through a server, which holds rows and knows no tables. */
export interface Star<Tables extends TableDefinitions> extends Trio<Tables> {
  readonly hub: Hub
  /** Lets each replica, one after the other, exchange everything with the server and hang up. */
  meet(...peers: readonly Peer[]): Promise<void>
  /** Gives each replica all rows of the server as a snapshot, as to one that is too far behind. It sends nothing. */
  restore(...peers: readonly Peer[]): Promise<void>
}

export async function openStar<const Tables extends TableDefinitions>(tables: Tables): Promise<Star<Tables>> {
  const clock = new HandClock()
  const hub = await openHub(openMemoryStore())
  const meet = async (...peers: readonly Peer[]): Promise<void> => {
    for (const peer of peers) await meetServer(hub, peer, clock.now)
  }
  const restore = async (...peers: readonly Peer[]): Promise<void> => {
    for (const peer of peers) await sendSnapshot(hub.ledger, peer)
  }
  return { ...(await openClients(tables, clock)), hub, meet, restore }
}

/** Replicas of a server. */
export async function openClients<const Tables extends TableDefinitions>(
  tables: Tables,
  clock: HandClock,
): Promise<Trio<Tables>> {
  const { now } = clock
  const replicas = [1, 2, 3].map(() => openReplica({ tenant: TENANT, store: openMemoryStore(), tables, now }))
  return toTrio(clock, await Promise.all(replicas))
}

/** A server without sockets. */
export async function openHub(store: Store): Promise<Hub> {
  const tenant = parseTenantName(TENANT)
  return new Hub(await Ledger.open({ tenant, store, limits: parseLimits(), authority: 2 }))
}

export async function meetServer(hub: Hub, peer: Peer, now: () => number, gate?: Gate): Promise<void> {
  const [up, down] = [new Pipe(), new Pipe()]
  const { tables } = peer
  const client = new Link({ hub: peer.hub, role: clientRole, transport: up, tables, now })
  const role = serverRole(gate === undefined ? {} : { gate })
  const server = new Link({ hub, role, transport: down, tables: new Map(), now })
  up.leadTo(server, down)
  down.leadTo(client, up)
  client.start()
  await client.settled()
  client.end()
}

/** The rows of the server in small pieces, as a session brings them. */
export async function sendSnapshot(server: Ledger, { ledger }: Peer): Promise<void> {
  const { logId, epoch } = server.state.meta
  const clock = server.durableClock()
  const cursor = { logId, epoch, position: server.durablePosition }
  await ledger.submit(new BeginSnapshot(cursor, [...clock.entries()]))
  let place: SnapshotPlace | undefined
  for (;;) {
    const chunk = await readSnapshotRows(server, place, 4_096)
    if (chunk === undefined) break
    await ledger.submit(new ReceiveRows(chunk, cursor, clock))
    place = placeAfter(chunk)
  }
  await ledger.submit(new EndSnapshot(cursor, clock))
}

/** One direction of a connection: frames arrive in order, each in a turn of its own, and the end after them. */
class Pipe implements Transport {
  #link: Link | undefined
  #other: Pipe | undefined
  #isClosed = false

  leadTo(link: Link, other: Pipe): void {
    this.#link = link
    this.#other = other
  }

  send(frame: Uint8Array): void {
    if (!this.#isClosed) queueMicrotask(() => this.#link?.receive(frame))
  }

  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    if (this.#other !== undefined) this.#other.#isClosed = true
    queueMicrotask(() => this.#link?.end())
  }
}
