/**
 * One connection to the server, from the first packet to the last: a Socket.IO socket and the session that runs over it.
 *
 * Knows: Socket.IO. Must never know: what happens after it; the link decides whether there is another one.
 *
 * Invariants:
 * V1  A connection ends once, with one error, and leaves no timer, listener or socket behind.
 * V2  Each step has a bound: reaching the server, and the handshake.
 * V3  A token that is about to expire is replaced on the same socket, if there is a function that fetches another one. That
 *     fails quietly: the server ends the session when it has to.
 */

import { io, type ManagerOptions, type Socket, type SocketOptions } from 'socket.io-client'
import {
  AUTH_EVENT,
  clientRole,
  FRAME_EVENT,
  isTidemarkError,
  Link,
  packetParser,
  quote,
  type Replica,
  type Role,
  TidemarkError,
  type Transport,
} from '../core/index.ts'
import { readRefusal } from './refusal.ts'
import { letProcessEnd } from './waking.ts'

/** What a link needs of a replica. */
export interface LinkedReplica
  extends Pick<Replica, 'hub' | 'ledger' | 'now' | 'pending' | 'renewIdentity' | 'tables' | 'tenant'> {
  /** A relay is linked to its upstream in the same way. Default: a client. */
  readonly role?: Role
  /** A relay's: told what its upstream says beside the session. */
  readonly onNote?: (said: Readonly<Record<string, unknown>>) => void
}
/** A token, or what fetches a fresh one before each attempt. */
export type TokenSource = string | (() => string | Promise<string>)
export type TransportName = 'websocket' | 'polling'

export interface ConnectionOptions {
  readonly replica: LinkedReplica
  readonly origin: string
  /** Of the Socket.IO endpoint. */
  readonly path: string
  readonly token: TokenSource | undefined
  readonly transports: readonly TransportName[]
  readonly handshakeMs: number
  readonly socketOptions: Partial<ManagerOptions & SocketOptions>
}

export interface ConnectionEvents {
  /** Something that a status shows may have changed. */
  readonly onChange: () => void
  readonly onLink: (link: Link) => void
  readonly onEnd: (error: TidemarkError) => void
}

export type ConnectionState = 'connecting' | 'handshaking' | 'restoring' | 'live' | 'ended'

/** How long to wait before the token is asked for again, when there was no new one or it was not taken. */
const RENEW_AGAIN_MS = 5_000
/** How long a peer may take to answer our goodbye. */
const GOODBYE_MS = 1_000

export class Connection {
  readonly #options: ConnectionOptions
  readonly #events: ConnectionEvents
  readonly #gone: Promise<void>
  #resolveGone: () => void = () => {}
  #socket: Socket | undefined
  #webSocket: NodeWebSocket | undefined
  #link: Link | undefined
  #timer: ReturnType<typeof setTimeout> | undefined
  #renewTimer: ReturnType<typeof setTimeout> | undefined
  /** The one that the server knows. */
  #token: string | undefined
  #hasEnded = false

  constructor(options: ConnectionOptions, events: ConnectionEvents) {
    this.#options = options
    this.#events = events
    this.#gone = new Promise((resolve) => {
      this.#resolveGone = resolve
    })
  }

  get link(): Link | undefined {
    return this.#link
  }

  get state(): ConnectionState {
    if (this.#hasEnded) return 'ended'
    if (this.#link === undefined) return 'connecting'
    if (this.#link.state !== 'streaming') return 'handshaking'
    return this.#link.isRestoring ? 'restoring' : 'live'
  }

  /** Resolves when the socket is closed. */
  get gone(): Promise<void> {
    return this.#gone
  }

  start(): void {
    this.#restartTimer('the server did not answer')
    this.#authenticate().then(
      (auth) => this.#open(auth),
      (error: unknown) => this.end(toTokenError(error)),
    )
  }

  /** Ends it. `isLost`: the network is known to be gone, so nobody is told and nothing is waited for. */
  end(error: TidemarkError, isLost = false): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    clearTimeout(this.#timer)
    clearTimeout(this.#renewTimer)
    this.#link?.end()
    this.#hangUp(isLost)
    this.#events.onEnd(error)
  }

  async #authenticate(): Promise<Record<string, unknown>> {
    const { token, replica } = this.#options
    // Without a token only a development server lets us in, and that one asks for the tenant.
    if (token === undefined) return { tenant: replica.tenant }
    this.#token = typeof token === 'string' ? token : await token()
    return { token: this.#token }
  }

  /** `{ revocations }`: to a relay. `{ expiresAtMs }`: the token is about to expire. `{ code, retryable }`: the server did not take the new one. */
  #onAuth(socket: Socket, said: Readonly<Record<string, unknown>>): void {
    if (said.revocations !== undefined) return this.#options.replica.onNote?.(said)
    if (said.code === undefined) return this.#renewToken(socket)
    this.#token = undefined
    if (said.retryable === true) this.#renewLater(socket)
  }

  #renewToken(socket: Socket): void {
    const { token } = this.#options
    if (typeof token !== 'function') return
    Promise.resolve()
      .then(token)
      .then(
        (fresh) => {
          if (this.#hasEnded) return
          // The app has kept the old one: the server would warn of it at once.
          if (fresh === this.#token) return this.#renewLater(socket)
          this.#token = fresh
          socket.emit(AUTH_EVENT, { token: fresh })
        },
        () => this.#renewLater(socket),
      )
  }

  #renewLater(socket: Socket): void {
    clearTimeout(this.#renewTimer)
    if (this.#hasEnded) return
    this.#renewTimer = setTimeout(() => this.#renewToken(socket), RENEW_AGAIN_MS)
    letProcessEnd(this.#renewTimer)
  }

  #open(auth: Record<string, unknown>): void {
    if (this.#hasEnded) return
    const { origin, path, transports, handshakeMs, socketOptions } = this.#options
    const socket = io(origin, {
      ...socketOptions,
      path,
      auth,
      transports: [...transports],
      tryAllTransports: true,
      parser: packetParser,
      // One socket for one connection; the link decides about the next.
      forceNew: true,
      multiplex: false,
      reconnection: false,
      timeout: handshakeMs,
    })
    this.#socket = socket
    socket.io.on('open', () => {
      this.#webSocket = nodeWebSocketOf(socket)
      socket.io.engine.on('upgrade', () => {
        this.#webSocket = nodeWebSocketOf(socket)
      })
    })
    socket.on('connect', () => this.#greet(socket))
    socket.on(FRAME_EVENT, (frame: Uint8Array) => this.#receive(frame))
    socket.on(AUTH_EVENT, (said: Readonly<Record<string, unknown>>) => this.#onAuth(socket, said))
    socket.on('connect_error', (error) => this.end(toConnectError(error)))
    socket.on('disconnect', (reason) => this.end(toDisconnectError(reason), reason === 'ping timeout'))
  }

  #greet(socket: Socket): void {
    const { replica } = this.#options
    this.#restartTimer('the server did not finish the handshake')
    const transport: Transport = {
      send: (frame) => {
        socket.emit(FRAME_EVENT, frame)
      },
      close: (error) => this.end(error ?? new TidemarkError('closed', 'the session ended', { retryable: true })),
    }
    const link = new Link({
      hub: replica.hub,
      role: replica.role ?? clientRole,
      transport,
      tables: replica.tables,
      now: replica.now,
      onChange: () => this.#onLinkChange(),
    })
    this.#link = link
    this.#events.onLink(link)
    link.start()
  }

  #receive(frame: Uint8Array): void {
    try {
      this.#link?.receive(frame)
    } catch (cause) {
      // A bug of ours: it ends this session, not the app.
      this.end(new TidemarkError('unavailable', 'the session failed on a frame', { retryable: true, cause }))
    }
  }

  #onLinkChange(): void {
    // The last thing a link tells is its end; `onEnd` tells that with its reason.
    if (this.#hasEnded) return
    if (this.#timer !== undefined && this.#link?.state === 'streaming') {
      clearTimeout(this.#timer)
      this.#timer = undefined
    }
    this.#events.onChange()
  }

  #restartTimer(what: string): void {
    const { handshakeMs } = this.#options
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      this.end(new TidemarkError('timeout', `${what} within ${handshakeMs} ms`, { retryable: true }), true)
    }, handshakeMs)
  }

  /** Says goodbye, so that a last frame still arrives, and makes sure that the socket does not stay. */
  #hangUp(isLost: boolean): void {
    const socket = this.#socket
    const webSocket = this.#webSocket
    socket?.removeAllListeners()
    socket?.io.removeAllListeners()
    socket?.disconnect()
    if (isLost) webSocket?.terminate()
    const engine = socket?.io.engine
    const isGone = webSocket === undefined ? isClosed(engine) : webSocket.readyState === CLOSED
    if (isGone || isLost) return this.#resolveGone()
    // A peer that is gone never answers, and Node would keep the socket for half a minute.
    const timer = setTimeout(() => {
      webSocket?.terminate()
      this.#resolveGone()
    }, GOODBYE_MS)
    letProcessEnd(timer)
    const onGone = (): void => {
      clearTimeout(timer)
      this.#resolveGone()
    }
    if (webSocket === undefined) engine?.once('close', onGone)
    else webSocket.once('close', onGone)
  }
}

function isClosed(engine: Socket['io']['engine'] | undefined): boolean {
  return engine === undefined || engine.readyState === 'closed'
}

/** The part of the `ws` package that browsers do not have: sockets that end at once. */
interface NodeWebSocket {
  readonly readyState: number
  terminate(): void
  once(event: 'close', listener: () => void): void
}

const CLOSED = 3

function nodeWebSocketOf(socket: Socket): NodeWebSocket | undefined {
  const { ws } = socket.io.engine.transport as { readonly ws?: Partial<NodeWebSocket> }
  return ws?.terminate === undefined ? undefined : (ws as NodeWebSocket)
}

// ── Errors ──────────────────────────────────────────────────────────────────────────────────────────────────────────

function toTokenError(cause: unknown): TidemarkError {
  if (isTidemarkError(cause)) return cause
  return new TidemarkError('unavailable', 'there is no token', {
    retryable: true,
    remedy: 'The function given as `token` failed; see the cause',
    cause,
  })
}

function toConnectError(error: Error & { readonly data?: unknown }): TidemarkError {
  if (error.data !== undefined) return readRefusal(error.message, error.data)
  return new TidemarkError('offline', `the server cannot be reached: ${quote(error.message)}`, {
    retryable: true,
    cause: error,
  })
}

function toDisconnectError(reason: string): TidemarkError {
  if (reason === 'ping timeout') {
    return new TidemarkError('offline', 'the server has not been heard of for too long', { retryable: true })
  }
  return new TidemarkError('offline', `the connection ended (${reason})`, { retryable: true })
}
