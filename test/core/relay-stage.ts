/**
 * A stage for families of servers: a root, relays, clients, and lines between them that may swallow frames.
 *
 * Knows: who is connected to whom, and what was sent. Must never know: what a session says.
 */

import { becomeRelay } from '../../core/family.ts'
import { decodeFrame } from '../../core/frame.ts'
import type { Gate } from '../../core/gate.ts'
import {
  clientRole,
  Hub,
  Ledger,
  Link,
  openReplica,
  parseLimits,
  type Replica,
  type Store,
  table,
} from '../../core/index.ts'
import type { Frame } from '../../core/message.ts'
import { parseTenantName } from '../../core/names.ts'
import { relayRole, serverRole } from '../../core/server-door.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'

export interface Note {
  readonly id: string
  readonly text: string
}

const TENANT = 'acme'
const TABLES = { notes: table<Note>() }
const START_MS = 1_800_000_000_000

export type Client = Replica<typeof TABLES>

let ms = START_MS
export const now = (): number => ++ms

export function openClient(store: Store = openMemoryStore()): Promise<Client> {
  return openReplica({ tenant: TENANT, store, tables: TABLES, now })
}

export async function openRoot(store: Store = openMemoryStore()): Promise<Hub> {
  return new Hub(await Ledger.open({ tenant: parseTenantName(TENANT), store, limits: parseLimits(), authority: 2 }))
}

export async function openRelay(store: Store = openMemoryStore()): Promise<Hub> {
  const hub = await openRoot(store)
  await hub.ledger.submit(becomeRelay(now()))
  return hub
}

export const OPEN: Gate = { mayRead: () => true, mayWrite: () => true, mayRelay: () => true }

/** Refuses rows by their ids. */
export const refusing = (isRefused: (id: string) => boolean): Gate => ({
  ...OPEN,
  judge: ({ id }) => (isRefused(id) ? 'forbidden' : undefined),
})

export interface LineOptions {
  readonly gate?: Gate
  readonly versions?: { readonly up?: readonly [number, number]; readonly down?: readonly [number, number] }
  /** Frames that are lost. */
  readonly loses?: (frame: Frame, from: 'up' | 'down') => boolean
}

/** A connection, and all that went over it. */
export class Line {
  readonly initiator: Link
  readonly acceptor: Link
  readonly sent: { readonly from: 'up' | 'down'; readonly frame: Frame }[] = []

  constructor(from: Client | Hub, to: Hub, { gate = OPEN, versions = {}, loses = () => false }: LineOptions = {}) {
    const isRelay = from instanceof Hub
    const wire = (direction: 'up' | 'down', peer: () => Link) => ({
      send: (bytes: Uint8Array): void => {
        const frame = decodeFrame(bytes, parseLimits())
        this.sent.push({ from: direction, frame })
        if (!loses(frame, direction)) queueMicrotask(() => peer().receive(bytes))
      },
      close: (): void => queueMicrotask(() => peer().end()),
    })
    this.initiator = new Link({
      hub: isRelay ? from : from.hub,
      role: isRelay ? relayRole : clientRole,
      tables: isRelay ? new Map() : from.tables,
      now,
      transport: wire('up', () => this.acceptor),
      ...(versions.up === undefined ? {} : { versions: versions.up }),
    })
    this.acceptor = new Link({
      hub: to,
      role: serverRole({ gate }),
      tables: new Map(),
      now,
      transport: wire('down', () => this.initiator),
      ...(versions.down === undefined ? {} : { versions: versions.down }),
    })
    this.initiator.start()
  }

  /** Why it ended. */
  get end(): string | undefined {
    return (this.initiator.error ?? this.acceptor.error)?.code
  }

  async settled(): Promise<this> {
    await this.initiator.settled()
    return this
  }

  async close(): Promise<void> {
    this.initiator.end()
    await rest()
  }

  /** Blocks of changes that one side has sent. */
  blocksFrom(side: 'up' | 'down'): number {
    let blocks = 0
    for (const { from, frame } of this.sent) {
      if (from === side && frame.type === 'changes') blocks += frame.blocks.length
    }
    return blocks
  }
}

/** Until nothing is left to do. */
export async function rest(): Promise<void> {
  for (let turn = 0; turn < 12; turn++) await new Promise((resolve) => setImmediate(resolve))
}
