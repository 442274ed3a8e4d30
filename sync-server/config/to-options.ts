/**
 * From settings to the options of a server: files are read here, and what only shows when settings are seen together.
 *
 * Knows: settings, files that they name. Must never know: sockets; what a server does with its options.
 *
 * Invariants:
 * CO1  A server that lets anybody in from anywhere does not come about: a key for tokens, or `dev`, and never both.
 * CO2  A secret is at least 32 bytes. What a file holds is a secret without the line's end.
 */
import { readFile } from 'node:fs/promises'
import { DEFAULT_LIMITS, type Limits, quote, TidemarkError } from '../../core/index.ts'
import type { TrafficRules } from '../../tenant/index.ts'
import type { AdminOptions } from '../admin/admin-server.ts'
import type { AuthOptions } from '../auth.ts'
import type { TlsFiles } from '../listener.ts'
import type { ServerOptions } from '../options.ts'
import type { UpstreamOptions } from '../upstream.ts'
import { type Config, nameSetting, waysToSet } from './read-config.ts'
import type { SettingKey } from './settings.ts'

const SECRET_BYTES_MIN = 32
const SECRET_ALGORITHMS_DEFAULT: readonly string[] = ['HS256']
const PUBLIC_ALGORITHMS_DEFAULT: readonly string[] = ['RS256', 'ES256', 'EdDSA']

/** All but the logger. Throws `bad-option`. */
export async function configToOptions(config: Config): Promise<ServerOptions> {
  const { values } = config
  const auth = await readAuth(config)
  if (auth === undefined && !values.dev) throw noKey()
  if (auth !== undefined && values.dev) {
    throw new TidemarkError('bad-option', `${nameSetting('dev', config)} and keys for tokens exclude each other`, {
      remedy: 'A development server takes no tokens: leave out either --dev or auth',
    })
  }
  const tls = await readTls(config)
  const admin = await readAdmin(config)
  const upstream = await readUpstream(config)
  return {
    dataDir: values.data,
    host: values.host,
    port: values.port,
    dev: values.dev,
    ...(auth === undefined ? {} : { auth }),
    ...(tls === undefined ? {} : { tls }),
    ...(admin === undefined ? {} : { admin }),
    ...(upstream === undefined ? {} : { upstream }),
    ...(values.plans === undefined ? {} : { plans: values.plans }),
    ...(values.defaultPlan === undefined ? {} : { defaultPlan: values.defaultPlan }),
    isolation: values.isolation,
    origins: values.origins,
    trustedProxies: values.trustedProxies,
    compression: values.compression,
    heartbeat: { intervalMs: values.heartbeatMs, timeoutMs: values.heartbeatMs },
    idleMs: values.idleMs,
    pauseMs: values.pauseMs,
    drainMs: values.drainMs,
    limits: limitsOf(config),
    ...(values.dev ? {} : { traffic: trafficOf(config), socketsPerAddressMax: values['traffic.socketsPerAddress'] }),
  }
}

function trafficOf({ values }: Config): TrafficRules {
  return {
    connectionsPerAddress: {
      perSecond: values['traffic.connectionsPerSecond'],
      burst: values['traffic.connectionsBurst'],
    },
    framesPerSubject: { perSecond: values['traffic.framesPerSecond'], burst: values['traffic.framesBurst'] },
  }
}

/** How tokens are checked; undefined when no key is set. */
export async function readAuth(config: Config): Promise<AuthOptions | undefined> {
  const { values } = config
  const keys: readonly SettingKey[] = ['auth.secret', 'auth.secretFile', 'auth.jwksFile', 'auth.jwksUrl']
  const set = keys.filter((key) => values[key] !== undefined)
  if (set.length === 0) return undefined
  if (set.length > 1) {
    const names = set.map((key) => nameSetting(key, config)).join(' and ')
    throw new TidemarkError('bad-option', `${names} exclude each other`, {
      remedy: 'Tokens are verified with one secret or with one set of public keys: leave out all but one',
    })
  }
  const secret = await readSecret(config, 'auth.secret')
  const { 'auth.jwksFile': jwksFile, 'auth.jwksUrl': jwksUrl } = values
  return {
    issuer: values['auth.issuer'],
    audience: values['auth.audience'],
    type: values['auth.type'],
    toleranceMs: values['auth.toleranceMs'],
    lifetimeMaxMs: values['auth.lifetimeMaxMs'],
    algorithms:
      values['auth.algorithms'] ?? (secret === undefined ? PUBLIC_ALGORITHMS_DEFAULT : SECRET_ALGORITHMS_DEFAULT),
    ...(secret === undefined ? {} : { secret }),
    ...(jwksFile === undefined ? {} : { jwksFile }),
    ...(jwksUrl === undefined ? {} : { jwksUrl }),
  }
}

/** What is set, or in a file; undefined when neither. */
async function readSecret(
  config: Config,
  name: 'auth.secret' | 'admin.token' | 'metrics.token',
): Promise<string | undefined> {
  const fileKey = `${name}File` as const
  const { [name]: given, [fileKey]: path } = config.values
  if (given !== undefined && path !== undefined) {
    throw new TidemarkError(
      'bad-option',
      `${nameSetting(name, config)} and ${nameSetting(fileKey, config)} exclude each other`,
      {
        remedy: 'Leave one of them out',
      },
    )
  }
  const secret = path === undefined ? given : (await readNamedFile(config, fileKey, path)).replace(/\r?\n$/, '')
  if (secret === undefined) return undefined
  const bytes = Buffer.byteLength(secret)
  if (bytes >= SECRET_BYTES_MIN) return secret
  throw new TidemarkError(
    'bad-option',
    `${nameSetting(path === undefined ? name : fileKey, config)} has ${bytes} bytes, and needs ${SECRET_BYTES_MIN}`,
    {
      remedy: 'Make one with: tidemark secret',
    },
  )
}

async function readAdmin(config: Config): Promise<AdminOptions | undefined> {
  const token = await readSecret(config, 'admin.token')
  const metricsToken = await readSecret(config, 'metrics.token')
  if (token === undefined && metricsToken === undefined) return undefined
  return {
    host: config.values['admin.host'],
    port: config.values['admin.port'],
    ...(token === undefined ? {} : { token }),
    ...(metricsToken === undefined ? {} : { metricsToken }),
  }
}

async function readUpstream(config: Config): Promise<UpstreamOptions | undefined> {
  const { 'upstream.url': url, 'upstream.tenant': tenant, 'upstream.token': token } = config.values
  const { 'upstream.tokenFile': file } = config.values
  const given = [url, tenant, token, file].some((value) => value !== undefined)
  if (url === undefined || tenant === undefined) {
    if (!given) return undefined
    const missing = url === undefined ? 'upstream.url' : 'upstream.tenant'
    throw new TidemarkError('bad-option', `a relay needs ${missing}`, { remedy: `Set ${waysToSet(missing)}` })
  }
  if (token !== undefined && file !== undefined) {
    const names = `${nameSetting('upstream.token', config)} and ${nameSetting('upstream.tokenFile', config)}`
    throw new TidemarkError('bad-option', `${names} exclude each other`, { remedy: 'Leave one of them out' })
  }
  if (file === undefined) return { url, tenant, ...(token === undefined ? {} : { token }) }
  const read = async (): Promise<string> => (await readNamedFile(config, 'upstream.tokenFile', file)).trim()
  await read()
  return { url, tenant, token: read }
}

/** Reads certificate and key anew each time. */
export async function readTls(config: Config): Promise<TlsFiles | undefined> {
  const { 'tls.cert': cert, 'tls.key': key } = config.values
  if (cert === undefined && key === undefined) return undefined
  if (cert === undefined || key === undefined) {
    const [set, missing]: readonly SettingKey[] = cert === undefined ? ['tls.key', 'tls.cert'] : ['tls.cert', 'tls.key']
    throw new TidemarkError('bad-option', `${nameSetting(set as SettingKey, config)} needs ${missing}`, {
      remedy: `Set ${waysToSet(missing as SettingKey)}`,
    })
  }
  return { cert: await readNamedFile(config, 'tls.cert', cert), key: await readNamedFile(config, 'tls.key', key) }
}

async function readNamedFile(config: Config, key: SettingKey, path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new TidemarkError(
      'bad-option',
      `${nameSetting(key, config)} names ${quote(path)}, which cannot be read: ${why}`,
      {
        remedy: 'See whether it is there, and whether this user may read it',
        cause,
      },
    )
  }
}

function limitsOf({ values }: Config): Limits {
  const names = Object.keys(DEFAULT_LIMITS) as (keyof Limits)[]
  return Object.fromEntries(names.map((name) => [name, values[`limits.${name}`]])) as unknown as Limits
}

function noKey(): TidemarkError {
  return new TidemarkError('bad-option', 'there is no key to check tokens with', {
    remedy: `Set one of ${waysToSet('auth.secretFile')}, auth.secret, auth.jwksFile or auth.jwksUrl. Add --dev for a server on this machine only`,
  })
}
