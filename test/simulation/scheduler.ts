/**
 * Virtual time: everything that happens is an event, and events run one after the other.
 *
 * Between two events the engine's promises run until nothing is left to do, and nothing in a simulation waits for anything
 * but events. Most events follow one another as ticks of one turn of the event loop, which costs a fraction of a turn each; every
 * so often one gets a turn of its own, where the process reports rejections that nobody handles.
 *
 * Invariants:
 * 1  Events run in the order of their times; of one time, in an order that the seed decides.
 * 2  An event that throws ends the run: what the engine must never do to its host, it has done.
 */
import { BrokenPromise } from './broken-promise.ts'
import type { Random } from './random.ts'

/** So many events share a turn of the event loop. */
const TURN_EVENTS = 16

/** Real time that something of a user's may take. */
const HELD_MAX_MS = 10_000

/** What can be called off. */
export interface Timer {
  cancel(): void
}

interface Scheduled extends Timer {
  readonly at: number
  readonly tie: number
  readonly serial: number
  run: (() => void) | undefined
}

export class Scheduler {
  readonly #ties: Random
  readonly #heap: Scheduled[] = []
  #now = 0
  #serial = 0
  #isStopped = false
  readonly #held = new Set<Promise<void>>()
  #holder = ''
  #resume: (() => void) | undefined
  /** Events run so far. */
  count = 0

  constructor(ties: Random) {
    this.#ties = ties
  }

  /** Milliseconds since the beginning. */
  get now(): number {
    return this.#now
  }

  at(time: number, run: () => void): Timer {
    const event: Scheduled = {
      at: Math.max(time, this.#now),
      tie: this.#ties.bits(),
      serial: this.#serial++,
      run,
      cancel: () => {
        event.run = undefined
      },
    }
    this.#push(event)
    return event
  }

  after(delayMs: number, run: () => void): Timer {
    return this.at(this.#now + delayMs, run)
  }

  /** Ends the run under way: after the event that calls it, no other runs. */
  stop(): void {
    this.#isStopped = true
  }

  /** Something that it waits for has not been done. */
  get isHeld(): boolean {
    return this.#held.size > 0
  }

  /** No event runs before this is done: work that takes real time and no virtual one. */
  hold(work: Promise<void>, what: string): void {
    this.#held.add(work)
    this.#holder = what
    const release = (): void => {
      this.#held.delete(work)
      if (this.#held.size === 0) this.#resume?.()
    }
    work.then(release, release)
  }

  /** Runs events up to and including `time`. `afterEach` is called when all that an event set off has been done. */
  runUntil(time: number, afterEach: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const turn = (): void => {
        try {
          afterEach()
          if (this.#held.size > 0) return this.#wait(turn, reject)
          const event = this.#isStopped ? undefined : this.#next(time)
          if (event === undefined) {
            if (!this.#isStopped) this.#now = Math.max(this.#now, time)
            resolve()
            return
          }
          this.#now = event.at
          this.count++
          event.run?.()
        } catch (error) {
          reject(error)
          return
        }
        if (this.count % TURN_EVENTS === 0) setImmediate(turn)
        // A tick that is asked for by a microtask runs when no microtask is left.
        else queueMicrotask(() => process.nextTick(turn))
      }
      setImmediate(turn)
    })
  }

  #wait(turn: () => void, reject: (error: unknown) => void): void {
    const timer = setTimeout(() => {
      this.#resume = undefined
      reject(new BrokenPromise('sound', `After ${HELD_MAX_MS / 1_000} seconds ${this.#holder} had still not answered`))
    }, HELD_MAX_MS)
    this.#resume = () => {
      this.#resume = undefined
      clearTimeout(timer)
      setImmediate(turn)
    }
  }

  #next(time: number): Scheduled | undefined {
    for (;;) {
      const first = this.#heap[0]
      if (first === undefined || first.at > time) return undefined
      this.#pop()
      if (first.run !== undefined) return first
    }
  }

  // ── A binary heap ─────────────────────────────────────────────────────────────────────────────────────────────────

  #push(event: Scheduled): void {
    const heap = this.#heap
    let at = heap.length
    heap.push(event)
    while (at > 0) {
      const parent = (at - 1) >> 1
      const above = heap[parent] as Scheduled
      if (!isBefore(event, above)) break
      heap[at] = above
      at = parent
    }
    heap[at] = event
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return
    let at = 0
    for (;;) {
      let child = at * 2 + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Scheduled, heap[child] as Scheduled)) child++
      const below = heap[child] as Scheduled
      if (!isBefore(below, last)) break
      heap[at] = below
      at = child
    }
    heap[at] = last
  }
}

function isBefore(left: Scheduled, right: Scheduled): boolean {
  if (left.at !== right.at) return left.at < right.at
  if (left.tie !== right.tie) return left.tie < right.tie
  return left.serial < right.serial
}
