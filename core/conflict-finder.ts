/**
 * Finding conflicts: the reports about a row's heads, and about two changes that were heads once, with what only the log knows.
 *
 * A report about an open conflict is read from the row. Of a settled one the row keeps nothing: it is made again from the two
 * changes and what their writers had seen, which the log holds.
 *
 * Invariants:
 * F8  What is told of a settled conflict is what was told while it was open and nobody else had a side in the row.
 * F9  It depends on the changes alone: neither on their order in this log, nor on what happened to the row since. Where the log
 *     does not hold all that the two sides did, the report says so.
 */
import { isRefused } from './agreed.ts'
import type { ChangeEntry } from './block.ts'
import { toVectorClock } from './change.ts'
import { clockCovers } from './clock.ts'
import {
  type Conflict,
  type ConflictField,
  type ConflictSide,
  type ReportOptions,
  reportPair,
  rowConflicts,
} from './conflict.ts'
import type { DotRef } from './journal.ts'
import type { Ledger } from './ledger.ts'
import { compareStamps, type Head, type RowState, sameStamp } from './row.ts'
import {
  fieldsNeeded,
  fieldsOfSides,
  type PastQuery,
  RowHistory,
  type RowPast,
  readPast,
  replayChanges,
} from './row-past.ts'
import { decodeVersions, settleRow } from './settle.ts'
import type { TableDefinition } from './table.ts'

/** What is known of a conflict, values included. */
export interface Found {
  readonly conflict: Conflict
  readonly isOpen: boolean
}

interface RowName {
  readonly table: string
  readonly id: string
}

/** A row under its table's definition. */
export interface RowInQuestion extends RowName {
  readonly definition: TableDefinition
  readonly state: RowState
}

/** Two changes, and the place of the later one in the log. */
interface PlacedTips {
  readonly tips: readonly ChangeEntry[]
  readonly position: number
}

export class ConflictFinder {
  readonly #ledger: Ledger

  constructor(ledger: Ledger) {
    this.#ledger = ledger
  }

  /** The conflicts of a row as it stands, without what only the log knows. */
  inRow(row: RowInQuestion): Conflict[] {
    return rowConflicts(this.#options(row))
  }

  /** The same, with it. */
  async *open(row: RowInQuestion): AsyncGenerator<Conflict> {
    const history = new RowHistory(this.#ledger.log, row.state.position)
    for (const conflict of this.inRow(row)) yield await this.#withDetail(conflict, row, history)
  }

  /** The report about two changes, from the row while both are heads, from the log afterwards. */
  async between(row: RowInQuestion, left: DotRef, right: DotRef): Promise<Found | undefined> {
    const isOpen = headOf(row.state, left) !== undefined && headOf(row.state, right) !== undefined
    const { tips, position } = await this.#tipsOf(row, [left, right])
    const history = new RowHistory(this.#ledger.log, isOpen ? row.state.position : position)
    const past = isOpen ? undefined : await this.#stateFromLog(row, tips, history)
    const state = isOpen ? row.state : past?.state
    if (state === undefined) return undefined
    const heads = [headOf(state, left), headOf(state, right)].filter((head) => head !== undefined)
    heads.sort((a, b) => compareStamps(a, b, this.#ledger.state.replicas))
    const [first, second] = heads
    if (first === undefined || second === undefined) return undefined
    const conflict = reportPair(this.#options({ ...row, state }), first, second)
    if (conflict === undefined) return undefined
    const detailed = await this.#withDetail(conflict, row, history)
    return { conflict: past?.isWhole === false ? { ...detailed, isPartial: true } : detailed, isOpen }
  }

  /**
   * The row where two changes of it had arrived, with what their writers had seen, and nothing else; undefined when they are
   * not concurrent changes of it, or the log does not hold them.
   */
  async #stateFromLog(
    { definition }: RowInQuestion,
    tips: readonly ChangeEntry[],
    history: RowHistory,
  ): Promise<{ readonly state: RowState; readonly isWhole: boolean } | undefined> {
    const [left, right] = tips
    if (left === undefined || right === undefined) return undefined
    const isSeen = (by: ChangeEntry, other: ChangeEntry): boolean => clockCovers(by.context, other.replica, other.seq)
    if (isSeen(left, right) || isSeen(right, left)) return undefined
    const past = await this.#pastOf(tips, history, fieldsOfSides(definition, tips))
    const isWhole = past.hasNews && past.hasShared
    return { state: replayChanges([...past.shared, ...past.news], this.#ledger.state.replicas), isWhole }
  }

  /** The changes with these dots, if the log holds them, they are changes of this row, and no server refused them. */
  async #tipsOf({ table, id }: RowName, dots: readonly DotRef[], history?: RowHistory): Promise<PlacedTips> {
    const { log, state } = this.#ledger
    const tips: ChangeEntry[] = []
    let last = 0
    for (const dot of dots) {
      if (await isRefused(this.#ledger, dot)) continue
      const placed = history?.find(dot) ?? (await log.entryOf(dot.replica, dot.seq))
      if (placed === undefined || placed.entry.op === 'void' || placed.entry.id !== id) continue
      if (state.names.textOf(placed.entry.table) !== table) continue
      tips.push(placed.entry)
      last = Math.max(last, placed.position)
    }
    return { tips, position: last }
  }

  async #pastOf(tips: readonly ChangeEntry[], history: RowHistory, fields: PastQuery['fields']): Promise<RowPast> {
    const past = await readPast({ history, tips, fields })
    // A row that was forgotten since is not the way from one to the other any more.
    const hasTips = tips.every((tip) => past.news.some((entry) => sameStamp(entry, tip)))
    return hasTips ? past : { news: tips, hasNews: false, shared: [], hasShared: false }
  }

  /** Adds what only the log knows: the writers' contexts, and the values before. */
  async #withDetail(conflict: Conflict, { definition }: RowInQuestion, history: RowHistory): Promise<Conflict> {
    const { state } = this.#ledger
    const dots = conflict.sides.map(({ dot }) => ({ replica: state.replicas.find(dot.replica), seq: dot.seq }))
    const { tips } = await this.#tipsOf({ table: conflict.table, id: conflict.row }, dots, history)
    const [left, right] = tips
    if (left === undefined || right === undefined) return conflict
    const sides = conflict.sides.map((side, index) => ({
      ...side,
      context: toVectorClock((index === 0 ? left : right).context, state),
    })) as unknown as readonly [ConflictSide, ConflictSide]
    if (conflict.fields.length === 0) return { ...conflict, sides }
    const names = conflict.fields.map(({ name }) => state.names.find(name))
    const past = await this.#pastOf(tips, history, fieldsNeeded(definition, names))
    if (!past.hasShared) return { ...conflict, sides }
    const before = settleRow(replayChanges(past.shared, state.replicas), definition, state)
    const base = decodeVersions(before.versions, state)
    const fields = conflict.fields.map((field): ConflictField => {
      const value = base[field.name]
      return value === undefined ? field : { ...field, base: value }
    })
    return { ...conflict, sides, fields }
  }

  #options({ table, id, definition, state }: RowInQuestion): ReportOptions {
    return { table, row: id, state, rules: definition, dictionaries: this.#ledger.state }
  }
}

function headOf({ heads }: RowState, dot: DotRef): Head | undefined {
  return heads.find((head) => sameStamp(head, dot))
}
