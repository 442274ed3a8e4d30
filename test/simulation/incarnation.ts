/**
 * One run of a process, from its start to its crash. What belongs to it reaches it only through here.
 *
 * Invariants:
 * 1  After `die` nothing reaches the process any more: no frame, no answer of a disk, no timer.
 * 2  What comes while the process is paused waits, and comes in its order afterwards.
 */
import type { Scheduler } from './scheduler.ts'

export class Incarnation {
  readonly #scheduler: Scheduler
  readonly #waiting: (() => void)[] = []
  #isAlive = true
  #isPaused = false
  #isDraining = false

  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler
  }

  get isAlive(): boolean {
    return this.#isAlive
  }

  get isPaused(): boolean {
    return this.#isPaused
  }

  /** Runs something inside the process: at once, after the pause, or never. */
  run(work: () => void): void {
    if (!this.#isAlive) return
    if (this.#isPaused || this.#waiting.length > 0) this.#waiting.push(work)
    else work()
  }

  /** A timer of the process. */
  after(delayMs: number, work: () => void): void {
    this.#scheduler.after(delayMs, () => this.run(work))
  }

  pause(): void {
    this.#isPaused = true
  }

  resume(): void {
    this.#isPaused = false
    if (!this.#isDraining) this.#drain()
  }

  die(): void {
    this.#isAlive = false
    this.#waiting.length = 0
  }

  /** Each of what waited has an event of its own. */
  #drain(): void {
    this.#isDraining = this.#isAlive && !this.#isPaused && this.#waiting.length > 0
    if (!this.#isDraining) return
    this.#scheduler.after(0, () => {
      if (!this.#isPaused) this.#waiting.shift()?.()
      this.#drain()
    })
  }
}
