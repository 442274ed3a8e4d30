/**
 * The tenants that are open in this process: opened when somebody asks, closed when nobody has for a while.
 *
 * Knows: who is open, opening or closing. Must never know: how a tenant is opened, or whether it may be.
 *
 * Invariants:
 * TL1  A tenant is opened once at a time; all who ask meanwhile wait for the same opening.
 * TL2  A failure to open is told to those who asked, and forgotten. It leaves nothing behind that could pass for a tenant.
 * TL3  A tenant with leases is closed only when it is evicted, and then its users were told first. It is opened again
 *      only after it is closed.
 * TL4  At most `openMax` tenants of each kind of place are open without a lease.
 */
import { type TenantName, TidemarkError } from '../core/index.ts'
import type { Lease, OpenTenant } from './open-tenant.ts'
import { ISOLATION_MODES, type IsolationMode } from './store-factory.ts'

export interface OpenTenantsOptions {
  readonly open: (name: TenantName) => Promise<OpenTenant>
  /** How long a tenant stays open without leases. */
  readonly idleMs: number
  readonly openMax: Readonly<Record<IsolationMode, number>>
  readonly monotonicMs: () => number
  /** Told what went wrong while closing, when nobody waits for it. */
  readonly onFault: (error: unknown, tenant: TenantName) => void
}

type Entry =
  | { readonly type: 'opening'; readonly opened: Promise<OpenTenant> }
  | { readonly type: 'open'; readonly tenant: OpenTenant; idleSinceMs: number }
  | { readonly type: 'closing'; readonly closed: Promise<void> }

export class OpenTenants {
  readonly #options: OpenTenantsOptions
  readonly #entries = new Map<TenantName, Entry>()
  #inUse = 0
  #isClosed = false

  constructor(options: OpenTenantsOptions) {
    this.#options = options
  }

  /** How many have a lease. */
  get inUse(): number {
    return this.#inUse
  }

  /** Those that are open now. */
  get open(): readonly OpenTenant[] {
    const open: OpenTenant[] = []
    for (const entry of this.#entries.values()) if (entry.type === 'open') open.push(entry.tenant)
    return open
  }

  /** Opens the tenant unless it is, and holds it open. */
  async lease(name: TenantName): Promise<Lease> {
    for (;;) {
      if (this.#isClosed) throw new TidemarkError('unavailable', 'the server is shutting down', { retryable: true })
      const entry = this.#entries.get(name)
      if (entry === undefined) this.#begin(name)
      else if (entry.type === 'closing') await entry.closed
      else if (entry.type === 'opening') await entry.opened
      else if (entry.tenant.isBroken && entry.tenant.leases === 0) await this.#close(entry.tenant)
      else if (entry.tenant.isBroken) throw unavailable()
      else return this.#leaseOf(entry.tenant)
    }
  }

  /** Ends a tenant for all who use it, and closes it. Does nothing for one that is not open. */
  async evict(name: TenantName, error: TidemarkError): Promise<void> {
    const entry = this.#entries.get(name)
    if (entry === undefined) return
    if (entry.type === 'closing') return entry.closed
    const tenant = entry.type === 'open' ? entry.tenant : await entry.opened.catch(() => undefined)
    const current = this.#entries.get(name)
    if (current?.type === 'closing') return current.closed
    if (tenant === undefined || current?.type !== 'open' || current.tenant !== tenant) return
    tenant.finish(error)
    await this.#close(tenant)
  }

  /** Closes what nobody has used for a while, what is broken, and the longest idle when too many are open. */
  sweep(): void {
    for (const mode of ISOLATION_MODES) this.#sweep(mode)
  }

  #sweep(mode: IsolationMode): void {
    const idle = this.#idle(mode)
    const idleBeforeMs = this.#options.monotonicMs() - this.#options.idleMs
    const surplus = Math.max(0, idle.length - this.#options.openMax[mode])
    for (const [index, { tenant, idleSinceMs }] of idle.entries()) {
      if (index >= surplus && idleSinceMs > idleBeforeMs && !tenant.isBroken) continue
      this.#close(tenant).catch((error: unknown) => this.#options.onFault(error, tenant.name))
    }
  }

  /** Ends and closes every tenant; none is opened afterwards. */
  async close(): Promise<void> {
    this.#isClosed = true
    const error = new TidemarkError('unavailable', 'the server is shutting down', { retryable: true })
    await Promise.all([...this.#entries.keys()].map((name) => this.evict(name, error)))
  }

  /** Open tenants without a lease, longest idle first. */
  #idle(mode: IsolationMode): Extract<Entry, { readonly type: 'open' }>[] {
    const idle: Extract<Entry, { readonly type: 'open' }>[] = []
    for (const entry of this.#entries.values()) {
      if (entry.type === 'open' && entry.tenant.mode === mode && entry.tenant.leases === 0) idle.push(entry)
    }
    return idle.sort((left, right) => left.idleSinceMs - right.idleSinceMs)
  }

  #leaseOf(tenant: OpenTenant): Lease {
    const lease = tenant.lease()
    if (tenant.leases === 1) this.#inUse++
    const release = (): void => {
      const before = tenant.leases
      lease.release()
      if (before === 1 && tenant.leases === 0) this.#inUse--
      const entry = this.#entries.get(tenant.name)
      if (entry?.type === 'open') entry.idleSinceMs = this.#options.monotonicMs()
    }
    return { tenant, release }
  }

  #begin(name: TenantName): void {
    const opened = this.#open(name)
    this.#entries.set(name, { type: 'opening', opened })
    // Whoever asked is waiting for it too, and is told there.
    opened.catch(() => {})
  }

  async #open(name: TenantName): Promise<OpenTenant> {
    // The entry has to be there before anything is decided.
    await undefined
    try {
      const tenant = await this.#options.open(name)
      this.#entries.set(name, { type: 'open', tenant, idleSinceMs: this.#options.monotonicMs() })
      return tenant
    } catch (error) {
      this.#entries.delete(name)
      throw error
    }
  }

  #close(tenant: OpenTenant): Promise<void> {
    const closing = tenant.close().finally(() => this.#entries.delete(tenant.name))
    // Those who wait to open it again are not told how closing went.
    this.#entries.set(tenant.name, { type: 'closing', closed: closing.catch(() => {}) })
    return closing
  }
}

function unavailable(): TidemarkError {
  return new TidemarkError('unavailable', 'the tenant cannot be used now', { retryable: true })
}
