/**
 * One connection of a client: the session that runs over its socket, from admission to the last byte.
 *
 * Knows: Socket.IO's server side. Must never know: whom else the tenant serves.
 *
 * Invariants:
 * Y1  A socket that does not say hello in time is closed; so is one that leaves too much waiting, or anything for too long.
 * Y2  A connection ends once, and leaves its tenant then. A bug ends the connection, not the process.
 */
import type { Socket } from 'socket.io'
import { FRAME_EVENT, type Limits, Link, TidemarkError } from '../core/index.ts'
import { errorFields, type Logger } from './log.ts'
import { Outbox } from './outbox.ts'
import type { OpenTenant } from './tenants.ts'

export interface ConnectionOptions {
  readonly socket: Socket
  readonly tenant: OpenTenant
  readonly limits: Limits
  readonly logger: Logger
  readonly hasCompression: boolean
  readonly now: () => number
  /** Monotonic milliseconds. */
  readonly monotonicMs: () => number
  /** Called once, when the session is over. */
  readonly onEnd: (error: TidemarkError | undefined) => void
  /** Called once, after `onEnd`, when the transport is closed as well. */
  readonly onGone: () => void
}

/** How long a client may take to take our last frame and close its side. */
const GOODBYE_MS = 1_000

export class Connection {
  readonly tenant: OpenTenant
  readonly #options: ConnectionOptions
  readonly #outbox: Outbox
  readonly #link: Link
  readonly #openedAtMs: number
  /** Since when bytes wait without any having left. */
  #waitingSinceMs: number | undefined
  #waitingBytes = 0
  #closedAtMs: number | undefined

  constructor(options: ConnectionOptions) {
    const { socket, tenant, limits, hasCompression, now, monotonicMs } = options
    this.#options = options
    this.tenant = tenant
    this.#openedAtMs = monotonicMs()
    this.#outbox = new Outbox(socket.conn, limits.bufferedBytesMax, hasCompression)
    this.#link = new Link({
      hub: tenant.hub,
      role: 'server',
      isInitiator: false,
      transport: { send: (frame) => this.#send(frame), close: (error) => this.#close(error) },
      tables: new Map(),
      now,
    })
    socket.on(FRAME_EVENT, (frame: Uint8Array) => this.#receive(frame))
    socket.on('disconnect', () => this.#link.end())
  }

  /** Ends the session, telling the client why. */
  fail(error: TidemarkError): void {
    this.#link.fail(error)
  }

  /** Looks whether a bound is passed. Called every now and then, also after the end, until the transport is closed. */
  check(): void {
    const nowMs = this.#options.monotonicMs()
    if (this.#closedAtMs !== undefined) {
      if (nowMs - this.#closedAtMs > GOODBYE_MS) this.terminate()
      return
    }
    const { helloMs, stalledMs } = this.#options.limits
    if (this.#link.state === 'new' && nowMs - this.#openedAtMs > helloMs) {
      return this.fail(new TidemarkError('timeout', `no hello came within ${helloMs} ms`, { retryable: true }))
    }
    const bytes = this.#outbox.measure()
    if (bytes === 0) this.#waitingSinceMs = undefined
    else if (this.#waitingSinceMs === undefined || bytes < this.#waitingBytes) this.#waitingSinceMs = nowMs
    else if (nowMs - this.#waitingSinceMs > stalledMs) this.#cutOff('it has read nothing for too long')
    this.#waitingBytes = bytes
  }

  /** Ends the transport at once. */
  terminate(): void {
    this.#outbox.terminate()
  }

  #receive(frame: Uint8Array): void {
    try {
      this.#link.receive(frame)
    } catch (error) {
      this.#options.logger.error(errorFields(error), 'session failed on a frame')
      this.#close(new TidemarkError('unavailable', 'the session failed on a frame', { cause: error }))
    }
  }

  #send(frame: Uint8Array): void {
    if (this.#closedAtMs === undefined && !this.#outbox.write(frame)) this.#cutOff('too much waits for it')
  }

  /** What waits would never arrive, so a goodbye would not either. */
  #cutOff(why: string): void {
    this.#close(new TidemarkError('timeout', `the client was cut off: ${why}`, { retryable: true }))
    this.terminate()
  }

  #close(error: TidemarkError | undefined): void {
    if (this.#closedAtMs !== undefined) return
    this.#closedAtMs = this.#options.monotonicMs()
    // When the link is not what called this, it has to hear of it.
    this.#link.end()
    this.#options.socket.disconnect(true)
    this.#options.onEnd(error)
    this.#outbox.whenGone(this.#options.onGone)
  }
}
