/**
 * What is measured of one server: tallies, metrics and traces, for those who have something to tell.
 *
 * Knows: the tenant room, as far as it tells of itself. Must never know: who reads what is measured.
 */
import type { TenantName } from '../core/index.ts'
import { countConflicts } from '../core/server-door.ts'
import { ISOLATION_MODES, type IsolationMode, type OpenTenant, type StoreFactory } from '../tenant/index.ts'
import { Metrics, type MetricsSource } from './metrics.ts'
import { type CommitOutcome, observeStores } from './observed-stores.ts'
import { Standings } from './standings.ts'
import { Tallies } from './tally.ts'
import { traceCommit } from './tracing.ts'

type StoresByMode = Readonly<Partial<Record<IsolationMode, StoreFactory>>>

interface Clocks {
  readonly monotonicMs: () => number
  /** Unix milliseconds. */
  readonly now: () => number
}

export class Observation {
  readonly tallies: Tallies = new Tallies()
  readonly metrics: Metrics
  readonly standings: Standings
  readonly #monotonicMs: () => number

  /** `read`: the present state of the server. */
  constructor(clocks: Clocks, read: () => Omit<MetricsSource, 'tallies'>) {
    this.#monotonicMs = clocks.monotonicMs
    this.standings = new Standings(clocks.now)
    this.metrics = new Metrics(() => ({ tallies: this.tallies, ...read() }))
  }

  /** The same stores, with their commits measured. */
  stores(byMode: StoresByMode): StoresByMode {
    const observed: Partial<Record<IsolationMode, StoreFactory>> = {}
    for (const mode of ISOLATION_MODES) {
      const factory = byMode[mode]
      if (factory !== undefined) observed[mode] = observeStores(factory, (name) => this.#observeCommit(name))
    }
    return observed
  }

  tenantOpened(tenant: OpenTenant): void {
    const { name, hub } = tenant
    this.standings.opened(tenant)
    countConflicts(hub.ledger, (conflict) => this.tallies.of(name).conflict(conflict))
  }

  /** Stores are named by their tenants. */
  #observeCommit(name: string): (outcome: CommitOutcome) => void {
    const beganAtMs = this.#monotonicMs()
    const endTrace = traceCommit(name)
    return (outcome) => {
      this.metrics.observeCommit(outcome, (this.#monotonicMs() - beganAtMs) / 1_000)
      this.tallies.of(name as TenantName).commits++
      endTrace(outcome)
    }
  }
}
