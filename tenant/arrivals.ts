/**
 * Arrivals: tenants that come from another server. Until they are welcome nobody is served, and their stores are filled by
 * whoever sends them.
 *
 * Knows: the registry, places, stores as bytes. Must never know: who sends, how it is carried.
 *
 * Invariants:
 * AR1  An arrival takes the place of nothing but of the same log: of one that was sent away from here, or of an arrival
 *      that was interrupted.
 * AR2  What has arrived is served only once its sender has said that it is whole and served nowhere else.
 */
import { type Limits, parseTenantName, type Store, type TenantName, TidemarkError } from '../core/index.ts'
import type { Arrival } from './departures.ts'
import { sealStore } from './fence.ts'
import { summarizeStore } from './move.ts'
import type { Places } from './places.ts'
import { taken, unknownTenant } from './refusal.ts'
import { AT_REST, hasLeft, NEW_HERE, type TenantRecord, type TenantRegistry } from './registry.ts'
import type { Revocation } from './revocation.ts'
import type { IsolationMode } from './store-factory.ts'

export interface ArrivalsOptions {
  readonly registry: TenantRegistry
  readonly places: Places
  readonly limits: Limits
  readonly now: () => number
  readonly expectPlan: (plan: string) => void
  readonly revoke: (entry: Revocation) => Promise<void>
}

export class Arrivals {
  readonly #options: ArrivalsOptions

  constructor(options: ArrivalsOptions) {
    this.#options = options
  }

  /** May be called again. One that was here before keeps its place, and what it left there is written over. */
  async begin({ name: text, plan, logId }: Arrival, mode: IsolationMode): Promise<TenantRecord> {
    const { registry, places, now, expectPlan } = this.#options
    const name = parseTenantName(text)
    expectPlan(plan)
    places.factoryOf(mode)
    if ((await registry.get(name)) === undefined) await places.expectEmpty(name, mode)
    const record = await registry.update(name, (known): TenantRecord => {
      if (known === undefined) {
        const createdAtMs = now()
        return { name, plan, mode, state: 'arriving', createdAtMs, logId, ...NEW_HERE }
      }
      if (known.logId !== logId || logId === '') throw taken(name)
      if (known.state === 'arriving') return known
      if (hasLeft(known)) return { ...known, plan, state: 'arriving', ...AT_REST }
      throw taken(name)
    })
    return record as TenantRecord
  }

  /** Reads from, or writes to, the store that is being filled. */
  async withStore<Result>(name: string, work: (store: Store) => Promise<Result>): Promise<Result> {
    const record = await this.#expectArriving(name)
    const store = await this.#options.places.factoryOf(record.mode).open(record.name)
    try {
      return await work(store)
    } finally {
      await store.close()
    }
  }

  summarize(name: string): Promise<string> {
    return this.withStore(name, (store) => summarizeStore(store, parseTenantName(name), this.#options.limits))
  }

  /** AR2. Does nothing when it is welcome already. */
  async welcome(name: string, logId: string, revocations: readonly Revocation[]): Promise<void> {
    const tenant = parseTenantName(name)
    const { registry, revoke } = this.#options
    const known = await registry.get(tenant)
    if (known?.state === 'active' && known.logId === logId && known.departure === undefined) return
    // First: whoever was shut out there must not find a moment to come in here.
    for (const entry of revocations) await revoke({ ...entry, tenant })
    await this.withStore(name, sealStore)
    await registry.update(tenant, (record) => {
      if (record?.state !== 'arriving') throw notArriving(tenant)
      return { ...record, state: 'active' }
    })
  }

  /** Removes what has arrived. Does nothing when nothing is on its way. */
  async cancel(name: string): Promise<void> {
    const tenant = parseTenantName(name)
    const { registry, places } = this.#options
    const record = await registry.get(tenant)
    if (record?.state !== 'arriving') return
    await places.remove(tenant, record.mode)
    await registry.update(tenant, (current) => (current?.state === 'arriving' ? undefined : current))
  }

  async #expectArriving(name: string): Promise<TenantRecord> {
    const tenant = parseTenantName(name)
    const record = await this.#options.registry.get(tenant)
    if (record === undefined) throw unknownTenant()
    if (record.state !== 'arriving') throw notArriving(tenant)
    return record
  }
}

function notArriving(name: TenantName): TidemarkError {
  return new TidemarkError('bad-option', `tenant ${name} is not on its way here`, { remedy: 'Begin its move again' })
}
