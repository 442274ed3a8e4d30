/**
 * Signatures of tokens, with jose: what tenant asks for through its port `VerifyToken`.
 *
 * Knows: keys, signatures. Must never know: what claims mean; that is decided in tenant.
 *
 * Invariants:
 * K2  A key only ever verifies with the algorithms that the rules pin.
 * K3  Keys that cannot be fetched are our trouble (`unavailable`), not the token's.
 */
import { type CompactVerifyGetKey, compactVerify, errors } from 'jose'
import { TidemarkError } from '../core/index.ts'
import type { TokenRules, VerifyToken } from '../tenant/index.ts'
import { type KeySource, openKeySet } from './key-set.ts'

/** What jose says of a token. Whatever else it says is about the keys. */
const BAD_TOKEN_CODES: readonly string[] = [
  'ERR_JWS_INVALID',
  'ERR_JWS_SIGNATURE_VERIFICATION_FAILED',
  'ERR_JOSE_ALG_NOT_ALLOWED',
  'ERR_JOSE_NOT_SUPPORTED',
  'ERR_JWKS_NO_MATCHING_KEY',
  'ERR_JWKS_MULTIPLE_MATCHING_KEYS',
]
const decoder = new TextDecoder('utf-8', { fatal: true })

/** Without a secret in the rules, `source` says where the keys are. Throws `bad-option` when they cannot be read. */
export async function createTokenVerifier(rules: TokenRules, source?: KeySource): Promise<VerifyToken> {
  const { secret } = rules
  if ((secret === undefined) === (source === undefined)) {
    throw new TidemarkError('bad-option', 'tokens are verified with a secret or with public keys, one of them')
  }
  const options = { algorithms: [...rules.algorithms] }
  const key = source === undefined ? undefined : await openKeySet(source)
  return async (token) => {
    const { payload, protectedHeader } = await verify(token, key ?? (secret as Uint8Array), options)
    return { header: { ...protectedHeader }, claims: readClaims(payload) }
  }
}

async function verify(
  token: string,
  key: CompactVerifyGetKey | Uint8Array,
  options: { readonly algorithms: string[] },
): ReturnType<typeof compactVerify> {
  try {
    return await (typeof key === 'function' ? compactVerify(token, key, options) : compactVerify(token, key, options))
  } catch (error) {
    if (error instanceof errors.JOSEError && BAD_TOKEN_CODES.includes(error.code)) throw error
    throw noKeys(error)
  }
}

function readClaims(payload: Uint8Array): Readonly<Record<string, unknown>> {
  const claims: unknown = JSON.parse(decoder.decode(payload))
  if (typeof claims === 'object' && claims !== null && !Array.isArray(claims)) return { ...claims }
  throw new TypeError('the claims are no object')
}

function noKeys(cause: unknown): TidemarkError {
  return new TidemarkError('unavailable', 'tokens cannot be verified now', { retryable: true, cause })
}
