/**
 * Every setting of `tidemark serve`, in one table. Flags, names in the environment, defaults, help, the table in
 * docs/operations.md and validation all come from it.
 *
 * Knows: what can be set and what it is for. Must never know: where a value came from, or what is done with it.
 *
 * Invariants:
 * CS1  A secret has no flag: flags show in the list of processes and in the history of shells.
 * CS2  A key alone says its flag and its name in the environment: `auth.secretFile` is `--auth-secret-file` and
 *      `TIDEMARK_AUTH_SECRET_FILE`.
 */
import { DEFAULT_LIMITS, type Limits } from '../../core/index.ts'
import {
  DEFAULT_TRAFFIC,
  ISOLATION_MODES,
  type IsolationMode,
  STORED_RETRY_MS,
  TOKEN_LIFETIME_MS,
} from '../../tenant/index.ts'
import { ADMIN_PORT, DEFAULT_HOST, DEFAULT_PORT, SOCKETS_PER_ADDRESS_MAX } from '../options.ts'
import { choice, duration, type Kind, list, network, object, onOff, origin, text, whole } from './kinds.ts'

export type LimitValues = { readonly [Name in keyof Limits as `limits.${Name}`]: number }

/** What is in force, by key. `undefined`: not set. */
export interface SettingValues extends LimitValues {
  readonly data: string
  readonly dev: boolean
  readonly host: string
  readonly port: number
  readonly origins: readonly string[]
  readonly trustedProxies: readonly string[]
  readonly compression: boolean
  readonly heartbeatMs: number
  readonly drainMs: number
  readonly 'tls.cert': string | undefined
  readonly 'tls.key': string | undefined
  readonly 'auth.secret': string | undefined
  readonly 'auth.secretFile': string | undefined
  readonly 'auth.jwksFile': string | undefined
  readonly 'auth.jwksUrl': string | undefined
  readonly 'auth.algorithms': readonly string[] | undefined
  readonly 'auth.issuer': string
  readonly 'auth.audience': string
  readonly 'auth.type': string
  readonly 'auth.toleranceMs': number
  readonly 'auth.lifetimeMaxMs': number
  readonly plans: Readonly<Record<string, unknown>> | undefined
  readonly defaultPlan: string | undefined
  readonly isolation: IsolationMode
  readonly idleMs: number
  readonly pauseMs: number
  readonly 'traffic.connectionsPerSecond': number
  readonly 'traffic.connectionsBurst': number
  readonly 'traffic.socketsPerAddress': number
  readonly 'traffic.framesPerSecond': number
  readonly 'traffic.framesBurst': number
  readonly 'upstream.url': string | undefined
  readonly 'upstream.tenant': string | undefined
  readonly 'upstream.token': string | undefined
  readonly 'upstream.tokenFile': string | undefined
  readonly 'admin.host': string
  readonly 'admin.port': number
  readonly 'admin.token': string | undefined
  readonly 'admin.tokenFile': string | undefined
  readonly 'metrics.token': string | undefined
  readonly 'metrics.tokenFile': string | undefined
  readonly logLevel: LogLevel
  readonly pretty: boolean | undefined
}

export type SettingKey = keyof SettingValues
export type LogLevel = (typeof LOG_LEVELS)[number]

export const SECTIONS = [
  'Server',
  'TLS',
  'Tokens',
  'Tenants',
  'Upstream',
  'Admin and metrics',
  'Log',
  'Limits',
] as const
export type Section = (typeof SECTIONS)[number]

export interface Setting<Value = unknown> {
  readonly section: Section
  readonly kind: Kind<Exclude<Value, undefined>>
  readonly default: Value
  /** What it is for, without a full stop. */
  readonly help: string
  readonly isSecret?: boolean
  /** True: it cannot be written as one text, and comes from a file only. */
  readonly isFileOnly?: boolean
}

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const

const path = text('<file>')
const port = whole(0, 65_535)
const perSecond = whole(1, 1_000_000)

const SERVER: Pick<
  Table,
  'data' | 'dev' | 'host' | 'port' | 'origins' | 'trustedProxies' | 'compression' | 'heartbeatMs' | 'drainMs'
> = {
  data: { section: 'Server', kind: text('<dir>'), default: './data', help: 'where the stores are' },
  dev: {
    section: 'Server',
    kind: onOff(),
    default: false,
    help: 'let everybody in who connects from this machine; each names its tenant',
  },
  host: { section: 'Server', kind: text('<address>'), default: DEFAULT_HOST, help: 'address to listen on' },
  port: { section: 'Server', kind: port, default: DEFAULT_PORT, help: 'port to listen on; 0 takes any that is free' },
  origins: {
    section: 'Server',
    kind: list(origin()),
    default: [],
    help: 'origins of web pages that may connect; browsers of other origins are refused, programs need none',
  },
  trustedProxies: {
    section: 'Server',
    kind: list(network()),
    default: [],
    help: 'proxies whose X-Forwarded-For is believed',
  },
  compression: { section: 'Server', kind: onOff(), default: false, help: 'compress frames above 1 KiB' },
  heartbeatMs: {
    section: 'Server',
    kind: duration(100),
    default: 10_000,
    help: 'how often clients are pinged, and how long an answer may take',
  },
  drainMs: {
    section: 'Server',
    kind: duration(1),
    default: 5_000,
    help: 'how long a stop waits for clients, and then for stores',
  },
}

const TLS: Pick<Table, 'tls.cert' | 'tls.key'> = {
  'tls.cert': {
    section: 'TLS',
    kind: path,
    default: undefined,
    help: 'certificate chain in PEM; SIGHUP reads it anew',
  },
  'tls.key': { section: 'TLS', kind: path, default: undefined, help: 'its private key in PEM; SIGHUP reads it anew' },
}

type TokenKey = Extract<SettingKey, `auth.${string}`>

const TOKENS: Pick<Table, TokenKey> = {
  'auth.secret': {
    section: 'Tokens',
    kind: text('<text>'),
    default: undefined,
    help: 'shared secret that tokens are signed with, at least 32 bytes',
    isSecret: true,
  },
  'auth.secretFile': { section: 'Tokens', kind: path, default: undefined, help: 'file that holds the shared secret' },
  'auth.jwksFile': { section: 'Tokens', kind: path, default: undefined, help: 'JSON Web Key Set with public keys' },
  'auth.jwksUrl': { section: 'Tokens', kind: text('<url>'), default: undefined, help: 'the same, fetched by https' },
  'auth.algorithms': {
    section: 'Tokens',
    kind: list(text('<name>')),
    default: undefined,
    help: 'algorithms to take; default HS256 with a secret, else RS256, ES256 and EdDSA',
  },
  'auth.issuer': { section: 'Tokens', kind: text('<text>'), default: 'tidemark', help: '`iss` of tokens' },
  'auth.audience': { section: 'Tokens', kind: text('<text>'), default: 'tidemark', help: '`aud` of tokens' },
  'auth.type': { section: 'Tokens', kind: text('<text>'), default: 'JWT', help: '`typ` in the header of tokens' },
  'auth.toleranceMs': {
    section: 'Tokens',
    kind: duration(0),
    default: 5_000,
    help: 'how far the clocks of issuer and server may be apart',
  },
  'auth.lifetimeMaxMs': {
    section: 'Tokens',
    kind: duration(1),
    default: TOKEN_LIFETIME_MS,
    help: 'the longest time from `iat` to `exp`',
  },
}

type TenantKey = 'plans' | 'defaultPlan' | 'isolation' | 'idleMs' | 'pauseMs' | Extract<SettingKey, `traffic.${string}`>

const TENANTS: Pick<Table, TenantKey> = {
  plans: {
    section: 'Tenants',
    kind: object(),
    default: undefined,
    help: 'plans by name, beside free, starter, pro and unlimited or in their place',
    isFileOnly: true,
  },
  defaultPlan: {
    section: 'Tenants',
    kind: text('<plan>'),
    default: undefined,
    help: 'plan of tenants that a valid token names and nobody has registered; without it they are refused',
  },
  isolation: {
    section: 'Tenants',
    kind: choice(ISOLATION_MODES),
    default: 'dedicated',
    help: 'where new tenants live',
  },
  idleMs: {
    section: 'Tenants',
    kind: duration(1),
    default: 60_000,
    help: 'how long a tenant stays open without connections',
  },
  pauseMs: {
    section: 'Tenants',
    kind: duration(1),
    default: STORED_RETRY_MS,
    help: 'after how long a replica sends again what its tenant had no room for',
  },
  'traffic.connectionsPerSecond': {
    section: 'Tenants',
    kind: perSecond,
    default: DEFAULT_TRAFFIC.connectionsPerAddress.perSecond,
    help: 'connections of one address',
  },
  'traffic.connectionsBurst': {
    section: 'Tenants',
    kind: perSecond,
    default: DEFAULT_TRAFFIC.connectionsPerAddress.burst,
    help: 'connections of one address at once',
  },
  'traffic.socketsPerAddress': {
    section: 'Tenants',
    kind: whole(1, 1_000_000),
    default: SOCKETS_PER_ADDRESS_MAX,
    help: 'TCP connections that one address may have; trusted proxies may have more',
  },
  'traffic.framesPerSecond': {
    section: 'Tenants',
    kind: perSecond,
    default: DEFAULT_TRAFFIC.framesPerSubject.perSecond,
    help: 'frames of one subject',
  },
  'traffic.framesBurst': {
    section: 'Tenants',
    kind: perSecond,
    default: DEFAULT_TRAFFIC.framesPerSubject.burst,
    help: 'frames of one subject at once',
  },
}

const UPSTREAM: Pick<Table, Extract<SettingKey, `upstream.${string}`>> = {
  'upstream.url': {
    section: 'Upstream',
    kind: text('<url>'),
    default: undefined,
    help: 'the server that one tenant is relayed to; its store here begins empty',
  },
  'upstream.tenant': {
    section: 'Upstream',
    kind: text('<tenant>'),
    default: undefined,
    help: 'the tenant that is relayed',
  },
  'upstream.token': {
    section: 'Upstream',
    kind: text('<text>'),
    default: undefined,
    help: 'token for the upstream, with the scopes read and relay; a development server needs none',
    isSecret: true,
  },
  'upstream.tokenFile': {
    section: 'Upstream',
    kind: path,
    default: undefined,
    help: 'file that holds this token; read anew for each connection, and when the token is about to expire',
  },
}

type AdminKey = Extract<SettingKey, `admin.${string}` | `metrics.${string}`>

const ADMIN: Pick<Table, AdminKey> = {
  'admin.host': {
    section: 'Admin and metrics',
    kind: text('<address>'),
    default: DEFAULT_HOST,
    help: 'address to listen on',
  },
  'admin.port': { section: 'Admin and metrics', kind: port, default: ADMIN_PORT, help: 'port to listen on' },
  'admin.token': {
    section: 'Admin and metrics',
    kind: text('<text>'),
    default: undefined,
    help: 'who has it may do everything there; at least 32 bytes; without it there is no admin port',
    isSecret: true,
  },
  'admin.tokenFile': {
    section: 'Admin and metrics',
    kind: path,
    default: undefined,
    help: 'file that holds this token',
  },
  'metrics.token': {
    section: 'Admin and metrics',
    kind: text('<text>'),
    default: undefined,
    help: 'who has it may read /metrics and nothing else; at least 32 bytes',
    isSecret: true,
  },
  'metrics.tokenFile': {
    section: 'Admin and metrics',
    kind: path,
    default: undefined,
    help: 'file that holds this token',
  },
}

const LOG: Pick<Table, 'logLevel' | 'pretty'> = {
  logLevel: { section: 'Log', kind: choice(LOG_LEVELS), default: 'info', help: 'the least that is logged' },
  pretty: {
    section: 'Log',
    kind: onOff(),
    default: undefined,
    help: 'log for people instead of JSON lines; default on a terminal',
  },
}

const LIMITS: { readonly [Key in keyof LimitValues]: Setting<number> } = {
  'limits.frameBytesMax': limit('frameBytesMax', 'bytes of one message on the wire'),
  'limits.changeBytesMax': {
    ...limit('changeBytesMax', 'bytes of one change, encoded'),
    kind: whole(1, DEFAULT_LIMITS.transactionBytesMax),
  },
  'limits.transactionBytesMax': limit('transactionBytesMax', 'bytes of one transaction, encoded'),
  'limits.transactionChangesMax': limit('transactionChangesMax', 'changes of one transaction'),
  'limits.idBytesMax': limit('idBytesMax', 'bytes of a row id'),
  'limits.nameBytesMax': limit('nameBytesMax', 'characters of a table or field name'),
  'limits.fieldsPerRowMax': limit('fieldsPerRowMax', 'fields of a row'),
  'limits.valueDepthMax': limit('valueDepthMax', 'arrays and objects inside each other'),
  'limits.headsPerRowMax': limit('headsPerRowMax', 'concurrent changes of one row'),
  'limits.namesPerTenantMax': limit('namesPerTenantMax', 'table and field names of one tenant'),
  'limits.creditBytes': limit('creditBytes', 'bytes under way before the receiver has granted more'),
  'limits.bufferedBytesMax': limit('bufferedBytesMax', 'bytes that may wait for one connection'),
  'limits.stalledMs': limit('stalledMs', 'how long they may wait without any leaving'),
  'limits.helloMs': limit('helloMs', 'how long a socket may take to say hello'),
  'limits.skewMs': limit('skewMs', 'how far ahead of the server a timestamp may be'),
  'limits.badFramesMax': limit('badFramesMax', 'bad frames before the socket is closed'),
}

type Table = { readonly [Key in SettingKey]: Setting<SettingValues[Key]> }

/** By key, in the order in which help shows them. */
export const SETTINGS: Table = { ...SERVER, ...TLS, ...TOKENS, ...TENANTS, ...UPSTREAM, ...ADMIN, ...LOG, ...LIMITS }
export const SETTING_KEYS: readonly SettingKey[] = Object.keys(SETTINGS) as SettingKey[]

function limit(name: keyof Limits, help: string): Setting<number> {
  const most = DEFAULT_LIMITS[name]
  const kind = name.endsWith('Ms') ? duration(1, most) : whole(1, most)
  return { section: 'Limits', kind, default: most, help }
}

export function isSettingKey(key: string): key is SettingKey {
  return Object.hasOwn(SETTINGS, key)
}

/** The way people write it; undefined when it is not set. `value` is what the setting has. */
export function showSetting(key: SettingKey, value: unknown): string | undefined {
  const { kind } = SETTINGS[key] as Setting
  return value === undefined ? undefined : kind.show(value)
}

/** `auth.secretFile` → `--auth-secret-file`. */
export function flagOf(key: SettingKey): string {
  return `--${wordsOf(key).join('-')}`
}

/** `auth.secretFile` → `TIDEMARK_AUTH_SECRET_FILE`. */
export function environmentNameOf(key: SettingKey): string {
  return `TIDEMARK_${wordsOf(key).join('_').toUpperCase()}`
}

function wordsOf(key: string): string[] {
  return key
    .replace(/[A-Z]/g, (letter) => `.${letter.toLowerCase()}`)
    .split('.')
    .filter((word) => word !== '')
}
