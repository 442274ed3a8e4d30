/**
 * Servers that ask for tokens, tokens of every kind, and a clock that can be moved on.
 *
 * Knows: how tokens are signed. Must never know: what a test is about.
 */
import { SignJWT } from 'jose'
import type { ConnectOptions, SyncLink } from '../../sync-client/index.ts'
import type { ServerOptions, SyncServer } from '../../sync-server/index.ts'
import { linkTo, type NoteReplica, openNotes, openServer, type ReplicaSetup } from './stage.ts'

export const SECRET: Uint8Array = Uint8Array.from({ length: 32 }, (_, index) => (index * 37 + 11) % 256)
export const AUTH = { issuer: 'https://id.example', audience: 'tidemark', algorithms: ['HS256'], secret: SECRET }

/** Wall time of a server and of the tokens for it. */
export interface MovableClock {
  readonly now: () => number
  /** From now on it is this much later. */
  moveOn(ms: number): void
}

export function createClock(): MovableClock {
  let offsetMs = 0
  return {
    now: () => Date.now() + offsetMs,
    moveOn: (ms) => {
      offsetMs += ms
    },
  }
}

export interface Claims {
  readonly tenant?: string
  readonly sub?: string
  readonly scope?: string
  readonly tables?: readonly string[]
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

/** Without `defaultPlan`, `acme` and `globex` are registered and nobody else is. */
export async function openTokenServer(options: Partial<ServerOptions> = {}): Promise<SyncServer> {
  const server = await openServer({ auth: AUTH, ...options, ...{ defaultPlan: options.defaultPlan } } as ServerOptions)
  if (options.defaultPlan === undefined) {
    for (const name of ['acme', 'globex']) {
      await server.manager.register({ name, plan: 'unlimited', mode: options.isolation ?? 'dedicated' })
    }
  }
  return server
}

export interface TokenLinked {
  readonly replica: NoteReplica
  readonly link: SyncLink
}

/** A replica of the token's tenant, linked with it. */
export async function openWithToken(
  url: string,
  claims: Claims = {},
  setup: ReplicaSetup & { readonly connect?: Partial<ConnectOptions> } = {},
): Promise<TokenLinked> {
  const { connect = {}, ...rest } = setup
  const replica = await openNotes({ tenant: claims.tenant ?? 'acme', ...rest })
  const link = linkTo(replica, url, { token: await sign(claims), ...connect })
  return { replica, link }
}
