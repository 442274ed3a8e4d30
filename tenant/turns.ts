/**
 * Turns: the work of many tenants on one thread, in pieces, one after the other.
 *
 * A piece of work asks before it begins, and waits for a turn of the thread, which begins when the platform has heard of
 * everything that came. While that turn is young others go on at once, if nobody waits or the turn is their tenant's. Of
 * those that wait, the tenant that was served least goes first: one that floods shares with the others, and one that comes
 * for a little is never behind more than the piece that is being done.
 *
 * Knows: names, counts, time. Must never know: what a piece does, or how a platform ends a turn.
 *
 * Invariants:
 * TU1  No piece begins before its turn, with whatever has come still unheard; and none once the turn has lasted `TURN_MS`.
 * TU2  While some wait, each turn is one tenant's: of the one that was given the fewest, its pieces in the order asked, as
 *      many as begin while it is young.
 * TU3  Who was away has a claim to one turn before the others, whatever else it has left unused. Of equals, who did the last
 *      piece goes last.
 */
import type { AskForTurn } from '../core/index.ts'

/** Most pieces take a tenth of this; the longest, the commit of a full transaction of 1,000 changes, some more. */
const TURN_MS = 1

export interface TurnsOptions {
  /** Calls back in a turn of its own, after whatever the platform has to see to. */
  readonly nextTurn: (begin: () => void) => void
  readonly monotonicMs: () => number
}

interface Queue {
  readonly tenant: string
  /** Turns that it was given. */
  served: number
  readonly waiting: (() => void)[]
}

export class Turns {
  readonly #options: TurnsOptions
  /** Those who wait, and for as long as anybody does, those who have waited. */
  readonly #queues = new Map<string, Queue>()
  #waiting = 0
  /** How many turns the tenant whose turn it is had been given before. */
  #floor = 0
  /** Whose turn it is. */
  #holder: string | undefined
  /** Who did the last piece. */
  #lastServed: string | undefined
  /** When the turn began that is under way. */
  #beganAtMs: number | undefined
  #isScheduled = false

  constructor(options: TurnsOptions) {
    this.#options = options
  }

  /** For the pieces of one tenant. */
  of(tenant: string): AskForTurn {
    return () => this.#ask(tenant)
  }

  #ask(tenant: string): Promise<void> | undefined {
    if (this.#beganAtMs === undefined) this.#schedule()
    else if ((this.#waiting === 0 || this.#holder === tenant) && this.#isYoung()) {
      this.#lastServed = tenant
      return undefined
    }
    return new Promise((resolve) => this.#queueOf(tenant).waiting.push(resolve))
  }

  #queueOf(tenant: string): Queue {
    const known = this.#queues.get(tenant)
    const queue = known ?? { tenant, served: 0, waiting: [] }
    if (known === undefined) this.#queues.set(tenant, queue)
    if (queue.waiting.length === 0) queue.served = Math.max(queue.served, this.#floor - 1)
    this.#waiting++
    return queue
  }

  #schedule(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    this.#options.nextTurn(() => this.#begin())
  }

  #begin(): void {
    this.#isScheduled = false
    this.#beganAtMs = undefined
    this.#holder = undefined
    const queue = this.#leastServed()
    if (queue === undefined) return this.#queues.clear()
    this.#holder = queue.tenant
    this.#lastServed = queue.tenant
    this.#beganAtMs = this.#options.monotonicMs()
    this.#schedule()
    this.#floor = queue.served++
    this.#goOn(queue)
  }

  /** Lets the next piece of the turn's tenant begin, and when that has come to its end or to its next question, the next. */
  #goOn(queue: Queue): void {
    const next = queue.waiting.shift()
    if (next === undefined) return
    this.#waiting--
    next()
    void Promise.resolve().then(() => {
      if (this.#holder === queue.tenant && this.#isYoung()) this.#goOn(queue)
    })
  }

  #isYoung(): boolean {
    return this.#beganAtMs !== undefined && this.#options.monotonicMs() - this.#beganAtMs < TURN_MS
  }

  #leastServed(): Queue | undefined {
    let least: Queue | undefined
    for (const queue of this.#queues.values()) {
      if (queue.waiting.length > 0 && (least === undefined || this.#isBefore(queue, least))) least = queue
    }
    return least
  }

  #isBefore(queue: Queue, other: Queue): boolean {
    if (queue.served !== other.served) return queue.served < other.served
    return other.tenant === this.#lastServed
  }
}
