/**
 * The manager of tenants: who there is, where each lives, who is open.
 *
 * Knows: the registry, the plans, a factory of stores for each mode. Must never know: sessions, sockets, files.
 *
 * Invariants:
 * TM1  A tenant is served only when the registry says so, under the plan it names. Anything else is refused.
 * TM2  What cannot be opened is `unavailable`. A store that is empty, or holds another log than the one that was founded,
 *      cannot be opened: it is never taken for a tenant without data, and nothing is written to it.
 * TM3  A tenant is known before its store is founded, and forgotten only after its store is gone: an interruption leaves
 *      work to do again, never data that nobody knows of.
 */
import {
  BeginEpoch,
  EndRecovery,
  isTidemarkError,
  Ledger,
  type Limits,
  parseLimits,
  parseTenantName,
  quote,
  type Store,
  type TableDefinition,
  type TenantName,
  TidemarkError,
} from '../core/index.ts'
import { type ExportRecord, exportLedger } from './export.ts'
import { openBehindFence, raiseFence, sealStore } from './fence.ts'
import { finishMove, type MoveOptions, moveTenant, rollBackMove } from './move.ts'
import { type Lease, OpenTenant } from './open-tenant.ts'
import { OpenTenants } from './open-tenants.ts'
import { hasFeature, type Plan, Plans } from './plan.ts'
import type { UsageEvent } from './quota.ts'
import { type ListOptions, type TenantRecord, TenantRegistry } from './registry.ts'
import { type Revocation, Revocations } from './revocation.ts'
import type { IsolationMode, StoreFactory } from './store-factory.ts'
import { Turns } from './turns.ts'

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
  /** How many tenants stay open without a lease. Default 200: a dedicated LMDB store takes up to 300 KiB. */
  readonly openMax?: number
  /** How long a writer waits when its tenant has no room for what it writes. Default 60 s. */
  readonly pauseMs?: number | undefined
  /** Wall time in Unix milliseconds. */
  readonly now: () => number
  readonly monotonicMs: () => number
  /** Calls back in a turn of its own, so that tenants take turns in pieces of a few milliseconds. Default: they do not. */
  readonly nextTurn?: (begin: () => void) => void
  readonly onUsage?: (tenant: TenantName, event: UsageEvent) => void
  /** Told of each tenant that was opened, before anybody uses it. */
  readonly onOpen?: (tenant: OpenTenant) => void
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

export interface Recovery {
  readonly tenant: TenantName
  readonly epoch: number
  /** Unix milliseconds; 0 when it waits for nothing. */
  readonly untilMs: number
}

/**
 * Changes of one commit. It is the time that the process does nothing else, so a tenant that floods may take less of it
 * at once when others are there: about what one frame holds.
 */
const SHARED_GROUP_MAX = 512
const ALONE_GROUP_MAX = 8_192

export class TenantManager {
  readonly #options: TenantManagerOptions
  readonly #registry: TenantRegistry
  readonly #plans: Plans
  readonly #limits: Limits
  readonly #tenants: OpenTenants
  readonly #moves: MoveOptions
  readonly #turns: Turns | undefined
  /** Resolves, never rejects, when the last change of where a tenant lives is through. */
  readonly #changing = new Map<TenantName, Promise<void>>()
  /** Checked by every session, with every frame. */
  readonly revocations: Revocations = new Revocations()

  private constructor(options: TenantManagerOptions) {
    const { idleMs = 60_000, openMax = 200, monotonicMs, nextTurn, onFault = () => {} } = options
    this.#options = options
    this.#registry = new TenantRegistry(options.registry)
    this.#plans = options.plans ?? new Plans()
    this.#limits = parseLimits(options.limits)
    this.#turns = nextTurn && new Turns({ nextTurn, monotonicMs })
    this.#tenants = new OpenTenants({ open: (name) => this.#open(name), idleMs, openMax, monotonicMs, onFault })
    this.#moves = {
      registry: this.#registry,
      factoryOf: (mode) => this.#factoryOf(mode),
      evict: (name) => this.#tenants.evict(name, moving()),
      limits: this.#limits,
    }
  }

  static async open(options: TenantManagerOptions): Promise<TenantManager> {
    const manager = new TenantManager(options)
    await manager.refresh()
    return manager
  }

  // ── Who there is ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** Makes a tenant known and founds its store. May be called again after an interruption. */
  async register({ name: text, plan, mode, adopt = false }: Registration): Promise<TenantRecord> {
    const name = parseTenantName(text)
    this.#expectPlan(plan)
    this.#factoryOf(mode)
    return this.#exclusively(name, async () => {
      // Whoever was interrupted while founding has left a record, and perhaps the store.
      if (!adopt && (await this.#registry.get(name)) === undefined) await this.#expectEmpty(name, mode)
      await this.#registry.update(name, (record) => {
        if (record !== undefined && (record.state !== 'founding' || record.mode !== mode)) throw taken(name)
        const createdAtMs = this.#options.now()
        return { name, plan, mode, state: 'founding', reason: '', createdAtMs, logId: '', move: undefined }
      })
      const logId = await this.#found(name, mode)
      return this.#change(name, (record) => ({ ...record, state: 'active', logId }))
    })
  }

  /** For servers that take whomever a token names. Throws `unavailable` when it cannot be registered now. */
  async registerUnlessKnown(registration: Registration): Promise<void> {
    const name = parseTenantName(registration.name)
    try {
      if (await this.#isKnown(name)) return
      await this.register(registration)
    } catch (error) {
      // Another process may have been faster.
      if (!(await this.#isKnown(name).catch(() => false))) throw unavailable(error)
    }
  }

  async #isKnown(name: TenantName): Promise<boolean> {
    const record = await this.#registry.get(name)
    return record !== undefined && record.state !== 'founding'
  }

  async get(name: string): Promise<TenantRecord | undefined> {
    return this.#registry.get(parseTenantName(name))
  }

  /** The plan of this name, as it is now. */
  planOf({ plan }: TenantRecord): Plan {
    return this.#plans.get(plan)
  }

  list(options?: ListOptions): Promise<TenantRecord[]> {
    return this.#registry.list(options)
  }

  /** Takes effect at once here, in other processes with their next `refresh`. */
  async setPlan(name: string, plan: string): Promise<TenantRecord> {
    this.#expectPlan(plan)
    const record = await this.#change(parseTenantName(name), (current) => ({ ...current, plan }))
    await this.refresh()
    return record
  }

  /** Ends its sessions and lets nobody in. What it holds stays. */
  async suspend(name: string, reason: string): Promise<TenantRecord> {
    const record = await this.#change(parseTenantName(name), (current) => {
      if (current.state !== 'active' && current.state !== 'suspended') throw notNow(current)
      return { ...current, state: 'suspended', reason }
    })
    await this.#tenants.evict(record.name, suspended(record))
    return record
  }

  async resume(name: string): Promise<TenantRecord> {
    return this.#change(parseTenantName(name), (current) => {
      if (current.state !== 'active' && current.state !== 'suspended') throw notNow(current)
      return { ...current, state: 'active', reason: '' }
    })
  }

  /**
   * Removes everything: its store, in both places while it is being moved, then its name. May be called again after an
   * interruption. Nothing of it can be brought back.
   */
  async erase(name: string): Promise<void> {
    const tenant = parseTenantName(name)
    return this.#exclusively(tenant, async () => {
      if ((await this.#registry.get(tenant)) === undefined) return
      const { mode, move } = await this.#change(tenant, (current) => ({ ...current, state: 'erasing' }))
      await this.#tenants.evict(tenant, unknownTenant())
      for (const place of new Set([mode, move?.from ?? mode, move?.to ?? mode])) await this.#remove(tenant, place)
      await this.#registry.update(tenant, () => undefined)
    })
  }

  /** Everything the tenant holds. Keeps it open until the last record was read, or reading stopped. */
  async *export(
    name: string,
    options: { readonly tables?: Readonly<Record<string, TableDefinition>> } = {},
  ): AsyncGenerator<ExportRecord> {
    const { ledger, release } = await this.#hold(parseTenantName(name))
    try {
      yield* exportLedger(ledger, { ...options, nowMs: this.#options.now() })
    } finally {
      await release()
    }
  }

  /** Reads from the ledger of a tenant, also of a suspended one. What `read` must not do is to write. */
  async inspect<Result>(name: string, read: (ledger: Ledger) => Promise<Result>): Promise<Result> {
    const { ledger, release } = await this.#hold(parseTenantName(name))
    try {
      return await read(ledger)
    } finally {
      await release()
    }
  }

  /** The ledger to read from; of a suspended tenant too, which nobody else can open. */
  async #hold(name: TenantName): Promise<{ readonly ledger: Ledger; readonly release: () => Promise<void> }> {
    const record = await this.#registry.get(name)
    if (record?.state !== 'suspended') {
      const { tenant, release } = await this.#tenants.lease(name)
      return { ledger: tenant.hub.ledger, release: async () => release() }
    }
    const store = await this.#factoryOf(record.mode).open(name)
    try {
      const ledger = await this.#openLedger(store, record)
      return { ledger, release: () => ledger.close().finally(() => store.close()) }
    } catch (error) {
      await store.close()
      throw error
    }
  }

  /**
   * Says that its store came from a backup: it begins a new epoch, and waits for what it lost. Sessions end, and come back.
   * Also for a suspended tenant. To be called before anybody connects.
   */
  restored(name: string): Promise<Recovery> {
    return this.#recover(parseTenantName(name), new BeginEpoch(this.#options.now()))
  }

  /** Ends the wait: what is still missing is gone, and what builds on it is refused. */
  endRecovery(name: string): Promise<Recovery> {
    return this.#recover(parseTenantName(name), new EndRecovery())
  }

  async #recover(name: TenantName, job: BeginEpoch | EndRecovery): Promise<Recovery> {
    const { ledger, release } = await this.#hold(name)
    try {
      await ledger.submit<unknown>(job)
      const { epoch, recoveringUntilMs } = ledger.state.meta
      return { tenant: name, epoch, untilMs: recoveringUntilMs }
    } finally {
      await release()
    }
  }

  // ── Moving ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Moves a tenant to another mode; see move.ts. The old place stays until `finishMove`. */
  async move(name: string, to: IsolationMode): Promise<TenantRecord> {
    const tenant = parseTenantName(name)
    this.#factoryOf(to)
    return this.#exclusively(tenant, () => moveTenant(this.#moves, tenant, to))
  }

  async finishMove(name: string): Promise<void> {
    const tenant = parseTenantName(name)
    return this.#exclusively(tenant, () => finishMove(this.#moves, tenant))
  }

  async rollBackMove(name: string): Promise<void> {
    const tenant = parseTenantName(name)
    return this.#exclusively(tenant, () => rollBackMove(this.#moves, tenant))
  }

  // ── Who is open ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** Opens a tenant unless it is, and holds it open until the lease is released. */
  async lease(name: TenantName): Promise<Lease> {
    return this.#tenants.lease(name)
  }

  get open(): readonly OpenTenant[] {
    return this.#tenants.open
  }

  /** Closes what is idle. For a timer. */
  sweep(): void {
    this.#tenants.sweep()
  }

  /** Takes over what other processes have changed: plans, suspensions, erasures, moves, revocations. At least every 5 s. */
  async refresh(): Promise<void> {
    const nowMs = this.#options.now()
    this.revocations.forget(nowMs)
    for (const entry of await this.#registry.revocations()) this.revocations.add(entry, nowMs)
    for (const tenant of this.#tenants.open) {
      const record = await this.#registry.get(tenant.name)
      const refusal = this.#refusalOf(record)
      if (refusal !== undefined) await this.#tenants.evict(tenant.name, refusal)
      else if (record !== undefined) tenant.changePlan(this.#plans.get(record.plan))
    }
  }

  /** Takes effect here with the next frame, in other processes with their next `refresh`. */
  async revoke(entry: Revocation): Promise<void> {
    const nowMs = this.#options.now()
    await this.#registry.revoke(entry, nowMs)
    this.revocations.add(entry, nowMs)
  }

  async close(): Promise<void> {
    await this.#tenants.close()
    await this.#registry.close()
  }

  // ── Opening ───────────────────────────────────────────────────────────────────────────────────────────────────────

  async #open(name: TenantName): Promise<OpenTenant> {
    let record: TenantRecord | undefined
    try {
      record = await this.#registry.get(name)
    } catch (error) {
      throw unavailable(error)
    }
    const refusal = this.#refusalOf(record)
    if (refusal !== undefined || record === undefined) throw refusal ?? unknownTenant()
    let store: Store | undefined
    try {
      store = await this.#factoryOf(record.mode).open(name)
      store = await openBehindFence(store, (error) => this.#giveUp(name, error))
      const ledger = await this.#openLedger(store, record)
      const { onUsage, onOpen, pauseMs } = this.#options
      const tenant = new OpenTenant({ name, plan: this.#plans.get(record.plan), store, ledger, pauseMs, onUsage })
      onOpen?.(tenant)
      return tenant
    } catch (error) {
      await store?.close().catch((failure: unknown) => this.#options.onFault?.(failure, name))
      throw unavailable(error)
    }
  }

  /** The tenant went elsewhere, or away, in another process. */
  #giveUp(name: TenantName, error: TidemarkError): void {
    this.#tenants.evict(name, error).catch((failure: unknown) => this.#options.onFault?.(failure, name))
  }

  /** TM2: only the log that was founded. */
  async #openLedger(store: Store, { name, logId }: TenantRecord): Promise<Ledger> {
    if ((await store.head()) === 0) {
      throw new TidemarkError(
        'store-foreign',
        `the store of tenant ${name} is empty, and was not when it was founded`,
        {
          remedy: 'See whether its disk is there; restore it from a backup',
        },
      )
    }
    const groupChangesMax = (): number => (this.#tenants.inUse > 1 ? SHARED_GROUP_MAX : ALONE_GROUP_MAX)
    const limits = this.#limits
    const ledger = await Ledger.open({
      tenant: name,
      store,
      limits,
      authority: 2,
      groupChangesMax,
      ...(this.#turns && { turn: this.#turns.of(name) }),
    })
    if (ledger.state.meta.logId === logId) return ledger
    await ledger.close()
    throw new TidemarkError(
      'store-foreign',
      `the store of tenant ${name} holds another log than the one it began with`,
      {
        remedy: 'See whether the right disk is mounted',
      },
    )
  }

  async #expectEmpty(name: TenantName, mode: IsolationMode): Promise<void> {
    const store = await this.#factoryOf(mode).open(name)
    try {
      if ((await store.head()) > 0) throw taken(name)
    } finally {
      await store.close()
    }
  }

  async #found(name: TenantName, mode: IsolationMode): Promise<string> {
    const store = await this.#factoryOf(mode).open(name)
    try {
      const ledger = await Ledger.open({ tenant: name, store, limits: this.#limits, authority: 2 })
      await ledger.close()
      await sealStore(store)
      return ledger.state.meta.logId
    } finally {
      await store.close()
    }
  }

  /** With a fence first: whoever still has it open elsewhere must not write it anew. */
  async #remove(name: TenantName, mode: IsolationMode): Promise<void> {
    const factory = this.#factoryOf(mode)
    const store = await factory.open(name)
    await raiseFence(store).finally(() => store.close())
    await factory.remove(name)
  }

  /** Why a tenant may not be served; undefined when it may. */
  #refusalOf(record: TenantRecord | undefined): TidemarkError | undefined {
    if (record === undefined || record.state === 'erasing') return unknownTenant()
    if (record.state === 'founding') return unavailable(undefined)
    if (record.state === 'suspended') return suspended(record)
    if (record.move?.phase === 'cutting') return moving()
    if (hasFeature(this.#plans.get(record.plan), 'sync')) return undefined
    return new TidemarkError('forbidden', `the plan ${quote(record.plan)} does not include sync`, {
      remedy: 'Move the tenant to a plan that does',
    })
  }

  /** What changes where a tenant lives is done one after the other. */
  async #exclusively<Result>(name: TenantName, work: () => Promise<Result>): Promise<Result> {
    const before = this.#changing.get(name)
    const changing = (before ?? Promise.resolve()).then(work)
    const settled = changing.then(
      () => {},
      () => {},
    )
    this.#changing.set(name, settled)
    try {
      return await changing
    } finally {
      if (this.#changing.get(name) === settled) this.#changing.delete(name)
    }
  }

  // ── Expectations ──────────────────────────────────────────────────────────────────────────────────────────────────

  #factoryOf(mode: IsolationMode): StoreFactory {
    const factory = this.#options.stores[mode]
    if (factory !== undefined) return factory
    throw new TidemarkError('bad-option', `this server has no stores of mode ${quote(mode)}`, {
      remedy: `It has ${Object.keys(this.#options.stores).join(', ')}`,
    })
  }

  #expectPlan(plan: string): void {
    if (this.#plans.has(plan)) return
    throw new TidemarkError('bad-option', `there is no plan ${quote(plan)}`, {
      remedy: `The plans are ${this.#plans.names.join(', ')}`,
    })
  }

  async #change(name: TenantName, change: (record: TenantRecord) => TenantRecord): Promise<TenantRecord> {
    const changed = await this.#registry.update(name, (record) => {
      if (record === undefined) throw unknownTenant()
      return change(record)
    })
    if (changed === undefined) throw unknownTenant()
    return changed
  }
}

/** Says nothing about whether there is such a tenant, or ever was. */
function unknownTenant(): TidemarkError {
  return new TidemarkError('forbidden', 'this server does not serve that tenant')
}

function suspended({ reason }: TenantRecord): TidemarkError {
  return new TidemarkError('forbidden', `the tenant is suspended${reason === '' ? '' : `: ${reason}`}`, {
    remedy: 'Talk to whoever runs the server',
  })
}

function moving(): TidemarkError {
  return new TidemarkError('unavailable', 'the tenant is being moved to another place', {
    retryable: true,
    remedy: 'Connect again in a moment',
  })
}

/** What a client is told: that it is our side, and nothing of why. */
function unavailable(cause: unknown): TidemarkError {
  if (isTidemarkError(cause) && cause.code === 'unavailable') return cause
  return new TidemarkError('unavailable', 'the tenant cannot be opened now', { retryable: true, cause })
}

function taken(name: TenantName): TidemarkError {
  return new TidemarkError('bad-option', `there is a tenant ${name} already, or a store that was one`, {
    remedy: 'Use another name, erase it first, or adopt its store',
  })
}

function notNow({ name, state }: TenantRecord): TidemarkError {
  return new TidemarkError('bad-option', `tenant ${name} is ${state}`, { remedy: 'Finish that first' })
}
