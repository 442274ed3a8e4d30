/**
 * The past of changes of a row: what their writers had seen, read back from the log.
 *
 * Every change is reached through the contexts that name it, so that a change that was refused, or that only a third
 * writer knew, is never taken for a part of it.
 * Invariant H1: what is answered depends on the changes alone, not on the order in which this log holds them.
 */
import type { ChangeEntry } from './block.ts'
import { clockCovers, clockMerge, clockWith, EMPTY_CLOCK, type SparseClock } from './clock.ts'
import type { Dictionary } from './dictionary.ts'
import type { DotRef } from './journal.ts'
import type { LogReader, PlacedEntry } from './log-reader.ts'
import { applyChange, EMPTY_ROW, type RowState, sameStamp, writesWholeRow } from './row.ts'
import type { TableDefinition } from './table.ts'

export interface RowPast {
  /** The tips themselves, and what only some of them had seen. Oldest first. */
  readonly news: readonly ChangeEntry[]
  /** False: the log does not reach back to all of these. */
  readonly hasNews: boolean
  /** What all tips had seen and still matters to the fields that were asked for. Oldest first. */
  readonly shared: readonly ChangeEntry[]
  /** False: the log does not reach back to all of these, or they are too many: then none are answered. */
  readonly hasShared: boolean
}

export interface PastQuery {
  readonly history: RowHistory
  /** Changes of the row of which none has seen another. */
  readonly tips: readonly ChangeEntry[]
  /** Name indexes: `shared` goes back to what shows in these fields. `all`: to the row's first change. */
  readonly fields: readonly number[] | 'all'
}

/**
 * How many changes that all had seen are looked at: bounds the time for rows that are written all the time. Which of them
 * matter does not depend on their order, so that every log that has them passes the bound or none does (H1).
 */
const SHARED_MAX = 1_000

export async function readPast({ history, tips, fields }: PastQuery): Promise<RowPast> {
  const waiting = new Waiting(tips)
  const news: ChangeEntry[] = []
  const shared: ChangeEntry[] = []
  const written = new Map<number, SparseClock>(fields === 'all' ? [] : fields.map((field) => [field, EMPTY_CLOCK]))
  const isShared = ({ replica, seq }: DotRef): boolean =>
    tips.every(({ context }) => clockCovers(context, replica, seq))
  // What somebody who wrote the field had seen shows there no more; whoever had seen a change comes after it in every log.
  const isIdle = (dot: DotRef): boolean =>
    fields !== 'all' &&
    isShared(dot) &&
    [...written.values()].every((clock) => clockCovers(clock, dot.replica, dot.seq))
  for await (const { entry } of history.entries()) {
    if (entry.op === 'void' || !waiting.take(entry)) continue
    if (!isShared(entry)) news.push(entry)
    else if (!isIdle(entry)) {
      shared.push(entry)
      for (const [field, clock] of written) if (writesField(entry, field)) written.set(field, raised(clock, entry))
    }
    if (shared.length > SHARED_MAX && waiting.dots.every(isShared)) break
    if (waiting.dots.every(isIdle)) break
  }
  const hasShared = shared.length <= SHARED_MAX && waiting.dots.every(isIdle)
  return {
    news: news.reverse(),
    hasNews: waiting.dots.every(isShared),
    shared: hasShared ? shared.reverse() : [],
    hasShared,
  }
}

/** What of the past shows in these fields: code of an app's own looks at whole rows. */
export function fieldsNeeded({ policy }: TableDefinition, fields: readonly number[]): PastQuery['fields'] {
  return policy.decide === undefined ? fields : 'all'
}

/** What of the past two sides are told with: an update in a table that is settled as a whole says less than its writer had. */
export function fieldsOfSides(definition: TableDefinition, tips: readonly ChangeEntry[]): PastQuery['fields'] {
  const isFragment = definition.granularity === 'row' && tips.some(({ op }) => op === 'update')
  return isFragment ? 'all' : fieldsNeeded(definition, [])
}

/** The changes of one row, newest first, each read once however often somebody goes through them. */
export class RowHistory {
  readonly #known: PlacedEntry[] = []
  readonly #rest: AsyncGenerator<PlacedEntry>

  /** `position` is the place of a change of the row: that one and what came before it are read. */
  constructor(log: LogReader, position: number) {
    this.#rest = log.rowHistory(position)
  }

  /** To be gone through by one at a time. */
  async *entries(): AsyncGenerator<PlacedEntry> {
    for (let at = 0; ; at++) {
      if (at === this.#known.length) {
        const { value, done } = await this.#rest.next()
        if (done === true) return
        this.#known.push(value)
      }
      yield this.#known[at] as PlacedEntry
    }
  }

  /** One of them, if it is among those that were read already. */
  find(dot: DotRef): PlacedEntry | undefined {
    return this.#known.find(({ entry }) => sameStamp(entry, dot))
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
