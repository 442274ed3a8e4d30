/**
 * Stretches of a log that came from one peer in one session: what need not be sent back to it.
 *
 * Knows: positions. Must never know: what is there. Forgetting a stretch costs bytes, and nothing else.
 */

/** Positions [from, to) of a log. */
export interface Stretch {
  readonly from: number
  readonly to: number
}

/** More wait only for a reader that takes nothing. */
const STRETCHES_MAX = 1_024

export class Stretches {
  /** In their order, apart from each other. */
  readonly #held: { from: number; to: number }[] = []

  /** The next one; never before those that were added earlier. */
  add({ from, to }: Stretch): void {
    if (from === to) return
    const last = this.#held[this.#held.length - 1]
    if (last?.to === from) last.to = to
    else this.#held.push({ from, to })
    if (this.#held.length > STRETCHES_MAX) this.#held.shift()
  }

  /** Whether all of it came from the peer. Asked in the order of the log: what lies before is forgotten. */
  has({ from, to }: Stretch): boolean {
    while (this.#held[0] !== undefined && this.#held[0].to <= from) this.#held.shift()
    const [first] = this.#held
    return first !== undefined && first.from <= from && to <= first.to
  }
}
