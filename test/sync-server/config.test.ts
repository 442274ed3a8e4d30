/** The configuration: which source wins, what is refused, and what a refusal says. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { DEFAULT_LIMITS, isTidemarkError, parseLimits } from '../../core/index.ts'
import { type Config, describeSource, OTHER_VARIABLES, readConfig } from '../../sync-server/config/read-config.ts'
import {
  environmentNameOf,
  flagOf,
  SETTING_KEYS,
  SETTINGS,
  type SettingKey,
} from '../../sync-server/config/settings.ts'
import { nearestName } from '../../sync-server/config/suggest.ts'
import { configToOptions } from '../../sync-server/config/to-options.ts'
import { parseServerOptions } from '../../sync-server/options.ts'

const folder = mkdtempSync(join(tmpdir(), 'tidemark-config-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const SECRET = 'correct horse battery staple, and 32 bytes more'
let files = 0

function file(content: unknown): string {
  const path = join(folder, `${files++}.json`)
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content))
  return path
}

interface Given {
  readonly file?: unknown
  readonly environment?: Readonly<Record<string, string>>
  readonly flags?: Readonly<Partial<Record<SettingKey, string | boolean>>>
}

function configOf({ file: content, environment = {}, flags = {} }: Given): Promise<Config> {
  return readConfig({
    flags: new Map(Object.entries(flags) as [SettingKey, string | boolean][]),
    environment,
    file: content === undefined ? undefined : file(content),
  })
}

async function refusalOf(work: Promise<unknown>): Promise<string> {
  const error: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (!isTidemarkError(error)) throw new Error(`not refused, but ${String(error)}`)
  expect(error.code).toBe('bad-option')
  return error.message
}

describe('a setting', () => {
  test('is taken from a flag before the environment, from there before the file, and has a default', async () => {
    const all = { file: { port: 1 }, environment: { TIDEMARK_PORT: '2' }, flags: { port: '3' } } as const
    const fromEnvironment = { file: all.file, environment: all.environment }
    for (const [given, value, source] of [
      [all, 3, '--port'],
      [fromEnvironment, 2, 'TIDEMARK_PORT'],
      [{ file: all.file }, 1, expect.stringMatching(/\.json$/)],
      [{}, 7300, 'default'],
    ] as const) {
      const { values, sources } = await configOf(given)
      expect([values.port, describeSource(sources.port)]).toEqual([value, source])
    }
  })

  test('has one flag and one name in the environment, and no secret has a flag', () => {
    expect(new Set(SETTING_KEYS.map(flagOf)).size).toBe(SETTING_KEYS.length)
    expect(new Set(SETTING_KEYS.map(environmentNameOf)).size).toBe(SETTING_KEYS.length)
    expect(flagOf('auth.secretFile')).toBe('--auth-secret-file')
    expect(environmentNameOf('auth.lifetimeMaxMs')).toBe('TIDEMARK_AUTH_LIFETIME_MAX_MS')
    const secrets = SETTING_KEYS.filter((key) => /secret$|token$/i.test(key))
    expect(secrets.length).toBeGreaterThan(0)
    expect(secrets.filter((key) => SETTINGS[key].isSecret !== true)).toEqual([])
  })

  test('has a default of its own kind', () => {
    for (const key of SETTING_KEYS) {
      const { default: value, kind } = SETTINGS[key]
      if (value !== undefined) expect(kind.parse(value), key).toEqual(value)
    }
  })

  test('may come from a file alone, from its environment alone, and from its flag alone, with the same meaning', async () => {
    for (const key of SETTING_KEYS) {
      const { default: value, kind, isFileOnly, isSecret } = SETTINGS[key]
      if (value === undefined || isFileOnly === true || isSecret === true || Array.isArray(value)) continue
      const text = (kind.show as (shown: unknown) => string)(value)
      const nested = key.split('.').reduceRight<unknown>((inner, part) => ({ [part]: inner }), value)
      for (const given of [
        { file: nested },
        { environment: { [environmentNameOf(key)]: text } },
        { flags: { [key]: typeof value === 'boolean' ? value : text } },
      ]) {
        const config = await configOf(given)
        expect(config.values[key], key).toEqual(value)
        expect(config.sources[key].type).not.toBe('default')
      }
    }
  })

  test('takes durations with a unit, and lists with commas', async () => {
    const { values } = await configOf({
      environment: { TIDEMARK_IDLE_MS: '5m', TIDEMARK_ORIGINS: 'https://a.example, https://b.example:8443' },
      file: { drainMs: '2s', auth: { lifetimeMaxMs: 60_000 } },
    })
    expect(values.idleMs).toBe(300_000)
    expect(values.drainMs).toBe(2_000)
    expect(values['auth.lifetimeMaxMs']).toBe(60_000)
    expect(values.origins).toEqual(['https://a.example', 'https://b.example:8443'])
  })
})

describe('refused is', () => {
  test.each<[string, Given, string]>([
    ['a key of the file that nobody knows', { file: { prot: 1 } }, 'the nearest is port'],
    ['one inside a section', { file: { auth: { secrt: 'x' } } }, 'the nearest is auth.secret'],
    ['a section that is none', { file: { limits: 3 } }, 'limits must be an object of settings'],
    ['a key with dots, which is written nested', { file: { 'auth.type': 'x' } }, '{ "auth": { "type": … } }'],
    ['a variable that nobody knows', { environment: { TIDEMARK_PROT: '1' } }, 'the nearest is TIDEMARK_PORT'],
    ['a variable that Kubernetes sets', { environment: { TIDEMARK_PORT_80_TCP: 'x' } }, 'enableServiceLinks'],
    ['what Kubernetes makes of one', { environment: { TIDEMARK_PORT: 'tcp://10.0.0.1:80' } }, 'enableServiceLinks'],
    ['an empty variable', { environment: { TIDEMARK_DATA: '' } }, 'unset TIDEMARK_DATA'],
    ['a number that is none', { flags: { port: 'http' } }, 'port must be a whole number from 0 to 65535, not "http"'],
    ['a number out of range', { file: { port: 65_536 } }, 'from 0 to 65535, not 65536'],
    ['a fraction', { file: { port: 1.5 } }, 'whole number'],
    ['a number as a text, in a file', { file: { port: '80' } }, 'whole number'],
    ['a word for true', { environment: { TIDEMARK_DEV: 'yes' } }, 'dev must be true or false, not "yes"'],
    ['a choice that is none', { flags: { isolation: 'none' } }, 'one of shared, namespace, dedicated'],
    ['a duration without a meaning', { flags: { idleMs: '5 fortnights' } }, 'with a unit such as 30s'],
    ['an origin with a path', { flags: { origins: 'https://a.example/app' } }, 'without a path'],
    ['a proxy by name', { flags: { trustedProxies: 'proxy.internal' } }, 'an IP address or a network'],
    ['a limit that is raised', { file: { limits: { frameBytesMax: 2 ** 21 } } }, 'from 1 to 1048576'],
    ['a file that is no JSON', { file: '{ "port": ' }, 'cannot be read'],
    ['a file that is no object', { file: [] }, 'must be an object of settings'],
  ])('%s', async (_what, given, message) => {
    expect(await refusalOf(configOf(given))).toContain(message)
  })

  test('a file that is not there', async () => {
    const missing = join(folder, 'missing.json')
    expect(await refusalOf(readConfig({ flags: new Map(), environment: {}, file: missing }))).toContain(missing)
    const environment = { TIDEMARK_CONFIG: missing }
    expect(await refusalOf(readConfig({ flags: new Map(), environment }))).toContain(missing)
  })

  test('everything at once, each with where it came from', async () => {
    const message = await refusalOf(
      configOf({ file: { host: 7 }, environment: { TIDEMARK_DEV: '1' }, flags: { port: '-1' } }),
    )
    expect(message.split('\n')).toEqual([
      expect.stringMatching(/^host must be .* \(from .*\.json\)$/),
      'dev must be true or false, not "1" (from TIDEMARK_DEV)',
      'port must be a whole number from 0 to 65535, not "-1" (from --port)',
    ])
  })

  test('a secret that is none, without showing it', async () => {
    const message = await refusalOf(configOf({ file: { auth: { secret: ['hunter2'] } } }))
    expect(message).toContain('auth.secret must be')
    expect(message).not.toContain('hunter2')
  })
})

describe('options of a server', () => {
  async function optionsOf(given: Given) {
    return configToOptions(await configOf(given))
  }

  test('need a key for tokens, or dev, and not both', async () => {
    expect(await refusalOf(optionsOf({}))).toMatch(/--auth-secret-file.*Add --dev/)
    expect(await refusalOf(optionsOf({ flags: { dev: true }, file: { auth: { secret: SECRET } } }))).toContain('--dev')
    expect((await optionsOf({ flags: { dev: true } })).auth).toBeUndefined()
    expect((await optionsOf({ file: { auth: { secret: SECRET } } })).auth).toMatchObject({ algorithms: ['HS256'] })
  })

  test('refuse a secret below 32 bytes and name where it came from', async () => {
    const environment = { TIDEMARK_AUTH_SECRET: SECRET.slice(0, 31) }
    const message = await refusalOf(optionsOf({ environment }))
    expect(message).toMatch(/auth\.secret \(from TIDEMARK_AUTH_SECRET\) has 31 bytes, and needs 32.*tidemark secret/)
    expect(message).not.toContain(SECRET.slice(0, 12))
    const path = join(folder, 'short')
    writeFileSync(path, `${SECRET.slice(0, 31)}\n`)
    expect(await refusalOf(optionsOf({ flags: { 'auth.secretFile': path } }))).toContain('has 31 bytes')
  })

  test('take a secret from a file without its last line break', async () => {
    const path = join(folder, 'secret')
    writeFileSync(path, `${SECRET}\n`)
    expect((await optionsOf({ flags: { 'auth.secretFile': path } })).auth?.secret).toBe(SECRET)
  })

  test('have one kind of key', async () => {
    const auth = { secret: SECRET, jwksUrl: 'https://id.example/keys' }
    expect(await refusalOf(optionsOf({ file: { auth } }))).toMatch(/auth\.secret .* and auth\.jwksUrl .* exclude/)
    expect((await optionsOf({ file: { auth: { jwksUrl: auth.jwksUrl } } })).auth).toMatchObject({
      algorithms: ['RS256', 'ES256', 'EdDSA'],
    })
  })

  test('have an admin port when there is a token for it, and take it from a file', async () => {
    const dev = { dev: true } as const
    expect((await optionsOf({ flags: dev })).admin).toBeUndefined()
    const path = join(folder, 'admin-token')
    writeFileSync(path, `${'t'.repeat(64)}\n`)
    const { admin } = await optionsOf({ flags: { ...dev, 'admin.tokenFile': path, 'admin.port': '0' } })
    expect(admin).toMatchObject({ token: 't'.repeat(64), host: '127.0.0.1', port: 0 })
    const short = { TIDEMARK_METRICS_TOKEN: 'too-short' }
    expect(await refusalOf(optionsOf({ flags: dev, environment: short }))).toMatch(
      /metrics\.token \(from TIDEMARK_METRICS_TOKEN\) has 9 bytes/,
    )
    const both = { flags: { ...dev, 'admin.tokenFile': path }, environment: { TIDEMARK_ADMIN_TOKEN: 't'.repeat(64) } }
    expect(await refusalOf(optionsOf(both))).toContain('exclude each other')
  })

  test('have certificate and key, or neither', async () => {
    const given = { dev: true, 'tls.cert': 'cert.pem' } as const
    expect(await refusalOf(optionsOf({ flags: given }))).toMatch(
      /tls\.cert \(from --tls-cert\) needs tls\.key.*--tls-key/,
    )
    const both = { ...given, 'tls.key': join(folder, 'no-key.pem') }
    expect(await refusalOf(optionsOf({ flags: both }))).toMatch(/names .*cert\.pem.* cannot be read/)
  })

  test('are what the server makes of nothing, when nothing is set', async () => {
    const [configured, plain] = await Promise.all([
      parseServerOptions(await optionsOf({ flags: { dev: true } })),
      parseServerOptions({ dev: true, dataDir: './data' }),
    ])
    for (const name of Object.keys(plain) as (keyof typeof plain)[]) {
      const [left, right] = [configured[name], plain[name]]
      if (typeof right === 'number' || typeof right === 'string' || typeof right === 'boolean') {
        expect(left, name).toBe(right)
      }
    }
    expect(configured.limits).toEqual(plain.limits)
  })

  test('take every limit, as low as the engine does', async () => {
    const names = Object.keys(DEFAULT_LIMITS) as (keyof typeof DEFAULT_LIMITS)[]
    expect(SETTING_KEYS.filter((key) => key.startsWith('limits.'))).toEqual(names.map((name) => `limits.${name}`))
    const lowered = { frameBytesMax: 2 ** 19, transactionBytesMax: 2 ** 18, changeBytesMax: 2 ** 17, helloMs: 100 }
    const { limits } = await optionsOf({ flags: { dev: true }, file: { limits: lowered } })
    expect(limits).toEqual(parseLimits(lowered))
  })
})

test('variables of other commands are left alone', async () => {
  const commands = new URL('../../sync-server/commands/', import.meta.url)
  const sources = readdirSync(commands).map((name) => readFileSync(new URL(name, commands), 'utf8'))
  const names = sources.flatMap((source) => [...source.matchAll(/\.env\('(\w+)'\)/g)].map((match) => match[1] ?? ''))
  expect(names.length).toBeGreaterThan(0)
  await configOf({ environment: Object.fromEntries(names.map((name) => [name, 'something'])) })
  expect(OTHER_VARIABLES.filter((name) => name !== 'TIDEMARK_CONFIG' && !names.includes(name))).toEqual([])
})

test('the nearest name is one that was meant, or none', () => {
  const names = ['port', 'host', 'origins', 'auth.secret']
  expect(nearestName('prot', names)).toBe('port')
  expect(nearestName('orgins', names)).toBe('origins')
  expect(nearestName('AUTH.SECRET', names)).toBe('auth.secret')
  expect(nearestName('elephant', names)).toBeUndefined()
})
