/**
 * Places: the store of each tenant, founded, opened and removed in the mode that its record names.
 *
 * Knows: factories of stores, which log a store has to hold. Must never know: the registry, plans, who is open.
 *
 * Invariant PL1: a store that is empty, or holds another log than the one that was founded, is not opened: it is never
 * taken for a tenant without data, and nothing is written to it.
 */
import { Ledger, type Limits, quote, type Store, type TenantName, TidemarkError } from '../core/index.ts'
import { lowerFence, openBehindFence, raiseFence, sealStore } from './fence.ts'
import { taken } from './refusal.ts'
import type { TenantRecord } from './registry.ts'
import type { IsolationMode, StoreFactory } from './store-factory.ts'
import type { Turns } from './turns.ts'

export interface PlacesOptions {
  /** A mode without a factory is not offered. */
  readonly stores: Readonly<Partial<Record<IsolationMode, StoreFactory>>>
  readonly limits: Limits
  /** How many changes one commit may have now. */
  readonly groupChangesMax: () => number
  readonly turns: Turns | undefined
}

/** The store is closed after its ledger. */
export interface OpenPlace {
  readonly store: Store
  readonly ledger: Ledger
}

export interface FenceWatch {
  /** Whether the fence has to stay, if it is up: a mover that died may have left it. */
  readonly isFenceNeeded: () => Promise<boolean>
  /** The store was given up elsewhere: nothing is read or written any more. */
  readonly onStop: (error: TidemarkError) => void
}

export class Places {
  readonly #options: PlacesOptions

  constructor(options: PlacesOptions) {
    this.#options = options
  }

  /** Throws `bad-option` when this server has no stores of the mode. */
  factoryOf(mode: IsolationMode): StoreFactory {
    const { stores } = this.#options
    const factory = stores[mode]
    if (factory !== undefined) return factory
    throw new TidemarkError('bad-option', `this server has no stores of mode ${quote(mode)}`, {
      remedy: `It has ${Object.keys(stores).join(', ')}`,
    })
  }

  async expectEmpty(name: TenantName, mode: IsolationMode): Promise<void> {
    const store = await this.factoryOf(mode).open(name)
    try {
      if ((await store.head()) > 0) throw taken(name)
    } finally {
      await store.close()
    }
  }

  /** Makes the store a tenant's, unless it is already. Answers with the id of its log. */
  async found(name: TenantName, mode: IsolationMode): Promise<string> {
    const store = await this.factoryOf(mode).open(name)
    try {
      const ledger = await Ledger.open({ tenant: name, store, limits: this.#options.limits, authority: 2 })
      await ledger.close()
      await sealStore(store)
      return ledger.state.meta.logId
    } finally {
      await store.close()
    }
  }

  async open(record: TenantRecord, { isFenceNeeded, onStop }: FenceWatch): Promise<OpenPlace> {
    let store = await this.factoryOf(record.mode).open(record.name)
    try {
      await lowerFence(store, isFenceNeeded)
      store = await openBehindFence(store, onStop)
      return { store, ledger: await this.#openLedger(store, record) }
    } catch (error) {
      await store.close()
      throw error
    }
  }

  /** With a fence first: whoever still has it open elsewhere must not write it anew. What `lastLook` throws ends it. */
  async remove(name: TenantName, mode: IsolationMode, lastLook?: () => Promise<unknown>): Promise<void> {
    const factory = this.factoryOf(mode)
    const store = await factory.open(name)
    await raiseFence(store).finally(() => store.close())
    await lastLook?.()
    await factory.remove(name)
  }

  /** PL1 */
  async #openLedger(store: Store, { name, logId }: TenantRecord): Promise<Ledger> {
    if ((await store.head()) === 0) {
      throw new TidemarkError(
        'store-foreign',
        `the store of tenant ${name} is empty, and was not when it was founded`,
        { remedy: 'See whether its disk is there; restore it from a backup' },
      )
    }
    const { limits, groupChangesMax, turns } = this.#options
    const turn = turns === undefined ? {} : { turn: turns.of(name) }
    const ledger = await Ledger.open({ tenant: name, store, limits, authority: 2, groupChangesMax, ...turn })
    if (ledger.state.meta.logId === logId) return ledger
    await ledger.close()
    throw new TidemarkError(
      'store-foreign',
      `the store of tenant ${name} holds another log than the one it began with`,
      { remedy: 'See whether the right disk is mounted' },
    )
  }
}
