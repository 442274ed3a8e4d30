/** Which tokens are taken: rules that are too weak, tokens that are too clever. */
import { createHmac } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isTidemarkError } from '../../core/index.ts'
import {
  authenticateToken,
  type Principal,
  parseTokenRules,
  type TokenRulesInput,
  tokenToPrincipal,
  type VerifiedToken,
} from '../../tenant/index.ts'

const NOW_MS = 1_700_000_000_000
const NOW_S = NOW_MS / 1000
const SECRET = new Uint8Array(64).map((_, index) => index * 7)
const RULES: TokenRulesInput = {
  issuer: 'https://id.example',
  audience: 'tidemark',
  algorithms: ['HS256'],
  secret: SECRET,
}
const rules = parseTokenRules(RULES)

const HEADER = { alg: 'HS256', typ: 'JWT' }
const CLAIMS = {
  iss: 'https://id.example',
  aud: 'tidemark',
  sub: 'ada',
  tenant: 'acme',
  scope: 'read write',
  iat: NOW_S - 60,
  nbf: NOW_S - 60,
  exp: NOW_S + 3600,
  jti: 'token-1',
}

function sign(header: object, claims: object, secret = SECRET): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const signed = `${part(header)}.${part(claims)}`
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`
}

/** The port, done naively: it believes the header, as a bad library would. */
async function verify(token: string): Promise<VerifiedToken> {
  const [header = '', claims = '', signature = ''] = token.split('.')
  const read = (part: string): Record<string, unknown> => JSON.parse(Buffer.from(part, 'base64url').toString())
  const expected = createHmac('sha256', SECRET).update(`${header}.${claims}`).digest('base64url')
  if (read(header).alg !== 'none' && signature !== expected) throw new Error('the signature does not fit')
  return { header: read(header), claims: read(claims) }
}

async function outcome(token: unknown): Promise<string | Principal> {
  try {
    return await authenticateToken(verify, rules, token, NOW_MS)
  } catch (error) {
    if (!isTidemarkError(error)) throw error
    return error.code
  }
}

function codeOf(run: () => unknown): string {
  try {
    run()
    return 'no error'
  } catch (error) {
    return isTidemarkError(error) ? `${error.code} ${error.details.key ?? ''}`.trim() : String(error)
  }
}

describe('the rules for tokens', () => {
  test.each([
    ['auth.algorithms', { algorithms: ['none'] }],
    ['auth.algorithms', { algorithms: ['HS256', 'none'] }],
    ['auth.algorithms', { algorithms: [] }],
    ['auth.algorithms', { algorithms: ['RS256'] }],
    ['auth.algorithms', { algorithms: ['hs256'] }],
    ['auth.secret', { secret: SECRET.slice(0, 31) }],
    ['auth.secret', { secret: new Uint8Array(0) }],
    ['auth.secret', { secret: new Uint8Array(64).fill(97) }],
    ['auth.secret', { secret: SECRET.slice(0, 48), algorithms: ['HS256', 'HS512'] }],
    ['auth.issuer', { issuer: '' }],
    ['auth.audience', { audience: '' }],
    ['auth.type', { type: '' }],
    ['auth.toleranceMs', { toleranceMs: Number.NaN }],
    ['auth.lifetimeMaxMs', { lifetimeMaxMs: 0 }],
  ])('TT1, TT2: do not start a server that is wrong about %s: %j', (key, wrong) => {
    expect(codeOf(() => parseTokenRules({ ...RULES, ...wrong }))).toBe(`bad-option ${key}`)
  })

  test('TT1: without a secret take public keys, and never a shared one', () => {
    const { secret: _, ...open } = RULES
    expect(codeOf(() => parseTokenRules(open))).toBe('bad-option auth.algorithms')
    expect(parseTokenRules({ ...open, algorithms: ['ES256', 'EdDSA'] }).algorithms).toEqual(['ES256', 'EdDSA'])
    expect(codeOf(() => parseTokenRules({ ...open, algorithms: ['ES256', 'HS256'] }))).toBe(
      'bad-option auth.algorithms',
    )
  })
})

describe('a token', () => {
  test('that is in order says whom it speaks for', async () => {
    expect(await outcome(sign(HEADER, CLAIMS))).toEqual({
      tenant: 'acme',
      subject: 'ada',
      isAnonymous: false,
      scopes: new Set(['read', 'write']),
      tables: undefined,
      writeTables: undefined,
      issuedAtMs: NOW_MS - 60_000,
      expiresAtMs: NOW_MS + 3_600_000,
      tokenId: 'token-1',
    })
  })

  test.each([
    ['another issuer', 'unauthenticated', { iss: 'https://evil.example' }],
    ['no issuer', 'unauthenticated', { iss: undefined }],
    ['another audience', 'unauthenticated', { aud: 'other' }],
    ['audiences without ours', 'unauthenticated', { aud: ['other', 'more'] }],
    ['audiences of the wrong kind', 'unauthenticated', { aud: ['tidemark', 7] }],
    ['no audience', 'unauthenticated', { aud: undefined }],
    ['no expiry', 'unauthenticated', { exp: undefined }],
    ['an expiry as a text', 'unauthenticated', { exp: `${NOW_S + 60}` }],
    ['an expiry that is no number', 'unauthenticated', { exp: null }],
    ['an expiry in milliseconds', 'unauthenticated', { exp: NOW_MS + 60 }],
    ['an expiry long ago', 'auth-expired', { exp: NOW_S - 10 }],
    ['a life that is too long', 'unauthenticated', { exp: NOW_S + 31 * 86_400 }],
    ['a start in the future', 'unauthenticated', { nbf: NOW_S + 10 }],
    ['an issue in the future', 'unauthenticated', { iat: NOW_S + 10 }],
    ['no issue', 'unauthenticated', { iat: undefined }],
    ['no subject', 'unauthenticated', { sub: undefined }],
    ['an empty subject', 'unauthenticated', { sub: '' }],
    ['a subject that is no text', 'unauthenticated', { sub: 7 }],
    ['a subject without end', 'unauthenticated', { sub: 'a'.repeat(256) }],
    ['no tenant', 'unauthenticated', { tenant: undefined }],
    ['a tenant that is a path', 'bad-tenant', { tenant: '../acme' }],
    ['a tenant with a line end', 'bad-tenant', { tenant: 'acme\n' }],
    ['a list of tenants', 'unauthenticated', { tenant: ['acme'] }],
    ['no scope', 'unauthenticated', { scope: undefined }],
    ['an empty scope', 'unauthenticated', { scope: '' }],
    ['only scopes of others', 'unauthenticated', { scope: 'openid READ writer' }],
    ['scopes as a list', 'unauthenticated', { scope: ['read'] }],
    ['tables that are no texts', 'unauthenticated', { tables: [1] }],
    ['tables to write that are no texts', 'unauthenticated', { writeTables: [1] }],
    ['tables to write as null', 'unauthenticated', { writeTables: null }],
    ['tables as null', 'unauthenticated', { tables: null }],
    ['too many tables', 'unauthenticated', { tables: Array.from({ length: 257 }, (_, index) => `t${index}`) }],
    ['an anonymous that is neither true nor false', 'unauthenticated', { anonymous: 'no' }],
    ['an id that is no text', 'unauthenticated', { jti: 1 }],
  ])('TT3: with %s is refused as %s', async (_what, code, claims) => {
    expect(await outcome(sign(HEADER, { ...CLAIMS, ...claims }))).toBe(code)
  })

  test.each([
    ['the algorithm none', { alg: 'none' }],
    ['the algorithm None', { alg: 'None' }],
    ['another algorithm than the pinned one', { alg: 'HS512' }],
    ['an algorithm of public keys', { alg: 'RS256' }],
    ['no algorithm', { alg: undefined }],
    ['another type', { typ: 'at+jwt' }],
    ['no type', { typ: undefined }],
    ['a critical header', { crit: ['exp'] }],
  ])('TT1: with %s is refused', async (_what, header) => {
    expect(await outcome(sign({ ...HEADER, ...header }, CLAIMS))).toBe('unauthenticated')
  })

  test('TT1: that was signed by nobody, or with another secret, is refused', async () => {
    const [header, claims] = sign({ ...HEADER, alg: 'none' }, CLAIMS).split('.')
    expect(await outcome(`${header}.${claims}.`)).toBe('unauthenticated')
    expect(await outcome(`${header}.${claims}.x`)).toBe('unauthenticated')
    expect(await outcome(sign(HEADER, CLAIMS, SECRET.slice(1)))).toBe('unauthenticated')
  })

  test('that is longer than 8 KiB is refused unseen', async () => {
    const tables = Array.from({ length: 200 }, (_, index) => `t${index}`.padEnd(60, 'x'))
    const token = sign(HEADER, { ...CLAIMS, tables })
    expect(token.length).toBeGreaterThan(8192)
    let isSeen = false
    const watching = async (text: string): Promise<VerifiedToken> => {
      isSeen = true
      return verify(text)
    }
    await expect(authenticateToken(watching, rules, token, NOW_MS)).rejects.toMatchObject({ code: 'unauthenticated' })
    expect(isSeen).toBe(false)
  })

  test('may be for several audiences, of any case of its type, and 5 s off', async () => {
    const late = { ...CLAIMS, aud: ['other', 'tidemark'], exp: NOW_S - 4, nbf: NOW_S + 4, tables: ['notes'] }
    const principal = await outcome(sign({ ...HEADER, typ: 'application/jwt' }, late))
    expect(principal).toMatchObject({ tables: new Set(['notes']), expiresAtMs: NOW_MS - 4_000 })
  })

  test('TT4: that is refused does not learn why, the log does', async () => {
    const messages = new Set<string>()
    const causes = new Set<unknown>()
    for (const claims of [{ iss: 'x' }, { aud: 'x' }, { sub: '' }, { scope: '' }]) {
      const error: unknown = await authenticateToken(
        verify,
        rules,
        sign(HEADER, { ...CLAIMS, ...claims }),
        NOW_MS,
      ).catch((reason: unknown) => reason)
      if (!isTidemarkError(error)) throw error
      messages.add(error.message)
      causes.add(error.cause)
    }
    expect(messages.size).toBe(1)
    expect(causes.size).toBe(4)
  })

  test('of any form is refused, and never crashes', async () => {
    const segment = fc.oneof(fc.base64String(), fc.string(), fc.json())
    const text = fc.oneof(
      fc.string(),
      fc.array(segment, { minLength: 2, maxLength: 4 }).map((parts) => parts.join('.')),
    )
    await fc.assert(
      fc.asyncProperty(fc.oneof(fc.anything(), text), async (token) => {
        expect(await outcome(token)).toBe('unauthenticated')
      }),
    )
  })

  test('of any claims gives a principal that is whole, or none', () => {
    const odd = fc.record(
      Object.fromEntries(
        Object.entries(CLAIMS).map(([name, value]) => [
          name,
          fc.oneof({ weight: 4, arbitrary: fc.constant<unknown>(value) }, { weight: 1, arbitrary: fc.anything() }),
        ]),
      ),
    )
    fc.assert(
      fc.property(odd, (claims) => {
        let principal: Principal
        try {
          principal = tokenToPrincipal({ header: HEADER, claims }, rules, NOW_MS)
        } catch (error) {
          return isTidemarkError(error)
        }
        expect(principal.tenant).toMatch(/^[a-z0-9][a-z0-9_-]{0,62}$/)
        expect(principal.scopes.size).toBeGreaterThan(0)
        return principal.subject.length > 0 && principal.expiresAtMs > NOW_MS - 5_001
      }),
    )
  })
})
