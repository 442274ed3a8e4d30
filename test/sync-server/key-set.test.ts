/** Public keys that are rotated, and sources of them that fail: a file, and a URL of a real server. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose'
import { afterEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { isTidemarkError } from '../../core/index.ts'
import type { KeySource } from '../../sync-server/key-set.ts'
import { createTokenVerifier } from '../../sync-server/token-verifier.ts'
import { authenticateToken, parseTokenRules } from '../../tenant/index.ts'

const RULES = parseTokenRules({ issuer: 'https://id.example', audience: 'tidemark', algorithms: ['ES256'] })
const MINUTE_MS = 60_000

afterEach(() => {
  vi.useRealTimers()
})

interface Signer {
  readonly jwk: JWK
  readonly privateJwk: JWK
  /** A token that this key signs now. */
  token(): Promise<string>
}

async function createSigner(kid: string): Promise<Signer> {
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true })
  const token = (): Promise<string> =>
    new SignJWT({ tenant: 'acme', scope: 'read' })
      .setProtectedHeader({ alg: 'ES256', typ: 'JWT', kid })
      .setIssuer(RULES.issuer)
      .setAudience(RULES.audience)
      .setSubject('ada')
      .setIssuedAt(Math.floor(Date.now() / 1_000))
      .setExpirationTime(Math.floor(Date.now() / 1_000) + 60)
      .sign(privateKey)
  const common = { kid, alg: 'ES256' }
  return {
    jwk: { ...(await exportJWK(publicKey)), ...common },
    privateJwk: { ...(await exportJWK(privateKey)), ...common },
    token,
  }
}

/** The subject of a token that is taken, or the code of the refusal. */
async function openDoor(source: KeySource): Promise<(token: string) => Promise<string>> {
  const verify = await createTokenVerifier(RULES, source)
  return async (token) => {
    try {
      return (await authenticateToken(verify, RULES, token, Date.now())).subject
    } catch (error) {
      if (!isTidemarkError(error)) throw error
      return error.code
    }
  }
}

interface Place {
  readonly source: KeySource
  publish(...keys: readonly JWK[]): void
  fail(): void
}

const places: Readonly<Record<'file' | 'url', () => Promise<Place>>> = {
  file: async () => {
    const folder = mkdtempSync(join(tmpdir(), 'tidemark-keys-'))
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
    const file = join(folder, 'jwks.json')
    const publish = (...keys: readonly JWK[]): void => writeFileSync(file, JSON.stringify({ keys }))
    return { source: { file }, publish, fail: () => writeFileSync(file, '{') }
  },
  url: async () => {
    let answer: string | undefined
    const http = createServer((_, response) =>
      answer === undefined ? response.writeHead(503).end() : response.end(answer),
    )
    await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => void http.close())
    const publish = (...keys: readonly JWK[]): void => {
      answer = JSON.stringify({ keys })
    }
    const fail = (): void => {
      answer = undefined
    }
    return { source: { url: `http://127.0.0.1:${(http.address() as AddressInfo).port}/` }, publish, fail }
  },
}

/** Only the calendar is moved: sockets and files need their own time. */
const moveOn = (ms: number): void => {
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + ms })
}

describe.each(['file', 'url'] as const)('keys of a %s', (kind) => {
  test('are read again for a token that names a new one, and old ones count no more once they are gone', async () => {
    const { source, publish } = await places[kind]()
    const [first, second] = [await createSigner('one'), await createSigner('two')]
    publish(first.jwk)
    const knock = await openDoor(source)
    expect(await knock(await first.token())).toBe('ada')
    publish(first.jwk, second.jwk)
    moveOn(MINUTE_MS)
    expect(await knock(await second.token())).toBe('ada')
    publish(second.jwk)
    moveOn(11 * MINUTE_MS)
    expect(await knock(await first.token())).toBe('unauthenticated')
    expect(await knock(await second.token())).toBe('ada')
  })

  test('count for a day while they cannot be read anew, and a new one is not the fault of its token meanwhile', async () => {
    const { source, publish, fail } = await places[kind]()
    const [first, second] = [await createSigner('one'), await createSigner('two')]
    publish(first.jwk)
    const knock = await openDoor(source)
    expect(await knock(await first.token())).toBe('ada')
    fail()
    for (let hour = 0; hour < 23; hour++) {
      moveOn(60 * MINUTE_MS)
      expect(await knock(await first.token())).toBe('ada')
      expect(await knock(await second.token())).toBe('unavailable')
    }
    publish(second.jwk)
    moveOn(MINUTE_MS)
    expect(await knock(await second.token())).toBe('ada')
    expect(await knock(await first.token())).toBe('unauthenticated')
    fail()
    moveOn(25 * 60 * MINUTE_MS)
    expect(await knock(await second.token())).toBe('unavailable')
  })
})

describe('at the start it is told', () => {
  test.each([
    ['not there', undefined],
    ['not JSON', '{'],
    ['no set', '{"a":1}'],
    ['empty', '{"keys":[]}'],
  ])('that a file is %s', async (_what, content) => {
    const { source, publish } = await places.file()
    const file = 'file' in source ? source.file : ''
    publish()
    if (content === undefined) rmSync(file)
    else writeFileSync(file, content)
    const problem = { code: 'bad-option', message: expect.stringContaining(file), details: { key: 'auth.jwksFile' } }
    await expect(openDoor(source)).rejects.toMatchObject(problem)
  })

  test('that a key is private', async () => {
    const { source, publish } = await places.file()
    publish((await createSigner('one')).privateJwk)
    await expect(openDoor(source)).rejects.toThrow('a key in it is private')
  })

  test.each(['nonsense', 'ftp://localhost/x', 'http://keys.example/jwks', 'file:///etc/passwd'])(
    'that %s is no place for keys',
    async (url) => {
      const problem = { code: 'bad-option', details: { key: 'auth.jwksUrl' } }
      await expect(openDoor({ url })).rejects.toMatchObject(problem)
    },
  )
})
