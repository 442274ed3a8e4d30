/**
 * A wire between two replicas of one process that counts what passes.
 *
 * The same as `syncDirectly`, frame by frame and turn by turn, with a place to look at the frames.
 */
import {
  clientRole,
  DEFAULT_LIMITS,
  Hub,
  Ledger,
  Link,
  type LinkOptions,
  parseTenantName,
  type TidemarkError,
  type Transport,
} from '../dist/core/index.js'
import { meshAcceptor, meshInitiator } from '../dist/core/link-mesh.js'
import { serverRole } from '../dist/core/server-door.js'
import { openMemoryStore } from '../dist/core/stores/memory.js'
import { tenant } from './tidemark-replica.ts'

/** One side of a wire: a replica, or the hub of a server. */
export type End = {
  readonly hub: Hub
  readonly role: 'mesh' | 'client' | 'server'
  readonly tables: LinkOptions['tables']
}

export type Wire = {
  /** Resolves when each side has everything the other had, durable. */
  readonly settled: () => Promise<void>
  readonly close: () => void
  /** Of all frames so far, both directions. */
  readonly bytes: () => number
}

/** `onFrame` sees every frame before it is delivered; `from` is the side that sent it. */
export type OnFrame = (frame: Uint8Array, from: 'initiator' | 'acceptor') => void

export const meshEnd = ({ hub, tables }: Pick<End, 'hub' | 'tables'>): End => ({ hub, tables, role: 'mesh' })
export const clientEnd = ({ hub, tables }: Pick<End, 'hub' | 'tables'>): End => ({ hub, tables, role: 'client' })
export const serverEnd = (hub: Hub): End => ({ hub, tables: new Map(), role: 'server' })

/** A server's side of a tenant, in memory and without sockets. */
export async function openHub(): Promise<Hub> {
  const store = openMemoryStore()
  return new Hub(await Ledger.open({ tenant: parseTenantName(tenant), store, limits: DEFAULT_LIMITS, authority: 2 }))
}

export function openWire(left: End, right: End, onFrame: OnFrame = () => {}): Wire {
  let bytes = 0
  let isClosed = false
  const directionTo = (from: 'initiator' | 'acceptor', other: () => Link): Transport => ({
    send(frame) {
      bytes += frame.byteLength
      onFrame(frame, from)
      queueMicrotask(() => {
        if (!isClosed) other().receive(frame)
      })
    },
    close(error: TidemarkError | undefined) {
      if (isClosed) return
      isClosed = true
      other().end()
      if (error !== undefined) throw error
    },
  })
  const initiator: Link = new Link({
    ...left,
    role: left.role === 'mesh' ? meshInitiator : clientRole,
    transport: directionTo('initiator', () => acceptor),
    now: Date.now,
  })
  const acceptor: Link = new Link({
    ...right,
    role: right.role === 'mesh' ? meshAcceptor : serverRole(),
    transport: directionTo('acceptor', () => initiator),
    now: Date.now,
  })
  initiator.start()
  return {
    async settled() {
      await initiator.settled()
      if (right.role === 'mesh') await acceptor.settled()
    },
    close: () => initiator.end(),
    bytes: () => bytes,
  }
}
