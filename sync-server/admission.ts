/**
 * Admission: whom a connection speaks for, before a single frame is read.
 *
 * Invariants:
 * A1  The tenant of a connection comes from its principal alone, and never changes.
 * A2  What goes wrong on our side while authenticating is `unavailable`, and says nothing of why.
 */
import type { IncomingHttpHeaders } from 'node:http'
import { isTidemarkError, parseTenantName, TidemarkError } from '../core/index.ts'
import { type Principal, SCOPES, type Scope } from '../tenant/index.ts'

/** What a connection brings along. */
export interface Handshake {
  /** What the client gave to authenticate with: `{ token }` from sync-client. Untrusted. */
  readonly auth: Readonly<Record<string, unknown>>
  /** The peer of the TCP connection, or, where that is a trusted proxy, the client that it names. */
  readonly address: string
  readonly headers: IncomingHttpHeaders
}

/** Whom a connection speaks for, as a function of the program's own says it. */
export interface Identity {
  readonly tenant: string
  /** Who it is within the tenant; what is limited by subject goes by it. */
  readonly subject: string
  /** True: nobody has signed in yet; the replica belongs to the first subject that uses it with a name. Default false. */
  readonly isAnonymous?: boolean
  readonly scopes: Iterable<Scope>
  /** The tables it may write, and then it may not read the log. Default: all. */
  readonly tables?: Iterable<string> | undefined
  /** The tables it may write, whatever it may read. Default: all. */
  readonly writeTables?: Iterable<string> | undefined
  /** Unix milliseconds. Default: never. */
  readonly expiresAtMs?: number
  /** Unix milliseconds: revoking a subject voids what was issued before. Default 0. */
  readonly issuedAtMs?: number
  /** Names the token, so that it can be revoked alone. */
  readonly tokenId?: string | undefined
}

/** Asked when a client connects, and again with `auth.token` when it renews its token on the same connection. */
export type Authenticate = (handshake: Handshake) => Identity | Promise<Identity>

export async function admit(authenticate: Authenticate, handshake: Handshake): Promise<Principal> {
  let identity: Identity
  try {
    identity = await authenticate(handshake)
  } catch (error) {
    if (isTidemarkError(error)) throw error
    throw new TidemarkError('unavailable', 'the server cannot authenticate now', { retryable: true, cause: error })
  }
  const {
    tenant,
    subject,
    isAnonymous = false,
    scopes,
    tables,
    writeTables,
    expiresAtMs = Number.POSITIVE_INFINITY,
    issuedAtMs = 0,
    tokenId,
  } = identity
  return {
    tenant: parseTenantName(tenant),
    subject,
    isAnonymous,
    scopes: new Set(scopes),
    tables: tables === undefined ? undefined : new Set(tables),
    writeTables: writeTables === undefined ? undefined : new Set(writeTables),
    issuedAtMs,
    expiresAtMs,
    tokenId,
  }
}

/** Development: everybody is who they say, and somebody else each time: what is limited by subject is not here. */
export function authenticateDev(): Authenticate {
  let count = 0
  return ({ auth }) => {
    if (auth.tenant !== undefined) {
      return { tenant: parseTenantName(auth.tenant), subject: `dev-${++count}`, isAnonymous: true, scopes: SCOPES }
    }
    throw new TidemarkError('unauthenticated', 'this is a development server: it takes no tokens', {
      remedy: 'Connect without a token; the tenant is then the one that the replica was opened with',
    })
  }
}
