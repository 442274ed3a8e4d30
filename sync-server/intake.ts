/**
 * Intake: how far the connections of one tenant are read ahead of its work.
 *
 * What a tenant does in its turns is bounded; reading its sockets, unmasking and putting together its frames happens between
 * them, as the network brings them. So a tenant of which enough waits to be dealt with is not read from: its clients wait
 * in the network, and read from again as its work goes on, a few in each turn of the event loop.
 *
 * Knows: bytes that wait, who is read. Must never know: frames, sockets, whom else the server serves.
 *
 * Invariants:
 * IN1  While more than `AHEAD_BYTES_MAX` wait for a tenant, none of its connections is read.
 * IN2  Who was held first is read first; in the first turn one, then twice as many in each, until too much waits again.
 * IN3  Whoever leaves is read again, to hear its goodbye, and counts no more.
 */

/** What a commit may take of a tenant with large changes: the next frame is read while this one is worked on. */
const AHEAD_BYTES_MAX = 128 * 1024

export interface Reader {
  /** Reads no more, until `resume`. */
  pause(): void
  resume(): void
}

export class Intake {
  readonly #nextTurn: (begin: () => void) => void
  readonly #waiting = new Map<Reader, number>()
  #bytes = 0
  readonly #flowing = new Set<Reader>()
  readonly #held = new Set<Reader>()
  #isResuming = false

  constructor(nextTurn: (begin: () => void) => void) {
    this.#nextTurn = nextTurn
  }

  get isEmpty(): boolean {
    return this.#waiting.size === 0
  }

  enter(reader: Reader): void {
    this.#waiting.set(reader, 0)
    if (this.#bytes <= AHEAD_BYTES_MAX) this.#flowing.add(reader)
    else this.#hold(reader)
  }

  leave(reader: Reader): void {
    const bytes = this.#waiting.get(reader)
    if (bytes === undefined) return
    this.#waiting.delete(reader)
    this.#flowing.delete(reader)
    if (this.#held.delete(reader)) reader.resume()
    this.#count(-bytes)
  }

  /** So much of what came from it waits now. */
  note(reader: Reader, bytes: number): void {
    const before = this.#waiting.get(reader)
    if (before === undefined || before === bytes) return
    this.#waiting.set(reader, bytes)
    this.#count(bytes - before)
  }

  #count(more: number): void {
    this.#bytes += more
    if (this.#bytes > AHEAD_BYTES_MAX) for (const reader of this.#flowing) this.#hold(reader)
    else if (this.#held.size > 0 && !this.#isResuming) this.#resume(1)
  }

  #hold(reader: Reader): void {
    this.#flowing.delete(reader)
    this.#held.add(reader)
    reader.pause()
  }

  #resume(count: number): void {
    this.#isResuming = true
    let left = count
    for (const reader of this.#held) {
      if (left-- === 0) break
      this.#held.delete(reader)
      this.#flowing.add(reader)
      reader.resume()
    }
    this.#nextTurn(() => {
      this.#isResuming = false
      if (this.#held.size > 0 && this.#bytes <= AHEAD_BYTES_MAX) this.#resume(count * 2)
    })
  }
}

/** One for each tenant that has connections. */
export class Intakes {
  readonly #byTenant = new Map<string, Intake>()

  of(tenant: string): Intake {
    const intake = this.#byTenant.get(tenant) ?? new Intake(setImmediate)
    this.#byTenant.set(tenant, intake)
    return intake
  }

  /** Forgets those that nobody is in any more. */
  sweep(): void {
    for (const [tenant, intake] of this.#byTenant) if (intake.isEmpty) this.#byTenant.delete(tenant)
  }
}
