/**
 * The pace of one connection: frames that came too fast wait here for their time.
 *
 * A frame cannot be dropped, because its session would not survive it. So each is charged when it comes, and handed on
 * when the answer says; what waits is bounded by what the session lets its peer have under way.
 *
 * Knows: bytes and times. Must never know: what a frame says, or who is limited by what.
 *
 * Invariants:
 * X1  Frames are handed on in the order they came, each once, none before its time, and none after `close`.
 * X3  Of those whose time came together few are handed on at once: others have their turn between them.
 * X2  More than `bytesMax` or `FRAMES_MAX` never waits: whoever sends more has ignored its credit.
 */
import { TidemarkError } from '../core/index.ts'
import { rateLimited } from '../tenant/index.ts'

export interface PaceOptions {
  /** How long a frame of so many bytes has to wait, which is charged with the question. `Infinity`: for ever. */
  readonly waitMs: (bytes: number) => number
  /** How long what is owed for earlier frames has to be waited for: what they held is known once they were handed on. */
  readonly owedMs: () => number
  readonly bytesMax: number
  readonly monotonicMs: () => number
  readonly deliver: (frame: Uint8Array) => void
  /** Told of each frame that has to wait. */
  readonly hold?: () => void
  /** Called at most once. */
  readonly refuse: (error: TidemarkError) => void
}

interface Waiting {
  readonly frame: Uint8Array
  dueAtMs: number
}

const FRAMES_MAX = 8_192
const AT_ONCE_MAX = 32
const NEVER = rateLimited({ type: 'limited', by: 'tenant', retryAfterMs: Number.POSITIVE_INFINITY })
/** Longer waits than this are waited for in parts: a timer is no place to keep a day. */
const SLEEP_MS_MAX = 60_000

export class Pace {
  readonly #options: PaceOptions
  #waiting: Waiting[] = []
  #bytes = 0
  #timer: ReturnType<typeof setTimeout> | undefined
  #isClosed = false

  constructor(options: PaceOptions) {
    this.#options = options
  }

  take(frame: Uint8Array): void {
    if (this.#isClosed) return
    const { waitMs, bytesMax, monotonicMs, deliver } = this.#options
    const forMs = waitMs(frame.length)
    if (forMs === 0 && this.#waiting.length === 0) return deliver(frame)
    if (forMs === Number.POSITIVE_INFINITY) return this.#refuse(NEVER)
    this.#bytes += frame.length
    if (this.#bytes > bytesMax || this.#waiting.length >= FRAMES_MAX) {
      return this.#refuse(
        new TidemarkError('rate-limited', 'more was sent than may wait', {
          retryable: true,
          remedy: `Try again in ${forMs} ms`,
          details: { by: 'connection', retryAfterMs: forMs },
        }),
      )
    }
    if (forMs > 0) this.#options.hold?.()
    this.#waiting.push({ frame, dueAtMs: monotonicMs() + forMs })
    this.#arm()
  }

  /** The rate is another one: what waits goes as soon as that lets it. */
  hasten(): void {
    const nowMs = this.#options.monotonicMs()
    for (const waiting of this.#waiting) waiting.dueAtMs = Math.min(waiting.dueAtMs, nowMs)
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (!this.#isClosed) this.#arm()
  }

  close(): void {
    this.#isClosed = true
    clearTimeout(this.#timer)
    this.#waiting = []
  }

  #refuse(error: TidemarkError): void {
    this.close()
    this.#options.refuse(error)
  }

  #arm(): void {
    const [first] = this.#waiting
    if (this.#timer !== undefined || first === undefined) return
    const forMs = Math.min(SLEEP_MS_MAX, Math.max(0, first.dueAtMs - this.#options.monotonicMs()))
    this.#timer = setTimeout(() => this.#wake(), Math.ceil(forMs))
  }

  #wake(): void {
    this.#timer = undefined
    const nowMs = this.#options.monotonicMs()
    for (let left = AT_ONCE_MAX; left > 0 && !this.#isClosed; left--) {
      const [first] = this.#waiting
      if (first === undefined || first.dueAtMs > nowMs) break
      const owedMs = this.#options.owedMs()
      if (owedMs === Number.POSITIVE_INFINITY) return this.#refuse(NEVER)
      if (owedMs > 0) {
        first.dueAtMs = nowMs + owedMs
        break
      }
      this.#waiting.shift()
      this.#bytes -= first.frame.length
      this.#options.deliver(first.frame)
    }
    if (!this.#isClosed) this.#arm()
  }
}
