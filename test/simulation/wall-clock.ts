/**
 * The wall clocks of machines: never right, sometimes wrong by years.
 */

/** What every machine's clock shows at the beginning, before its offset: a moment in 2023. */
export const WALL_START_MS = 1_700_000_000_000

export class WallClock {
  readonly #virtualNow: () => number
  #offsetMs: number
  #drift = 0
  #driftSince = 0

  constructor(virtualNow: () => number, offsetMs: number) {
    this.#virtualNow = virtualNow
    this.#offsetMs = offsetMs
  }

  /** Unix milliseconds. */
  now(): number {
    const now = this.#virtualNow()
    return Math.max(0, Math.floor(WALL_START_MS + now + this.#offsetMs + (now - this.#driftSince) * this.#drift))
  }

  /** How far from the truth it is from now on. */
  setOffset(offsetMs: number): void {
    this.#offsetMs = offsetMs
    this.#driftSince = this.#virtualNow()
  }

  /** Runs faster (or slower) by this part of the time that passes. */
  setDrift(drift: number): void {
    this.#offsetMs += (this.#virtualNow() - this.#driftSince) * this.#drift
    this.#driftSince = this.#virtualNow()
    this.#drift = drift
  }
}
