/** The front door as an operator sets it up: settings, keys, TLS, origins, proxies. The server runs from the shell. */
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { fileURLToPath } from 'node:url'
import { exportJWK, exportPKCS8, generateKeyPair } from 'jose'
import { describe, expect, test } from 'vitest'
import { ended, launch, launchServer } from './shell.ts'
import { createFolder, linkTo, openNotes, openServer, settleAll, statusOf, until } from './stage.ts'

const certificates = fileURLToPath(new URL('certificates/', import.meta.url))
const certificateOf = (name: string): string => readFileSync(join(certificates, `${name}.cert.pem`), 'utf8')
const keyOf = (name: string): string => readFileSync(join(certificates, `${name}.key.pem`), 'utf8')
const SECRET = 'a secret of more than thirty-two bytes, for this test only'

/** A secret in a file, and what both server and token command are told. */
function keys(): { readonly flags: readonly string[]; readonly folder: string } {
  const folder = createFolder()
  writeFileSync(join(folder, 'secret'), `${SECRET}\n`)
  return { flags: ['--auth-secret-file', join(folder, 'secret')], folder }
}

async function makeToken(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await ended(launch(['token', ...args]))
  expect(code, stderr).toBe(0)
  return stdout.trim()
}

describe('a server with a secret', () => {
  test('lets in who has a token from `tidemark token`, and nobody else', async () => {
    const { flags, folder } = keys()
    const server = await launchServer([...flags, '--data', folder, '--port', '0', '--default-plan', 'free'])
    const [good, foreign] = [
      await makeToken(...flags, '--tenant', 'acme', '--subject', 'ann'),
      await makeToken(...keys().flags, '--auth-issuer', 'someone-else', '--tenant', 'acme'),
    ]
    const replica = await openNotes()
    await replica.table('notes').insert({ id: 'n1', title: 'in', done: false })
    const link = linkTo(replica, server.url, { token: good })
    await settleAll(link)
    expect(replica.pending).toBe(0)
    const { lastError } = await statusOf(
      linkTo(await openNotes(), server.url, { token: foreign }),
      ({ state }) => state === 'stopped',
    )
    expect(lastError?.code).toBe('unauthenticated')
  })

  test('gets the claims that the flags of the command say', async () => {
    const { flags } = keys()
    const token = await makeToken(...flags, '--tenant', 'acme', '--scopes', 'read', '--tables', 'a,b', '--id', 'x1')
    const [header, claims] = token.split('.').map((part) => Buffer.from(part, 'base64url').toString())
    expect(JSON.parse(header ?? '')).toEqual({ alg: 'HS256', typ: 'JWT' })
    const said = JSON.parse(claims ?? '') as Readonly<Record<string, number>>
    expect(said).toMatchObject({ tenant: 'acme', sub: 'developer', scope: 'read', tables: ['a', 'b'], jti: 'x1' })
    expect((said.exp ?? 0) - (said.iat ?? 0)).toBe(3_600)
  })
})

describe('a token', () => {
  test('is signed with the private key that belongs to a public one in force, as PEM or JWK', async () => {
    const folder = createFolder()
    const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true })
    const jwks = join(folder, 'jwks.json')
    writeFileSync(jwks, JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: 'k', alg: 'ES256' }] }))
    const [pem, jwk] = [join(folder, 'key.pem'), join(folder, 'key.json')]
    writeFileSync(pem, await exportPKCS8(privateKey))
    writeFileSync(jwk, JSON.stringify({ ...(await exportJWK(privateKey)), kid: 'k', alg: 'ES256' }))
    const flags = ['--auth-jwks-file', jwks, '--tenant', 'acme']
    await makeToken(...flags, '--auth-algorithms', 'ES256', '--signing-key', pem, '--key-id', 'k')
    await makeToken(...flags, '--signing-key', jwk)
  })

  test('W6: is not made when a server would refuse it, and the reason is told', async () => {
    const folder = createFolder()
    const [inForce, stranger] = await Promise.all([
      generateKeyPair('ES256', { extractable: true }),
      generateKeyPair('ES256', { extractable: true }),
    ])
    const jwks = join(folder, 'jwks.json')
    writeFileSync(jwks, JSON.stringify({ keys: [{ ...(await exportJWK(inForce.publicKey)), alg: 'ES256' }] }))
    const jwk = join(folder, 'key.json')
    writeFileSync(jwk, JSON.stringify({ ...(await exportJWK(stranger.privateKey)), alg: 'ES256' }))
    const { flags } = keys()
    const [wrongKey, noKey, noSigningKey, badTenant, tooLong, badScope] = await Promise.all([
      ended(launch(['token', '--tenant', 'acme', '--auth-jwks-file', jwks, '--signing-key', jwk])),
      ended(launch(['token', '--tenant', 'acme'])),
      ended(launch(['token', '--tenant', 'acme', '--auth-jwks-file', jwks])),
      ended(launch(['token', '--tenant', '../acme', ...flags])),
      ended(launch(['token', '--tenant', 'acme', '--expires', '90d', ...flags])),
      ended(launch(['token', '--tenant', 'acme', '--scopes', 'everything', ...flags])),
    ])
    expect(wrongKey.stderr).toMatch(/refuses that token: .*signature verification failed/)
    expect(noKey.stderr).toContain('there is no key in force')
    expect(noSigningKey.stderr).toContain('--signing-key')
    expect(badTenant.stderr).toContain('tenant name')
    expect(tooLong.stderr).toContain('valid for too long')
    expect(badScope.stderr).toContain('read, write, relay, admin')
    for (const { code, stdout } of [wrongKey, noKey, noSigningKey, badTenant, tooLong, badScope]) {
      expect([code, stdout]).toEqual([1, ''])
    }
  })
})

describe('tidemark config', () => {
  test('prints each value with its source, and of secrets their length only', async () => {
    const folder = createFolder()
    const path = join(folder, 'tidemark.json')
    writeFileSync(path, JSON.stringify({ port: 8080, host: '0.0.0.0', auth: { secret: SECRET } }))
    const args = ['config', '--config', path, '--host', '127.0.0.1']
    const env = { TIDEMARK_IDLE_MS: '90s' }
    const [table, json] = await Promise.all([ended(launch(args, env)), ended(launch([...args, '--json'], env))])
    expect(table).toMatchObject({ code: 0, stderr: '' })
    expect(table.stdout).toMatch(/^port +8080 +.*tidemark\.json$/m)
    expect(table.stdout).toMatch(/^host +127\.0\.0\.1 +--host$/m)
    expect(table.stdout).toMatch(/^idleMs +90s +TIDEMARK_IDLE_MS$/m)
    expect(table.stdout).toMatch(/^auth\.secret +\(secret, 58 bytes\) +.*tidemark\.json$/m)
    expect(JSON.parse(json.stdout)).toMatchObject({
      port: { value: 8080, from: path },
      idleMs: { value: 90_000, from: 'TIDEMARK_IDLE_MS' },
      'auth.secret': { value: '(secret, 58 bytes)' },
      data: { value: './data', from: 'default' },
    })
    for (const { stdout } of [table, json]) expect(stdout).not.toContain('thirty-two')
  })

  test('ends well when whoever reads it has had enough', async () => {
    const child = launch(['config', '--dev'])
    child.stdout?.destroy()
    expect(await ended(child)).toMatchObject({ code: 0, stderr: '' })
  })

  test('says why a server would not start', async () => {
    const [noKey, badPlan, unknownPlan] = await Promise.all([
      ended(launch(['config'])),
      ended(launch(['config', ...keys().flags, '--default-plan', 'gold'])),
      ended(launch(['config', ...keys().flags], { TIDEMARK_CONFIG: fileOf({ plans: { tiny: { features: [] } } }) })),
    ])
    expect(noKey).toMatchObject({ code: 1, stderr: expect.stringContaining('would not start: there is no key') })
    expect(noKey.stdout).toContain('7300')
    expect(badPlan).toMatchObject({ code: 1, stderr: expect.stringContaining('defaultPlan names "gold"') })
    expect(unknownPlan).toMatchObject({ code: 1, stderr: expect.stringContaining('plans.tiny.quotas') })
  })
})

function fileOf(content: unknown): string {
  const path = join(createFolder(), 'tidemark.json')
  writeFileSync(path, JSON.stringify(content))
  return path
}

describe('TLS', () => {
  test('is what clients connect by, with a certificate that they trust', async () => {
    const server = await openServer({ tls: { cert: certificateOf('first'), key: keyOf('first') } })
    expect(server.url).toMatch(/^https:/)
    const trusting = linkTo(await openNotes(), server.url, { socketOptions: { ca: certificateOf('first') } })
    await settleAll(trusting)
    const doubting = linkTo(await openNotes(), server.url)
    expect((await statusOf(doubting, ({ lastError }) => lastError !== undefined)).lastError?.code).toBe('offline')
  })

  test('does not begin with a key of another certificate', async () => {
    const mixed = { cert: certificateOf('first'), key: keyOf('second') }
    await expect(openServer({ tls: mixed })).rejects.toMatchObject({ code: 'bad-option' })
  })

  test('renews its certificate on SIGHUP, and keeps the old one when the new one is no good', async () => {
    const folder = createFolder()
    const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')]
    const put = (certName: string, keyName: string): void => {
      copyFileSync(join(certificates, `${certName}.cert.pem`), cert)
      copyFileSync(join(certificates, `${keyName}.key.pem`), key)
    }
    put('first', 'first')
    const flags = ['--dev', '--data', folder, '--port', '0', '--tls-cert', cert, '--tls-key', key]
    const { child, port, lines } = await launchServer(flags)
    const first = await shownCertificate(port)
    const signal = async (message: string): Promise<void> => {
      child.kill('SIGHUP')
      await until(() => lines.some(({ msg }) => msg === message), message)
    }
    put('second', 'first')
    await signal('certificate not renewed')
    expect(await shownCertificate(port)).toBe(first)
    put('second', 'second')
    await signal('certificate renewed')
    expect(await shownCertificate(port)).not.toBe(first)
  })
})

/** The fingerprint of what the server shows. */
function shownCertificate(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false }, () => {
      resolve(socket.getPeerCertificate().fingerprint256)
      socket.destroy()
    })
    socket.once('error', reject)
  })
}

describe('pages in browsers', () => {
  const authenticate = () => ({ tenant: 'acme', subject: 'ada', scopes: ['read', 'write'] as const })

  test.each([
    ['of any origin are refused unless one is listed', undefined, 'https://app.example.com', 403],
    ['of a listed origin may connect', ['https://app.example.com'], 'https://app.example.com', 200],
    ['of another one may not', ['https://app.example.com'], 'https://evil.example', 403],
    ['of one that only begins like it may not', ['https://app.example.com'], 'https://app.example.com.evil', 403],
    ['of an opaque origin may not', ['https://app.example.com'], 'null', 403],
    ['of any origin may, where * is listed', ['*'], 'https://evil.example', 200],
    ['are no programs: those send no origin, and may', undefined, undefined, 200],
  ])('%s', async (_what, origins, origin, status) => {
    const server = await openServer({ authenticate, ...(origins === undefined ? {} : { origins }) })
    const headers: Readonly<Record<string, string>> = origin === undefined ? {} : { origin }
    const [polled, upgraded] = [
      await statusWith(server.port, 'polling', headers),
      await statusWith(server.port, 'websocket', headers),
    ]
    expect([polled, upgraded]).toEqual(status === 200 ? [200, 101] : [403, 400])
  })
})

/** What a request for a connection over this transport is answered with. */
function statusWith(
  port: number,
  transport: 'polling' | 'websocket',
  headers: Readonly<Record<string, string>>,
): Promise<number | undefined> {
  const upgrade = {
    connection: 'Upgrade',
    upgrade: 'websocket',
    'sec-websocket-version': '13',
    'sec-websocket-key': Buffer.alloc(16).toString('base64'),
  }
  return new Promise((resolve, reject) => {
    const asked = request({
      host: '127.0.0.1',
      port,
      path: `/socket.io/?EIO=4&transport=${transport}`,
      headers: transport === 'websocket' ? { ...headers, ...upgrade } : headers,
    })
    asked.once('response', (response) => {
      response.resume()
      resolve(response.statusCode)
    })
    asked.once('upgrade', (response, socket) => {
      socket.destroy()
      resolve(response.statusCode)
    })
    asked.once('error', reject)
    asked.end()
  })
}

describe('behind a proxy', () => {
  async function addressSeen(trustedProxies: readonly string[]): Promise<string> {
    let seen = ''
    const server = await openServer({
      trustedProxies,
      authenticate: ({ address }) => {
        seen = address
        return { tenant: 'acme', subject: 'ada', scopes: ['read', 'write'] }
      },
    })
    const socketOptions = { extraHeaders: { 'x-forwarded-for': '6.6.6.6, 198.51.100.7' } }
    await settleAll(linkTo(await openNotes(), server.url, { socketOptions }))
    return seen
  }

  test('that is trusted, a client is whom it names', async () => {
    expect(await addressSeen(['127.0.0.0/8'])).toBe('198.51.100.7')
  })

  test('that is not trusted, a client is its peer', async () => {
    expect(await addressSeen([])).toBe('127.0.0.1')
    expect(await addressSeen(['10.0.0.0/8'])).toBe('127.0.0.1')
  })

  test('addresses are counted as the proxy names them: one that floods does not shut out another', async () => {
    const traffic = { connectionsPerAddress: { perSecond: 1, burst: 1 } }
    const server = await openServer({ trustedProxies: ['127.0.0.1'], traffic })
    const from = async (address: string) =>
      linkTo(await openNotes(), server.url, { socketOptions: { extraHeaders: { 'x-forwarded-for': address } } })
    await settleAll(await from('198.51.100.7'))
    const second = await from('198.51.100.7')
    expect((await statusOf(second, ({ lastError }) => lastError !== undefined)).lastError?.code).toBe('rate-limited')
    await settleAll(await from('198.51.100.8'))
  })
})
