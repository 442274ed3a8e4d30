/**
 * Traffic: how fast addresses may connect, subjects may send frames, and tenants may send bytes and changes.
 *
 * Frames cannot be dropped: a session would not survive it. So each is charged when it comes and dealt with when the
 * answer says; the credit window bounds what waits meanwhile.
 *
 * Knows: who is limited by what. Must never know: sockets, timers; what a frame says.
 */

import type { Plan } from './plan.ts'
import { ratesOf } from './quota.ts'
import { addressKey, Buckets, type Charge, type Rate, type RateAnswer, takeTokens } from './rate.ts'

export interface TrafficRules {
  /** Before anybody knows who it is. */
  readonly connectionsPerAddress: Rate
  readonly framesPerSubject: Rate
}

/** A household behind one address, and a replica that writes as fast as it can, pass; a loop of either does not. */
export const DEFAULT_TRAFFIC: TrafficRules = {
  connectionsPerAddress: { perSecond: 5, burst: 100 },
  framesPerSubject: { perSecond: 500, burst: 2_000 },
}

/** Transports for each connection: one may fall back to another. */
const TRANSPORTS = 4

/** Whose traffic it is. */
export interface Sender {
  readonly tenant: string
  readonly subject: string
  readonly plan: Plan
}

/** All of one process. Times are monotonic milliseconds. */
export class Traffic {
  readonly #rules: TrafficRules
  readonly #addresses = new Buckets('address')
  readonly #transports = new Buckets('address')
  readonly #subjects = new Buckets('subject')
  readonly #bytes = new Buckets('tenant')
  readonly #changes = new Buckets('tenant')

  constructor(rules: Partial<TrafficRules> = {}) {
    this.#rules = { ...DEFAULT_TRAFFIC, ...rules }
  }

  /**
   * Whether an address may begin a transport, which nobody has to follow with anything. It is not told when to come back, so
   * whoever means it is told by `connect` first.
   */
  begin(address: string, nowMs: number): boolean {
    const { perSecond, burst } = this.#rules.connectionsPerAddress
    const rate = { perSecond: perSecond * TRANSPORTS, burst: burst * TRANSPORTS }
    return (
      takeTokens([{ buckets: this.#transports, key: addressKey(address), rate, cost: 1 }], nowMs).type === 'granted'
    )
  }

  /** Whether an address may connect now. */
  connect(address: string, nowMs: number): RateAnswer {
    const rate = this.#rules.connectionsPerAddress
    return takeTokens([{ buckets: this.#addresses, key: addressKey(address), rate, cost: 1 }], nowMs)
  }

  /** How long a frame has to wait, in milliseconds; `Infinity`: the plan allows none. */
  frameWaitMs({ tenant, subject, plan }: Sender, bytes: number, nowMs: number): number {
    const rates = ratesOf(plan)
    const tenantKey = tenantKeyOf(tenant, plan)
    const charges: readonly Charge[] = [
      { buckets: this.#subjects, key: `${tenant}/${subject}`, rate: this.#rules.framesPerSubject, cost: 1 },
      { buckets: this.#bytes, key: tenantKey, rate: rates.bytes, cost: bytes },
    ]
    // Changes are charged once their frame was read: whatever is owed for those before is waited for here.
    let waitMs = this.#changes.waitMs(tenantKey, rates.changes, 1, nowMs)
    for (const { buckets, key, rate, cost } of charges) {
      waitMs = Math.max(waitMs, buckets.waitMs(key, rate, cost, nowMs))
      buckets.charge(key, rate, cost, nowMs)
    }
    return waitMs
  }

  /** How long a frame that has been charged has to wait for the changes of those before it, in milliseconds. */
  owedMs({ tenant, plan }: Pick<Sender, 'tenant' | 'plan'>, nowMs: number): number {
    return this.#changes.waitMs(tenantKeyOf(tenant, plan), ratesOf(plan).changes, 1, nowMs)
  }

  /** So many changes of a tenant came in a frame. */
  countChanges({ tenant, plan }: Pick<Sender, 'tenant' | 'plan'>, changes: number, nowMs: number): void {
    this.#changes.charge(tenantKeyOf(tenant, plan), ratesOf(plan).changes, changes, nowMs)
  }
}

/** What is owed at one rate is not owed at the next, of another plan or of this one anew: it could take days to pay off. */
function tenantKeyOf(tenant: string, { quotas: { changesPerSecond, bytesPerSecond } }: Plan): string {
  return `${tenant}/${changesPerSecond}/${bytesPerSecond}`
}
