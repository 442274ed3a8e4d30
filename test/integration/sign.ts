/**
 * Tokens of every kind, and what a server has to know of them.
 *
 * Knows: how tokens are signed. Must never know: what a test is about.
 */
import { SignJWT } from 'jose'

export const SECRET: Uint8Array = Uint8Array.from({ length: 32 }, (_, index) => (index * 37 + 11) % 256)
export const AUTH = { issuer: 'https://id.example', audience: 'tidemark', algorithms: ['HS256'], secret: SECRET }

export interface Claims {
  readonly tenant?: string
  readonly sub?: string
  readonly scope?: string
  readonly tables?: readonly string[]
  readonly writeTables?: readonly string[]
  readonly jti?: string
  /** From `iat` on. */
  readonly lifetimeMs?: number
}

export interface Signing {
  readonly nowMs?: number
  readonly secret?: Uint8Array
  readonly header?: { readonly alg?: string; readonly typ?: string }
  /** Claims as they stand, over all others. */
  readonly raw?: Readonly<Record<string, unknown>>
}

/** A token for ada of acme, who may read and write for an hour, unless it is said otherwise. */
export function sign(claims: Claims = {}, { nowMs = Date.now(), secret = SECRET, header, raw }: Signing = {}) {
  const { lifetimeMs = 3_600_000, ...said } = claims
  const issuedAt = Math.floor(nowMs / 1_000)
  const payload = {
    iss: AUTH.issuer,
    aud: AUTH.audience,
    iat: issuedAt,
    exp: issuedAt + lifetimeMs / 1_000,
    tenant: 'acme',
    sub: 'ada',
    scope: 'read write',
    ...said,
    ...raw,
  }
  return new SignJWT(payload).setProtectedHeader({ alg: 'HS256', typ: 'JWT', ...header }).sign(secret)
}
