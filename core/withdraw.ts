/**
 * Withdrawing: taking back own changes that wait because the server has no room for them, so that what was written behind
 * them, such as the deletes that make room, gets its turn.
 *
 * A change that is withdrawn is one that was refused, by its own writer: its row is what it would be without it, it is listed
 * as rejected, and its dot travels as a void, so that the sequence has no gap.
 *
 * Knows: own changes that no server holds. Must never know: why there is no room.
 *
 * Invariants:
 * WD1  Only what no server holds is withdrawn: while a session is paused, everything behind its last answer.
 * WD2  A transaction is withdrawn whole, and with it whatever builds on it.
 * WD3  While something is being withdrawn nothing is pushed: until the commit is durable, it would be pushed as it was.
 */
import type { Refusal } from './admit.ts'
import { readRefused } from './agreed.ts'
import { TakeAnswer } from './answer.ts'
import type { ChangeEntry, Entry } from './block.ts'
import { type Change, toChange } from './change.ts'
import { clockGet } from './clock.ts'
import type { Draft } from './draft.ts'
import { TidemarkError } from './errors.ts'
import type { Job, Ledger } from './ledger.ts'
import { BATCH_BYTES_TARGET } from './limits.ts'

/** As a server would have said it. */
export const WITHDRAWN = 'quota-exceeded'

export class Withdraw implements Job<readonly Change[]> {
  readonly weight = 1
  readonly startsGroup = true
  readonly #choose: (change: Change) => boolean
  readonly #isPaused: () => boolean
  #answer = new TakeAnswer(0, [])

  /** `choose` is asked for every change that waits. `isPaused`: whether the session that was paused still is. */
  constructor(choose: (change: Change) => boolean, isPaused: () => boolean) {
    this.#choose = choose
    this.#isPaused = isPaused
  }

  async prepare(ledger: Ledger): Promise<void> {
    this.#answer = new TakeAnswer(0, await this.#chosen(ledger))
    await this.#answer.prepare(ledger)
  }

  inspect(ledger: Ledger): Promise<void> {
    return this.#answer.inspect(ledger)
  }

  apply(draft: Draft): readonly Change[] {
    if (!this.#isPaused()) {
      throw new TidemarkError('closed', 'the server takes changes again, or the connection has ended', {
        retryable: true,
        remedy: 'See `status.pause`; what it has no room for can be withdrawn while it says so',
      })
    }
    return this.#answer.apply(draft).map((entry) => toChange(entry, 0, draft.state))
  }

  /** WD2. */
  async #chosen(ledger: Ledger): Promise<Refusal[]> {
    const { state, log } = ledger
    const gone = await readRefused(ledger)
    const refusals: Refusal[] = []
    let transaction: ChangeEntry[] = []
    let isChosen = false
    for (let after = state.meta.ackedSeq; after < state.meta.ownSeq; ) {
      const page = await log.blocksOf(state.own, after, state.meta.ownSeq, BATCH_BYTES_TARGET)
      const entries = page.flatMap((block) => log.decode(block).map(({ entry }) => entry))
      for (const entry of entries) {
        if (!isWaiting(entry, state.own, state.meta.ackedSeq) || gone.has(entry.seq)) continue
        isChosen ||= gone.has(clockGet(entry.context, state.own)) || this.#choose(toChange(entry, 0, state))
        transaction.push(entry)
        if (entry.more) continue
        if (isChosen) for (const { seq } of transaction) refusals.push({ seq, code: WITHDRAWN })
        if (isChosen) for (const { seq } of transaction) gone.add(seq)
        transaction = []
        isChosen = false
      }
      const last = page[page.length - 1]
      if (last === undefined) break
      after = last.lastSeq
    }
    return refusals
  }
}

function isWaiting(entry: Entry, own: number, ackedSeq: number): entry is ChangeEntry {
  return entry.op !== 'void' && entry.replica === own && entry.seq > ackedSeq
}
