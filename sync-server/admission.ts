/**
 * Admission: who may connect, and as what, before a single frame is read.
 *
 * Invariants:
 * A1  The tenant of a connection comes from its principal alone, and never changes.
 * A2  A server without authentication listens on loopback, and lets in only what came from this machine: a web page that
 *     is open in a browser here is somebody else's code (cross-site WebSocket, DNS rebinding).
 */
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { isTidemarkError, parseTenantName, type TenantName, TidemarkError } from '../core/index.ts'
import { isLoopbackUrl } from './loopback.ts'

/** What a connection brings along. */
export interface Handshake {
  /** What the client gave to authenticate with: `{ token }` from sync-client. Untrusted. */
  readonly auth: Readonly<Record<string, unknown>>
  /** The peer of the TCP connection; behind a proxy, the proxy. */
  readonly address: string
  readonly headers: IncomingHttpHeaders
}

/** Whom a connection speaks for. */
export interface Principal {
  readonly tenant: string
  /** Who it is within the tenant, for the log. */
  readonly subject?: string
}

export type Authenticate = (handshake: Handshake) => Principal | Promise<Principal>

export interface Admitted {
  readonly tenant: TenantName
  readonly subject: string | undefined
}

export async function admit(authenticate: Authenticate, handshake: Handshake): Promise<Admitted> {
  let principal: Principal
  try {
    principal = await authenticate(handshake)
  } catch (error) {
    if (isTidemarkError(error)) throw error
    // Whatever else it threw is about our side, and none of the client's business.
    throw new TidemarkError('unavailable', 'the server cannot authenticate now', { retryable: true, cause: error })
  }
  return { tenant: parseTenantName(principal.tenant), subject: principal.subject }
}

/** Development: everybody is who they say. */
export function authenticateDev({ auth }: Handshake): Principal {
  if (auth.tenant !== undefined) return { tenant: parseTenantName(auth.tenant) }
  throw new TidemarkError('unauthenticated', 'this is a development server: it takes no tokens', {
    remedy: 'Connect without a token; the tenant is then the one that the replica was opened with',
  })
}

/** A2: false for a request that some other site's page made. */
export function isFromThisMachine({ headers }: IncomingMessage): boolean {
  const { origin, host } = headers
  return (origin === undefined || isLoopbackUrl(origin)) && host !== undefined && isLoopbackUrl(host)
}
