/**
 * The quota gate: whether a tenant has room for one more change, replica, connection or snapshot.
 *
 * What is stored is counted in the ledger's own record, by the commit that stores it; so the figures are durable, exact,
 * and the same for every process on the store. The gate is asked inside that commit, before a dot is given away:
 * its answer is to pause the writer, not to refuse the change. The writer keeps the change and sends it again.
 *
 * Knows: plans, counts, what more is asked for. Must never know: rows, changes, sessions, time.
 *
 * Invariants:
 * TQ1  What is admitted never takes a count above its limit, whatever order writers come in; only deletes go further, by
 *      a tenth of the bytes, because they are the way out.
 * TQ2  Only what needs more of a resource is paused for it: a tenant with all its rows in use can still change and
 *      delete them.
 * TQ3  A seat is given back exactly once, however often it is released.
 */
import { DEFAULT_LIMITS, type Growth, type Ledger, quotaExceeded, type Shortage, type Usage } from '../core/index.ts'
import { type Plan, QUOTA_NAMES, type QuotaName } from './plan.ts'
import type { Rate } from './rate.ts'

/** Deletes may go this much further. */
const RESERVE = 0.1
/** Room appears when somebody deletes or pays: a matter of minutes, not of seconds. */
export const STORED_RETRY_MS = 60_000
/** Seats come free as others go. */
const SEAT_RETRY_MS = 5_000

const STORED: readonly (keyof Usage)[] = ['rows', 'storedBytes', 'replicas']

/** Undefined when there is room for all of it. */
export function weighGrowth(
  plan: Plan,
  usage: Usage,
  growth: Growth,
  retryAfterMs: number = STORED_RETRY_MS,
): Shortage | undefined {
  for (const resource of STORED) {
    if (growth[resource] <= 0) continue
    const limit = plan.quotas[resource]
    const reserve = growth.isRelief && resource === 'storedBytes' ? Math.floor(limit * RESERVE) : 0
    const used = usage[resource]
    if (used + growth[resource] > limit + reserve) return { resource, limit, used, retryAfterMs }
  }
  return undefined
}

/** Reads counters that are in memory anyway. The ledger's own replica is the server and does not count. */
export function usageOf({ state }: Ledger): Usage {
  return {
    rows: state.meta.rows,
    storedBytes: state.meta.logBytes + state.meta.rowBytes,
    replicas: state.replicas.size - 1,
  }
}

/** What a second of a plan allows, with room for the largest single thing a writer may send. */
export function ratesOf({ quotas }: Plan): { readonly changes: Rate; readonly bytes: Rate } {
  const { transactionChangesMax, frameBytesMax } = DEFAULT_LIMITS
  return {
    changes: { perSecond: quotas.changesPerSecond, burst: Math.max(quotas.changesPerSecond, transactionChangesMax) },
    bytes: { perSecond: quotas.bytesPerSecond, burst: Math.max(quotas.bytesPerSecond, frameBytesMax) },
  }
}

// ── What is in use while a connection lasts ─────────────────────────────────────────────────────────────────────────

export interface Seat {
  release(): void
}

export type SeatAnswer =
  | { readonly type: 'seated'; readonly seat: Seat }
  | { readonly type: 'short'; readonly shortage: Shortage }

/** The connections and snapshot builds of one tenant in this process. */
export class Seats {
  readonly #connectionsBySubject = new Map<string, number>()
  /** Those who wait to read a piece of a snapshot. */
  readonly #waiting: (() => void)[] = []
  #connections = 0
  #builds = 0

  get connections(): number {
    return this.#connections
  }

  get builds(): number {
    return this.#builds
  }

  /** A replica of a subject connects. */
  connect(plan: Plan, subject: string): SeatAnswer {
    const { connections, liveReplicasPerSubject } = plan.quotas
    const own = this.#connectionsBySubject.get(subject) ?? 0
    if (this.#connections >= connections) return noSeat('connections', connections, this.#connections)
    if (own >= liveReplicasPerSubject) return noSeat('liveReplicasPerSubject', liveReplicasPerSubject, own)
    this.#connections++
    this.#connectionsBySubject.set(subject, own + 1)
    return seated(() => {
      this.#connections--
      const left = (this.#connectionsBySubject.get(subject) ?? 1) - 1
      if (left > 0) this.#connectionsBySubject.set(subject, left)
      else this.#connectionsBySubject.delete(subject)
    })
  }

  /** Why somebody who has a seat has to leave it: the plan has fewer of them now. */
  overstay(plan: Plan, subject: string): Shortage | undefined {
    const { connections, liveReplicasPerSubject } = plan.quotas
    const own = this.#connectionsBySubject.get(subject) ?? 0
    if (this.#connections > connections) return shortOf('connections', connections, this.#connections)
    return own > liveReplicasPerSubject ? shortOf('liveReplicasPerSubject', liveReplicasPerSubject, own) : undefined
  }

  /** Reads a piece of a snapshot. Who finds all seats taken waits, in the order of coming. */
  async inBuild<Result>(plan: () => Plan, read: () => Promise<Result>): Promise<Result> {
    for (let isFirst = true; ; isFirst = false) {
      // Whoever has waited goes before those who come now.
      const answer = isFirst && this.#waiting.length > 0 ? undefined : this.build(plan())
      if (answer?.type === 'seated') {
        try {
          return await read()
        } finally {
          answer.seat.release()
          this.#waiting.shift()?.()
        }
      }
      if (answer !== undefined && answer.shortage.limit <= 0) {
        this.#waiting.shift()?.()
        throw quotaExceeded(answer.shortage)
      }
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    }
  }

  /** A snapshot begins to be read. */
  build(plan: Plan): SeatAnswer {
    const { snapshotBuilds } = plan.quotas
    if (this.#builds >= snapshotBuilds) return noSeat('snapshotBuilds', snapshotBuilds, this.#builds)
    this.#builds++
    return seated(() => {
      this.#builds--
    })
  }
}

function seated(giveBack: () => void): SeatAnswer {
  let isTaken = true
  const release = (): void => {
    if (!isTaken) return
    isTaken = false
    giveBack()
  }
  return { type: 'seated', seat: { release } }
}

function noSeat(resource: QuotaName, limit: number, used: number): SeatAnswer {
  return { type: 'short', shortage: shortOf(resource, limit, used) }
}

function shortOf(resource: QuotaName, limit: number, used: number): Shortage {
  return { resource, limit, used, retryAfterMs: SEAT_RETRY_MS }
}

// ── Warnings ────────────────────────────────────────────────────────────────────────────────────────────────────────

export interface UsageEvent {
  /** `near`: 80 % are used. `full`: all of it, or somebody had to be paused. */
  readonly type: 'near' | 'full'
  readonly resource: QuotaName
  readonly limit: number
  readonly used: number
}

const NEAR = 0.8
/** A level is left only this far below where it began: a count that wavers there would warn again and again. */
const SLACK = 0.05

/** Notices when the usage of one tenant passes 80 % and 100 % of its plan, once each on the way up. */
export class UsageWatch {
  readonly #levels = new Map<QuotaName, 'near' | 'full'>()

  /** After anything that changes usage or plan. */
  observe(plan: Plan, usage: Partial<Record<QuotaName, number>>): UsageEvent[] {
    const events: UsageEvent[] = []
    for (const resource of QUOTA_NAMES) {
      const used = usage[resource]
      const limit = plan.quotas[resource]
      if (used === undefined || limit === Number.POSITIVE_INFINITY) continue
      const event = this.#rise(resource, limit, used, levelOf(used, limit))
      if (event !== undefined) events.push(event)
      else this.#fall(resource, used, limit)
    }
    return events
  }

  /** After somebody was paused, which may be short of 100 % when the next change is a large one. */
  observeShortage({ resource, limit, used }: Shortage): UsageEvent[] {
    const event = this.#rise(resource as QuotaName, limit, used, 'full')
    return event === undefined ? [] : [event]
  }

  #rise(resource: QuotaName, limit: number, used: number, level: 'near' | 'full' | undefined): UsageEvent | undefined {
    const before = this.#levels.get(resource)
    if (level === undefined || level === before || before === 'full') return undefined
    this.#levels.set(resource, level)
    return { type: level, resource, limit, used }
  }

  #fall(resource: QuotaName, used: number, limit: number): void {
    if (used < (NEAR - SLACK) * limit) this.#levels.delete(resource)
    else if (used < (1 - SLACK) * limit && this.#levels.get(resource) === 'full') this.#levels.set(resource, 'near')
  }
}

function levelOf(used: number, limit: number): 'near' | 'full' | undefined {
  if (used >= limit) return 'full'
  return used >= NEAR * limit ? 'near' : undefined
}
