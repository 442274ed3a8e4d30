/**
 * Authentication with tokens, from plain options: which keys and claims a server takes.
 *
 * Knows: options, files and URLs of keys. Must never know: sockets; what a scope allows.
 *
 * Invariant Y3: a server whose rules are weak or whose keys cannot be read does not start.
 */
import { TidemarkError } from '../core/index.ts'
import { authenticateToken, parseTokenRules, type TokenRulesInput } from '../tenant/index.ts'
import type { Authenticate } from './admission.ts'
import type { KeySource } from './key-set.ts'
import { createTokenVerifier } from './token-verifier.ts'

/** Exactly one of `secret`, `jwksFile` and `jwksUrl`. */
export interface AuthOptions extends Omit<TokenRulesInput, 'secret'> {
  /** That HMAC tokens are signed with: 32 random bytes or more, or a text that has as many. */
  readonly secret?: string | Uint8Array
  /** A JSON Web Key Set with the public keys; read again every ten minutes, and when a token names a key that is not in it. */
  readonly jwksFile?: string
  /** Where such a set is fetched, just as often; https. */
  readonly jwksUrl?: string
}

/** Throws `bad-option`; message and `details.key` name what is wrong. */
export async function authenticateTokens(options: AuthOptions, now: () => number): Promise<Authenticate> {
  const { secret, jwksFile, jwksUrl, ...rest } = options
  const given = [secret, jwksFile, jwksUrl].filter((each) => each !== undefined)
  if (given.length !== 1) {
    throw new TidemarkError('bad-option', 'auth needs exactly one of secret, jwksFile and jwksUrl', {
      details: { key: 'auth' },
    })
  }
  const rules = parseTokenRules({ ...rest, ...(secret === undefined ? {} : { secret: toBytes(secret) }) })
  const verify = await createTokenVerifier(rules, sourceOf(options))
  return ({ auth }) => authenticateToken(verify, rules, auth.token, now())
}

function sourceOf({ jwksFile, jwksUrl }: AuthOptions): KeySource | undefined {
  if (jwksFile !== undefined) return { file: jwksFile }
  return jwksUrl === undefined ? undefined : { url: jwksUrl }
}

function toBytes(secret: string | Uint8Array): Uint8Array {
  return typeof secret === 'string' ? new TextEncoder().encode(secret) : secret
}
