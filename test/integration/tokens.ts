/**
 * Servers that ask for tokens, replicas that have them, and a clock that can be moved on.
 *
 * Knows: how parts are put together. Must never know: what a test is about.
 */
import type { ConnectOptions, SyncLink } from '../../sync-client/index.ts'
import type { ServerOptions, SyncServer } from '../../sync-server/index.ts'
import { AUTH, type Claims, sign } from './sign.ts'
import { linkTo, type NoteReplica, openNotes, openServer, type ReplicaSetup } from './stage.ts'

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
