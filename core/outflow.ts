/**
 * The outflow of a session: our stream to the peer, and the marks behind it.
 *
 * Knows: where the stream stands, how much of it the peer lets us send. Must never know: what is read, who the peer is.
 *
 * Invariants:
 * OF1  At most one piece is being read. Nothing is read that there is no credit for, nor while the peer takes no more.
 * OF2  A mark is sent after everything up to its goal.
 */
import { CREDIT_STEP } from './inflow.ts'
import { BATCH_BYTES_TARGET, FIRST_BATCH_BYTES } from './limits.ts'
import type { Mark, Marked } from './message.ts'
import type { SnapshotPlace } from './snapshot.ts'

/** Where the outgoing stream stands. */
export type FeedPlace =
  | { readonly type: 'own'; readonly afterSeq: number }
  | { readonly type: 'log'; readonly position: number }
  | {
      readonly type: 'snapshot'
      /** Where in the log the snapshot began; undefined before it has. */
      readonly position: number | undefined
      readonly after: SnapshotPlace | undefined
    }

/** A piece of the outgoing stream: encoded frames, the place after them, and whether there is nothing more for now. */
export interface Feed {
  readonly frames: readonly Uint8Array[]
  readonly next: FeedPlace
  readonly isEnd: boolean
}

/** How far a stream has to come before a mark counts: own changes by seq, the log by position. */
export interface StreamGoal {
  readonly ownSeq: number
  readonly position: number
}

export class Outflow {
  /** The window: so much may be under way. */
  readonly #creditBytes: number
  #place: FeedPlace | undefined
  #isReading = false
  #batchBytes = FIRST_BATCH_BYTES
  #isAtEnd = true
  #credit: number
  #granted = 0
  #grewWhileReading = false
  /** The peer takes no more for now. */
  #isHeld = false
  /** What is being read was asked for before the stream went back. */
  #isReadStale = false
  /** Marks to send, or to answer, once our stream has come far enough. */
  #marks: { readonly frame: Mark | Marked; readonly goal: StreamGoal }[] = []

  constructor(creditBytes: number) {
    this.#creditBytes = creditBytes
    this.#credit = creditBytes
  }

  /** Where our stream stands; undefined while it has none. */
  get place(): FeedPlace | undefined {
    return this.#place
  }

  /** True when everything that was there to send has been sent. */
  get isFed(): boolean {
    return this.#isAtEnd && !this.#isReading
  }

  /** There is more to send than the peer lets us. */
  get isStarved(): boolean {
    return this.#place !== undefined && !this.#isAtEnd && !this.#isHeld && this.#credit <= 0
  }

  /**
   * While the peer has more from us than anybody deals with without giving credit for it: all the credit that it ever gave, so that
   * one sees whether it gives any.
   */
  get owedAt(): number | undefined {
    return this.#credit <= this.#creditBytes * (1 - CREDIT_STEP) ? this.#granted : undefined
  }

  start(place: FeedPlace | undefined): void {
    this.#place = place
    this.#isAtEnd = place === undefined
  }

  /** What to read next (OF1); each is given once. */
  next(): { readonly place: FeedPlace; readonly bytesMax: number } | undefined {
    if (this.#isReading || this.#isHeld || this.#isAtEnd || this.#credit <= 0 || this.#place === undefined)
      return undefined
    this.#isReading = true
    return { place: this.#place, bytesMax: this.#batchBytes }
  }

  /** Takes what was read. Answers with the frames to send; undefined for what was asked for before the stream went back. */
  take(feed: Feed): readonly Uint8Array[] | undefined {
    this.#isReading = false
    if (this.#isReadStale) {
      this.#isReadStale = false
      return undefined
    }
    this.#place = feed.next
    this.#isAtEnd = feed.isEnd && !this.#grewWhileReading
    this.#grewWhileReading = false
    if (feed.frames.length > 0) this.#batchBytes = Math.min(BATCH_BYTES_TARGET, this.#batchBytes * 2)
    for (const frame of feed.frames) this.#credit -= frame.length
    return feed.frames
  }

  /** The peer lets us send so much more. */
  grant(bytes: number): void {
    this.#granted += bytes
    this.#credit = Math.min(this.#creditBytes, this.#credit + bytes)
  }

  /** There is more to send. */
  grew(): void {
    if (this.#isReading) this.#grewWhileReading = true
    this.#isAtEnd = false
  }

  /** Our stream goes back to `place` and waits there for `release`. */
  hold(place: FeedPlace): void {
    this.#place = place
    this.#isHeld = true
    this.#isReadStale = this.#isReading
  }

  /** Answers false when it was not held. */
  release(): boolean {
    if (!this.#isHeld) return false
    this.#isHeld = false
    this.#isAtEnd = false
    return true
  }

  // ── Marks ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  get marksWaiting(): number {
    return this.#marks.length
  }

  addMark(frame: Mark | Marked, goal: StreamGoal): void {
    this.#marks.push({ frame, goal })
  }

  /** Those that our stream has come far enough for (OF2); each is given once. */
  takeMarks(): readonly (Mark | Marked)[] {
    if (this.#marks.length === 0) return []
    const due = this.#marks.filter(({ goal }) => hasReached(this.#place, goal))
    this.#marks = this.#marks.filter((mark) => !due.includes(mark))
    return due.map(({ frame }) => frame)
  }
}

function hasReached(place: FeedPlace | undefined, goal: StreamGoal): boolean {
  if (place === undefined) return true
  if (place.type === 'snapshot') return false
  return place.type === 'own' ? place.afterSeq >= goal.ownSeq : place.position >= goal.position
}
