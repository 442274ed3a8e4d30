/**
 * What a link is doing, for people and programs to watch.
 *
 * Invariants:
 * T1  A status is true when it is read; nothing in it is remembered longer than the thing it is about.
 * T2  Listeners hear of a new state at once, of figures at most every `FIGURES_MS`; the last figures always come.
 */
import type { Shortage, TidemarkError } from '../core/index.ts'

/**
 * `offline`: waiting for the next attempt. `connecting`: reaching the server. `handshaking`: finding out what each side
 * lacks. `restoring`: receiving a snapshot. `live`: changes flow both ways. `stopped`: for good; `reason` says why.
 */
export type SyncState = 'offline' | 'connecting' | 'handshaking' | 'restoring' | 'live' | 'stopped'

export interface SyncStatus {
  readonly state: SyncState
  /** Why it is in this state, in plain words, when that is not obvious. */
  readonly reason: string | undefined
  /** Own changes that the server has not answered yet. */
  readonly pending: number
  /** Entries of the server's log that we know of and do not have; while offline, as of the last contact. */
  readonly behind: number
  /** What the tenant has no room for, while the server takes none of our changes because of it; downloads go on. */
  readonly pause: Shortage | undefined
  /** What ended the last connection or attempt; undefined once a connection is live. */
  readonly lastError: TidemarkError | undefined
  /** Attempts since the link was last stable, the current one included. */
  readonly attempts: number
  /** Unix milliseconds; only while `offline`. */
  readonly nextAttemptAt: number | undefined
  /** The server's clock minus ours, as of the last handshake. */
  readonly serverOffsetMs: number
}

export type StatusListener = (status: SyncStatus) => void

const FIGURES_MS = 100

/** Tells listeners, without flooding them: a busy link changes its figures thousands of times a second. */
export class StatusTeller {
  readonly #read: () => SyncStatus
  readonly #listeners = new Set<StatusListener>()
  #told: SyncStatus
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(read: () => SyncStatus) {
    this.#read = read
    this.#told = read()
  }

  listen(listener: StatusListener): () => void {
    // A function of its own for each call: one listener may be given twice, and each stop ends one of them.
    const own: StatusListener = (status) => listener(status)
    this.#listeners.add(own)
    return () => {
      this.#listeners.delete(own)
    }
  }

  /** Something may have changed. */
  notice(): void {
    if (this.#listeners.size === 0) return
    const { state, nextAttemptAt, pause } = this.#read()
    const told = this.#told
    if (state !== told.state || nextAttemptAt !== told.nextAttemptAt || pause !== told.pause) return this.flush()
    this.#timer ??= setTimeout(() => this.flush(), FIGURES_MS)
  }

  /** Tells what there is to tell now. */
  flush(): void {
    if (this.#timer !== undefined) clearTimeout(this.#timer)
    this.#timer = undefined
    const status = this.#read()
    if (isSame(status, this.#told)) return
    this.#told = status
    for (const listener of [...this.#listeners]) tell(listener, status)
  }
}

function isSame(left: SyncStatus, right: SyncStatus): boolean {
  return (Object.keys(left) as (keyof SyncStatus)[]).every((key) => left[key] === right[key])
}

/** A listener's error is the app's: it surfaces as uncaught, and disturbs neither the link nor other listeners. */
function tell(listener: StatusListener, status: SyncStatus): void {
  try {
    listener(status)
  } catch (error) {
    queueMicrotask(() => {
      throw error
    })
  }
}
