/**
 * The sync server: listens, admits, and hands each connection to its tenant.
 *
 * Invariants:
 * Z1  A connection is admitted and its tenant is open before it is told so: the first frame finds everything ready.
 * Z2  `close` lets commits end, tells every client to come back later, and leaves no socket, timer or store open.
 * Z3  A development server is reachable from this machine only, whatever name it was told to listen on.
 */
import type { IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type DefaultEventsMap, type Socket as SocketOf, Server as SocketServer } from 'socket.io'
import { isTidemarkError, quote, TidemarkError } from '../core/index.ts'
import { type Principal, rateLimited, type TenantManager, type Visit } from '../tenant/index.ts'
import { AdminServer } from './admin/admin-server.ts'
import type { AdminTarget } from './admin/route.ts'
import { admit } from './admission.ts'
import { allowFrames } from './allowance.ts'
import { clientAddress, forwardedFor, isTrustedProxy } from './client-address.ts'
import { Connection, type SessionFigures } from './connection.ts'
import { answerHealth, type Unready } from './health.ts'
import { Intakes } from './intake.ts'
import { createListener, type Listener, listenFailure, type TlsFiles } from './listener.ts'
import { errorFields } from './log.ts'
import { isLoopbackHost } from './loopback.ts'
import { takeMessagesInTurns } from './messages.ts'
import type { MetricsSource } from './metrics.ts'
import { Observation } from './observation.ts'
import { parsePlans, parseServerOptions, type ServerOptions, type ServerSettings } from './options.ts'
import { terminateTransport } from './outbox.ts'
import { watchPolls } from './polls.ts'
import { socketOptions } from './socket-options.ts'
import { type OpenTenantInfo, shuttingDown, Tenancy } from './tenancy.ts'
import { Threshold } from './threshold.ts'
import { traceConnection } from './tracing.ts'
import { Upstream, type UpstreamStatus } from './upstream.ts'

export interface SyncServer {
  /** What clients connect to. */
  readonly url: string
  readonly host: string
  readonly port: number
  /** Whether it listens with TLS. */
  readonly isSecure: boolean
  /** The tenants that are open now. */
  readonly tenants: readonly OpenTenantInfo[]
  /** Registers, lists, suspends, moves and erases tenants, and revokes tokens. */
  readonly manager: TenantManager
  /** How the server that a tenant is relayed to is reached; undefined without one. */
  readonly upstream: UpstreamStatus | undefined
  /** Of the admin port; undefined without one. */
  readonly adminUrl: string | undefined
  /** A page for Prometheus, as `/metrics` of the admin port has it. */
  metrics(): Promise<string>
  /** From now on new connections get this certificate. Throws `bad-option`, and keeps the old one. */
  renewTls(tls: TlsFiles): void
  /**
   * Other plans from now on, as `ServerOptions.plans`: those who are connected have them at once. Throws `bad-option`, and
   * changes nothing, for a plan that is none, and when a tenant has one that would be gone.
   */
  renewPlans(plans: Readonly<Record<string, unknown>>): Promise<void>
  /**
   * Drains: takes nobody new, lets commits end, sends clients away and closes the stores. Safe to call twice.
   * Rejects with `timeout` when a store hangs.
   */
  close(): Promise<void>
}

interface SocketData {
  /** Known before there is a visit. */
  principal: Principal
  visit: Visit
}

type Socket = SocketOf<DefaultEventsMap, DefaultEventsMap, DefaultEventsMap, SocketData>

type ServerFigures = Omit<MetricsSource, 'tallies'> & { readonly connections: readonly SessionFigures[] }

const NO_FIGURES: ServerFigures = { openTenants: 0, tenants: [], connections: [], sockets: 0, upstreams: [] }
const CHECK_MS = 500
/** How long a client may take to close its side. */
const GOODBYE_MS = 1_000
/** A Socket.IO packet and its WebSocket frame, or the form fields of a poll. */
const ENVELOPE_BYTES = 1_024

/** Opens a sync server. Throws `bad-option`, and `unavailable` when it cannot listen. */
export async function createSyncServer(options: ServerOptions): Promise<SyncServer> {
  const settings = await parseServerOptions(options)
  let server: ListeningServer | undefined
  const observation = new Observation({ monotonicMs, now: settings.now }, () => server?.figures ?? NO_FIGURES)
  const tenancy = await Tenancy.open(settings, observation, monotonicMs)
  server = new ListeningServer(settings, tenancy, observation)
  try {
    await server.listen()
  } catch (error) {
    await tenancy.close()
    throw error
  }
  return server
}

class ListeningServer implements SyncServer {
  readonly #settings: ServerSettings
  readonly #listener: Listener
  readonly #http: Listener['http']
  readonly #io: SocketServer<DefaultEventsMap, DefaultEventsMap, DefaultEventsMap, SocketData>
  readonly #tenancy: Tenancy
  readonly #observation: Observation
  /** A connection stays here until its transport is closed. */
  readonly #connections = new Set<Connection>()
  readonly #intakes = new Intakes()
  readonly #threshold: Threshold
  /** Transports that have asked to be let in. */
  readonly #admitted = new WeakSet<Socket['conn']>()
  #timer: ReturnType<typeof setInterval> | undefined
  #address: AddressInfo = { address: '', family: 'IPv4', port: 0 }
  #closing: Promise<void> | undefined
  readonly #admin: AdminServer | undefined
  readonly #upstream: Upstream | undefined

  constructor(settings: ServerSettings, tenancy: Tenancy, observation: Observation) {
    const { logger, tls, limits, upstream, now } = settings
    this.#settings = settings
    this.#tenancy = tenancy
    this.#observation = observation
    this.#listener = createListener(
      tls,
      limits.helloMs,
      answerHealth(() => this.#readUnready()),
    )
    this.#http = this.#listener.http
    this.#io = new SocketServer(
      this.#http,
      socketOptions(settings, (request) => this.#mayBegin(request)),
    )
    this.#threshold = new Threshold({
      perAddressMax: settings.socketsPerAddressMax,
      isTrusted: (address) => isTrustedProxy(address, settings.trustedProxies),
      silentMs: limits.helloMs,
    })
    this.#threshold.watch(this.#listener)
    this.#io.use((socket, next) => {
      this.#admit(socket).then(
        () => next(),
        (error: unknown) => next(this.#toRefusal(error, socket)),
      )
    })
    this.#io.on('connection', (socket) => this.#welcome(socket))
    // Those that are refused, or never ask to be let in, have nobody else to see them off.
    this.#io.engine.on('connection', (conn: Socket['conn']) => {
      takeMessagesInTurns(conn)
      watchPolls(conn)
      conn.once('close', () => setTimeout(() => terminateTransport(conn), GOODBYE_MS).unref())
    })
    this.#upstream =
      upstream &&
      new Upstream(upstream, { lease: () => tenancy.lease(upstream.tenant), manager: tenancy.manager, now, logger })
    this.#admin =
      settings.admin && new AdminServer(settings.admin, tls, this.#toAdminTarget(), logger, settings.authenticateAdmin)
    // Requests that never became a connection: another site's page, an old client, noise.
    this.#io.engine.on('connection_error', ({ code, message }: { readonly code: unknown; readonly message: unknown }) =>
      logger.debug({ code, error: quote(message) }, 'request refused'),
    )
  }

  get host(): string {
    return this.#address.address
  }

  get port(): number {
    return this.#address.port
  }

  get url(): string {
    const { host } = this.#settings
    const isAny = host === '0.0.0.0' || host === '::'
    return `${this.isSecure ? 'https' : 'http'}://${isAny ? 'localhost' : host.includes(':') ? `[${host}]` : host}:${this.port}`
  }

  get isSecure(): boolean {
    return this.#listener.isSecure
  }

  renewTls(tls: TlsFiles): void {
    this.#listener.renewTls(tls)
    this.#admin?.renewTls(tls)
  }

  async renewPlans(plans: Readonly<Record<string, unknown>>): Promise<void> {
    await this.manager.renewPlans(parsePlans(plans, this.#settings))
  }

  get adminUrl(): string | undefined {
    return this.#admin?.url
  }

  get upstream(): UpstreamStatus | undefined {
    return this.#upstream?.status
  }

  get tenants(): readonly OpenTenantInfo[] {
    return this.#tenancy.list()
  }

  get manager(): TenantManager {
    return this.#tenancy.manager
  }

  get figures(): ServerFigures {
    const connections = this.#sessions
    return {
      openTenants: this.manager.open.length,
      tenants: this.#observation.standings.figures((plan) => this.manager.plans.get(plan), connections),
      connections,
      sockets: this.#threshold.size,
      upstreams: this.upstream === undefined ? [] : [this.upstream],
    }
  }

  get #sessions(): SessionFigures[] {
    return [...this.#connections].filter(({ isOpen }) => isOpen).map(({ figures }) => figures)
  }

  async metrics(): Promise<string> {
    // Whoever looks because the registry fails has to see something.
    await this.#observation.standings.refresh(this.manager).catch((error: unknown) => {
      this.#settings.logger.error(errorFields(error), 'registry cannot be read')
    })
    return this.#observation.metrics.page()
  }

  #toAdminTarget(): AdminTarget {
    const { isolation, tokenLifetimeMs, now, admin, onReload, logger } = this.#settings
    const close = (): void => {
      this.close().catch((error: unknown) => logger.error(errorFields(error), 'did not close cleanly'))
    }
    return {
      manager: this.manager,
      isolation,
      tallies: this.#observation.tallies,
      tokenLifetimeMs,
      now,
      connections: () => this.#sessions,
      upstreamOf: (tenant) => (this.upstream?.tenant === tenant ? this.upstream : undefined),
      metrics: () => this.metrics(),
      // A turn later, so that whoever asked for it is answered.
      drain: () => void setImmediate(admin?.onDrain ?? close),
      reload:
        onReload &&
        (async () => {
          const told = await onReload()
          await this.manager.announceReload()
          return told
        }),
    }
  }

  async listen(): Promise<void> {
    const { host, port, isDev, logger } = this.#settings
    await new Promise<void>((resolve, reject) => {
      this.#http.once('error', (error) => reject(listenFailure(host, port, error)))
      this.#http.listen(port, host, resolve)
    })
    this.#http.on('error', (error) => logger.error(errorFields(error), 'http server failed'))
    this.#address = this.#http.address() as AddressInfo
    if (isDev && !isLoopbackHost(this.host)) {
      await this.close()
      throw new TidemarkError('bad-option', `${quote(host)} is ${this.host} here, which others can reach`, {
        remedy: 'Let a development server listen on 127.0.0.1',
      })
    }
    try {
      await this.#admin?.listen()
    } catch (error) {
      await this.close()
      throw error
    }
    this.#timer = setInterval(() => this.#check(), CHECK_MS)
    this.#upstream?.start()
    logger.info({ url: this.url, host: this.host, port: this.port, dev: isDev }, 'listening')
  }

  close(): Promise<void> {
    this.#closing ??= this.#drain().finally(() => this.#admin?.close())
    return this.#closing
  }

  // ── Connections ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** Before anybody has said a word. */
  #mayBegin({ socket, headers }: IncomingMessage): boolean {
    const address = clientAddress(socket.remoteAddress ?? '', forwardedFor(headers), this.#settings.trustedProxies)
    return this.#tenancy.traffic.begin(address, monotonicMs())
  }

  async #admit(socket: Socket): Promise<void> {
    if (this.#closing !== undefined) throw shuttingDown()
    const { auth, headers } = socket.handshake
    const address = this.#addressOf(socket)
    if (this.#admitted.has(socket.conn)) throw askedTwice()
    this.#admitted.add(socket.conn)
    const answer = this.#tenancy.traffic.connect(address, monotonicMs())
    if (answer.type === 'limited') throw rateLimited(answer)
    const principal = await admit(this.#settings.authenticate, { auth, address, headers })
    socket.data.principal = principal
    const visit = await this.#tenancy.visit(principal)
    // A client that goes before it is welcomed is never heard of again.
    socket.conn.once('close', () => visit.close())
    if (socket.conn.readyState !== 'open') visit.close()
    socket.data.visit = visit
    // A poll carries a frame as Base64.
    allowFrames(socket.conn, Math.ceil((this.#settings.limits.frameBytesMax * 4) / 3) + ENVELOPE_BYTES)
  }

  #welcome(socket: Socket): void {
    const { visit } = socket.data as SocketData
    if (this.#closing !== undefined) {
      socket.disconnect(true)
      return
    }
    const { authenticate, limits, hasCompression, now } = this.#settings
    const { headers } = socket.handshake
    const address = this.#addressOf(socket)
    const { tenant, principal } = visit
    const subject = quote(principal.subject)
    const logger = this.#settings.logger.child({ socket: socket.id, tenant: tenant.name, subject })
    const transport = socket.conn.transport.name
    logger.info({ address, transport }, 'connected')
    const tally = this.#observation.tallies.of(tenant.name)
    tally.connections++
    const connection = new Connection({
      socket,
      visit,
      traffic: this.#tenancy.traffic,
      tally,
      intake: this.#intakes.of(tenant.name),
      trace: traceConnection(tenant.name, transport),
      address,
      limits,
      logger,
      hasCompression,
      now,
      monotonicMs,
      authenticate: (auth) => admit(authenticate, { auth, address, headers }),
      onEnd: (error) => {
        logger.info(error === undefined ? {} : errorFields(error), 'session ended')
        visit.close()
        if (error !== undefined) this.#tenancy.blame(tenant, error)
      },
      onGone: () => this.#connections.delete(connection),
    })
    this.#connections.add(connection)
  }

  #toRefusal(error: unknown, socket: Socket): Error {
    const { logger } = this.#settings
    const refusal = isTidemarkError(error)
      ? error
      : new TidemarkError('unavailable', 'the server failed', { retryable: true, cause: error })
    const { principal } = socket.data as Partial<SocketData>
    this.#observation.tallies.refuseConnection(principal?.tenant, refusal)
    const who = principal && { tenant: principal.tenant, subject: quote(principal.subject) }
    logger.info({ ...who, address: this.#addressOf(socket), ...errorFields(refusal) }, 'connection refused')
    if (refusal.cause !== undefined) logger.warn(errorFields(refusal.cause), 'cause of the refusal')
    const { code, message, retryable, details } = refusal
    const told = { resource: details.resource, limit: details.limit, used: details.used, url: details.url }
    const retryAfterMs = details.retryAfterMs
    return Object.assign(new Error(message), { data: { code, retryable, retryAfterMs, ...told } })
  }

  #addressOf({ handshake: { address, headers } }: Socket): string {
    return clientAddress(address, forwardedFor(headers), this.#settings.trustedProxies)
  }

  #check(): void {
    for (const connection of this.#connections) connection.check()
    this.#intakes.sweep()
    this.#tenancy.tick()
    this.#observation.tallies.tick(monotonicMs())
    this.#observation.standings.look(this.manager.open, this.#sessions)
  }

  #readUnready(): Unready {
    if (this.#closing !== undefined) return 'draining'
    return this.#tenancy.isHealthy ? undefined : 'store-failed'
  }

  // ── The end ───────────────────────────────────────────────────────────────────────────────────────────────────────

  async #drain(): Promise<void> {
    const { logger, drainMs } = this.#settings
    logger.info({ connections: this.#connections.size }, 'draining')
    const stopped = new Promise<void>((resolve) => this.#http.close(() => resolve()))
    const deadline = setTimeout(() => this.#cutOff(), drainMs)
    for (const connection of this.#connections) connection.fail(shuttingDown())
    const upstream = this.#upstream?.close()
    const stores = this.#tenancy.close()
    // What is left never became a connection of ours.
    this.#io.disconnectSockets(true)
    this.#http.closeIdleConnections()
    await stopped
    clearTimeout(deadline)
    clearInterval(this.#timer)
    await this.#io.close()
    this.#observation.metrics.stop()
    await upstream
    await inTime(stores, drainMs)
    logger.info({}, 'closed')
  }

  #cutOff(): void {
    this.#threshold.cutOff()
  }
}

/** Rejects when a store hangs: nothing that it still holds was ever acknowledged. */
async function inTime(stores: Promise<void>, boundMs: number): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new TidemarkError('timeout', `stores did not close in ${boundMs} ms`)), boundMs)
  })
  await Promise.race([stores, late]).finally(() => clearTimeout(timer))
}

/** Each asking would have a seat, and the transport speaks for one. */
function askedTwice(): TidemarkError {
  return new TidemarkError('bad-frame', 'this connection has asked to be let in already')
}

function monotonicMs(): number {
  return performance.now()
}
