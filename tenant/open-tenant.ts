/**
 * An open tenant: its ledger, its hub, the seats in it, and the gate before it. One for all its sessions in a process.
 *
 * Knows: one tenant. Must never know: any other tenant, sockets.
 *
 * Invariants:
 * TO1  Once it is told to end, it ends for everybody: no new lease, and those that hold one are told why.
 * TO2  Its plan is the one in force now, not the one it was opened with.
 */
import {
  type Growth,
  Hub,
  type Ledger,
  type Shortage,
  type Store,
  type TenantName,
  type TidemarkError,
  type Usage,
} from '../core/index.ts'
import type { Plan } from './plan.ts'
import { type SeatAnswer, Seats, type UsageEvent, UsageWatch, usageOf, weighGrowth } from './quota.ts'
import type { IsolationMode } from './store-factory.ts'

export interface OpenTenantOptions {
  readonly name: TenantName
  readonly mode: IsolationMode
  readonly plan: Plan
  readonly store: Store
  readonly ledger: Ledger
  /** As the registry counted them when it was opened: its sessions go by the definitions of then. */
  readonly redefinitions: number
  /** How long a writer waits when there is no room for what it writes. Default 60 s. */
  readonly pauseMs?: number | undefined
  readonly onUsage?: ((tenant: TenantName, event: UsageEvent) => void) | undefined
}

/** Keeps a tenant open until it is released. */
export interface Lease {
  readonly tenant: OpenTenant
  release(): void
}

export class OpenTenant {
  readonly name: TenantName
  /** What kind of place it lives in. */
  readonly mode: IsolationMode
  readonly hub: Hub
  readonly store: Store
  readonly redefinitions: number
  readonly seats: Seats = new Seats()
  readonly #watch = new UsageWatch()
  readonly #pauseMs: number | undefined
  readonly #onUsage: OpenTenantOptions['onUsage']
  readonly #endListeners = new Set<(error: TidemarkError) => void>()
  readonly #planListeners = new Set<() => void>()
  #plan: Plan
  #end: TidemarkError | undefined
  #heldBack: Shortage | undefined
  #isBroken = false
  #leases = 0

  constructor({ name, mode, plan, store, ledger, redefinitions, pauseMs, onUsage }: OpenTenantOptions) {
    this.redefinitions = redefinitions
    this.#pauseMs = pauseMs
    this.name = name
    this.mode = mode
    this.store = store
    this.hub = new Hub(ledger)
    this.#plan = plan
    this.#onUsage = onUsage
    ledger.onCommit(() => this.#observe())
    this.#observe()
  }

  get plan(): Plan {
    return this.#plan
  }

  /** What it has stored: exact, and read from memory. */
  get usage(): Usage {
    return usageOf(this.hub.ledger)
  }

  /** Why nothing of it may be processed any more; checked with every frame. */
  get end(): TidemarkError | undefined {
    return this.#end
  }

  get isBroken(): boolean {
    return this.#isBroken
  }

  get leases(): number {
    return this.#leases
  }

  /** Whether there is room for more, asked inside the commit that would store it. `usage` is that of the commit so far. */
  weigh(usage: Usage, growth: Growth): Shortage | undefined {
    const isHeldBack = !growth.isRelief && growth.replicas === 0
    const shortage = (isHeldBack ? this.#heldBack : undefined) ?? weighGrowth(this.#plan, usage, growth, this.#pauseMs)
    if (shortage !== undefined) this.#tell(this.#watch.observeShortage(shortage))
    return shortage
  }

  /** A relay's: why its upstream has no room. Then its own writers wait as well, but for what they delete. */
  holdBack(shortage: Shortage | undefined): void {
    this.#heldBack = shortage
  }

  /** A replica of a subject connects. */
  connect(subject: string): SeatAnswer {
    const answer = this.seats.connect(this.#plan, subject)
    if (answer.type === 'short') {
      // Of one subject nothing is known but that it has enough.
      if (answer.shortage.resource === 'connections') this.#tell(this.#watch.observeShortage(answer.shortage))
      return answer
    }
    this.#observe()
    const release = (): void => {
      answer.seat.release()
      this.#observe()
    }
    return { type: 'seated', seat: { release } }
  }

  changePlan(plan: Plan): void {
    if (plan === this.#plan) return
    this.#plan = plan
    this.#observe()
    for (const listener of [...this.#planListeners]) listener()
  }

  /** Told when another plan is in force: there may be room now, or another rate. Answers with the way to stop. */
  onPlan(listener: () => void): () => void {
    this.#planListeners.add(listener)
    return () => this.#planListeners.delete(listener)
  }

  lease(): Lease {
    this.#leases++
    let isHeld = true
    const release = (): void => {
      if (isHeld) this.#leases--
      isHeld = false
    }
    return { tenant: this, release }
  }

  /** Its store failed: it serves nobody new, and goes with its last lease. */
  markBroken(): void {
    this.#isBroken = true
  }

  /** Told once, when the tenant ends under those who use it. Answers with the way to stop. */
  onEnd(listener: (error: TidemarkError) => void): () => void {
    this.#endListeners.add(listener)
    return () => this.#endListeners.delete(listener)
  }

  /** Ends it for all who use it. */
  finish(error: TidemarkError): void {
    if (this.#end !== undefined) return
    this.#end = error
    for (const listener of [...this.#endListeners]) listener(error)
    this.#endListeners.clear()
  }

  async close(): Promise<void> {
    try {
      await this.hub.ledger.close()
    } finally {
      await this.store.close()
    }
  }

  #observe(): void {
    this.#tell(this.#watch.observe(this.#plan, { ...this.usage, connections: this.seats.connections }))
  }

  #tell(events: readonly UsageEvent[]): void {
    for (const event of events) this.#onUsage?.(this.name, event)
  }
}
