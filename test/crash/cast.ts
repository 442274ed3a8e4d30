/**
 * The cast of a run: a server and its clients in one process, real sessions between them, frames as bytes, no sockets.
 *
 * Knows: the tables of the play, how a client goes on under a new id. Must never know: the script, or who crashes.
 */
import {
  causal,
  clientRole,
  counter,
  type Gate,
  Hub,
  isTidemarkError,
  Ledger,
  Link,
  openReplica,
  parseLimits,
  parseTenantName,
  type Replica,
  type Store,
  type Transport,
  table,
} from '../../core/index.ts'
import { serverRole } from '../../core/server-door.ts'

export interface Note {
  readonly id: string
  readonly text: string
  readonly mark: string
}

export interface Card {
  readonly id: string
  readonly front: string
  readonly back: string
  readonly mark: string
}

export interface Tally {
  readonly id: string
  readonly n: number
  readonly mark: string
}

const TABLES = {
  notes: table<Note>(),
  cards: table<Card>({ granularity: 'row', policy: causal() }),
  tallies: table<Tally>({ fields: { n: counter() } }),
  bulk: table<Note>(),
}

export type Client = Replica<typeof TABLES>

const TENANT = 'acme'
/** Of rows whose ids begin so, the server refuses every change. */
export const FORBIDDEN_PREFIX = 'no-'
const NOW_MS = 1_700_000_000_000

let ticks = 0
/** Wall time that moves on with every look. */
const now = (): number => NOW_MS + ticks++

const GATE: Gate = {
  mayRead: () => true,
  mayWrite: () => true,
  judge: ({ id }) => (id.startsWith(FORBIDDEN_PREFIX) ? 'forbidden' : undefined),
}

export function openClient(store: Store): Promise<Client> {
  return openReplica({ tenant: TENANT, store, tables: TABLES, now })
}

export async function openServer(store: Store): Promise<Hub> {
  return new Hub(await Ledger.open({ tenant: parseTenantName(TENANT), store, limits: parseLimits(), authority: 2 }))
}

/** A connection of a client. A client whose store turns out to be old goes on under a new id, once. */
export class Line {
  readonly #client: Client
  readonly #hub: Hub
  readonly #renewals: string[]
  #link: Link | undefined
  /** Frames of the server that are let through; more are lost with the connection. */
  framesLeft = Number.POSITIVE_INFINITY
  /** And of the client. */
  framesUpLeft = Number.POSITIVE_INFINITY

  /** `renewals` hears of every change of identity. */
  constructor(client: Client, hub: Hub, renewals: string[] = []) {
    this.#client = client
    this.#hub = hub
    this.#renewals = renewals
  }

  /** Resolves when both sides have everything; rejects with what ended the session. */
  async settle(): Promise<void> {
    try {
      await this.#open().settled()
    } catch (error) {
      if (!isTidemarkError(error)) throw error
      const { hub, ledger, id } = this.#client
      // How much of the store is the server's already takes a few hellos to find out.
      if (error.code === 'unavailable' && hub.past.claimOf(id, ledger.durableAckedSeq) !== undefined)
        return this.settle()
      if (error.code !== 'replica-restored' && error.code !== 'replica-cloned') throw error
      this.#renewals.push(error.code)
      if (this.#renewals.length > 3) throw error
      await this.#client.renewIdentity(error.code)
      await this.settle()
    }
  }

  hangUp(): void {
    this.#link?.end()
    this.#link = undefined
  }

  #open(): Link {
    // Without a transport one is over, also while it still carries out what came.
    const isOver = this.#link?.state === 'ending' || this.#link?.state === 'closed'
    if (this.#link !== undefined && !isOver) return this.#link
    const ends: [Link | undefined, Link | undefined] = [undefined, undefined]
    const transportTo = (other: 0 | 1): Transport => ({
      send: (frame) =>
        queueMicrotask(() => {
          const left = other === 0 ? --this.framesLeft : --this.framesUpLeft
          if (left < 0) return ends[0]?.end()
          ends[other]?.receive(frame)
        }),
      close: () => queueMicrotask(() => ends[other]?.end()),
    })
    const { tables } = this.#client
    const link = new Link({
      hub: this.#client.hub,
      role: clientRole,
      transport: transportTo(1),
      tables,
      now,
    })
    const serverLink = new Link({
      hub: this.#hub,
      role: serverRole({ gate: GATE }),
      transport: transportTo(0),
      tables: new Map(),
      now,
    })
    ends[0] = link
    ends[1] = serverLink
    this.#link = link
    link.start()
    return link
  }
}
