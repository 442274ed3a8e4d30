/**
 * The manager of tenants: who there is, where each lives, who is open.
 *
 * Knows: the registry, the plans, a factory of stores for each mode. Must never know: sessions, sockets, files.
 *
 * Invariants:
 * TM1  A tenant is served only when the registry says so, under the plan it names. Anything else is refused.
 * TM2  What cannot be opened is `unavailable`, and stays as it is (places.ts, PL1).
 * TM3  A tenant is known before its store is founded, and forgotten only after its store is gone: an interruption leaves
 *      work to do again, never data that nobody knows of.
 */
import {
  type Ledger,
  type Limits,
  parseLimits,
  parseTenantName,
  quote,
  type TableDefinition,
  type TenantName,
  TidemarkError,
} from '../core/index.ts'
import { beginEpoch, endRecovery, Redefine } from '../core/server-door.ts'
import { Arrivals } from './arrivals.ts'
import { type Destination, departTenant, finishDeparture, rollBackDeparture } from './departures.ts'
import { type ExportRecord, exportLedger } from './export.ts'
import type { Recovery, Redefinition, Registration, TenantManagerOptions } from './manager-options.ts'
import { finishMove, type MoveOptions, moveTenant, rollBackMove } from './move.ts'
import { Movers } from './mover.ts'
import { OneByOne } from './one-by-one.ts'
import type { Lease, OpenTenant } from './open-tenant.ts'
import { OpenTenants } from './open-tenants.ts'
import { Opening } from './opening.ts'
import { Places } from './places.ts'
import { type Plan, Plans } from './plan.ts'
import { moving, notNow, redefined, suspended, taken, unavailable, unknownTenant } from './refusal.ts'
import { type ListOptions, NEW_HERE, type TenantRecord, TenantRegistry } from './registry.ts'
import { type Revocation, type RevocationName, Revocations } from './revocation.ts'
import type { IsolationMode } from './store-factory.ts'
import { TOKEN_LIFETIME_MS } from './token.ts'
import { Turns } from './turns.ts'

/**
 * Changes of one commit. It is the time that the process does nothing else, so a tenant that floods may take less of it
 * at once when others are there: about what one frame holds.
 */
const SHARED_GROUP_MAX = 512
const ALONE_GROUP_MAX = 8_192
const PLAN_PAGE = 1_000
/** By how much the clock of whoever issues tokens may be ahead. */
const TOKEN_CLOCKS_MS = 60_000
/**
 * An open tenant takes some 50 KiB where stores are shared. An LMDB directory of its own takes 200 KiB, and with glibc up to
 * 3 MiB: lists that LMDB asks for and does not use, which malloc gives from memory that was used before.
 */
const OPEN_MAX: Readonly<Record<IsolationMode, number>> = { shared: 1_000, namespace: 1_000, dedicated: 4 }

export class TenantManager {
  readonly #options: TenantManagerOptions
  readonly #registry: TenantRegistry
  #plans: Plans
  readonly #limits: Limits
  readonly #tenants: OpenTenants
  readonly #movers: Movers
  readonly #moves: MoveOptions
  readonly #places: Places
  readonly #opening: Opening
  /** What changes where a tenant lives. */
  readonly #moving = new OneByOne<TenantName>()
  #reloads: number | undefined
  /** Tenants that come from another server. */
  readonly arrivals: Arrivals
  /** Checked by every session, with every frame. */
  readonly revocations: Revocations = new Revocations()

  private constructor(options: TenantManagerOptions) {
    const { idleMs = 60_000, openMax, monotonicMs, nextTurn, onFault = () => {} } = options
    this.#options = options
    this.#registry = new TenantRegistry(options.registry)
    this.#plans = options.plans ?? new Plans()
    this.#limits = parseLimits(options.limits)
    this.#tenants = new OpenTenants({
      open: (name) => this.#opening.open(name),
      idleMs,
      openMax: { ...OPEN_MAX, ...openMax },
      monotonicMs,
      onFault,
    })
    this.#places = new Places({
      stores: options.stores,
      limits: this.#limits,
      groupChangesMax: () => (this.#tenants.inUse > 1 ? SHARED_GROUP_MAX : ALONE_GROUP_MAX),
      turns: nextTurn && new Turns({ nextTurn, monotonicMs }),
    })
    this.#movers = new Movers(this.#registry, monotonicMs)
    this.#opening = new Opening({
      ...options,
      registry: this.#registry,
      places: this.#places,
      movers: this.#movers,
      planOf: (plan) => this.#plans.get(plan),
      lease: (name) => this.#tenants.lease(name),
      giveUp: (name, error) => this.#tenants.evict(name, error),
    })
    this.#moves = {
      registry: this.#registry,
      movers: this.#movers,
      remove: (name, mode, lastLook) => this.#places.remove(name, mode, lastLook),
      factoryOf: (mode) => this.#places.factoryOf(mode),
      evict: (name) => this.#tenants.evict(name, moving()),
      limits: this.#limits,
    }
    this.arrivals = new Arrivals({
      registry: this.#registry,
      places: this.#places,
      limits: this.#limits,
      now: options.now,
      expectPlan: (plan) => this.#expectPlan(plan),
      revoke: (entry) => this.revoke(entry),
    })
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
    this.#places.factoryOf(mode)
    return this.#moving.run(name, async () => {
      // Whoever was interrupted while founding has left a record, and perhaps the store.
      if (!adopt && (await this.#registry.get(name)) === undefined) await this.#places.expectEmpty(name, mode)
      await this.#registry.update(name, (record) => {
        if (record !== undefined && (record.state !== 'founding' || record.mode !== mode)) throw taken(name)
        const createdAtMs = this.#options.now()
        return { name, plan, mode, state: 'founding', createdAtMs, logId: '', ...NEW_HERE }
      })
      const logId = await this.#places.found(name, mode)
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

  /** The plans in force. */
  get plans(): Plans {
    return this.#plans
  }

  /**
   * Other plans from now on, for those who are connected as well. Throws `bad-option`, and changes nothing, when a tenant has
   * a plan that would be gone: it would be shut out.
   */
  async renewPlans(plans: Plans): Promise<void> {
    for (let after = ''; ; ) {
      const page = await this.#registry.list({ after, limit: PLAN_PAGE })
      const orphan = page.find(({ plan }) => this.#plans.has(plan) && !plans.has(plan))
      if (orphan !== undefined) {
        throw new TidemarkError(
          'bad-option',
          `tenant ${orphan.name} has the plan ${quote(orphan.plan)}, which is to go`,
          {
            remedy: 'Move it to another plan first, or keep that one',
          },
        )
      }
      const last = page.at(-1)
      if (last === undefined) break
      after = last.name
    }
    this.#plans = plans
    await this.refresh()
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
   * interruption. Nothing of it can be brought back, and its tokens do not count for who has its name after it.
   */
  async erase(name: string): Promise<void> {
    const tenant = parseTenantName(name)
    return this.#moving.run(tenant, async () => {
      if ((await this.#registry.get(tenant)) === undefined) return
      const { mode, move } = await this.#change(tenant, (current) => ({
        ...current,
        state: 'erasing',
        mover: undefined,
      }))
      await this.#tenants.evict(tenant, unknownTenant())
      for (const place of new Set([mode, move?.from ?? mode, move?.to ?? mode]))
        await this.#places.remove(tenant, place)
      await this.#voidTokens(tenant)
      await this.#registry.update(tenant, () => undefined)
    })
  }

  /** Whoever holds one would be let in to the next tenant of this name. Takes no room of the list that others need. */
  async #voidTokens(tenant: TenantName): Promise<void> {
    const { now, tokenLifetimeMs = TOKEN_LIFETIME_MS } = this.#options
    const nowMs = now()
    const untilMs = nowMs + tokenLifetimeMs + TOKEN_CLOCKS_MS
    const entry: Revocation = { type: 'tenant', tenant, name: '', issuedThroughMs: nowMs, untilMs }
    await this.#registry.revoke(entry, nowMs)
    this.revocations.add(entry)
  }

  /** Everything the tenant holds. Keeps it open until the last record was read, or reading stopped. */
  async *export(
    name: string,
    options: { readonly tables?: Readonly<Record<string, TableDefinition>> } = {},
  ): AsyncGenerator<ExportRecord> {
    const { ledger, release } = await this.#opening.hold(parseTenantName(name))
    try {
      yield* exportLedger(ledger, { ...options, nowMs: this.#options.now() })
    } finally {
      await release()
    }
  }

  /** Reads from the ledger of a tenant, also of a suspended one. What `read` must not do is to write. */
  async inspect<Result>(name: string, read: (ledger: Ledger) => Promise<Result>): Promise<Result> {
    const { ledger, release } = await this.#opening.hold(parseTenantName(name))
    try {
      return await read(ledger)
    } finally {
      await release()
    }
  }

  /**
   * Says that its store came from a backup: it begins a new epoch, and waits for what it lost. Sessions end, and come back.
   * Also for a suspended tenant. To be called before anybody connects.
   */
  restored(name: string): Promise<Recovery> {
    return this.#recover(parseTenantName(name), beginEpoch(this.#options.now()))
  }

  /** Ends the wait: what is still missing is gone, and what builds on it is refused. */
  endRecovery(name: string): Promise<Recovery> {
    return this.#recover(parseTenantName(name), endRecovery())
  }

  async #recover(name: TenantName, job: ReturnType<typeof beginEpoch>): Promise<Recovery> {
    const { ledger, release } = await this.#opening.hold(name)
    try {
      await ledger.submit<unknown>(job)
      const { epoch, recoveringUntilMs } = ledger.state.meta
      return { tenant: name, epoch, untilMs: recoveringUntilMs }
    } finally {
      await release()
    }
  }

  /**
   * Replaces the definition of a table, which has to be the one in force. Sessions end, in other processes with their next
   * `refresh`: who goes by the old one is refused
   * when it comes back, and keeps what it has written until its app was updated.
   */
  async redefine(name: string, definition: Redefinition): Promise<void> {
    const tenant = parseTenantName(name)
    const { table, from, to } = definition
    const { ledger, release } = await this.#opening.hold(tenant)
    try {
      await ledger.submit(new Redefine(table, from, to, this.#options.now()))
    } finally {
      await release()
    }
    await this.#change(tenant, (record) => ({ ...record, redefinitions: record.redefinitions + 1 }))
    await this.#tenants.evict(tenant, redefined())
  }

  // ── Moving ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Moves a tenant to another mode; see move.ts. The old place stays until `finishMove`. */
  async move(name: string, to: IsolationMode): Promise<TenantRecord> {
    const tenant = parseTenantName(name)
    this.#places.factoryOf(to)
    return this.#moving.run(tenant, () => moveTenant(this.#moves, tenant, to))
  }

  async finishMove(name: string): Promise<void> {
    const tenant = parseTenantName(name)
    return this.#moving.run(tenant, () => finishMove(this.#moves, tenant))
  }

  async rollBackMove(name: string): Promise<void> {
    const tenant = parseTenantName(name)
    return this.#moving.run(tenant, () => rollBackMove(this.#moves, tenant))
  }

  /** Moves a tenant to another server; see departures.ts. Our copy stays until `finishDeparture`. */
  async depart(name: string, destination: Destination, address: string): Promise<TenantRecord> {
    const tenant = parseTenantName(name)
    return this.#moving.run(tenant, () => departTenant(this.#moves, tenant, destination, address))
  }

  async finishDeparture(name: string): Promise<TenantRecord> {
    const tenant = parseTenantName(name)
    return this.#moving.run(tenant, () => finishDeparture(this.#moves, tenant))
  }

  async rollBackDeparture(name: string, destination?: Destination): Promise<void> {
    const tenant = parseTenantName(name)
    return this.#moving.run(tenant, () => rollBackDeparture(this.#moves, tenant, destination))
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

  /** Lets other processes of this registry read their configuration anew, with their next `refresh`. */
  async announceReload(): Promise<void> {
    const reloads = await this.#registry.countReload()
    // Else somebody else has announced one as well, which is news here.
    if (this.#reloads === reloads - 1) this.#reloads = reloads
  }

  /**
   * Takes over what other processes have changed: plans, suspensions, erasures, moves, definitions, revocations; and tells
   * them that a move goes on here. At least every 5 s.
   */
  async refresh(): Promise<void> {
    await this.#movers.beat()
    const nowMs = this.#options.now()
    this.revocations.forget(nowMs)
    const before = this.revocations.snapshot()
    const held = await this.#registry.revocations()
    this.revocations.keepOnly(held, before)
    for (const entry of held) this.revocations.add(entry)
    for (const tenant of this.#tenants.open) {
      const record = await this.#registry.get(tenant.name)
      const refusal = this.#opening.refusalOf(record)
      if (refusal !== undefined) await this.#tenants.evict(tenant.name, refusal)
      else if (record?.redefinitions !== tenant.redefinitions) await this.#tenants.evict(tenant.name, redefined())
      else tenant.changePlan(this.#plans.get(record.plan))
    }
    const reloads = await this.#registry.reloads()
    if (this.#reloads !== undefined && reloads !== this.#reloads) this.#options.onReload?.()
    this.#reloads = reloads
  }

  /** Takes effect here with the next frame, in other processes with their next `refresh`. */
  async revoke(entry: Revocation): Promise<void> {
    const nowMs = this.#options.now()
    this.revocations.expectRoom(entry, nowMs)
    await this.#registry.revoke(entry, nowMs)
    this.revocations.add(entry)
  }

  /** Takes a revocation back, here at once, in other processes with their next `refresh`. Answers whether there was one. */
  async liftRevocation(name: RevocationName): Promise<boolean> {
    const wasThere = await this.#registry.lift(name)
    this.revocations.lift(name)
    return wasThere
  }

  async close(): Promise<void> {
    await this.#tenants.close()
    await this.#registry.close()
  }

  // ── Expectations ──────────────────────────────────────────────────────────────────────────────────────────────────

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
