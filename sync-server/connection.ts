/**
 * One connection of a client: the session that runs over its socket, from admission to the last byte.
 *
 * Knows: Socket.IO's server side, one visit. Must never know: whom else the tenant serves.
 *
 * Invariants:
 * Y1  A socket that does not say hello in time is closed; so is one that leaves too much waiting, or anything for
 *     too long, or deals with nothing of what it was sent.
 * Y2  A connection ends once, and leaves its tenant then. A bug ends the connection, not the process.
 * Y6  Before each frame, in either direction, the visit is asked whether it may go on. Once it may not, nothing more is
 *     processed, and nothing more is sent but the reason.
 * Y7  A frame that comes faster than its sender may send waits for its time.
 */
import type { Socket } from 'socket.io'
import {
  AUTH_EVENT,
  FRAME_EVENT,
  isTidemarkError,
  type Limits,
  Link,
  quotaExceeded,
  TidemarkError,
} from '../core/index.ts'
import { notePlace, serverRole } from '../core/server-door.ts'
import type { Principal, Traffic, Visit } from '../tenant/index.ts'
import type { Intake } from './intake.ts'
import { errorFields, type Logger } from './log.ts'
import type { ConnectionFigures } from './metrics.ts'
import { Outbox } from './outbox.ts'
import { Pace } from './pace.ts'
import { toNotes } from './revocation-notes.ts'
import type { Tally } from './tally.ts'
import type { ConnectionTrace } from './tracing.ts'

export interface ConnectionOptions {
  readonly socket: Socket
  readonly visit: Visit
  readonly traffic: Traffic
  readonly tally: Tally
  /** Of the tenant. */
  readonly intake: Intake
  readonly trace: ConnectionTrace
  /** Of the client, as far as it is known. */
  readonly address: string
  readonly limits: Limits
  readonly logger: Logger
  readonly hasCompression: boolean
  readonly now: () => number
  /** Monotonic milliseconds. */
  readonly monotonicMs: () => number
  /** Whom a new token speaks for. */
  readonly authenticate: (auth: Readonly<Record<string, unknown>>) => Promise<Principal>
  /** Called once, when the session is over. */
  readonly onEnd: (error: TidemarkError | undefined) => void
  /** Called once, after `onEnd`, when the transport is closed as well. */
  readonly onGone: () => void
}

/** A session as it stands, with whom it speaks for. */
export interface SessionFigures extends ConnectionFigures {
  readonly subject: string
  readonly tokenId: string | undefined
  readonly address: string
  /** Unix milliseconds. */
  readonly sinceMs: number
}

const LOSS =
  'this client had changes acknowledged that the store does not hold: if it came from a backup, stop and run `tidemark restored`'

/** How long a client may take to take our last frame and close its side. */
const GOODBYE_MS = 1_000

/** One commit in so long, for a replica that reads. */
const NOTE_MS = 600_000

/** A token is signed, and that costs: so often may one connection bring a new one. */
const RENEWAL_MS = 1_000
/** Those that come sooner are answered so often, before the connection ends. */
const HASTY_MAX = 16

export class Connection {
  readonly #options: ConnectionOptions
  readonly #outbox: Outbox
  readonly #link: Link
  readonly #pace: Pace
  readonly #stopListening: () => void
  readonly #openedAtMs: number
  readonly #sinceMs: number
  /** Since when bytes wait without any having left. */
  #waitingSinceMs: number | undefined
  #waitingBytes = 0
  /** Since when the client owes credit and has given none, and how much it had given then. */
  #owingSinceMs: number | undefined
  #owedAt = 0
  #closedAtMs: number | undefined

  /** When the operator was last told where it stands, and where that was. */
  #notedAtMs: number
  #notedPosition = 0
  /** How far the client's clock was ahead when it last wrote. */
  #aheadMs = Number.NEGATIVE_INFINITY
  #isPaused = false
  /** Why nothing more is processed or sent. */
  #end: TidemarkError | undefined
  #isSayingWhy = false
  #isSending = false
  #renewedAtMs = Number.NEGATIVE_INFINITY
  #isRenewing = false
  /** Tokens that came too soon after the last one that was looked at. */
  #hasty = 0
  /** A relay's: which list of revocations it was told. */
  #toldRevocations = -1

  constructor(options: ConnectionOptions) {
    const { socket, visit, traffic, tally, intake, limits, hasCompression, now, monotonicMs } = options
    this.#options = options
    this.#openedAtMs = monotonicMs()
    this.#notedAtMs = this.#openedAtMs
    this.#sinceMs = now()
    this.#outbox = new Outbox(socket.conn, limits.bufferedBytesMax, hasCompression)
    this.#link = new Link({
      hub: visit.tenant.hub,
      role: serverRole({
        gate: visit.gate,
        onLoss: () => options.logger.warn({}, LOSS),
        onAdmit: (answered) => {
          tally.answer(answered)
          // What was under way when it was told to wait is answered with nothing.
          if (answered.isPaused || answered.changes > 0) this.#isPaused = answered.isPaused
          this.#aheadMs = answered.aheadMs
        },
        onSnapshot: () => {
          tally.snapshots++
        },
      }),
      transport: { send: (frame) => this.#send(frame), close: (error) => this.#close(error) },
      tables: new Map(),
      now,
      onChange: () => intake.note(this.#outbox, this.#link.waitingBytes),
    })
    intake.enter(this.#outbox)
    this.#pace = new Pace({
      waitMs: (bytes) => traffic.frameWaitMs(visit.sender, bytes, monotonicMs()),
      owedMs: () => traffic.owedMs(visit.sender, monotonicMs()),
      bytesMax: limits.creditBytes + limits.frameBytesMax,
      monotonicMs,
      deliver: (frame) => this.#receive(frame),
      hold: () => {
        tally.heldFrames++
      },
      refuse: (error) => this.fail(error),
    })
    socket.on(FRAME_EVENT, (frame: Uint8Array) => {
      tally.frameIn(frame.length)
      this.#pace.take(frame)
    })
    socket.on(AUTH_EVENT, (auth: Readonly<Record<string, unknown>>) => this.#renew(auth))
    socket.on('disconnect', () => this.#link.end())
    const stops = [
      visit.tenant.onEnd((error) => this.fail(error)),
      visit.tenant.onPlan(() => {
        const { overstay } = visit
        if (overstay !== undefined) return this.fail(quotaExceeded(overstay))
        this.#pace.hasten()
        this.#link.offerRoom()
      }),
    ]
    this.#stopListening = () => {
      for (const stop of stops) stop()
    }
    // It may have ended since the visit began.
    this.#mayGoOn()
  }

  /** False once its session is over, while its transport may still be closing. */
  get isOpen(): boolean {
    return this.#closedAtMs === undefined
  }

  /** As it stands, for metrics and the operator. */
  get figures(): SessionFigures {
    const { visit, address } = this.#options
    return {
      tenant: visit.tenant.name,
      replica: this.#link.peer,
      subject: visit.principal.subject,
      tokenId: visit.principal.tokenId,
      address,
      sinceMs: this.#sinceMs,
      lag: this.#link.lag,
      aheadMs: this.#aheadMs,
      isPaused: this.#isPaused,
      waitingBytes: this.#outbox.measure(),
    }
  }

  /** Ends the session, telling the client why. */
  fail(error: TidemarkError): void {
    if (this.#end !== undefined || this.#closedAtMs !== undefined) return
    this.#end = error
    this.#pace.close()
    if (!this.#isSending) this.#sayWhy(error)
    // The link is in the middle of something, and has to come to its end first.
    else queueMicrotask(() => this.#sayWhy(error))
  }

  /** Looks whether a bound is passed. Called every now and then, also after the end, until the transport is closed. */
  check(): void {
    const nowMs = this.#options.monotonicMs()
    if (this.#closedAtMs !== undefined) {
      if (nowMs - this.#closedAtMs > GOODBYE_MS) this.terminate()
      return
    }
    if (!this.#mayGoOn()) return
    this.#noteProgress(nowMs)
    this.#tellRevocations()
    const { helloMs, stalledMs } = this.#options.limits
    if (this.#link.state === 'new' && nowMs - this.#openedAtMs > helloMs) {
      return this.fail(new TidemarkError('timeout', `no hello came within ${helloMs} ms`, { retryable: true }))
    }
    const bytes = this.#outbox.measure()
    if (bytes === 0) this.#waitingSinceMs = undefined
    else if (this.#waitingSinceMs === undefined || bytes < this.#waitingBytes) this.#waitingSinceMs = nowMs
    else if (nowMs - this.#waitingSinceMs > stalledMs) this.#cutOff('it has read nothing for too long')
    this.#waitingBytes = bytes
    this.#checkCredit(nowMs, stalledMs)
  }

  /** What was sent may be in the buffers of the network, where nobody sees whether the client takes it: its credit tells. */
  #checkCredit(nowMs: number, stalledMs: number): void {
    const { owedAt, isStarved } = this.#link
    if (owedAt === undefined) this.#owingSinceMs = undefined
    else if (this.#owingSinceMs === undefined || owedAt !== this.#owedAt) this.#owingSinceMs = nowMs
    // It may owe for long while there is nothing else for it.
    else if (isStarved && nowMs - this.#owingSinceMs > stalledMs) this.#cutOff('it has dealt with nothing for too long')
    this.#owedAt = owedAt ?? 0
  }

  /** So that the operator sees how far behind a replica is that is gone. */
  #notePlace(): void {
    const { peer, lag } = this.#link
    if (peer === undefined) return
    const { visit, now, monotonicMs } = this.#options
    const { ledger } = visit.tenant.hub
    const position = ledger.durablePosition - lag
    this.#notedAtMs = monotonicMs()
    this.#notedPosition = position
    const place = { atMs: now(), epoch: ledger.state.meta.epoch, position }
    // Where the store fails or is closed, there is nobody to tell.
    ledger.submit(notePlace(peer, place)).catch(() => {})
  }

  /** What is revoked here counts at a relay as well, which lets its clients in itself. */
  #tellRevocations(): void {
    const { visit, socket } = this.#options
    const version = visit.revocationsVersion
    if (this.#link.role !== 'upstream' || this.#link.state !== 'streaming' || version === this.#toldRevocations) return
    this.#toldRevocations = version
    for (const note of toNotes(visit.listRevocations())) socket.emit(AUTH_EVENT, note)
  }

  /** A server that is killed notes nothing at the end. */
  #noteProgress(nowMs: number): void {
    if (nowMs - this.#notedAtMs < NOTE_MS) return
    const { ledger } = this.#options.visit.tenant.hub
    if (ledger.durablePosition - this.#link.lag === this.#notedPosition) this.#notedAtMs = nowMs
    else this.#notePlace()
  }

  /** Ends the transport at once. */
  terminate(): void {
    this.#outbox.terminate()
  }

  #sayWhy(error: TidemarkError): void {
    this.#isSayingWhy = true
    this.#link.fail(error)
    this.#isSayingWhy = false
  }

  /** Y6. */
  #mayGoOn(): boolean {
    if (this.#end !== undefined) return this.#isSayingWhy
    const answer = this.#options.visit.check(this.#options.now())
    switch (answer.type) {
      case 'pass':
        return true
      case 'warn':
        this.#options.socket.emit(AUTH_EVENT, { expiresAtMs: answer.expiresAtMs })
        return true
      case 'end':
        this.fail(answer.error)
        return false
    }
  }

  #receive(frame: Uint8Array): void {
    if (!this.#mayGoOn()) return
    try {
      const before = this.#link.pushedChanges
      this.#options.trace.frame(frame.length, () => this.#link.receive(frame))
      const { traffic, visit, monotonicMs } = this.#options
      traffic.countChanges(visit.sender, this.#link.pushedChanges - before, monotonicMs())
    } catch (error) {
      this.#options.logger.error(errorFields(error), 'session failed on a frame')
      this.#close(new TidemarkError('unavailable', 'the session failed on a frame', { cause: error }))
    }
  }

  #send(frame: Uint8Array): void {
    if (this.#closedAtMs !== undefined) return
    this.#isSending = true
    const mayGoOn = this.#mayGoOn()
    this.#isSending = false
    if (!mayGoOn) return
    this.#options.tally.frameOut(frame.length)
    if (!this.#outbox.write(frame)) this.#cutOff('too much waits for it')
  }

  /** A client brings a new token. One that is not good changes nothing: the session goes on until the old one expires. */
  #renew(auth: Readonly<Record<string, unknown>>): void {
    const { socket, visit, authenticate, logger, now, monotonicMs } = this.#options
    if (!this.#mayGoOn()) return
    if (this.#isRenewing || monotonicMs() - this.#renewedAtMs < RENEWAL_MS) {
      const refusal = { code: 'rate-limited', message: 'a token was brought just now', retryable: true } as const
      // Answers wait for whoever does not read them, and no credit bounds these.
      if (++this.#hasty > HASTY_MAX) this.fail(new TidemarkError(refusal.code, refusal.message, { retryable: true }))
      else socket.emit(AUTH_EVENT, refusal)
      return
    }
    this.#hasty = 0
    this.#isRenewing = true
    authenticate(auth)
      .then((principal) => visit.renew(principal, now()))
      .then(
        () => logger.info({ expiresAtMs: visit.principal.expiresAtMs }, 'token renewed'),
        (error: unknown) => {
          logger.info(errorFields(error), 'token not renewed')
          const { code, message, retryable } = isTidemarkError(error) ? error : failed(error)
          if (this.#end === undefined) socket.emit(AUTH_EVENT, { code, message, retryable })
        },
      )
      .finally(() => {
        this.#isRenewing = false
        this.#renewedAtMs = monotonicMs()
      })
  }

  /** What waits would never arrive, so a goodbye would not either. */
  #cutOff(why: string): void {
    this.#close(new TidemarkError('timeout', `the client was cut off: ${why}`, { retryable: true }))
    this.terminate()
  }

  #close(error: TidemarkError | undefined): void {
    if (this.#closedAtMs !== undefined) return
    this.#closedAtMs = this.#options.monotonicMs()
    this.#pace.close()
    this.#stopListening()
    this.#options.intake.leave(this.#outbox)
    // When the link is not what called this, it has to hear of it.
    this.#link.end()
    this.#options.socket.disconnect(true)
    this.#notePlace()
    const { tally, visit, now } = this.#options
    tally.end(error, visit.principal.subject, now())
    this.#options.trace.end(error)
    this.#options.onEnd(error)
    this.#outbox.whenGone(this.#options.onGone)
  }
}

function failed(cause: unknown): TidemarkError {
  return new TidemarkError('unavailable', 'the server failed', { retryable: true, cause })
}
