/**
 * The admin port: who runs a server may look and act there; whoever scrapes metrics may only do that; an admin of a tenant
 * may look at that tenant.
 *
 * Knows: HTTP, its two tokens, who is whom by the tokens of clients. Must never know: what a route does.
 *
 * Invariants:
 * AD1  Without a token there is no port. Tokens have 32 bytes at least, and are compared in constant time.
 * AD2  Nothing is answered without a token, not even whether a path exists; web pages cannot make a browser send one.
 * AD4  Who asks with a tenant's token finds what is under that tenant's own path, as far as it is for tenants, and
 *      nothing else: everything else is answered like a path that does not exist.
 * AD5  One tenant has at most `TENANT_REQUESTS_MAX` requests under way, `TENANT_RATE` of them in a second, and none while it is
 *      suspended. What is under way ends with its token.
 * AD6  What a plan sells, such as the list of conflicts, is answered to a tenant's admin only under a plan that includes it.
 * AD3  What is not answered in full ends with the connection: half an export does not look like one.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { type ErrorCode, isTidemarkError, quote, TidemarkError } from '../../core/index.ts'
import {
  Buckets,
  EXPIRY_GRACE_MS,
  expectFeature,
  hasScope,
  type Principal,
  type Rate,
  rateLimited,
  suspended,
  type TenantRecord,
  takeTokens,
} from '../../tenant/index.ts'
import { toJson } from '../json.ts'
import { createListener, type Listener, type TlsFiles } from '../listener.ts'
import { errorFields, type Logger } from '../log.ts'
import { isLoopbackHost } from '../loopback.ts'
import type { AdminTarget, Asker, Reply, Route } from './route.ts'
import { ROUTES } from './routes.ts'

export interface AdminOptions {
  /** Who has it may do everything on the admin port. At least 32 bytes. This, `metricsToken` or both. */
  readonly token?: string
  /** Who has it may read `/metrics` and nothing else. At least 32 bytes. */
  readonly metricsToken?: string
  /** Default 127.0.0.1. */
  readonly host?: string
  /** Default 7301; 0 takes any that is free. */
  readonly port?: number
  /** What is done when somebody asks to drain. Default: the server is closed. */
  readonly onDrain?: () => void
}

/** Whom a client's token speaks for, if it may be used here. Throws for one that is not good. */
export type AuthenticateAdmin = (token: string) => Promise<Principal>

export interface AdminSettings {
  readonly token: string | undefined
  readonly metricsToken: string | undefined
  readonly host: string
  readonly port: number
  readonly onDrain: (() => void) | undefined
}

const TOKEN_BYTES_MIN = 32
/** What can stand in a header (RFC 6750, section 2.1). */
const TOKEN_FORM = /^[\w.~+/=-]+$/
const BODY_BYTES_MAX = 65_536
const HANDSHAKE_MS = 5_000
const BASE = 'http://admin'
/** An export reads all that a tenant holds: many of them would hold up everybody else. */
const TENANT_REQUESTS_MAX = 4
const RETRY_MS = 1_000
/** Each that changes something is a commit of the registry, and a line of the log, which all tenants share. */
const TENANT_RATE: Rate = { perSecond: 5, burst: 100 }

/** Throws `bad-option`. */
export function parseAdminOptions(options: AdminOptions, defaults: { host: string; port: number }): AdminSettings {
  const { token, metricsToken, host = defaults.host, port = defaults.port } = options
  if (token === undefined && metricsToken === undefined) {
    throw new TidemarkError('bad-option', 'the admin port needs a token', { details: { key: 'admin.token' } })
  }
  for (const [key, each] of [['admin.token', token] as const, ['metrics.token', metricsToken] as const]) {
    if (each === undefined || (each.length >= TOKEN_BYTES_MIN && TOKEN_FORM.test(each))) continue
    throw new TidemarkError('bad-option', `${key} needs ${TOKEN_BYTES_MIN} characters, of A-Z a-z 0-9 - . _ ~ + / =`, {
      remedy: 'Make one with: tidemark secret',
      details: { key },
    })
  }
  return { token, metricsToken, host, port, onDrain: options.onDrain }
}

export class AdminServer {
  readonly #settings: AdminSettings
  readonly #target: AdminTarget
  readonly #logger: Logger
  readonly #listener: Listener
  readonly #authenticate: AuthenticateAdmin | undefined
  /** Under way, by tenant. */
  readonly #requests = new Map<string, number>()
  readonly #rates = new Buckets('tenant')

  /** Without `authenticate`, tokens of clients are not taken. */
  constructor(
    settings: AdminSettings,
    tls: TlsFiles | undefined,
    target: AdminTarget,
    logger: Logger,
    authenticate: AuthenticateAdmin | undefined,
  ) {
    this.#settings = settings
    this.#authenticate = authenticate
    this.#target = target
    this.#logger = logger
    this.#listener = createListener(tls, HANDSHAKE_MS, (request, response) => {
      this.#answer(request, response).catch((error: unknown) => {
        logger.error(errorFields(error), 'admin request failed')
        response.destroy()
      })
    })
  }

  get url(): string {
    const { address, port, family } = this.#listener.http.address() as AddressInfo
    const scheme = this.#listener.isSecure ? 'https' : 'http'
    return `${scheme}://${family === 'IPv6' ? `[${address}]` : address}:${port}`
  }

  async listen(): Promise<void> {
    const { host, port } = this.#settings
    const { http, isSecure } = this.#listener
    await new Promise<void>((resolve, reject) => {
      http.once('error', (cause) => {
        reject(
          new TidemarkError('unavailable', `cannot listen on ${quote(host)}, admin port ${port}: ${cause.message}`, {
            remedy: 'Choose another admin.port or admin.host',
            cause,
          }),
        )
      })
      http.listen(port, host, resolve)
    })
    http.on('error', (error) => this.#logger.error(errorFields(error), 'admin port failed'))
    const { address } = http.address() as AddressInfo
    this.#logger.info({ adminUrl: this.url }, 'admin port listens')
    if (isSecure || isLoopbackHost(address)) return
    this.#logger.warn(
      { host: address },
      'the admin port can be reached from other machines, and its token is sent in clear',
    )
  }

  renewTls(tls: TlsFiles): void {
    this.#listener.renewTls(tls)
  }

  /** Requests under way are cut off. */
  async close(): Promise<void> {
    const { http } = this.#listener
    if (!http.listening) return
    const closed = new Promise<void>((resolve) => http.close(() => resolve()))
    http.closeAllConnections()
    await closed
  }

  // ── Requests ──────────────────────────────────────────────────────────────────────────────────────────────────────

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // What is no address has no path that anything is at.
    const url = new URL(URL.canParse(request.url ?? '/', BASE) ? (request.url ?? '/') : '/', BASE)
    const path = url.pathname.split('/').filter((part) => part !== '')
    const asker = await this.#askerOf(request, path)
    if (asker === undefined) {
      response.setHeader('www-authenticate', 'Bearer')
      return send(response, 401, failure(new TidemarkError('unauthenticated', 'a valid token is needed')))
    }
    const leave = this.#enter(asker)
    try {
      const record = await this.#expectServed(asker)
      const { route, parameters } = findRoute(request.method ?? '', path, asker)
      if (record !== undefined && route.feature !== undefined) {
        expectFeature(this.#target.manager.planOf(record), route.feature)
      }
      if (leave === undefined) throw busy()
      const body = route.method === 'GET' ? undefined : await readBody(request, route.bodyBytesMax ?? BODY_BYTES_MAX)
      const reply = await route.answer({ target: this.#target, parameters, query: url.searchParams, body })
      if (route.method !== 'GET' && route.isQuiet !== true)
        this.#logger.info({ method: route.method, path: quote(url.pathname) }, 'admin request')
      await this.#send(response, reply, asker)
    } catch (error) {
      if (response.headersSent) throw error
      if (!isTidemarkError(error)) this.#logger.error(errorFields(error), 'admin request failed')
      const known = isTidemarkError(error)
        ? error
        : new TidemarkError('unavailable', 'the server failed; its log says more', { cause: error })
      send(response, statusOf(known.code), failure(known))
    } finally {
      leave?.()
    }
  }

  /** AD5: undefined when too many are there. */
  #enter(asker: Asker): (() => void) | undefined {
    if (asker.type === 'operator') return () => {}
    const { tenant } = asker
    const count = this.#requests.get(tenant) ?? 0
    if (count >= TENANT_REQUESTS_MAX) return undefined
    const charge = { buckets: this.#rates, key: tenant, rate: TENANT_RATE, cost: 1 }
    if (takeTokens([charge], performance.now()).type === 'limited') return undefined
    this.#requests.set(tenant, count + 1)
    return () => {
      const left = (this.#requests.get(tenant) ?? 1) - 1
      if (left > 0) this.#requests.set(tenant, left)
      else this.#requests.delete(tenant)
    }
  }

  /** The record of whoever asks with a tenant's token, if there is one. */
  async #expectServed(asker: Asker): Promise<TenantRecord | undefined> {
    if (asker.type === 'operator') return undefined
    const record = await this.#target.manager.get(asker.tenant)
    if (record?.state === 'suspended') throw suspended(record)
    return record
  }

  /** AD1, AD2. */
  async #askerOf({ headers }: IncomingMessage, path: readonly string[]): Promise<Asker | undefined> {
    const [, given] = /^Bearer (\S+)$/i.exec(headers.authorization ?? '') ?? []
    if (given === undefined) return undefined
    const { token, metricsToken } = this.#settings
    const isAdmin = token !== undefined && isEqual(given, token)
    const isScraper = metricsToken !== undefined && isEqual(given, metricsToken)
    if (isAdmin || (isScraper && path.length === 1 && path[0] === 'metrics')) return { type: 'operator' }
    if (isScraper || this.#authenticate === undefined) return undefined
    try {
      const principal = await this.#authenticate(given)
      const { manager, now } = this.#target
      const isGood = (): boolean =>
        now() < principal.expiresAtMs + EXPIRY_GRACE_MS &&
        !manager.revocations.has(principal) &&
        !manager.revocations.isOutlived(principal)
      return hasScope(principal, 'admin') && isGood() ? { type: 'tenant', tenant: principal.tenant, isGood } : undefined
    } catch (error) {
      if (!isTidemarkError(error)) throw error
      return undefined
    }
  }

  async #send(response: ServerResponse, reply: Reply, asker: Asker): Promise<void> {
    switch (reply.type) {
      case 'json':
        return send(response, 200, reply.body)
      case 'text':
        response.writeHead(200, { 'content-type': reply.contentType, 'cache-control': 'no-store' })
        response.end(reply.text)
        return
      case 'lines':
        response.writeHead(200, { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' })
        await pipeline(Readable.from(toLines(reply.lines, asker)), response)
        return
    }
  }
}

/** As hashes, so that neither content nor length shows in the time it takes. */
function isEqual(left: string, right: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(left), digest(right))
}

async function* toLines(records: AsyncIterable<unknown>, asker: Asker): AsyncGenerator<string> {
  for await (const record of records) {
    if (asker.type === 'tenant' && !asker.isGood())
      throw new TidemarkError('revoked', 'the token does not count any more')
    yield `${toJson(record, 0)}\n`
  }
}

function busy(): TidemarkError {
  return rateLimited({ type: 'limited', by: 'tenant', retryAfterMs: RETRY_MS })
}

interface FoundRoute {
  readonly route: Route
  readonly parameters: Readonly<Record<string, string>>
}

function findRoute(method: string, path: readonly string[], asker: Asker): FoundRoute {
  for (const route of ROUTES) {
    if (route.method !== method || route.path.length !== path.length) continue
    // AD4: the tenant of the path is its second part.
    if (asker.type === 'tenant' && (route.isForTenant !== true || path[1] !== asker.tenant)) continue
    const parameters: Record<string, string> = {}
    const isFit = route.path.every((part, at) => {
      if (!part.startsWith(':')) return part === path[at]
      parameters[part.slice(1)] = path[at] ?? ''
      return true
    })
    if (isFit) return { route, parameters }
  }
  throw new TidemarkError('forbidden', 'there is no such path', {
    remedy: 'See docs/operations.md for those there are',
  })
}

async function readBody(request: IncomingMessage, bytesMax: number): Promise<unknown> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > bytesMax) throw new TidemarkError('too-large', `the body has more than ${bytesMax} bytes`)
    chunks.push(chunk)
  }
  if (bytes === 0) return {}
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'))
  } catch (cause) {
    throw new TidemarkError('bad-option', 'the body is not JSON', { cause })
  }
}

function send(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' })
  response.end(`${toJson(body, 0)}\n`)
}

function failure({ code, message, retryable }: TidemarkError): object {
  return { error: { code, message, retryable } }
}

function statusOf(code: ErrorCode): number {
  if (code === 'forbidden') return 404
  if (code === 'bad-option' || code === 'bad-tenant' || code === 'bad-id') return 400
  if (code === 'too-large') return 413
  return code === 'quota-exceeded' || code === 'rate-limited' ? 429 : 503
}
