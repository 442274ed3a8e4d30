/**
 * What a disk can do to its owner beside losing power: be slow, be full, fail.
 *
 * Knows: profiles and luck. Must never know: what is on the disk, or which store stands on it.
 */
import { TidemarkError } from '../../core/errors.ts'
import type { Random } from './random.ts'

export interface DiskProfile {
  /** A usual flush; the time of each is spread around it. */
  readonly flushMs: number
  /** How many of the reads take time at all, and how much. */
  readonly slowReads: number
  readonly readMs: number
}

/** Why a flush fails. `isKept`: its content is on the disk all the same. */
export interface FailedFlush {
  readonly error: TidemarkError
  readonly isKept: boolean
}

/** Longer than this no single read or flush takes: what a slow disk has begun ends soon after it is healed. */
const OPERATION_MAX_MS = 10_000

export class DiskTrouble {
  readonly #random: Random
  readonly #profile: DiskProfile
  #slowness = 1
  #isFull = false
  #isFailing = false
  #failures: boolean[] = []

  constructor(random: Random, profile: DiskProfile) {
    this.#random = random
    this.#profile = profile
  }

  setFull(isFull: boolean): void {
    this.#isFull = isFull
  }

  setSlowness(factor: number): void {
    this.#slowness = factor
  }

  /** Nothing can be read or written. */
  setFailing(isFailing: boolean): void {
    this.#isFailing = isFailing
  }

  /** The next flush fails; `isKept`: its content is on the disk all the same. */
  failNextFlush(isKept: boolean): void {
    this.#failures.push(isKept)
  }

  heal(): void {
    this.#isFull = false
    this.#slowness = 1
    this.#isFailing = false
    this.#failures = []
  }

  flushMs(): number {
    const { flushMs } = this.#profile
    return this.#slowed(flushMs / 2 + this.#random.exponential(flushMs / 2))
  }

  /** Undefined: this read takes no time. */
  slowReadMs(): number | undefined {
    const { slowReads, readMs } = this.#profile
    return this.#random.chance(slowReads) ? this.#slowed(this.#random.exponential(readMs)) : undefined
  }

  /** A read that waits although it is none of the slow ones. */
  readMs(): number {
    return this.#slowed(this.#random.exponential(this.#profile.readMs))
  }

  #slowed(ms: number): number {
    return Math.min(ms * this.#slowness, OPERATION_MAX_MS)
  }

  failedRead(): TidemarkError | undefined {
    return this.#isFailing ? failure('store-failed', 'a simulated read failed') : undefined
  }

  /** Asked once for each flush. */
  failedFlush(): FailedFlush | undefined {
    if (this.#isFailing) return { error: failure('store-failed', 'a simulated flush failed'), isKept: false }
    if (this.#isFull) return { error: failure('store-full', 'a simulated disk is full'), isKept: false }
    const isKept = this.#failures.shift()
    return isKept === undefined ? undefined : { error: failure('store-failed', 'a simulated flush failed'), isKept }
  }
}

function failure(code: 'store-failed' | 'store-full', message: string): TidemarkError {
  return new TidemarkError(code, message, { retryable: true })
}
