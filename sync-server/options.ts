/**
 * What a server can be told, with defaults and why they are what they are.
 */
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { type Limits, parseLimits, quote, type Store, type TenantName, TidemarkError } from '../core/index.ts'
import { openLmdbStore } from '../core/stores/lmdb.ts'
import { type Authenticate, authenticateDev } from './admission.ts'
import { createLogger, type Logger } from './log.ts'
import { isLoopbackHost } from './loopback.ts'

export interface ServerOptions {
  /** Where the LMDB stores are, one directory for each tenant. This or `openStore`. */
  readonly dataDir?: string
  /** Opens the store of a tenant; the server closes it. Called once at a time for each tenant. */
  readonly openStore?: (tenant: TenantName) => Store | Promise<Store>
  /** Says whom a connection speaks for, or throws a `TidemarkError`. This or `dev`. */
  readonly authenticate?: Authenticate
  /** True: everybody may connect, naming the tenant; on loopback only. */
  readonly dev?: boolean
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
  /** Origins of web pages that may connect, such as https://app.example.com. Default: any, by WebSocket only. */
  readonly origins?: readonly string[]
  /** How long a tenant stays open without connections. Default 60 s. */
  readonly idleMs?: number
  /** How long `close` waits for clients to go before it cuts them off, and then for stores. Default 5 s. */
  readonly drainMs?: number
  /** Wall time in Unix milliseconds. */
  readonly now?: () => number
}

export interface ServerSettings {
  readonly openStore: (tenant: TenantName) => Store | Promise<Store>
  readonly authenticate: Authenticate
  readonly isDev: boolean
  readonly host: string
  readonly port: number
  readonly limits: Limits
  readonly logger: Logger
  readonly hasCompression: boolean
  readonly pingIntervalMs: number
  readonly pingTimeoutMs: number
  readonly origins: readonly string[] | undefined
  readonly idleMs: number
  readonly drainMs: number
  readonly now: () => number
}

export const DEFAULT_PORT = 7300
export const DEFAULT_HOST = '127.0.0.1'

export function parseServerOptions(options: ServerOptions): ServerSettings {
  const { host = DEFAULT_HOST, port = DEFAULT_PORT, dev = false, heartbeat = {} } = options
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new TidemarkError('bad-option', `port must be a whole number from 0 to 65535, not ${port}`)
  }
  return {
    openStore: parseStore(options),
    authenticate: parseAuthenticate(options, host),
    isDev: dev,
    host,
    port,
    limits: parseLimits(options.limits),
    logger: options.logger ?? createLogger('info'),
    hasCompression: options.compression ?? false,
    pingIntervalMs: parseMs('heartbeat.intervalMs', heartbeat.intervalMs ?? 10_000),
    pingTimeoutMs: parseMs('heartbeat.timeoutMs', heartbeat.timeoutMs ?? 10_000),
    origins: options.origins,
    idleMs: parseMs('idleMs', options.idleMs ?? 60_000),
    drainMs: parseMs('drainMs', options.drainMs ?? 5_000),
    now: options.now ?? Date.now,
  }
}

function parseMs(name: string, value: number): number {
  if (Number.isFinite(value) && value > 0) return value
  throw new TidemarkError('bad-option', `${name} must be a positive number of milliseconds, not ${value}`)
}

function parseStore({ dataDir, openStore }: ServerOptions): ServerSettings['openStore'] {
  if ((dataDir === undefined) === (openStore === undefined)) {
    throw new TidemarkError('bad-option', 'a server needs either dataDir or openStore', {
      remedy: 'Give `dataDir` for LMDB stores in that directory, or `openStore` to open them yourself',
    })
  }
  if (openStore !== undefined) return openStore
  const directory = dataDir as string
  return (tenant) => openLmdbStore(tenantDirectory(directory, tenant))
}

/** Named by hash, so that no name of a tenant means anything to a file system. */
function tenantDirectory(dataDir: string, tenant: TenantName): string {
  return join(dataDir, createHash('sha256').update(tenant).digest('hex').slice(0, 32))
}

function parseAuthenticate({ authenticate, dev = false }: ServerOptions, host: string): Authenticate {
  if (dev && authenticate !== undefined) {
    throw new TidemarkError('bad-option', 'a development server does not authenticate', {
      remedy: 'Give `authenticate` or `dev: true`, not both',
    })
  }
  if (authenticate !== undefined) return authenticate
  if (!dev) {
    throw new TidemarkError('bad-option', 'a server has to know whom it talks to', {
      remedy: 'Give `authenticate`, or `dev: true` for a server on your own machine that lets everybody in',
    })
  }
  if (!isLoopbackHost(host)) {
    throw new TidemarkError('bad-option', `a development server must not listen on ${quote(host)}`, {
      remedy:
        'It lets everybody in who can reach it: use 127.0.0.1, ::1 or localhost, or give `authenticate` instead of `dev`',
    })
  }
  return authenticateDev
}
