/**
 * The upstream of a relay: one tenant of this server passes on what it admits to another server, and has that one's changes.
 *
 * Knows: sync-client, the lease of one tenant. Must never know: who else visits the tenant. The only file of the server that
 * connects to others.
 *
 * Invariants:
 * UP1  The tenant stays open as long as the server runs. When it ends under us (suspended, moved, its store failed), we come back.
 * UP2  What stops a link for good is tried again after a while: somebody may have set it right, and nobody restarts an edge box.
 * UP3  While the upstream says that the tenant is full, nothing but deletes is admitted here. Out of its reach nobody knows.
 * UP4  What is revoked at the upstream is revoked here, from when we hear of it: at once while there is a line.
 */
import { parseTenantName, type Shortage, type TenantName, TidemarkError } from '../core/index.ts'
import { relayRole } from '../core/server-door.ts'
import { type Backoff, connect, type SyncLink, type SyncState, type TokenSource } from '../sync-client/index.ts'
import type { Lease, OpenTenant } from '../tenant/index.ts'
import { errorFields, type Logger } from './log.ts'
import { type InboxOptions, RevocationInbox } from './revocation-notes.ts'

export interface UpstreamOptions {
  /** The tenant that is relayed. All others are this server's own. */
  readonly tenant: string
  /** Of the upstream server. */
  readonly url: string
  /** With the scopes `read` and `relay`, for all tables; or a function that fetches it. Development servers need none. */
  readonly token?: TokenSource
  readonly backoff?: Partial<Backoff>
}

export interface UpstreamSettings extends UpstreamOptions {
  readonly tenant: TenantName
}

export interface UpstreamStatus {
  readonly tenant: TenantName
  readonly url: string
  readonly state: SyncState
  /** Why, where that is not obvious. */
  readonly reason: string | null
  /** The code of what ended the last connection; null while one is live. */
  readonly lastError: string | null
  /** What the upstream has no room for. */
  readonly pause: Shortage | null
  /** Entries of our log that the upstream was not sent yet. */
  readonly lagUp: number
  /** Entries of the upstream's log that we know of and do not have. */
  readonly lagDown: number
}

export interface UpstreamSurroundings {
  readonly lease: () => Promise<Lease>
  readonly manager: InboxOptions['manager']
  readonly now: () => number
  readonly logger: Logger
}

/** After a tenant that cannot be opened, or a link that has stopped. */
const RETRY_MS = 30_000

export class Upstream {
  readonly #options: UpstreamSettings
  readonly #surroundings: UpstreamSurroundings
  readonly #logger: Logger
  readonly #inbox: RevocationInbox
  /** The last one stays to tell how it ended, until there is another. */
  #link: SyncLink | undefined
  #running: Promise<void> | undefined
  #isClosed = false
  #close: () => void = () => {}
  readonly #closing: Promise<void>

  constructor(options: UpstreamSettings, surroundings: UpstreamSurroundings) {
    this.#options = options
    this.#surroundings = surroundings
    this.#logger = surroundings.logger.child({ tenant: options.tenant, upstream: options.url })
    this.#inbox = new RevocationInbox({
      tenant: options.tenant,
      manager: surroundings.manager,
      onFault: (error) => this.#logger.error(errorFields(error), 'a revocation of the upstream does not count here'),
    })
    this.#closing = new Promise((resolve) => {
      this.#close = resolve
    })
  }

  get status(): UpstreamStatus {
    const status = this.#link?.status
    return {
      tenant: this.#options.tenant,
      url: this.#options.url,
      state: status?.state ?? 'offline',
      reason: status?.reason ?? null,
      lastError: status?.lastError?.code ?? null,
      pause: status?.pause ?? null,
      lagUp: status?.pending ?? 0,
      lagDown: status?.behind ?? 0,
    }
  }

  start(): void {
    this.#running ??= this.#run()
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#close()
    await this.#running
  }

  async #run(): Promise<void> {
    while (!this.#isClosed) {
      await this.#serve().catch((error: unknown) => this.#logger.error(errorFields(error), 'upstream failed'))
      await this.#rest()
    }
  }

  /** Until the tenant ends, or the link stops for good. */
  async #serve(): Promise<void> {
    const { tenant, release } = await this.#surroundings.lease()
    let stopListening = (): void => {}
    try {
      const ended = new Promise<void>((resolve) => {
        stopListening = tenant.onEnd(() => resolve())
      })
      if (tenant.end !== undefined || this.#isClosed) return
      const { url, token, backoff } = this.#options
      const link = connect(linkedTo(tenant, this.#surroundings.now, this.#inbox), {
        url,
        ...(token === undefined ? {} : { token }),
        ...(backoff === undefined ? {} : { backoff }),
      })
      this.#link = link
      await Promise.race([ended, this.#whenStopped(link, tenant), this.#closing])
      await link.close()
    } finally {
      stopListening()
      tenant.holdBack(undefined)
      release()
    }
  }

  #whenStopped(link: SyncLink, tenant: OpenTenant): Promise<void> {
    let told: SyncState | undefined
    let paused: Shortage | undefined
    return new Promise((resolve) => {
      const notice = (): void => {
        const { state, reason, lastError, pause } = link.status
        tenant.holdBack(pause)
        if (pause !== undefined && paused === undefined) this.#logger.warn({ ...pause }, 'upstream is full')
        paused = pause
        if (state === told) return
        told = state
        if (state !== 'live') this.#inbox.restart()
        const why = lastError === undefined ? {} : errorFields(lastError)
        if (state === 'live') this.#logger.info({}, 'upstream reached')
        else if (state === 'offline') this.#logger.warn({ ...why, reason }, 'upstream lost')
        else if (state === 'stopped' && !this.#isClosed) this.#logger.error({ ...why, reason }, 'upstream refused')
        if (state === 'stopped') resolve()
      }
      link.onStatus(notice)
      notice()
    })
  }

  async #rest(): Promise<void> {
    if (this.#isClosed) return
    let timer: ReturnType<typeof setTimeout> | undefined
    const rested = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, RETRY_MS)
    })
    await Promise.race([rested, this.#closing])
    clearTimeout(timer)
  }
}

/** A tenant's ledger as sync-client wants a replica. */
function linkedTo({ name, hub }: OpenTenant, now: () => number, inbox: RevocationInbox): Parameters<typeof connect>[0] {
  const { ledger } = hub
  let sent = 1
  return {
    role: relayRole,
    onNote: (said) => void inbox.take(said),
    hub,
    ledger,
    now,
    tenant: name,
    tables: new Map(),
    get pending() {
      for (const link of hub.links.values()) if (link.role === 'relay') sent = ledger.durablePosition - link.lag
      return ledger.durablePosition - sent
    },
    renewIdentity: () =>
      Promise.reject(
        new TidemarkError('replica-restored', 'the store of the relay came from a backup, or was copied', {
          remedy: 'Stop the server and run `tidemark restored`; a copy begins with an empty store',
        }),
      ),
  }
}

/** Throws `bad-option` for what can be seen before anything is connected. */
export function parseUpstream(options: UpstreamOptions): UpstreamSettings {
  const { tenant, url } = options
  const isUrl = URL.canParse(url) && /^(https?|wss?):$/.test(new URL(url).protocol)
  if (!isUrl) {
    throw new TidemarkError('bad-option', 'upstream.url is not the http(s) address of a server', {
      details: { key: 'upstream.url' },
    })
  }
  return { ...options, tenant: parseTenantName(tenant) }
}
