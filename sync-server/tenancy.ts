/**
 * The tenants of a server: its manager, who may visit, and what happens to a tenant whose store fails.
 *
 * Knows: the tenant room, the server's stores. Must never know: sockets.
 *
 * Invariants:
 * O1  A tenant that nobody registered is refused, unless the server was given a plan for such; a development server was.
 * O2  What cannot be opened is `unavailable`: never taken for an empty tenant, and never opened as one.
 * O3  A tenant whose store failed ends for everybody, and is opened anew for those who come back.
 */
import { isTidemarkError, type TenantName, TidemarkError } from '../core/index.ts'
import { becomeRelay } from '../core/server-door.ts'
import {
  Buckets,
  type Lease,
  type OpenTenant,
  openVisit,
  type Principal,
  type Rate,
  TenantManager,
  Traffic,
  takeTokens,
  type Visit,
} from '../tenant/index.ts'
import { errorFields } from './log.ts'
import type { Observation } from './observation.ts'
import type { ServerSettings } from './options.ts'

export interface OpenTenantInfo {
  readonly tenant: TenantName
  readonly plan: string
  readonly connections: number
  /** Entries in its log. */
  readonly position: number
}

/** How long a failed store counts against the server's readiness. */
const FAILURE_MS = 30_000
/** What other processes change counts here after this long; half of what is promised. */
const REFRESH_MS = 2_500
/** Of one tenant, lines about faults of the app's own rule. */
const FAULT_RATE: Rate = { perSecond: 1, burst: 10 }

export class Tenancy {
  readonly manager: TenantManager
  readonly traffic: Traffic
  readonly #settings: ServerSettings
  readonly #monotonicMs: () => number
  #failedAtMs = Number.NEGATIVE_INFINITY
  readonly #faults = new Buckets('tenant')
  /** Faults of which the log says nothing. */
  #untold = 0
  #refreshedAtMs: number
  #isRefreshing = false

  private constructor(settings: ServerSettings, manager: TenantManager, monotonicMs: () => number) {
    this.#settings = settings
    this.manager = manager
    this.traffic = new Traffic(settings.traffic)
    this.#monotonicMs = monotonicMs
    this.#refreshedAtMs = monotonicMs()
  }

  static async open(settings: ServerSettings, observation: Observation, monotonicMs: () => number): Promise<Tenancy> {
    const { stores, plans, limits, idleMs, pauseMs, tokenLifetimeMs, now, logger, onUsage, onReload, upstream } =
      settings
    const registry = await stores.openRegistry()
    try {
      const manager = await TenantManager.open({
        registry,
        stores: observation.stores(stores.byMode),
        plans,
        limits,
        idleMs,
        pauseMs,
        tokenLifetimeMs,
        now,
        monotonicMs,
        nextTurn: setImmediate,
        prepare: async (tenant, ledger) => {
          if (tenant === upstream?.tenant) await ledger.submit(becomeRelay(now()))
        },
        onUsage: (tenant, event) => {
          logger.warn({ tenant, ...event }, `tenant is ${event.type === 'near' ? 'near a limit' : 'at a limit'}`)
          onUsage?.(tenant, event)
        },
        onOpen: (tenant) => observation.tenantOpened(tenant),
        onReload: () =>
          void onReload?.().catch((error: unknown) => {
            logger.error(errorFields(error), 'what another process was told to read anew cannot be used here')
          }),
        onFault: (error, tenant) => logger.error({ tenant, ...errorFields(error) }, 'tenant failed'),
      })
      return new Tenancy(settings, manager, monotonicMs)
    } catch (error) {
      await registry.close()
      throw error
    }
  }

  /** False for a while after a store has failed to open or to write. */
  get isHealthy(): boolean {
    return this.#monotonicMs() - this.#failedAtMs > FAILURE_MS
  }

  list(): OpenTenantInfo[] {
    return this.manager.open.map(({ name, plan, seats, hub }) => ({
      tenant: name,
      plan: plan.name,
      connections: seats.connections,
      position: hub.ledger.durablePosition - 1,
    }))
  }

  /** Keeps a tenant open, for the server itself. */
  async lease(tenant: TenantName): Promise<Lease> {
    await this.#makeKnown(tenant)
    return this.manager.lease(tenant)
  }

  /** O1. */
  async #makeKnown(tenant: TenantName): Promise<void> {
    const { defaultPlan, isolation, isDev } = this.#settings
    if (defaultPlan === undefined) return
    await this.manager.registerUnlessKnown({ name: tenant, plan: defaultPlan, mode: isolation, adopt: isDev })
  }

  /** Lets somebody in. Throws what the client has to be told. */
  async visit(principal: Principal): Promise<Visit> {
    const { authorize } = this.#settings
    const { tenant } = principal
    try {
      if (!this.manager.revocations.isOutlived(principal)) await this.#makeKnown(tenant)
      return await openVisit({
        manager: this.manager,
        principal,
        ...(authorize === undefined ? {} : { authorize }),
        onFault: (error) => this.#tellFault(tenant, error),
      })
    } catch (error) {
      if (isOursToBlame(error)) this.#failedAtMs = this.#monotonicMs()
      throw error
    }
  }

  /** Whoever writes what an app's rule stumbles over would fill the disk with lines. */
  #tellFault(tenant: TenantName, error: unknown): void {
    const charge = { buckets: this.#faults, key: tenant, rate: FAULT_RATE, cost: 1 }
    if (takeTokens([charge], this.#monotonicMs()).type === 'limited') this.#untold++
    else this.#settings.logger.error({ tenant, ...errorFields(error), untold: this.#untold }, 'authorize failed')
  }

  /** A session of the tenant ended with this error. When it was the store's, everybody of the tenant has to go. */
  blame(tenant: OpenTenant, error: TidemarkError): void {
    if (tenant.isBroken || tenant.end !== undefined || error.details.isRemote === true || !isStoreFailure(error)) return
    this.#failedAtMs = this.#monotonicMs()
    tenant.markBroken()
    tenant.finish(new TidemarkError('unavailable', 'the store of the tenant failed', { retryable: true }))
  }

  /** For a timer: closes what is idle, and takes over what other processes have changed. */
  tick(): void {
    this.manager.sweep()
    const nowMs = this.#monotonicMs()
    if (this.#isRefreshing || nowMs - this.#refreshedAtMs < REFRESH_MS) return
    this.#isRefreshing = true
    this.manager
      .refresh()
      .catch((error: unknown) => this.#settings.logger.error(errorFields(error), 'registry cannot be read'))
      .finally(() => {
        this.#isRefreshing = false
        this.#refreshedAtMs = nowMs
      })
  }

  /** Waits for commits under way and closes every store. Nothing is opened afterwards. */
  async close(): Promise<void> {
    try {
      await this.manager.close()
    } finally {
      await this.#settings.stores.close()
    }
  }
}

function isStoreFailure({ code }: TidemarkError): boolean {
  return code === 'store-failed' || code === 'store-full' || code === 'store-closed' || code === 'store-foreign'
}

/** What a tenant could not be opened for. */
function isOursToBlame(error: unknown): boolean {
  if (!isTidemarkError(error) || error.code !== 'unavailable' || error.cause === undefined) return false
  return !isTidemarkError(error.cause) || isStoreFailure(error.cause)
}

export function shuttingDown(): TidemarkError {
  return new TidemarkError('unavailable', 'the server is shutting down', { retryable: true })
}
