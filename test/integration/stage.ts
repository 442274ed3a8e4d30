/**
 * The stage of the integration tests: servers on free ports, replicas with links, a wire that can be cut, and waiting.
 *
 * Knows: how parts are put together and taken down. Must never know: what a test is about.
 * Everything that is opened here is closed after the test, in reverse order.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { connect as connectTcp, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { type Socket as ClientSocket, io } from 'socket.io-client'
import { onTestFinished } from 'vitest'
import { openReplica, packetParser, type Replica, type Store, type TableDefinition, table } from '../../core/index.ts'
import { createMemoryStores, openMemoryStore } from '../../core/stores/memory.ts'
import { type ConnectOptions, connect, type SyncLink, type SyncStatus } from '../../sync-client/index.ts'
import { createSyncServer, type Logger, type ServerOptions, type SyncServer } from '../../sync-server/index.ts'

export interface Note {
  readonly id: string
  readonly title: string
  readonly done: boolean
  readonly stars?: number
}

export type Tables = { readonly notes: TableDefinition<Note> }
export type NoteReplica = Replica<Tables>

const DEADLINE_MS = 15_000
/** Links that try again fast: tests wait for events, not for backoff. */
const BACKOFF = { baseMs: 20, capMs: 200 }

// ── Servers ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** A development server with stores in memory, unless the options say otherwise. */
export async function openServer(options: Partial<ServerOptions> = {}): Promise<SyncServer> {
  const stores =
    options.dataDir === undefined && options.openStore === undefined ? { openStore: createMemoryStores() } : {}
  const isDev = options.authenticate === undefined && options.auth === undefined
  const access = isDev ? { dev: true } : { defaultPlan: 'unlimited', openRegistry: openMemoryStore }
  const server = await createSyncServer({ port: 0, logger: silent(), drainMs: 1_000, ...stores, ...access, ...options })
  onTestFinished(() => server.close())
  return server
}

export function silent(): Logger {
  return pino({ level: 'silent' })
}

export function createFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-integration-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

// ── Replicas ────────────────────────────────────────────────────────────────────────────────────────────────────────

export interface ReplicaSetup {
  readonly tenant?: string
  readonly store?: Store
  readonly notes?: TableDefinition<Note>
  readonly now?: () => number
}

export async function openNotes(setup: ReplicaSetup = {}): Promise<NoteReplica> {
  const { tenant = 'acme', store = openMemoryStore(), notes = table<Note>(), now } = setup
  const replica = await openReplica({ tenant, store, tables: { notes }, ...(now === undefined ? {} : { now }) })
  onTestFinished(() => replica.close())
  return replica
}

export function linkTo(replica: NoteReplica, url: string, options: Partial<ConnectOptions> = {}): SyncLink {
  const link = connect(replica, { url, backoff: BACKOFF, ...options })
  onTestFinished(() => link.close())
  return link
}

export interface Linked {
  readonly replica: NoteReplica
  link: SyncLink
}

export async function openLinked(url: string, setup: ReplicaSetup = {}): Promise<Linked> {
  const replica = await openNotes(setup)
  return { replica, link: linkTo(replica, url) }
}

/** Writes `count` notes, a hundred to a transaction. */
export async function writeNotes(replica: NoteReplica, count: number, title = 'a note'): Promise<void> {
  for (let first = 0; first < count; first += 100) {
    await replica.transact((transaction) => {
      const notes = transaction.table('notes')
      for (let n = first; n < Math.min(count, first + 100); n++) {
        notes.insert({ id: `${title.slice(0, 8)}-${String(n).padStart(6, '0')}`, title, done: false })
      }
    })
  }
}

/** Settles all links twice: what one has pushed in the first round, the others receive in the second. */
export async function settleAll(...links: readonly SyncLink[]): Promise<void> {
  for (let round = 0; round < 2; round++)
    await Promise.all(links.map((link) => link.settled({ timeoutMs: DEADLINE_MS })))
}

/** What must be equal on replicas that hold the same. */
export async function contentOf(replica: NoteReplica): Promise<unknown> {
  return { ...(await replica.digest()), clock: [...replica.clock.entries()].sort() }
}

// ── Waiting ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Resolves with the first status that fits, the present one included. */
export function statusOf(link: SyncLink, isFit: (status: SyncStatus) => boolean): Promise<SyncStatus> {
  return new Promise((resolve, reject) => {
    if (isFit(link.status)) return resolve(link.status)
    const timer = setTimeout(() => {
      stop()
      reject(new Error(`no such status within ${DEADLINE_MS} ms, but ${JSON.stringify(link.status)}`))
    }, DEADLINE_MS)
    const stop = link.onStatus((status) => {
      if (!isFit(status)) return
      clearTimeout(timer)
      stop()
      resolve(status)
    })
  })
}

export function stateOf(link: SyncLink, state: SyncStatus['state']): Promise<SyncStatus> {
  return statusOf(link, (status) => status.state === state)
}

/** For what tells nobody when it happens. */
export async function until(isReached: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = performance.now() + DEADLINE_MS
  while (!(await isReached())) {
    if (performance.now() > deadline) throw new Error(`not within ${DEADLINE_MS} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

// ── Sockets ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** A client that speaks the packets and none of the protocol. Resolves when it is let in. */
export async function openRawSocket(url: string, auth: object = { tenant: 'acme' }): Promise<ClientSocket> {
  const socket = io(url, { auth, parser: packetParser, transports: ['websocket'], forceNew: true, reconnection: false })
  onTestFinished(() => {
    socket.disconnect()
  })
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('connect_error', reject)
  })
  return socket
}

export function disconnected(socket: ClientSocket): Promise<string> {
  return new Promise((resolve) => socket.once('disconnect', resolve))
}

/** The TCP connection beneath, for tests of clients that do not read. */
export function tcpOf(socket: ClientSocket): Socket {
  const { ws } = socket.io.engine.transport as unknown as { readonly ws: { readonly _socket: Socket } }
  return ws._socket
}

/** A TCP proxy: a network that can be cut, or that goes silent without anybody being told. */
export interface Wire {
  readonly url: string
  /** Bytes from the server to clients so far. */
  readonly bytesDown: number
  /** Bytes that were not passed on, in either direction. */
  readonly bytesLost: number
  /** That are open now. */
  readonly connections: number
  /** From now on nothing is passed on, in either direction, while connections stay open. */
  silence(): void
  /** Ends all connections, and passes new ones on again. */
  cut(): void
  /** Cuts when this many more bytes have gone down. */
  cutAfter(bytes: number): void
  /** From now on requests for a WebSocket are swallowed, as some networks do. */
  swallowWebSockets(): void
}

export async function openWire(port: number): Promise<Wire> {
  const wire = new TcpWire(port)
  await wire.listen()
  onTestFinished(() => wire.close())
  return wire
}

class TcpWire implements Wire {
  readonly #target: number
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #bytesDown = 0
  #bytesLost = 0
  #cutAt = Number.POSITIVE_INFINITY
  #isSilent = false
  #hasWebSockets = true

  constructor(target: number) {
    this.#target = target
    this.#server = createServer((client) => this.#join(client))
  }

  get url(): string {
    const address = this.#server.address()
    return `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`
  }

  get bytesDown(): number {
    return this.#bytesDown
  }

  get bytesLost(): number {
    return this.#bytesLost
  }

  get connections(): number {
    return this.#sockets.size / 2
  }

  listen(): Promise<void> {
    return new Promise((resolve) => this.#server.listen(0, '127.0.0.1', resolve))
  }

  silence(): void {
    this.#isSilent = true
  }

  cut(): void {
    this.#isSilent = false
    this.#cutAt = Number.POSITIVE_INFINITY
    for (const socket of this.#sockets) socket.destroy()
  }

  cutAfter(bytes: number): void {
    this.#cutAt = this.#bytesDown + bytes
  }

  swallowWebSockets(): void {
    this.#hasWebSockets = false
  }

  close(): Promise<void> {
    this.cut()
    return new Promise((resolve) => this.#server.close(() => resolve()))
  }

  #join(client: Socket): void {
    const upstream = connectTcp(this.#target, '127.0.0.1')
    this.#pass(client, upstream)
    this.#pass(upstream, client, (bytes) => {
      this.#bytesDown += bytes
      if (this.#bytesDown >= this.#cutAt) this.cut()
    })
  }

  #pass(from: Socket, to: Socket, count: (bytes: number) => void = () => {}): void {
    this.#sockets.add(from)
    from.on('data', (bytes) => {
      const isSwallowed = !this.#hasWebSockets && bytes.includes('Upgrade: websocket')
      if (this.#isSilent || isSwallowed) {
        this.#bytesLost += bytes.length
        return
      }
      to.write(bytes)
      count(bytes.length)
    })
    from.on('error', () => {})
    from.on('close', () => {
      this.#sockets.delete(from)
      if (!this.#isSilent) to.destroy()
    })
  }
}
