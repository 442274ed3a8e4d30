/**
 * What a server can be told, with defaults and why they are what they are.
 */
import type { BlockList } from 'node:net'
import { type Limits, parseLimits, quote, type Store, type TenantName, TidemarkError } from '../core/index.ts'
import {
  type Authorize,
  FOR_EVER,
  ISOLATION_MODES,
  type IsolationMode,
  Plans,
  TOKEN_LIFETIME_MS,
  type TrafficRules,
  type UsageEvent,
} from '../tenant/index.ts'
import {
  type AdminOptions,
  type AdminSettings,
  type AuthenticateAdmin,
  parseAdminOptions,
} from './admin/admin-server.ts'
import { type Authenticate, admit, authenticateDev } from './admission.ts'
import { type AuthOptions, authenticateTokens } from './auth.ts'
import { parseNetworks } from './client-address.ts'
import type { TlsFiles } from './listener.ts'
import { createLogger, type Logger } from './log.ts'
import { isLoopbackHost } from './loopback.ts'
import { type ServerStores, storesIn, storesOf } from './stores.ts'
import { parseUpstream, type UpstreamOptions, type UpstreamSettings } from './upstream.ts'

export interface ServerOptions {
  /** Where the LMDB stores are: those of tenants, and the registry of tenants. This or `openStore`. */
  readonly dataDir?: string
  /** Opens the store of a tenant, the same one each time; the server closes it. */
  readonly openStore?: (tenant: TenantName) => Store | Promise<Store>
  /** With `openStore`: removes such a store with all it holds, when a tenant is erased. */
  readonly removeStore?: (tenant: TenantName) => void | Promise<void>
  /** With `openStore`: opens the store of the registry. A development server does without: it forgets, and asks nobody. */
  readonly openRegistry?: () => Store | Promise<Store>
  /** How tokens are checked. This, `authenticate` or `dev`. */
  readonly auth?: AuthOptions
  /** Says whom a connection speaks for, or throws a `TidemarkError`; for what no token says. */
  readonly authenticate?: Authenticate
  /** True: everybody may connect, naming the tenant; on loopback only. Unknown tenants are registered, unlimited. */
  readonly dev?: boolean
  /** The app's own rule about each change: `true` lets it pass. Synchronous. */
  readonly authorize?: Authorize
  /** Plans by name, as in a configuration file; beside `free`, `starter`, `pro` and `unlimited`, or in their place. */
  readonly plans?: Readonly<Record<string, unknown>>
  /** Features that plans may name, beyond the engine's own. */
  readonly features?: readonly string[]
  /** The plan of tenants that a valid token names and nobody has registered. Default: those are refused. */
  readonly defaultPlan?: string
  /** Where new tenants live. Default `dedicated`: a store of its own for each. */
  readonly isolation?: IsolationMode
  /** How fast addresses may connect and subjects may send; what tenants may is in their plans. */
  readonly traffic?: Partial<TrafficRules>
  /** How long a replica waits before it sends again what its tenant had no room for. Default 60 s. */
  readonly pauseMs?: number
  /** How many TCP connections one address may have at once; trusted proxies may have more. Default 1,000. */
  readonly socketsPerAddressMax?: number
  /** Told when a tenant passes 80 % or 100 % of a quota of its plan. */
  readonly onUsage?: (tenant: TenantName, event: UsageEvent) => void
  /** Default 127.0.0.1. */
  readonly host?: string
  /** Default 7300; 0 takes any that is free. */
  readonly port?: number
  readonly limits?: Partial<Limits>
  /** Such as one of pino's. Default: JSON lines on stdout, from level `info` on. */
  readonly logger?: Logger
  /** Compresses frames above 1 KiB with permessage-deflate. Costs CPU for each client. Default false. */
  readonly compression?: boolean
  /** How often the server pings, and how long each side waits before it gives the other up. Default 10 s each. */
  readonly heartbeat?: { readonly intervalMs?: number; readonly timeoutMs?: number }
  /** Certificate and key as PEM. Default: plain HTTP, for loopback or behind a proxy that ends TLS. */
  readonly tls?: TlsFiles
  /**
   * Reads the configuration anew, when an operator asks for it at the admin port of this process, or of another one on the same
   * data; answers with what to tell them. Default: refused.
   */
  readonly onReload?: () => Promise<unknown>
  /** The admin port, for operators and metrics. Default: none. */
  readonly admin?: AdminOptions
  /** Addresses and networks of proxies whose `X-Forwarded-For` is believed. Default: none. */
  readonly trustedProxies?: readonly string[]
  /** Origins of web pages that may connect, such as https://app.example.com, or `*`. Default: none; programs may. */
  readonly origins?: readonly string[]
  /** The server that one tenant is relayed to: see docs/operations.md. Default: none, every tenant is this server's own. */
  readonly upstream?: UpstreamOptions
  /** How long a tenant stays open without connections. Default 60 s. */
  readonly idleMs?: number
  /** How long `close` waits for clients to go before it cuts them off, and then for stores. Default 5 s. */
  readonly drainMs?: number
  /** Wall time in Unix milliseconds. */
  readonly now?: () => number
}

export interface ServerSettings {
  readonly stores: ServerStores
  readonly authenticate: Authenticate
  /** For the admin port; undefined where clients have no tokens of ours. */
  readonly authenticateAdmin: AuthenticateAdmin | undefined
  readonly authorize: Authorize | undefined
  readonly plans: Plans
  readonly features: readonly string[]
  readonly defaultPlan: string | undefined
  readonly isolation: IsolationMode
  readonly traffic: Partial<TrafficRules>
  readonly pauseMs: number | undefined
  readonly socketsPerAddressMax: number
  readonly onUsage: ((tenant: TenantName, event: UsageEvent) => void) | undefined
  readonly isDev: boolean
  readonly host: string
  readonly port: number
  readonly limits: Limits
  readonly logger: Logger
  readonly hasCompression: boolean
  readonly pingIntervalMs: number
  readonly pingTimeoutMs: number
  readonly tls: TlsFiles | undefined
  readonly onReload: (() => Promise<unknown>) | undefined
  readonly admin: AdminSettings | undefined
  /** No token lives for longer; what was revoked of one is forgotten after that. */
  readonly tokenLifetimeMs: number
  readonly trustedProxies: BlockList
  readonly origins: readonly string[]
  readonly upstream: UpstreamSettings | undefined
  readonly idleMs: number
  readonly drainMs: number
  readonly now: () => number
}

export const DEFAULT_PORT = 7300
export const ADMIN_PORT = 7301
export const DEFAULT_HOST = '127.0.0.1'

/** An office behind one address passes. */
export const SOCKETS_PER_ADDRESS_MAX = 1_000
/** Everything on one machine comes from one address. */
const UNHURRIED: TrafficRules = {
  connectionsPerAddress: { perSecond: Number.POSITIVE_INFINITY, burst: Number.POSITIVE_INFINITY },
  framesPerSubject: { perSecond: Number.POSITIVE_INFINITY, burst: Number.POSITIVE_INFINITY },
}

/** Throws `bad-option` for the first thing that is wrong. */
export async function parseServerOptions(options: ServerOptions): Promise<ServerSettings> {
  const { host = DEFAULT_HOST, port = DEFAULT_PORT, dev = false, heartbeat = {}, now = Date.now } = options
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new TidemarkError('bad-option', `port must be a whole number from 0 to 65535, not ${port}`)
  }
  const authenticate = await parseAccess(options, host, now)
  return {
    stores: parseStores(options),
    authenticate,
    authenticateAdmin: options.auth && ((token) => admit(authenticate, { auth: { token }, address: '', headers: {} })),
    authorize: options.authorize,
    ...parseTenancy(options),
    traffic: { ...(dev ? UNHURRIED : {}), ...options.traffic },
    pauseMs: options.pauseMs === undefined ? undefined : parseMs('pauseMs', options.pauseMs),
    socketsPerAddressMax: options.socketsPerAddressMax ?? (dev ? Number.POSITIVE_INFINITY : SOCKETS_PER_ADDRESS_MAX),
    onUsage: options.onUsage,
    isDev: dev,
    host,
    port,
    limits: parseLimits(options.limits),
    logger: options.logger ?? createLogger('info'),
    hasCompression: options.compression ?? false,
    pingIntervalMs: parseMs('heartbeat.intervalMs', heartbeat.intervalMs ?? 10_000),
    pingTimeoutMs: parseMs('heartbeat.timeoutMs', heartbeat.timeoutMs ?? 10_000),
    tls: options.tls,
    onReload: options.onReload,
    // Of what a program authenticates by itself nothing is known.
    tokenLifetimeMs: options.auth === undefined ? FOR_EVER : (options.auth.lifetimeMaxMs ?? TOKEN_LIFETIME_MS),
    admin: options.admin && parseAdminOptions(options.admin, { host: DEFAULT_HOST, port: ADMIN_PORT }),
    trustedProxies: parseProxies(options.trustedProxies ?? []),
    origins: options.origins ?? [],
    upstream: options.upstream && parseUpstream(options.upstream),
    idleMs: parseMs('idleMs', options.idleMs ?? 60_000),
    drainMs: parseMs('drainMs', options.drainMs ?? 5_000),
    now,
  }
}

function parseMs(name: string, value: number): number {
  if (Number.isFinite(value) && value > 0) return value
  throw new TidemarkError('bad-option', `${name} must be a positive number of milliseconds, not ${value}`)
}

function parseProxies(given: readonly string[]): BlockList {
  const { networks, wrong } = parseNetworks(given)
  if (wrong.length === 0) return networks
  throw new TidemarkError('bad-option', `trustedProxies names ${quote(wrong[0])}, which is no address`, {
    remedy: 'Give addresses, or networks such as 10.0.0.0/8',
    details: { key: 'trustedProxies' },
  })
}

function parseStores({ dataDir, openStore, removeStore, openRegistry, dev = false }: ServerOptions): ServerStores {
  if ((dataDir === undefined) === (openStore === undefined)) {
    throw new TidemarkError('bad-option', 'a server needs either dataDir or openStore', {
      remedy: 'Give `dataDir` for LMDB stores in that directory, or `openStore` to open them yourself',
    })
  }
  if (openStore === undefined) return storesIn(dataDir as string)
  if (openRegistry === undefined && !dev) {
    throw new TidemarkError('bad-option', 'a server that opens stores by itself needs openRegistry', {
      remedy: 'Who was revoked, and which log a tenant began with, has to outlive the server: give it a store',
    })
  }
  return storesOf({ openStore, removeStore, openRegistry })
}

function parseTenancy(
  options: ServerOptions,
): Pick<ServerSettings, 'plans' | 'features' | 'defaultPlan' | 'isolation'> {
  const { isolation = 'dedicated', defaultPlan = options.dev ? 'unlimited' : undefined, features = [] } = options
  const plans = parsePlans(options.plans, { features, defaultPlan })
  if (!ISOLATION_MODES.includes(isolation)) {
    throw new TidemarkError('bad-option', `isolation must be one of ${ISOLATION_MODES.join(', ')}`, {
      details: { key: 'isolation' },
    })
  }
  return { plans, features, defaultPlan, isolation }
}

/** Throws `bad-option`. */
export function parsePlans(
  given: ServerOptions['plans'],
  { features, defaultPlan }: Pick<ServerSettings, 'features' | 'defaultPlan'>,
): Plans {
  const plans = new Plans({ plans: given ?? {}, features })
  if (defaultPlan === undefined || plans.has(defaultPlan)) return plans
  throw new TidemarkError('bad-option', `defaultPlan names ${quote(defaultPlan)}, which is no plan`, {
    remedy: `The plans are ${plans.names.join(', ')}`,
    details: { key: 'defaultPlan' },
  })
}

async function parseAccess(options: ServerOptions, host: string, now: () => number): Promise<Authenticate> {
  const { auth, authenticate, dev = false } = options
  const count = [auth !== undefined, authenticate !== undefined, dev].filter(Boolean).length
  if (count > 1) {
    throw new TidemarkError('bad-option', 'a server has one way to tell who connects', {
      remedy: 'Give `auth`, `authenticate` or `dev: true`, not two of them',
    })
  }
  if (auth !== undefined) return authenticateTokens(auth, now)
  if (authenticate !== undefined) return authenticate
  if (!dev) {
    throw new TidemarkError('bad-option', 'a server has to know whom it talks to', {
      remedy: 'Give `auth`, `authenticate`, or `dev: true` for a server on your own machine that lets everybody in',
    })
  }
  if (!isLoopbackHost(host)) {
    throw new TidemarkError('bad-option', `a development server must not listen on ${quote(host)}`, {
      remedy: 'It lets everybody in who can reach it: use 127.0.0.1, ::1 or localhost, or give `auth` instead of `dev`',
    })
  }
  return authenticateDev()
}
