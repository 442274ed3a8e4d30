/**
 * The past of changes of a row: what their writers had seen, read back from the log.
 *
 * Every change is reached through the contexts that name it, so that a change that was refused, or that only a third
 * writer knew, is never taken for a part of it.
 * Invariant H1: what is answered depends on the changes alone, not on the order in which this log holds them.
 */
import type { ChangeEntry, Entry } from './block.ts'
import { clockCovers, clockMerge, clockWith, EMPTY_CLOCK, type SparseClock } from './clock.ts'
import type { Dictionary } from './dictionary.ts'
import type { DotRef } from './journal.ts'
import type { LogReader, PlacedEntry } from './log-reader.ts'
import { applyChange, EMPTY_ROW, type RowState, writesWholeRow } from './row.ts'

export interface RowPast {
  /** The tips themselves, and what only some of them had seen. Oldest first. */
  readonly news: readonly ChangeEntry[]
  /** What all tips had seen, as far back as it was asked for. Oldest first. */
  readonly shared: readonly ChangeEntry[]
  /** False: the log does not reach back that far. */
  readonly isWhole: boolean
}

export interface PastQuery {
  readonly history: RowHistory
  /** Changes of the row of which none has seen another. */
  readonly tips: readonly ChangeEntry[]
  /** Name indexes: `shared` goes back to what shows in these fields. `all`: to the row's first change. */
  readonly fields: readonly number[] | 'all'
}

/** Changes of one row that are looked at: bounds the time for rows that are written all the time. */
const PAST_MAX = 1_000

export async function readPast({ history, tips, fields }: PastQuery): Promise<RowPast> {
  const waiting = new Waiting(tips)
  const news: ChangeEntry[] = []
  const shared: ChangeEntry[] = []
  const written = new Map<number, SparseClock>(fields === 'all' ? [] : fields.map((field) => [field, EMPTY_CLOCK]))
  const isShared = ({ replica, seq }: DotRef): boolean =>
    tips.every(({ context }) => clockCovers(context, replica, seq))
  const isIdle = (dot: DotRef): boolean =>
    fields !== 'all' &&
    isShared(dot) &&
    [...written.values()].every((clock) => clockCovers(clock, dot.replica, dot.seq))
  let left = PAST_MAX
  for await (const entry of history.entries()) {
    if (left-- === 0) break
    if (entry.op === 'void' || !waiting.take(entry)) continue
    if (isShared(entry)) {
      shared.push(entry)
      for (const [field, clock] of written) if (writesField(entry, field)) written.set(field, raised(clock, entry))
    } else news.push(entry)
    if (waiting.dots.every(isIdle)) break
  }
  return { news: news.reverse(), shared: shared.reverse(), isWhole: waiting.dots.every(isIdle) }
}

/** The changes of one row, newest first, each read once however often somebody goes through them. */
export class RowHistory {
  readonly #known: Entry[] = []
  readonly #rest: AsyncGenerator<PlacedEntry>

  /** `position` is the place of the row's last change. */
  constructor(log: LogReader, position: number) {
    this.#rest = log.rowHistory(position)
  }

  /** To be gone through by one at a time. */
  async *entries(): AsyncGenerator<Entry> {
    for (let at = 0; ; at++) {
      if (at === this.#known.length) {
        const { value, done } = await this.#rest.next()
        if (done === true) return
        this.#known.push(value.entry)
      }
      yield this.#known[at] as Entry
    }
  }

  /** One of them, if it is among those that were read already. */
  find({ replica, seq }: DotRef): Entry | undefined {
    return this.#known.find((entry) => entry.replica === replica && entry.seq === seq)
  }
}

function writesField({ op, versions }: ChangeEntry, field: number): boolean {
  return writesWholeRow(op) || versions.some(({ name }) => name === field)
}

function raised(clock: SparseClock, { context, replica, seq }: ChangeEntry): SparseClock {
  return clockMerge(clock, clockWith(context, replica, seq))
}

/** The row as it is where these changes have arrived, and nothing else. */
export function replayChanges(changes: readonly ChangeEntry[], replicas: Dictionary): RowState {
  return changes.reduce((row, change) => applyChange(row, change, 0, replicas), EMPTY_ROW)
}

/** Dots that some context names and that are yet to be met, walking back. */
class Waiting {
  dots: DotRef[]

  constructor(tips: readonly ChangeEntry[]) {
    this.dots = tips.map(({ replica, seq }) => ({ replica, seq }))
  }

  /** Answers false for a change that nobody waits for; else waits for what that one had seen. */
  take({ replica, seq, context }: ChangeEntry): boolean {
    const rest = this.dots.filter((dot) => dot.replica !== replica || dot.seq !== seq)
    if (rest.length === this.dots.length) return false
    for (let at = 0; at < context.length; at += 2) {
      const seen = { replica: context[at] as number, seq: context[at + 1] as number }
      if (!rest.some((dot) => dot.replica === seen.replica && dot.seq === seen.seq)) rest.push(seen)
    }
    this.dots = rest
    return true
  }
}
