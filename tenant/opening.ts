/**
 * Opening: how the record of a tenant becomes a tenant that is served, or a ledger to look into.
 *
 * Knows: the registry, plans, places. Must never know: who else has the tenant open, when it is closed again.
 *
 * Invariants: TM1 and TM2 of manager.ts.
 */
import type { Ledger, TenantName, TidemarkError } from '../core/index.ts'
import type { TenantManagerOptions } from './manager-options.ts'
import type { Movers } from './mover.ts'
import { type Lease, OpenTenant } from './open-tenant.ts'
import type { FenceWatch, OpenPlace, Places } from './places.ts'
import type { Plan } from './plan.ts'
import { moving, refusalOf, unavailable, unknownTenant } from './refusal.ts'
import { isBeingCut, livesIn, type TenantRecord, type TenantRegistry } from './registry.ts'

export interface OpeningOptions
  extends Pick<TenantManagerOptions, 'onFault' | 'onOpen' | 'onUsage' | 'pauseMs' | 'prepare'> {
  readonly registry: TenantRegistry
  readonly places: Places
  readonly movers: Movers
  /** Throws for a plan that is not known. */
  readonly planOf: (plan: string) => Plan
  /** Opens a tenant unless it is, and holds it open. */
  readonly lease: (name: TenantName) => Promise<Lease>
  /** The tenant went elsewhere, or away, in another process. */
  readonly giveUp: (name: TenantName, error: TidemarkError) => Promise<void>
}

/** A ledger, and the way to let go of it. */
export interface HeldLedger {
  readonly ledger: Ledger
  readonly release: () => Promise<void>
}

export class Opening {
  readonly #options: OpeningOptions

  constructor(options: OpeningOptions) {
    this.#options = options
  }

  /** Throws why it is not served, or `unavailable`. */
  async open(name: TenantName): Promise<OpenTenant> {
    let record: TenantRecord | undefined
    try {
      record = await this.#recordOf(name)
    } catch (error) {
      throw unavailable(error)
    }
    const refusal = this.refusalOf(record)
    if (refusal !== undefined || record === undefined) throw refusal ?? unknownTenant()
    let place: OpenPlace | undefined
    try {
      const { places, planOf, giveUp, onUsage, onOpen, pauseMs, prepare } = this.#options
      const fenceWatch = this.#fenceWatch(record, (error) => {
        giveUp(name, error).catch((failure: unknown) => this.#onFault(failure, name))
      })
      place = await places.open(record, fenceWatch)
      await prepare?.(name, place.ledger)
      const { mode, redefinitions } = record
      const plan = planOf(record.plan)
      const tenant = new OpenTenant({ name, mode, plan, redefinitions, ...place, pauseMs, onUsage })
      onOpen?.(tenant)
      return tenant
    } catch (error) {
      await place?.store.close().catch((failure: unknown) => this.#onFault(failure, name))
      throw unavailable(error)
    }
  }

  /** The ledger to read from; of a suspended tenant too, which nobody else can open. */
  async hold(name: TenantName): Promise<HeldLedger> {
    const record = await this.#recordOf(name)
    if (record?.state !== 'suspended') {
      const { tenant, release } = await this.#options.lease(name)
      return { ledger: tenant.hub.ledger, release: async () => release() }
    }
    if (isBeingCut(record)) throw moving()
    const fenceWatch = this.#fenceWatch(record, () => {})
    const { store, ledger } = await this.#options.places.open(record, fenceWatch)
    return { ledger, release: () => ledger.close().finally(() => store.close()) }
  }

  /** Why a tenant is not served; undefined when it is. */
  refusalOf(record: TenantRecord | undefined): TidemarkError | undefined {
    return refusalOf(record, this.#options.planOf)
  }

  /** As somebody needs it who wants to use the tenant: without a cut that nobody goes on with. */
  async #recordOf(name: TenantName): Promise<TenantRecord | undefined> {
    const { registry, movers } = this.#options
    const record = await registry.get(name)
    return record && movers.giveUpDeadCut(record)
  }

  #fenceWatch({ name, mode }: TenantRecord, onStop: FenceWatch['onStop']): FenceWatch {
    return { isFenceNeeded: async () => !livesIn(await this.#options.registry.get(name), mode), onStop }
  }

  #onFault(error: unknown, name: TenantName): void {
    this.#options.onFault?.(error, name)
  }
}
