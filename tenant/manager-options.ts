/**
 * What a manager of tenants is told: at the beginning, and with its verbs.
 */
import type { Ledger, Limits, Store, TenantName } from '../core/index.ts'
import type { OpenTenant } from './open-tenant.ts'
import type { Plans } from './plan.ts'
import type { UsageEvent } from './quota.ts'
import type { IsolationMode, StoreFactory } from './store-factory.ts'

export interface TenantManagerOptions {
  /** A store of its own for the registry; the manager closes it. */
  readonly registry: Store
  /** Where tenants of each mode live. A mode without a factory is not offered. */
  readonly stores: Readonly<Partial<Record<IsolationMode, StoreFactory>>>
  /** Default: the engine's own plans. */
  readonly plans?: Plans
  readonly limits?: Partial<Limits>
  /** How long a tenant stays open without a lease. Default 60 s. */
  readonly idleMs?: number
  /** How many tenants of each mode stay open without a lease. Default 1,000, of dedicated ones 4. */
  readonly openMax?: Partial<Readonly<Record<IsolationMode, number>>>
  /** How long a writer waits when its tenant has no room for what it writes. Default 60 s. */
  readonly pauseMs?: number | undefined
  /** No token lives for longer. Default 30 days. */
  readonly tokenLifetimeMs?: number | undefined
  /** Wall time in Unix milliseconds. */
  readonly now: () => number
  readonly monotonicMs: () => number
  /** Calls back in a turn of its own, so that tenants take turns in pieces of a few milliseconds. Default: they do not. */
  readonly nextTurn?: (begin: () => void) => void
  readonly onUsage?: (tenant: TenantName, event: UsageEvent) => void
  /** Makes the ledger of a tenant ready that was opened, before anybody uses it. */
  readonly prepare?: (tenant: TenantName, ledger: Ledger) => Promise<void>
  /** Told of each tenant that was opened, before anybody uses it. */
  readonly onOpen?: (tenant: OpenTenant) => void
  /** An operator had the configuration read anew in another process of this registry. */
  readonly onReload?: (() => void) | undefined
  /** Told what went wrong where nobody waits for it. */
  readonly onFault?: (error: unknown, tenant: TenantName) => void
}

export interface Registration {
  readonly name: string
  readonly plan: string
  readonly mode: IsolationMode
  /** True: the store may be there already, with this tenant's ledger in it. */
  readonly adopt?: boolean
}

export interface Redefinition {
  readonly table: string
  /** As it is now. */
  readonly from: string
  readonly to: string
}

export interface Recovery {
  readonly tenant: TenantName
  readonly epoch: number
  /** Unix milliseconds; 0 when it waits for nothing. */
  readonly untilMs: number
}
