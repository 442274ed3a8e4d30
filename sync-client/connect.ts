/**
 * The link between a replica and its sync server: connects, and connects again, until it is closed.
 *
 * Events change the state; `#connect`, `#retry`, `#renew` and `#stop` are the only places that decide what comes next.
 *
 * Knows: when to try again. Must never know: Socket.IO (see connection.ts), or what is synced.
 *
 * Invariants:
 * C1  There is one connection, or one timer for the next, or one renewal under way; after `close` none of them.
 * C2  What cannot get better by itself stops the link, with the error; everything else is tried again.
 * C3  Failures in a row wait longer. A connection counts as good only after it has lasted or has brought something, so that a
 *     session that is refused right after its handshake does not turn into a busy loop, and a line that breaks again and again
 *     gets on.
 * C4  Every wait has a bound: `settled` by its timeout, all else by connection.ts.
 * C5  A replica that was restored or copied goes on under a new id, without losing a change, before it connects again.
 * C6  What the server has no room for is offered again after the time it named; the connection stays, and downloads go on.
 */
import {
  type Change,
  isTidemarkError,
  type Link,
  pausedBy,
  type RenewalReason,
  type Shortage,
  TidemarkError,
  type VerifyReport,
} from '../core/index.ts'
import { type Backoff, delayMsAfter, parseBackoff } from './backoff.ts'
import {
  Connection,
  type ConnectionOptions,
  type LinkedReplica,
  type TokenSource,
  type TransportName,
} from './connection.ts'
import { askedWaitMs, mayRetry } from './refusal.ts'
import { type StatusListener, StatusTeller, type SyncStatus } from './status.ts'
import { letProcessEnd, type Waking, watchWaking } from './waking.ts'

export interface ConnectOptions {
  /** Of the server: `https://sync.example.com`, or with the path that a proxy serves it under. */
  readonly url: string
  /** What the server authenticates, or a function that fetches it before each attempt. Development servers need none. */
  readonly token?: TokenSource
  /**
   * Told where the tenant lives when its server says that it was moved to another one. Answers with the address to go on
   * with, if it is one to give the token to; else the link stops with `moved`.
   */
  readonly onMoved?: (url: string) => string | undefined
  /** In the order they are tried. Default: WebSocket, then HTTP long-polling for networks that block it. */
  readonly transports?: readonly TransportName[]
  readonly backoff?: Partial<Backoff>
  /** How long reaching the server may take, and then the handshake. Default 10 s. */
  readonly handshakeMs?: number
  /** In [0, 1), for the jitter. Default `Math.random`. */
  readonly random?: () => number
  /** What the URL cannot say, as socket.io-client has it: certificates, headers, an agent. */
  readonly socketOptions?: ConnectionOptions['socketOptions']
}

export interface SettleOptions {
  /** Default 60 s. */
  readonly timeoutMs?: number
}

export interface VerifyOptions extends SettleOptions {
  /** Default: all that the replica was opened with. */
  readonly tables?: readonly string[]
  /** Default false: only look. */
  readonly repair?: boolean
}

export interface SyncLink {
  readonly status: SyncStatus
  /** Calls back after each change of the status. Answers with the way to stop. */
  onStatus(listener: StatusListener): () => void
  /**
   * Resolves when the server has dealt with every change made here so far, and all it had is durable here. Waits through
   * reconnects. Rejects with `timeout`, with `closed`, with the error that stopped the link, and with `quota-exceeded`
   * while the server has no room for what was written.
   */
  settled(options?: SettleOptions): Promise<void>
  /**
   * Settles, then compares all rows with the server's by ranges of hashes, and with `repair` joins what differs. What others
   * write meanwhile counts as a difference. Rejects like `settled`, and with `offline` when the connection is lost.
   */
  verify(options?: VerifyOptions): Promise<VerifyReport>
  /**
   * While `status.pause` says that the server has no room: takes back changes that wait, as `choose` says, each with its
   * transaction and whatever builds on it, so that what was written behind them gets its turn. They are listed by
   * `replica.rejected()`, and are the answer. Rejects with `offline` or `closed` when the server is not pausing us (any more).
   */
  withdraw(choose: (change: Change) => boolean): Promise<readonly Change[]>
  /** Ends the link. Resolves when its socket is closed. Safe to call twice; the replica stays open. */
  close(): Promise<void>
}

const HANDSHAKE_MS = 10_000
const SETTLE_MS = 60_000
/** How long a connection has to be live before the failures ahead of it are forgotten. */
const STABLE_MS = 10_000

/** Links a replica to a sync server. Throws `bad-option`; everything later shows in the status. */
export function connect(replica: LinkedReplica, options: ConnectOptions): SyncLink {
  return new ReconnectingLink(replica, options)
}

interface Waiter {
  readonly timer: ReturnType<typeof setTimeout>
  readonly resolve: () => void
  readonly reject: (error: TidemarkError) => void
}

class ReconnectingLink implements SyncLink {
  readonly #replica: LinkedReplica
  #options: ConnectionOptions
  readonly #onMoved: ConnectOptions['onMoved']
  readonly #backoff: Backoff
  readonly #random: () => number
  readonly #teller: StatusTeller
  readonly #stopWatching: readonly (() => void)[]
  readonly #waiters = new Set<Waiter>()
  #connection: Connection | undefined
  #retryTimer: ReturnType<typeof setTimeout> | undefined
  #stableTimer: ReturnType<typeof setTimeout> | undefined
  #resumeTimer: ReturnType<typeof setTimeout> | undefined
  #watchedPause: Shortage | undefined
  #nextAttemptAt: number | undefined
  #attempts = 0
  #isStopped = false
  #isRenewing = false
  #reason: string | undefined
  #lastError: TidemarkError | undefined
  #transports: readonly TransportName[]
  #behind = 0
  #serverOffsetMs = 0
  #gone: Promise<void> = Promise.resolve()

  constructor(replica: LinkedReplica, options: ConnectOptions) {
    this.#replica = replica
    this.#options = parseOptions(replica, options)
    this.#onMoved = options.onMoved
    this.#backoff = parseBackoff(options.backoff)
    this.#random = options.random ?? Math.random
    this.#transports = this.#options.transports
    this.#teller = new StatusTeller(() => this.status)
    this.#stopWatching = [
      watchWaking((waking) => this.#wake(waking)),
      replica.ledger.onCommit(() => this.#teller.notice()),
    ]
    this.#connect()
  }

  get status(): SyncStatus {
    const state = this.#connection?.state ?? 'ended'
    return {
      state: this.#isStopped ? 'stopped' : state === 'ended' ? 'offline' : state,
      reason: this.#reason,
      pending: this.#replica.pending,
      behind: this.#connection?.link?.behind ?? this.#behind,
      pause: this.#connection?.link?.pause,
      lastError: this.#lastError,
      attempts: this.#attempts,
      nextAttemptAt: this.#nextAttemptAt,
      serverOffsetMs: this.#connection?.link?.serverOffsetMs ?? this.#serverOffsetMs,
    }
  }

  onStatus(listener: StatusListener): () => void {
    return this.#teller.listen(listener)
  }

  settled({ timeoutMs = SETTLE_MS }: SettleOptions = {}): Promise<void> {
    if (this.#isStopped) return Promise.reject(this.#lastError ?? closedByApp())
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiters.delete(waiter)
        reject(this.#settleTimeout(timeoutMs))
      }, timeoutMs)
      const waiter: Waiter = { timer, resolve, reject }
      this.#waiters.add(waiter)
      const link = this.#connection?.link
      if (link !== undefined) this.#settleOn(link, waiter)
    })
  }

  async verify({ tables, repair = false, ...options }: VerifyOptions = {}): Promise<VerifyReport> {
    await this.settled(options)
    const link = this.#connection?.link
    if (link === undefined) throw new TidemarkError('offline', 'the connection was lost', { retryable: true })
    return link.verify(tables ?? [...this.#replica.tables.keys()], repair)
  }

  async withdraw(choose: (change: Change) => boolean): Promise<readonly Change[]> {
    const link = this.#connection?.link
    if (link === undefined) throw new TidemarkError('offline', 'the connection was lost', { retryable: true })
    return link.withdraw(choose)
  }

  close(): Promise<void> {
    if (!this.#isStopped) this.#stop(undefined)
    return this.#gone
  }

  // ── What comes next ───────────────────────────────────────────────────────────────────────────────────────────────

  #connect(): void {
    clearTimeout(this.#retryTimer)
    this.#nextAttemptAt = undefined
    this.#attempts++
    const connection = new Connection(
      { ...this.#options, transports: this.#transports },
      {
        onChange: () => this.#onChange(),
        onLink: (link) => this.#onLink(link),
        onEnd: (error) => this.#onEnd(connection, error),
      },
    )
    this.#connection = connection
    this.#reason = this.#attempts === 1 ? undefined : `attempt ${this.#attempts}`
    connection.start()
    this.#teller.notice()
  }

  #onEnd(connection: Connection, error: TidemarkError): void {
    clearTimeout(this.#stableTimer)
    clearTimeout(this.#resumeTimer)
    this.#stableTimer = undefined
    this.#watchedPause = undefined
    const { link } = connection
    if (link !== undefined) {
      this.#behind = link.behind
      this.#serverOffsetMs = link.serverOffsetMs
      if (link.hasBrought) this.#attempts = 0
    }
    this.#connection = undefined
    this.#gone = connection.gone
    if (this.#isStopped) return
    this.#lastError = error
    if (link === undefined && error.code === 'timeout') this.#transports = rotated(this.#transports)
    const renewal = renewalReasonOf(error)
    if (renewal !== undefined) this.#renew(renewal, error)
    else if (this.#mayFollow(error) || mayRetry(error, typeof this.#options.token === 'function')) this.#retry(error)
    else this.#stop(error)
  }

  /** The tenant lives elsewhere, and the app lets us go there. */
  #mayFollow({ code, details: { url } }: TidemarkError): boolean {
    if (code !== 'moved' || typeof url !== 'string') return false
    try {
      const address = this.#onMoved?.(url)
      if (address === undefined) return false
      this.#options = { ...this.#options, ...parseUrl(address) }
      return true
    } catch {
      // The app's own fault, or an address that is none: the link stops, and says that the tenant moved.
      return false
    }
  }

  #retry(error: TidemarkError): void {
    const failures = Math.max(0, this.#attempts - 1)
    const delayMs = this.#delayMs(failures, error)
    this.#reason = error.message
    this.#nextAttemptAt = Date.now() + delayMs
    this.#retryTimer = setTimeout(() => this.#connect(), delayMs)
    this.#teller.notice()
  }

  /** The server's own wish comes first, and the jitter on top of it: all whom it sent away got the same one. */
  #delayMs(failures: number, { code, details }: TidemarkError): number {
    // Two programs on one store must not fence each other all the time.
    const steps = code === 'replica-fenced' ? Number.POSITIVE_INFINITY : failures
    return askedWaitMs(details) + delayMsAfter(steps, this.#backoff, this.#random)
  }

  #renew(reason: RenewalReason, error: TidemarkError): void {
    this.#isRenewing = true
    this.#reason = `taking a new replica id: ${error.message}`
    this.#teller.notice()
    this.#replica.renewIdentity(reason).then(
      () => {
        this.#isRenewing = false
        if (!this.#isStopped) this.#retry(error)
      },
      (cause: unknown) => {
        if (!this.#isStopped) this.#stop(isTidemarkError(cause) ? cause : error)
      },
    )
  }

  /** For good: closed by the app when there is no error. */
  #stop(error: TidemarkError | undefined): void {
    this.#isStopped = true
    this.#reason = error?.message ?? 'it was closed'
    clearTimeout(this.#retryTimer)
    clearTimeout(this.#stableTimer)
    clearTimeout(this.#resumeTimer)
    this.#nextAttemptAt = undefined
    for (const stop of this.#stopWatching) stop()
    this.#connection?.end(closedByApp())
    for (const waiter of this.#waiters) {
      clearTimeout(waiter.timer)
      waiter.reject(error ?? closedByApp())
    }
    this.#waiters.clear()
    this.#teller.flush()
  }

  #wake(waking: Waking): void {
    if (this.#isStopped || this.#isRenewing) return
    if (this.#connection === undefined) this.#connect()
    else if (waking === 'slept') {
      this.#connection.end(new TidemarkError('offline', 'the machine slept', { retryable: true }), true)
      if (!this.#isStopped) this.#connect()
    }
  }

  // ── What a connection tells ───────────────────────────────────────────────────────────────────────────────────────

  #onLink(link: Link): void {
    for (const waiter of this.#waiters) this.#settleOn(link, waiter)
    this.#teller.notice()
  }

  #onChange(): void {
    const state = this.#connection?.state
    if ((state === 'live' || state === 'restoring') && this.#stableTimer === undefined) {
      this.#reason = undefined
      this.#lastError = undefined
      this.#stableTimer = setTimeout(() => {
        this.#attempts = 0
        this.#teller.notice()
      }, STABLE_MS)
      letProcessEnd(this.#stableTimer)
    }
    this.#watchPause(this.#connection?.link)
    this.#teller.notice()
  }

  /** C6. */
  #watchPause(link: Link | undefined): void {
    const pause = link?.pause
    if (pause === this.#watchedPause) return
    clearTimeout(this.#resumeTimer)
    this.#watchedPause = pause
    if (pause === undefined) return
    const delayMs = askedWaitMs({ ...pause }) + delayMsAfter(0, this.#backoff, this.#random)
    this.#resumeTimer = setTimeout(() => link?.resume(), delayMs)
  }

  /** When the link closes first, the waiter goes on with the next one, or is told by `#stop` or its timeout. */
  #settleOn(link: Link, waiter: Waiter): void {
    link.settled().then(
      () => {
        clearTimeout(waiter.timer)
        this.#waiters.delete(waiter)
        waiter.resolve()
      },
      () => {
        if (link.pause === undefined || !this.#waiters.delete(waiter)) return
        clearTimeout(waiter.timer)
        waiter.reject(pausedBy(link.pause))
      },
    )
  }

  #settleTimeout(timeoutMs: number): TidemarkError {
    const { state, reason, pending, behind } = this.status
    const why = reason === undefined ? '' : ` (${reason})`
    return new TidemarkError('timeout', `not settled within ${timeoutMs} ms: the link is ${state}${why}`, {
      retryable: true,
      details: { state, pending, behind },
      cause: this.#lastError,
    })
  }
}

/** A network that swallows WebSockets without a word looks like a server that does not answer: another kind goes first. */
function rotated(transports: readonly TransportName[]): readonly TransportName[] {
  return [...transports.slice(1), ...transports.slice(0, 1)]
}

/** What a copied or restored store is found out by. */
function renewalReasonOf({ code }: TidemarkError): RenewalReason | undefined {
  if (code === 'replica-restored' || code === 'replica-cloned') return code
  return code === 'dot-conflict' ? 'replica-cloned' : undefined
}

function closedByApp(): TidemarkError {
  return new TidemarkError('closed', 'the link was closed')
}

// ── Options ─────────────────────────────────────────────────────────────────────────────────────────────────────────

function parseOptions(replica: LinkedReplica, options: ConnectOptions): ConnectionOptions {
  const { handshakeMs = HANDSHAKE_MS, transports = ['websocket', 'polling'] } = options
  if (!Number.isFinite(handshakeMs) || handshakeMs <= 0) {
    throw new TidemarkError('bad-option', `handshakeMs must be a positive number, not ${handshakeMs}`)
  }
  if (transports.length === 0 || transports.some((name) => name !== 'websocket' && name !== 'polling')) {
    throw new TidemarkError('bad-option', "transports must name 'websocket', 'polling' or both")
  }
  const { origin, path } = parseUrl(options.url)
  const { token, socketOptions = {} } = options
  return { replica, origin, path, token, transports, handshakeMs, socketOptions }
}

/** A path in the URL is where a proxy serves us; Socket.IO would take it for a namespace. */
function parseUrl(text: string): { readonly origin: string; readonly path: string } {
  const remedy = 'Give the address of the server, such as https://sync.example.com; a token goes into `token`'
  const url = URL.canParse(text) ? new URL(text) : undefined
  const isFit = url !== undefined && /^(https?|wss?):$/.test(url.protocol)
  if (!isFit) throw new TidemarkError('bad-option', 'url is not the http(s) address of a server', { remedy })
  if (url.search !== '' || url.hash !== '' || url.username !== '' || url.password !== '') {
    throw new TidemarkError('bad-option', 'url must have no query, fragment or user', { remedy })
  }
  return { origin: `${url.protocol}//${url.host}`, path: `${url.pathname.replace(/\/+$/, '')}/socket.io` }
}
