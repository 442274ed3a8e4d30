/**
 * Time as this process had it: what a bound of seconds means on a machine that has other things to do.
 *
 * A tick is a turn of the event loop at least `TICK_MS` after the last one. A process that gets all the time it wants has one
 * every `TICK_MS`, and this clock goes like any other. One that waits for a processor has fewer, and its clock is slow by as much.
 * The published figures are of the ordinary clock: the commands print them.
 */
const TICK_MS = 10

export class OwnTime {
  readonly #timer: ReturnType<typeof setInterval>
  #ticks = 0

  constructor() {
    this.#timer = setInterval(() => this.#ticks++, TICK_MS)
    this.#timer.unref()
  }

  /** Milliseconds since it was made. */
  now(): number {
    return this.#ticks * TICK_MS
  }

  stop(): void {
    clearInterval(this.#timer)
  }
}
