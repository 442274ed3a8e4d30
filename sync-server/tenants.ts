/**
 * The tenants that are open: for each, one store, one ledger and one hub, shared by all its connections.
 *
 * Invariants:
 * O1  A tenant is opened once at a time; all who ask meanwhile wait for the same opening.
 * O2  A failure to open is told to those who asked, and forgotten: it is never taken for an empty tenant.
 * O3  A tenant is closed only without connections, and opened again only after it is closed.
 */
import { Hub, isTidemarkError, Ledger, type Limits, type Store, type TenantName, TidemarkError } from '../core/index.ts'
import { errorFields, type Logger } from './log.ts'

export interface TenantsOptions {
  readonly openStore: (tenant: TenantName) => Store | Promise<Store>
  readonly limits: Limits
  readonly logger: Logger
  readonly idleMs: number
  /** Monotonic milliseconds. */
  readonly monotonicMs: () => number
}

export interface OpenTenantInfo {
  readonly tenant: TenantName
  readonly connections: number
  /** Entries in its log. */
  readonly position: number
}

export class OpenTenant {
  readonly name: TenantName
  readonly hub: Hub
  readonly store: Store
  connections = 0
  usedAtMs: number
  /** True when its store failed: it serves nobody new, and goes with its last connection. */
  isBroken = false

  constructor(name: TenantName, store: Store, hub: Hub, nowMs: number) {
    this.name = name
    this.store = store
    this.hub = hub
    this.usedAtMs = nowMs
  }
}

type Entry =
  | { readonly type: 'opening'; readonly opened: Promise<OpenTenant> }
  | { readonly type: 'open'; readonly tenant: OpenTenant }
  | { readonly type: 'closing'; readonly closed: Promise<void> }

/** How long a failed store counts against the server's readiness. */
const FAILURE_MS = 30_000

export class Tenants {
  readonly #options: TenantsOptions
  readonly #entries = new Map<TenantName, Entry>()
  #failedAtMs = Number.NEGATIVE_INFINITY
  #isClosed = false

  constructor(options: TenantsOptions) {
    this.#options = options
  }

  /** False for a while after a store has failed to open or to write. */
  get isHealthy(): boolean {
    return this.#options.monotonicMs() - this.#failedAtMs > FAILURE_MS
  }

  list(): OpenTenantInfo[] {
    const open: OpenTenantInfo[] = []
    for (const entry of this.#entries.values()) {
      if (entry.type !== 'open') continue
      const { name, connections, hub } = entry.tenant
      open.push({ tenant: name, connections, position: hub.ledger.durablePosition - 1 })
    }
    return open
  }

  async open(name: TenantName): Promise<OpenTenant> {
    for (;;) {
      if (this.#isClosed) throw shuttingDown()
      const entry = this.#entries.get(name)
      if (entry === undefined) return this.#begin(name)
      if (entry.type === 'opening') return entry.opened
      if (entry.type === 'closing') await entry.closed
      else if (entry.tenant.isBroken) {
        if (entry.tenant.connections > 0) throw unavailable(undefined)
        await this.#close(entry.tenant)
      } else {
        entry.tenant.usedAtMs = this.#options.monotonicMs()
        return entry.tenant
      }
    }
  }

  /** Counts a connection in. Answers false when the tenant was closed since it was opened. */
  enter(tenant: OpenTenant): boolean {
    const entry = this.#entries.get(tenant.name)
    if (entry?.type !== 'open' || entry.tenant !== tenant) return false
    tenant.connections++
    return true
  }

  leave(tenant: OpenTenant): void {
    tenant.connections--
    tenant.usedAtMs = this.#options.monotonicMs()
  }

  /** A session of the tenant ended with this error. Answers true when that broke the tenant: everybody has to go. */
  blame(tenant: OpenTenant, error: TidemarkError): boolean {
    if (tenant.isBroken || error.details.isRemote === true || !isStoreFailure(error)) return false
    this.#failedAtMs = this.#options.monotonicMs()
    tenant.isBroken = true
    return true
  }

  /** Closes what nobody has used for a while, and what is broken. */
  sweep(): void {
    const idleSinceMs = this.#options.monotonicMs() - this.#options.idleMs
    for (const entry of this.#entries.values()) {
      if (entry.type !== 'open' || entry.tenant.connections > 0) continue
      if (entry.tenant.isBroken || entry.tenant.usedAtMs <= idleSinceMs) void this.#close(entry.tenant)
    }
  }

  /** Waits for commits under way and closes every store. Nothing is opened afterwards. */
  async close(): Promise<void> {
    this.#isClosed = true
    const closings = [...this.#entries.values()].map(async (entry) => {
      if (entry.type === 'closing') return entry.closed
      const tenant = entry.type === 'open' ? entry.tenant : await entry.opened.catch(() => undefined)
      if (tenant !== undefined) await this.#close(tenant)
    })
    await Promise.all(closings)
  }

  #begin(name: TenantName): Promise<OpenTenant> {
    // A microtask later: a failure must not be forgotten before it is known.
    const opened = Promise.resolve().then(() => this.#open(name))
    this.#entries.set(name, { type: 'opening', opened })
    return opened
  }

  async #open(name: TenantName): Promise<OpenTenant> {
    const { openStore, limits, logger, monotonicMs } = this.#options
    let store: Store | undefined
    try {
      store = await openStore(name)
      const ledger = await Ledger.open({ tenant: name, store, limits, authority: 2 })
      const tenant = new OpenTenant(name, store, new Hub(ledger), monotonicMs())
      this.#entries.set(name, { type: 'open', tenant })
      logger.info({ tenant: name, position: ledger.durablePosition - 1 }, 'tenant opened')
      return tenant
    } catch (error) {
      this.#entries.delete(name)
      logger.error({ tenant: name, ...errorFields(error) }, 'tenant cannot be opened')
      if (!isTidemarkError(error) || isStoreFailure(error)) this.#failedAtMs = monotonicMs()
      await store?.close().catch(() => undefined)
      throw unavailable(error)
    }
  }

  #close(tenant: OpenTenant): Promise<void> {
    const closed = this.#closeStore(tenant)
    this.#entries.set(tenant.name, { type: 'closing', closed })
    return closed
  }

  async #closeStore({ name, hub, store }: OpenTenant): Promise<void> {
    const { logger } = this.#options
    try {
      await hub.ledger.close()
      await store.close()
      logger.info({ tenant: name }, 'tenant closed')
    } catch (error) {
      logger.error({ tenant: name, ...errorFields(error) }, 'tenant cannot be closed')
    }
    this.#entries.delete(name)
  }
}

function isStoreFailure({ code }: TidemarkError): boolean {
  return code === 'store-failed' || code === 'store-full' || code === 'store-closed'
}

/** What the client is told: that it is our side, and nothing of why. */
function unavailable(cause: unknown): TidemarkError {
  return new TidemarkError('unavailable', 'the tenant cannot be opened now', { retryable: true, cause })
}

export function shuttingDown(): TidemarkError {
  return new TidemarkError('unavailable', 'the server is shutting down', { retryable: true })
}
