/**
 * The admitting side of a link: a server's answers to the pushes of one writer.
 *
 * Knows: what the writer was told, and what it waits for. Must never know: frames' order, transports.
 *
 * Invariants:
 * N4  A writer that was told to stop is told when what it waits for has come, once.
 */
import { AdmitChanges } from './admit.ts'
import type { VoidCode } from './block.ts'
import type { Dot } from './clock.ts'
import { TidemarkError } from './errors.ts'
import type { Gate, Shortage } from './gate.ts'
import type { Ledger } from './ledger.ts'
import type { Ack, Push } from './message.ts'
import { isHere } from './recovery.ts'
import { timestampToMs } from './timestamp.ts'

/** What a server answered in one commit. */
export interface Answered {
  /** Accepted and refused ones. */
  readonly changes: number
  readonly refusals: readonly VoidCode[]
  /** True when there was no room for more. */
  readonly isPaused: boolean
  /** How far the writer's clock was ahead of ours when it made the last of them. Far below 0 for what was made offline. */
  readonly aheadMs: number
}

export interface AdmitterOptions {
  readonly ledger: Ledger
  readonly gate: Gate
  /** The writer, by index. */
  readonly replica: number
  /** What the writer was told that we have of it. */
  readonly answeredSeq: number
  /** How far the writer says that it was answered; beyond what we have when our store lost that. */
  readonly claimedSeq: number
  /** Wall time in Unix milliseconds. */
  readonly now: () => number
  readonly onAdmit: ((answered: Answered) => void) | undefined
}

export class LinkAdmitter {
  readonly #options: AdmitterOptions
  #answeredSeq: number
  /** What the writer was told to stop for; it has not begun anew yet. */
  #shortage: Shortage | undefined
  /** The change that the writer waits for, because our store lost it or another server has yet to bring it. */
  #awaited: Dot | undefined

  constructor(options: AdmitterOptions) {
    this.#options = options
    this.#answeredSeq = options.answeredSeq
  }

  async admit(pushes: readonly Push[]): Promise<Ack> {
    const { ledger, gate, replica, claimedSeq, now, onAdmit } = this.#options
    const nowMs = now()
    if (!gate.mayWrite()) throw new TidemarkError('forbidden', 'this session may not write')
    const { throughSeq, refusals, shortage, awaited, isEarly, lastTimestamp } = await ledger.submit(
      new AdmitChanges({
        blocks: pushes.flatMap(({ blocks }) => blocks),
        replica,
        nowMs,
        gate,
        isPaused: this.#shortage !== undefined,
        answeredSeq: claimedSeq,
      }),
    )
    if (!isEarly) {
      this.#shortage = shortage
      this.#awaited = awaited
    }
    // It may have come in the same commit.
    const pause = shortage !== undefined && this.#takeArrived() ? isHere(awaited) : shortage
    onAdmit?.({
      changes: Math.max(0, throughSeq - this.#answeredSeq),
      refusals: refusals.map(({ code }) => code),
      isPaused: shortage !== undefined,
      aheadMs: lastTimestamp === 0 ? Number.NEGATIVE_INFINITY : timestampToMs(lastTimestamp) - nowMs,
    })
    this.#answeredSeq = Math.max(this.#answeredSeq, throughSeq)
    const records = refusals.map(({ seq, code }) => [seq, code] as const)
    const time = refusals.some(({ code }) => code === 'clock-skew') ? nowMs : undefined
    return { type: 'ack', throughSeq, refusals: records, pause, time }
  }

  /** Where there may be room now for a writer that found none: it is told to send again. */
  offerRoom(): Ack | undefined {
    if (this.#shortage === undefined || this.#awaited !== undefined) return undefined
    const pause = { ...this.#shortage, retryAfterMs: 0 }
    return { type: 'ack', throughSeq: this.#answeredSeq, refusals: [], pause, time: undefined }
  }

  /** After a commit: what a writer that waits has to hear (N4). */
  arrived(): Ack | undefined {
    const awaited = this.#awaited
    if (!this.#takeArrived()) return undefined
    return { type: 'ack', throughSeq: this.#answeredSeq, refusals: [], pause: isHere(awaited), time: undefined }
  }

  #takeArrived(): boolean {
    const { ledger } = this.#options
    const awaited = this.#awaited
    const author = awaited === undefined ? -1 : ledger.state.replicas.find(awaited.replica)
    if (awaited === undefined || author < 0 || ledger.durableSeqOf(author) < awaited.seq) return false
    this.#awaited = undefined
    return true
  }
}
