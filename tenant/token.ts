/**
 * Tokens: which ones a server takes, and what their claims say.
 *
 * Checking a signature needs the platform's cryptography, so that is a port (`VerifyToken`). Everything else about a token
 * is decided here, and again for what the port has already looked at: a verifier that is set up wrongly fails closed.
 *
 * Knows: algorithms, headers, claims. Must never know: keys beyond their length, sockets.
 *
 * Invariants:
 * TT1  Algorithms are pinned; `none` is none of them. A shared secret and public keys are never mixed: a public key
 *      taken for a secret lets anybody sign.
 * TT2  There is no default secret, and none shorter than its hash, 32 bytes at least.
 * TT3  Issuer, audience, type and expiry have to be there and have to fit. What is malformed is refused, not skipped.
 * TT4  The sender learns that a token was refused and, at most, that it is too old. Why is in `cause`, for the log.
 */
import { isTidemarkError, parseTenantName, quote, TidemarkError } from '../core/index.ts'
import { type Principal, SCOPES, type Scope } from './access.ts'

export const SECRET_ALGORITHMS = ['HS256', 'HS384', 'HS512'] as const
export const PUBLIC_ALGORITHMS = ['RS256', 'PS256', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'] as const
export type TokenAlgorithm = (typeof SECRET_ALGORITHMS)[number] | (typeof PUBLIC_ALGORITHMS)[number]

export interface TokenRulesInput {
  readonly issuer: string
  readonly audience: string
  readonly algorithms: readonly string[]
  /** The secret that HMAC tokens are signed with. Without it, tokens have to be signed with public keys. */
  readonly secret?: Uint8Array
  /** The header's `typ`. Default `JWT`; `at+jwt` for access tokens of RFC 9068. */
  readonly type?: string
  /** How far clocks may be apart. Default 5 s. */
  readonly toleranceMs?: number
  /** The longest time from `iat` to `exp`. Default 30 days; what was revoked by subject is remembered this long. */
  readonly lifetimeMaxMs?: number
}

export interface TokenRules {
  readonly issuer: string
  readonly audience: string
  readonly algorithms: readonly TokenAlgorithm[]
  readonly secret: Uint8Array | undefined
  readonly type: string
  readonly toleranceMs: number
  readonly lifetimeMaxMs: number
}

/** What a token says, once its signature was found good. */
export interface VerifiedToken {
  readonly header: Readonly<Record<string, unknown>>
  readonly claims: Readonly<Record<string, unknown>>
}

/** Checks a signature under the rules' algorithms. Throws for one that is not good. */
export type VerifyToken = (token: string) => Promise<VerifiedToken>

const TOKEN_BYTES_MAX = 8 * 1024
const TOKEN_FORM = /^[\w-]+\.[\w-]+\.[\w-]+$/
const TEXT_CHARACTERS_MAX = 255
const TABLES_MAX = 256
/** 30 days. */
export const TOKEN_LIFETIME_MS: number = 30 * 86_400_000

// ── Rules ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Throws `bad-option`, so that a server with weak rules does not start. */
export function parseTokenRules(input: TokenRulesInput): TokenRules {
  const algorithms = parseAlgorithms(input.algorithms, input.secret !== undefined)
  if (input.secret !== undefined) expectStrong(input.secret, algorithms)
  return {
    issuer: expectText('issuer', input.issuer),
    audience: expectText('audience', input.audience),
    algorithms,
    secret: input.secret,
    type: normalizeType(expectText('type', input.type ?? 'JWT')),
    toleranceMs: expectMs('toleranceMs', input.toleranceMs ?? 5_000, 0),
    lifetimeMaxMs: expectMs('lifetimeMaxMs', input.lifetimeMaxMs ?? TOKEN_LIFETIME_MS, 1),
  }
}

function parseAlgorithms(algorithms: readonly string[], isSecret: boolean): readonly TokenAlgorithm[] {
  const known: readonly string[] = isSecret ? SECRET_ALGORITHMS : PUBLIC_ALGORITHMS
  const wrong = algorithms.find((algorithm) => !known.includes(algorithm))
  if (algorithms.length > 0 && wrong === undefined) return algorithms as readonly TokenAlgorithm[]
  const what = wrong === undefined ? 'names none' : `names ${quote(wrong)}`
  const remedy = `${isSecret ? 'With a secret' : 'Without a secret'}, use ${known.join(', ')}`
  throw badRule('algorithms', what, remedy)
}

function expectStrong(secret: Uint8Array, algorithms: readonly TokenAlgorithm[]): void {
  const least = Math.max(32, ...algorithms.map((algorithm) => Number(algorithm.slice(2)) / 8))
  if (secret.length < least) throw badRule('secret', `has ${secret.length} bytes`, `Use ${least} random bytes or more`)
  // A secret that was set and left blank, or a placeholder of one letter.
  if (new Set(secret).size < 8) throw badRule('secret', 'repeats a few bytes', `Use ${least} random bytes or more`)
}

function expectText(key: string, text: unknown): string {
  if (isText(text)) return text
  throw badRule(key, `is ${quote(text)}`, `Use a text of 1 to ${TEXT_CHARACTERS_MAX} characters`)
}

function expectMs(key: string, value: number, least: number): number {
  if (Number.isFinite(value) && value >= least) return value
  throw badRule(key, `is ${quote(value)}`, `Use a number of milliseconds from ${least} up`)
}

function badRule(key: string, what: string, remedy: string): TidemarkError {
  return new TidemarkError('bad-option', `auth.${key} ${what}`, { remedy, details: { key: `auth.${key}` } })
}

/** `application/at+jwt` and `AT+JWT` are the same type (RFC 7515, section 4.1.9). */
function normalizeType(type: string): string {
  return type.toLowerCase().replace(/^application\//, '')
}

// ── One token ───────────────────────────────────────────────────────────────────────────────────────────────────────

/** The principal of a token from outside. Throws `unauthenticated`, or `auth-expired` for one that is only too old. */
export async function authenticateToken(
  verify: VerifyToken,
  rules: TokenRules,
  token: unknown,
  nowMs: number,
): Promise<Principal> {
  if (typeof token !== 'string' || token.length > TOKEN_BYTES_MAX || !TOKEN_FORM.test(token)) {
    throw refused('it is not of the form of a token')
  }
  let verified: VerifiedToken
  try {
    verified = await verify(token)
  } catch (error) {
    if (isTidemarkError(error)) throw error
    throw refused(error)
  }
  return tokenToPrincipal(verified, rules, nowMs)
}

export function tokenToPrincipal({ header, claims }: VerifiedToken, rules: TokenRules, nowMs: number): Principal {
  checkHeader(new Claims(header), rules)
  const said = new Claims(claims)
  if (said.text('iss') !== rules.issuer) throw refused('it is of another issuer')
  if (!said.texts('aud').includes(rules.audience)) throw refused('it is for another audience')
  const times = checkTimes(said, rules, nowMs)
  return {
    tenant: parseTenantName(said.text('tenant')),
    subject: said.text('sub'),
    isAnonymous: said.has('anonymous') && said.flag('anonymous'),
    scopes: parseScopes(said.words('scope')),
    tables: said.has('tables') ? parseTables(said.texts('tables')) : undefined,
    writeTables: said.has('writeTables') ? parseTables(said.texts('writeTables')) : undefined,
    ...times,
    tokenId: said.has('jti') ? said.text('jti') : undefined,
  }
}

function checkHeader(header: Claims, rules: TokenRules): void {
  if (!(rules.algorithms as readonly string[]).includes(header.text('alg')))
    throw refused('its algorithm is not allowed')
  if (normalizeType(header.text('typ')) !== rules.type) throw refused('it is of another type')
  if (header.has('crit')) throw refused('it has critical headers that nobody here understands')
}

function checkTimes(
  claims: Claims,
  { toleranceMs, lifetimeMaxMs }: TokenRules,
  nowMs: number,
): Pick<Principal, 'issuedAtMs' | 'expiresAtMs'> {
  const expiresAtMs = claims.timeMs('exp')
  const issuedAtMs = claims.timeMs('iat')
  if (claims.has('nbf') && claims.timeMs('nbf') > nowMs + toleranceMs) throw refused('it is not valid yet')
  if (issuedAtMs > nowMs + toleranceMs) throw refused('it was issued in the future')
  if (expiresAtMs - issuedAtMs > lifetimeMaxMs) throw refused('it is valid for too long')
  if (expiresAtMs + toleranceMs <= nowMs) {
    throw new TidemarkError('auth-expired', 'the token has expired', { remedy: 'Ask for a new one' })
  }
  return { issuedAtMs, expiresAtMs }
}

/** Words that are no scope of ours grant nothing: identity providers add their own. */
function parseScopes(words: readonly string[]): ReadonlySet<Scope> {
  const scopes = new Set(SCOPES.filter((scope) => words.includes(scope)))
  if (scopes.size === 0) throw refused('it has no scope')
  return scopes
}

function parseTables(tables: readonly string[]): ReadonlySet<string> {
  if (tables.length > TABLES_MAX) throw refused('it names too many tables')
  return new Set(tables)
}

function refused(cause: unknown): TidemarkError {
  return new TidemarkError('unauthenticated', 'the token is not valid here', { cause })
}

/** Claims or headers, read strictly. */
class Claims {
  readonly #record: Readonly<Record<string, unknown>>

  constructor(record: Readonly<Record<string, unknown>>) {
    this.#record = record
  }

  has(name: string): boolean {
    return Object.hasOwn(this.#record, name)
  }

  text(name: string): string {
    const value = this.#value(name)
    if (isText(value)) return value
    throw refused(`its ${name} is not a text`)
  }

  /** One text, or a list of them. */
  texts(name: string): readonly string[] {
    const value = this.#value(name)
    if (isText(value)) return [value]
    if (Array.isArray(value) && value.every(isText)) return value
    throw refused(`its ${name} is not a list of texts`)
  }

  /** A list of words as OAuth has it: one text with spaces. */
  words(name: string): readonly string[] {
    const value = this.#value(name)
    if (typeof value === 'string') return value.split(' ')
    throw refused(`its ${name} is not a list of words`)
  }

  flag(name: string): boolean {
    const value = this.#value(name)
    if (typeof value === 'boolean') return value
    throw refused(`its ${name} is neither true nor false`)
  }

  /** Seconds since 1970 in a token; milliseconds everywhere else. */
  timeMs(name: string): number {
    const value = this.#value(name)
    if (typeof value === 'number' && value >= 0 && value <= Number.MAX_SAFE_INTEGER / 1000) return value * 1000
    throw refused(`its ${name} is not a time`)
  }

  #value(name: string): unknown {
    return this.has(name) ? this.#record[name] : undefined
  }
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value.length > 0 && value.length <= TEXT_CHARACTERS_MAX
}
