/**
 * Issuing again: what a server refused because the clock of its writer ran ahead is written once more, with corrected time.
 *
 * A clock that jumps leaves more than wrong timestamps behind: because timestamps only grow, all later writes are ahead as well,
 * long after the clock is right again. So once everything is answered, the highest timestamp goes back to what the rows hold and
 * the time allows, and what was refused is issued under new dots, with what its writer had seen.
 *
 * Knows: refusals of our own. Must never know: where the time comes from.
 *
 * Invariants:
 * Z1  A refused change is issued again at most once, and its record says under which seq.
 * Z2  It has seen what it had seen of others, and nothing that came from them meanwhile. Of our own it has seen all that is in
 *      its row: a writer is in no conflict with itself.
 * Z3  A transaction is issued again whole, or not at all.
 * Z4  What its writer has overtaken since with another change of the row is left alone.
 */
import { keepAgreed, type Rejection, readRejections } from './agreed.ts'
import type { ChangeEntry } from './block.ts'
import { clockGet, clockWith, EMPTY_CLOCK, type SparseClock } from './clock.ts'
import { decodePart, isCounter } from './counter.ts'
import { setPart } from './counting.ts'
import type { Draft } from './draft.ts'
import { allRows, rejectedKey } from './keys.ts'
import type { Job, Ledger } from './ledger.ts'
import { type LedgerState, scanRange } from './ledger-state.ts'
import { packRecord } from './packing.ts'
import type { Version } from './row.ts'
import type { RowEntry } from './row-cache.ts'
import { decodeRow } from './row-codec.ts'
import { msToTimestamp, nextTimestamp } from './timestamp.ts'

/** Changes issued again by one commit; the rest follows when these are answered. */
const REISSUED_MAX = 1_000

interface Reissue {
  readonly entry: ChangeEntry
  readonly rejection: Rejection
  readonly row: RowEntry
}

export class ReissueSkewed implements Job<number | undefined> {
  readonly weight = 1
  readonly startsGroup = true
  readonly #nowMs: number
  #transactions: Reissue[][] = []
  /** What an earlier refusal was issued again as, by its seq. */
  readonly #names = new Map<number, number>()
  /** No timestamp in the rows is higher. */
  #highest = 0

  /** `nowMs`: what the server's clock shows. */
  constructor(nowMs: number) {
    this.#nowMs = nowMs
  }

  async prepare(ledger: Ledger): Promise<void> {
    this.#transactions = []
    this.#names.clear()
    if (isWaiting(ledger.state)) return
    const rejections = await readRejections(ledger)
    const due = new Set<number>()
    let changes = 0
    for (const transaction of await readTransactions(ledger, rejections)) {
      if (changes >= REISSUED_MAX) break
      if (!this.#isDue(ledger.state.own, transaction, rejections, due)) continue
      changes += transaction.length
      for (const { entry } of transaction) due.add(entry.seq)
      this.#transactions.push(transaction)
    }
  }

  /** Refused for its timestamp, or because it builds on what was, and on nothing that was refused for another reason. */
  #isDue(
    own: number,
    transaction: readonly Reissue[],
    rejections: ReadonlyMap<number, Rejection>,
    due: ReadonlySet<number>,
  ): boolean {
    let isCaused = false
    for (const { entry, rejection } of transaction) {
      if (rejection.reissuedAs !== undefined) {
        this.#names.set(entry.seq, rejection.reissuedAs)
        return false
      }
      const built = clockGet(entry.context, own)
      const isBuiltOnDue = due.has(built) || this.#names.has(built)
      const isBuiltWithin = transaction.some((mate) => mate.entry.seq === built)
      if (rejections.has(built) && !isBuiltOnDue && !isBuiltWithin) return false
      if (rejection.code === 'clock-skew' || (rejection.code === 'void-context' && isBuiltOnDue)) isCaused = true
    }
    return isCaused
  }

  async inspect(ledger: Ledger): Promise<void> {
    const { state } = ledger
    if (isWaiting(state)) return
    this.#leaveOvertaken(state.own)
    this.#highest = 0
    if (state.meta.lastTimestamp <= msToTimestamp(this.#nowMs)) return
    // Only after a clock has jumped: all rows are read, once.
    for await (const { value } of scanRange(ledger.store, allRows())) {
      const { heads, versions } = decodeRow(value)
      for (const { timestamp } of heads) this.#highest = Math.max(this.#highest, timestamp)
      for (const { stamp } of versions) this.#highest = Math.max(this.#highest, stamp.timestamp)
    }
  }

  /** Z4. */
  #leaveOvertaken(own: number): void {
    const left = new Set<number>()
    this.#transactions = this.#transactions.filter((transaction) => {
      const isLeft = transaction.some(({ entry, row }) => {
        const built = clockGet(entry.context, own)
        const held = clockGet(row.header.clock, own)
        return left.has(built) || (held > entry.seq && held !== this.#names.get(built))
      })
      if (isLeft) for (const { entry } of transaction) left.add(entry.seq)
      return !isLeft
    })
  }

  /** Answers with how many changes were issued again; undefined when it is too early to say. */
  apply(draft: Draft, { limits }: Ledger): number | undefined {
    const { state } = draft
    const { meta } = state
    if (isWaiting(state)) return undefined
    const last = Math.min(meta.lastTimestamp, Math.max(msToTimestamp(this.#nowMs), this.#highest))
    // The server's own clock went back: as long as rows are that far ahead of it, it would only refuse again.
    if (last + REISSUED_MAX * 2 > msToTimestamp(this.#nowMs + limits.skewMs)) return 0
    if (last < meta.lastTimestamp) draft.touchMeta()
    meta.lastTimestamp = last
    let count = 0
    for (const transaction of this.#transactions) {
      this.#issue(draft, transaction)
      count += transaction.length
    }
    return count
  }

  #issue(draft: Draft, transaction: readonly Reissue[]): void {
    const { own, meta } = draft.state
    const changes: ChangeEntry[] = []
    const previous: number[] = []
    let position = meta.nextPosition
    let bytes = 0
    for (const { entry, rejection, row } of transaction) {
      const stamp = { replica: own, seq: meta.ownSeq + 1, timestamp: nextTimestamp(meta.lastTimestamp, this.#nowMs) }
      const versions = entry.versions.map((version) => this.#inItsRun({ ...version, stamp }, entry.seq))
      const change: ChangeEntry = { ...entry, ...stamp, context: contextOver(entry, row, own), versions }
      meta.ownSeq = stamp.seq
      meta.lastTimestamp = stamp.timestamp
      this.#names.set(entry.seq, stamp.seq)
      draft.put(rejectedKey(own, entry.seq), packRecord([rejection.code, rejection.bytes, stamp.seq]))
      previous.push(row.header.position)
      keepAgreed(draft, row, row.header, own)
      draft.apply(row, change, position++, 'local')
      changes.push(change)
      bytes += rejection.bytes.length
    }
    draft.raiseSeq(own, meta.ownSeq)
    draft.appendEntries([own], changes, previous, bytes)
  }

  /** A part of a counter says by how many seqs its run began earlier, and those have become others. */
  #inItsRun(version: Version, before: number): Version {
    if (!isCounter(version)) return version
    const part = decodePart(version.bytes, version.start)
    if (part.age === 0) return version
    const began = before - part.age
    setPart(version, { ...part, age: version.stamp.seq - (this.#names.get(began) ?? began) })
    return version
  }
}

/** Z2. */
function contextOver({ context }: ChangeEntry, { header }: RowEntry, own: number): SparseClock {
  let seen = EMPTY_CLOCK
  for (let at = 0; at < context.length; at += 2) {
    if (context[at] !== own) seen = clockWith(seen, context[at] as number, context[at + 1] as number)
  }
  const ours = clockGet(header.clock, own)
  return ours === 0 ? seen : clockWith(seen, own, ours)
}

/** Until everything is answered, nobody knows what else is refused. */
function isWaiting({ meta }: LedgerState): boolean {
  return meta.rejected === 0 || meta.ownSeq > meta.ackedSeq
}

/** What was refused, as it was written. */
async function readTransactions(ledger: Ledger, rejections: ReadonlyMap<number, Rejection>): Promise<Reissue[][]> {
  const transactions: Reissue[][] = []
  let open: Reissue[] = []
  for (const [seq, rejection] of rejections) {
    const { entry } = (await ledger.log.entryOf(ledger.state.own, seq)) ?? {}
    if (entry === undefined || entry.op === 'void') continue
    open.push({ entry, rejection, row: ledger.need(entry.table, entry.id) })
    if (entry.more) continue
    transactions.push(open)
    open = []
  }
  return transactions
}
