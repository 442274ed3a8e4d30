/**
 * Standings: how each tenant stands, or stood when it was last open here. What a tenant that is closed uses is not looked up for
 * a page of metrics, and does not vanish from it either.
 *
 * Knows: tenants that are open, the registry's records. Must never know: how standings are shown.
 *
 * Invariants:
 * SD1  Memory is bounded: `TENANTS_MAX` tenants, those that were open last.
 * SD2  What is not of this server any more is not told of: tenants that were erased, or went to another server.
 * SD3  Keeping standings up costs a few additions for each commit, and one reading of places at a time.
 */
import type { Ledger } from '../core/index.ts'
import { findStraggler, type Straggler } from '../core/server-door.ts'
import { type OpenTenant, type Plan, type TenantManager, type TenantRecord, usageOf } from '../tenant/index.ts'
import type { ConnectionFigures } from './metrics.ts'

/** What it holds. */
export interface Standing {
  readonly rows: number
  readonly storedBytes: number
  /** The log's part of that: it only grows. */
  readonly logBytes: number
  readonly replicas: number
  /** Rows that are in conflict. */
  readonly conflictedRows: number
}

/** Of a tenant of ours. */
export interface TenantFigures extends Standing {
  readonly tenant: string
  readonly connections: number
  /** Entries of the log that the replica which is furthest behind was not sent. */
  readonly lag: number
  /** The share of each quota that is used up, where the plan sets one. */
  readonly shares: readonly { readonly resource: string; readonly share: number }[]
}

interface Known {
  standing: Standing
  straggler: Straggler | undefined
  plan: string
}

const TENANTS_MAX = 1_000
/** A replica that has not come for longer has gone for good, as far as an alarm goes. */
const GONE_MS = 30 * 86_400_000

export class Standings {
  readonly #now: () => number
  readonly #byTenant = new Map<string, Known>()
  #turn = 0
  #looking: Promise<void> | undefined

  constructor(now: () => number) {
    this.#now = now
  }

  /** From now on it is kept up. */
  opened({ name, plan, hub: { ledger } }: OpenTenant): void {
    const known: Known = { standing: standingOf(ledger), straggler: undefined, plan: plan.name }
    this.#byTenant.delete(name)
    this.#byTenant.set(name, known)
    const [oldest] = this.#byTenant.keys()
    if (this.#byTenant.size > TENANTS_MAX && oldest !== undefined) this.#byTenant.delete(oldest)
    ledger.onCommit(() => {
      known.standing = standingOf(ledger)
    })
  }

  /** For a timer: looks who is furthest behind in the next of those that are open. */
  look(open: readonly OpenTenant[], connections: readonly ConnectionFigures[]): void {
    const tenant = open[this.#turn++ % Math.max(1, open.length)]
    const known = tenant && this.#byTenant.get(tenant.name)
    if (tenant === undefined || known === undefined || this.#looking !== undefined) return
    this.#looking = stragglerOf(tenant.name, tenant.hub.ledger, connections, this.#now())
      .then(
        (straggler) => {
          known.straggler = straggler
        },
        // Its store was closed or failed: whoever uses it hears of that.
        () => {},
      )
      .finally(() => {
        this.#looking = undefined
      })
  }

  /** SD2. What the registry says now of those that are closed counts: their plans may have changed. */
  async refresh(manager: Pick<TenantManager, 'open' | 'get'>): Promise<void> {
    const plans = new Map<string, string>(manager.open.map(({ name, plan }) => [name, plan.name]))
    for (const [name, known] of this.#byTenant) {
      const plan = plans.get(name)
      const record = plan === undefined ? await manager.get(name) : undefined
      if (plan !== undefined) known.plan = plan
      else if (record === undefined || !isHere(record)) this.#byTenant.delete(name)
      else known.plan = record.plan
    }
  }

  figures(
    planOf: (name: string) => Plan,
    connections: readonly Pick<ConnectionFigures, 'tenant' | 'lag'>[],
  ): TenantFigures[] {
    const [counts, lags] = [new Map<string, number>(), new Map<string, number>()]
    for (const { tenant, lag } of connections) {
      counts.set(tenant, (counts.get(tenant) ?? 0) + 1)
      lags.set(tenant, Math.max(lags.get(tenant) ?? 0, lag))
    }
    return [...this.#byTenant].map(([tenant, { standing, straggler, plan }]) => {
      const used = { ...standing, connections: counts.get(tenant) ?? 0 }
      const lag = Math.max(lags.get(tenant) ?? 0, straggler?.behind ?? 0)
      return { tenant, ...used, lag, shares: sharesOf(planOf(plan), used) }
    })
  }
}

/** Who is furthest behind of those that have gone, and came within the last month. */
export function stragglerOf(
  tenant: string,
  ledger: Ledger,
  connections: readonly Pick<ConnectionFigures, 'tenant' | 'replica'>[],
  nowMs: number,
): Promise<Straggler | undefined> {
  const here = connections.filter((connection) => connection.tenant === tenant).map(({ replica }) => replica)
  const except = new Set(here.filter((replica) => replica !== undefined))
  return findStraggler(ledger, { seenSinceMs: nowMs - GONE_MS, except })
}

export function standingOf(ledger: Ledger): Standing {
  const { logBytes, conflicts } = ledger.state.meta
  return { ...usageOf(ledger), logBytes, conflictedRows: conflicts }
}

const RESOURCES = ['rows', 'storedBytes', 'replicas', 'connections'] as const

function sharesOf(
  { quotas }: Plan,
  used: Readonly<Record<(typeof RESOURCES)[number], number>>,
): TenantFigures['shares'] {
  return RESOURCES.flatMap((resource) => {
    const limit = quotas[resource]
    if (limit === Number.POSITIVE_INFINITY) return []
    return [{ resource, share: limit === 0 ? 1 : used[resource] / limit }]
  })
}

function isHere({ state, departure }: TenantRecord): boolean {
  return state !== 'erasing' && departure?.phase !== 'left' && departure?.phase !== 'gone'
}
