/** Real signatures: keys of every kind, and tokens that are signed by the wrong one. */
import { mkdtempSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { exportJWK, exportSPKI, generateKeyPair, SignJWT } from 'jose'
import { expect, test } from 'vitest'
import { isTidemarkError } from '../../core/index.ts'
import type { KeySource } from '../../sync-server/key-set.ts'
import { createTokenVerifier } from '../../sync-server/token-verifier.ts'
import { authenticateToken, parseTokenRules } from '../../tenant/index.ts'

const NOW_MS = 1_700_000_000_000
const SECRET = crypto.getRandomValues(new Uint8Array(32))
const COMMON = { issuer: 'https://id.example', audience: 'tidemark' }

function token(alg: string, kid?: string): SignJWT {
  return new SignJWT({ tenant: 'acme', scope: 'read' })
    .setProtectedHeader({ alg, typ: 'JWT', ...(kid === undefined ? {} : { kid }) })
    .setIssuer(COMMON.issuer)
    .setAudience(COMMON.audience)
    .setSubject('ada')
    .setIssuedAt(NOW_MS / 1000)
    .setExpirationTime(NOW_MS / 1000 + 60)
}

async function outcome(text: string, algorithms: readonly string[], secret?: Uint8Array, source?: KeySource) {
  const rules = parseTokenRules({ ...COMMON, algorithms, ...(secret === undefined ? {} : { secret }) })
  const verify = await createTokenVerifier(rules, source)
  try {
    return (await authenticateToken(verify, rules, text, NOW_MS)).subject
  } catch (error) {
    if (!isTidemarkError(error)) throw error
    return error.code
  }
}

test('a token signed with the secret is taken, one signed with another is not', async () => {
  expect(await outcome(await token('HS256').sign(SECRET), ['HS256'], SECRET)).toBe('ada')
  const other = crypto.getRandomValues(new Uint8Array(32))
  expect(await outcome(await token('HS256').sign(other), ['HS256'], SECRET)).toBe('unauthenticated')
})

test.each(['ES256', 'RS256', 'EdDSA', 'PS256'])(
  'public keys of %s verify their own tokens and nobody else’s',
  async (alg) => {
    const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true })
    const stranger = await generateKeyPair(alg)
    const file = join(mkdtempSync(join(tmpdir(), 'tidemark-keys-')), 'jwks.json')
    writeFileSync(file, JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: 'one', alg }] }))
    expect(await outcome(await token(alg, 'one').sign(privateKey), [alg], undefined, { file })).toBe('ada')
    expect(await outcome(await token(alg, 'one').sign(stranger.privateKey), [alg], undefined, { file })).toBe(
      'unauthenticated',
    )
    expect(await outcome(await token(alg, 'two').sign(privateKey), [alg], undefined, { file })).toBe('unauthenticated')
    const spki = new TextEncoder().encode(await exportSPKI(publicKey))
    expect(await outcome(await token('HS256', 'one').sign(spki), [alg], undefined, { file })).toBe('unauthenticated')
  },
)

test('keys that cannot be fetched make the server unavailable, not the token invalid', async () => {
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true })
  let isUp = false
  const jwks = JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: 'one', alg: 'ES256' }] })
  const http = createServer((_, response) => (isUp ? response.end(jwks) : response.writeHead(500).end())).listen(0)
  const source = { url: `http://localhost:${(http.address() as AddressInfo).port}/jwks` }
  const signed = await token('ES256', 'one').sign(privateKey)
  expect(await outcome(signed, ['ES256'], undefined, source)).toBe('unavailable')
  isUp = true
  expect(await outcome(signed, ['ES256'], undefined, source)).toBe('ada')
  http.close()
  await expect(outcome(signed, ['ES256'], undefined, { url: 'http://keys.example/jwks' })).rejects.toMatchObject({
    code: 'bad-option',
  })
})
