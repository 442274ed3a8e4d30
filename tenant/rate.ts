/**
 * Rates: token buckets per address, subject and tenant, with the time to wait as the answer.
 *
 * Source: the generic cell rate algorithm (ITU-T I.371), a token bucket in one number for each key: the time at which
 * the bucket will be full again.
 *
 * Knows: numbers and keys. Must never know: a clock, or what is being limited. Times are monotonic milliseconds.
 *
 * Invariants:
 * TR1  In any span of time at most burst + rate × span is granted. One cost above the burst counts as one burst, and is
 *      paid off before anything else is granted.
 * TR2  Several buckets are charged together or not at all.
 * TR3  Memory is bounded: the key that was not asked about for longest is forgotten. Whoever wants to be forgotten has to
 *      act under as many other keys, each of which is limited.
 */
import { TidemarkError } from '../core/index.ts'

export interface Rate {
  /** What the bucket gains; 0 grants nothing, `Infinity` everything. */
  readonly perSecond: number
  /** What it holds when full. */
  readonly burst: number
}

export type RateAnswer =
  | { readonly type: 'granted' }
  /** `by`: which bucket said no. `retryAfterMs` is `Infinity` when waiting will not help. */
  | { readonly type: 'limited'; readonly by: string; readonly retryAfterMs: number }

/** One bucket to charge. */
export interface Charge {
  readonly buckets: Buckets
  readonly key: string
  readonly rate: Rate
  readonly cost: number
}

/** Sums of fractions come out a little too large or too small; whoever waited as told must not wait again for that. */
const ROUNDING_MS = 1e-6
const GRANTED: RateAnswer = { type: 'granted' }
/** About 10 MB; more addresses at once than one process serves. */
const KEYS_MAX = 65_536

/** Buckets of one kind, by key. */
export class Buckets {
  /** What they are kept by, for the answer: `address`, `subject`, `tenant`. */
  readonly by: string
  readonly #keysMax: number
  /** When each bucket will be full; oldest use first. */
  readonly #fullAtMs = new Map<string, number>()

  constructor(by: string, keysMax: number = KEYS_MAX) {
    this.by = by
    this.#keysMax = keysMax
  }

  get size(): number {
    return this.#fullAtMs.size
  }

  /** How long until `cost` can be granted; 0: now. Charges nothing. */
  waitMs(key: string, rate: Rate, cost: number, nowMs: number): number {
    if (cost <= 0 || rate.perSecond === Number.POSITIVE_INFINITY) return 0
    if (rate.perSecond <= 0 || rate.burst <= 0) return Number.POSITIVE_INFINITY
    const roomMs = ((rate.burst - Math.min(cost, rate.burst)) * 1000) / rate.perSecond
    return Math.max(0, Math.ceil(this.#fullAt(key, nowMs) - nowMs - roomMs - ROUNDING_MS))
  }

  /** Takes `cost` out of the bucket, whether or not it is there. */
  charge(key: string, rate: Rate, cost: number, nowMs: number): void {
    if (cost <= 0 || rate.perSecond <= 0 || rate.perSecond === Number.POSITIVE_INFINITY) return
    const fullAtMs = this.#fullAt(key, nowMs) + (cost * 1000) / rate.perSecond
    this.#fullAtMs.delete(key)
    this.#fullAtMs.set(key, fullAtMs)
    if (this.#fullAtMs.size <= this.#keysMax) return
    for (const oldest of this.#fullAtMs.keys()) {
      this.#fullAtMs.delete(oldest)
      return
    }
  }

  #fullAt(key: string, nowMs: number): number {
    return Math.max(nowMs, this.#fullAtMs.get(key) ?? nowMs)
  }
}

/** Charges all buckets, or none and says which one to wait for longest. */
export function takeTokens(charges: readonly Charge[], nowMs: number): RateAnswer {
  let longest: RateAnswer = GRANTED
  let longestMs = 0
  for (const { buckets, key, rate, cost } of charges) {
    const retryAfterMs = buckets.waitMs(key, rate, cost, nowMs)
    if (retryAfterMs <= longestMs) continue
    longestMs = retryAfterMs
    longest = { type: 'limited', by: buckets.by, retryAfterMs }
  }
  if (longest.type === 'granted') {
    for (const { buckets, key, rate, cost } of charges) buckets.charge(key, rate, cost, nowMs)
  }
  return longest
}

export function rateLimited({ by, retryAfterMs }: Extract<RateAnswer, { readonly type: 'limited' }>): TidemarkError {
  const isHopeless = retryAfterMs === Number.POSITIVE_INFINITY
  return new TidemarkError('rate-limited', `too much at once from this ${by}`, {
    retryable: !isHopeless,
    remedy: isHopeless ? 'The plan allows none of this' : `Try again in ${retryAfterMs} ms`,
    details: isHopeless ? { by } : { by, retryAfterMs },
  })
}

/**
 * The key of an address: IPv6 by its first 64 bits, because whoever has one address of such a network has all of them.
 * `address` is as sockets give it.
 */
export function addressKey(address: string): string {
  const [bare = ''] = address.toLowerCase().split('%')
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/.exec(bare)
  if (mapped !== null) return mapped[1] as string
  if (!bare.includes(':')) return bare
  const [head = '', tail] = bare.split('::')
  const groups = head === '' ? [] : head.split(':')
  // What `::` leaves out are zeros; how many there are follows from the groups behind it.
  const behind = tail === undefined || tail === '' ? [] : tail.split(':')
  while (tail !== undefined && groups.length + behind.length < 8) groups.push('0')
  return `${[...groups, ...behind]
    .slice(0, 4)
    .map((group) => group.replace(/^0+(?=.)/, ''))
    .join(':')}::/64`
}
