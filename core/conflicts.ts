/**
 * The conflicts of a replica: found, looked up, resolved, brought back.
 *
 * Open conflicts are a view of the rows with several heads, found through their index. Settled ones are in the journal, with
 * their values read back from the log. Every way of resolving is an ordinary write that covers all heads of the row, so it
 * closes the conflict on all replicas.
 */
import type { ChangeEntry } from './block.ts'
import { toVectorClock } from './change.ts'
import { clockCovers, type Dot } from './clock.ts'
import {
  type Conflict,
  type ConflictField,
  type ConflictSide,
  parseConflictId,
  type ReportOptions,
  reportPair,
  rowConflicts,
} from './conflict.ts'
import { isCounter } from './counter.ts'
import type { TouchedRow } from './draft.ts'
import { TidemarkError } from './errors.ts'
import { type DotRef, decodeRecord, witnessHeads } from './journal.ts'
import { journalKeyNumber, journalRange, keyIndex, kindRange, rowKey, rowKeyAs, rowKeyId } from './keys.ts'
import { type Ledger, tell } from './ledger.ts'
import { scanRange } from './ledger-state.ts'
import { quote } from './names.ts'
import type { Replica } from './replica.ts'
import { applyChange, compareStamps, EMPTY_ROW, type Head, type RowState } from './row.ts'
import { decodeRow } from './row-codec.ts'
import { decodeVersions, settleRow, versionsOf } from './settle.ts'
import type { TableDefinition } from './table.ts'
import type { Value } from './value.ts'

export interface JournalEntry {
  /** Its number in the journal of this replica: `since` of a later call. */
  readonly number: number
  /** When this replica learned of it, Unix milliseconds. */
  readonly time: number
  readonly conflict: Conflict
  /** False once a later change covers one of the sides. */
  readonly isOpen: boolean
}

export interface JournalQuery {
  /** Entries after this number. */
  readonly since?: number
  readonly table?: string
  readonly type?: Conflict['type']
  /** Most entries to answer with; 100 by default. */
  readonly limit?: number
}

/** How somebody decides. */
export type Decision =
  /** The values of one side, or its delete. */
  | { readonly keep: Dot }
  /** These fields; null deletes the row. */
  | { readonly value: Readonly<Record<string, unknown>> | null }
  | { readonly merge: (conflict: Conflict) => Readonly<Record<string, unknown>> | null }

export interface ConflictEvent {
  readonly type: 'opened' | 'closed'
  readonly conflict: Conflict
}

const HISTORY_MAX = 1_000

export class ReplicaConflicts {
  readonly #replica: Replica
  readonly #ledger: Ledger

  constructor(replica: Replica) {
    this.#replica = replica
    this.#ledger = replica.ledger
    this.#ledger.witness = (draft, entry, before, after) => {
      const definition = replica.tables.get(draft.state.names.textOf(entry.table))
      if (definition?.journal.isKept === true) witnessHeads(draft, entry, before, after, replica.now())
    }
  }

  // ── Finding ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Conflicts of rows that still have several heads, in the order of tables and ids. */
  async *open(filter: { readonly table?: string } = {}): AsyncGenerator<Conflict> {
    await this.#ledger.catchUp()
    const { store, state } = this.#ledger
    for await (const { key } of scanRange(store, kindRange('o'))) {
      const table = state.names.textOf(keyIndex(key))
      if (filter.table !== undefined && filter.table !== table) continue
      const [bytes] = await store.getMany([rowKeyAs('r', key)])
      if (bytes === undefined || !this.#replica.tables.has(table)) continue
      const options = this.#options(table, rowKeyId(key), decodeRow(bytes))
      for (const conflict of rowConflicts(options)) yield this.#withDetail(conflict)
    }
  }

  /** Conflicts in the order in which this replica learned of them, settled ones included. */
  async journal(query: JournalQuery = {}): Promise<JournalEntry[]> {
    await this.#ledger.catchUp()
    const { store, state } = this.#ledger
    const { journalStart, journalEnd } = state.meta
    const from = Math.max(journalStart, (query.since ?? 0) + 1)
    const entries: JournalEntry[] = []
    for await (const { key, value } of scanRange(store, journalRange(from, journalEnd))) {
      const { table, id, time, head, others } = decodeRecord(value)
      const name = state.names.textOf(table)
      if ((query.table !== undefined && query.table !== name) || !this.#replica.tables.has(name)) continue
      for (const other of others) {
        const found = await this.#report(name, id, other, head)
        if (found === undefined || (query.type !== undefined && query.type !== found.conflict.type)) continue
        entries.push({ number: journalKeyNumber(key), time, ...found })
      }
      if (entries.length >= (query.limit ?? 100)) break
    }
    return entries
  }

  /** One conflict, open or settled; undefined when this replica does not know it (any more). */
  async get(id: string): Promise<Conflict | undefined> {
    return (await this.#find(id))?.conflict
  }

  /** Removes the journal's records, of one table or all. What the log still holds stays in the log. */
  async eraseJournal(filter: { readonly table?: string } = {}): Promise<number> {
    const { store, state } = this.#ledger
    const keys: Uint8Array[] = []
    for await (const { key, value } of scanRange(store, journalRange(0, state.meta.journalEnd))) {
      const name = state.names.textOf(decodeRecord(value).table)
      if (filter.table === undefined || filter.table === name) keys.push(key)
    }
    await this.#ledger.submit({
      weight: keys.length,
      prepare: () => {},
      apply: (draft) => {
        for (const key of keys) draft.delete(key)
      },
    })
    return keys.length
  }

  /** Calls back when a conflict opens or closes, whoever caused it. Answers with the way to stop. */
  subscribe(listener: (event: ConflictEvent) => void): () => void {
    return this.#ledger.onRows((rows) => {
      for (const row of rows) for (const event of this.#eventsOf(row)) tell(() => listener(event))
    })
  }

  #eventsOf({ entry, before, after }: TouchedRow): ConflictEvent[] {
    if (before.heads.length < 2 && after.heads.length < 2) return []
    const table = this.#ledger.state.names.textOf(entry.table)
    if (!this.#replica.tables.has(table)) return []
    const had = rowConflicts(this.#options(table, entry.id, before)).map((conflict) => this.#redacted(conflict))
    const has = rowConflicts(this.#options(table, entry.id, after)).map((conflict) => this.#redacted(conflict))
    const isIn = (list: readonly Conflict[], { id }: Conflict): boolean => list.some((other) => other.id === id)
    return [
      ...had.filter((conflict) => !isIn(has, conflict)).map((conflict) => ({ type: 'closed', conflict }) as const),
      ...has.filter((conflict) => !isIn(had, conflict)).map((conflict) => ({ type: 'opened', conflict }) as const),
    ]
  }

  // ── Deciding ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Decides an open conflict with a write that covers all heads of its row. */
  async resolve(id: string, decision: Decision): Promise<void> {
    const { conflict, isOpen } = await this.#expect(id)
    if (!isOpen) throw closed(id)
    if ('keep' in decision) return this.#write(conflict, this.#sideOf(conflict, decision.keep))
    await this.#write(conflict, 'value' in decision ? decision.value : decision.merge(conflict))
  }

  /** Makes the provisional value final, as it stands. */
  async accept(id: string): Promise<void> {
    const { conflict, isOpen } = await this.#expect(id)
    if (!isOpen) throw closed(id)
    const state = await this.#replica.readState(conflict.table, conflict.row)
    const settled = settleRow(state, this.#definition(conflict.table), this.#ledger.state)
    if (!settled.isAlive) return this.#write(conflict, null)
    const contested = settled.versions.filter(
      ({ name }) => state.versions.filter((version) => version.name === name && !isCounter(version)).length > 1,
    )
    await this.#write(conflict, decodeVersions(contested, this.#ledger.state))
  }

  /** Brings back the side that lost, as a new write; also long after the conflict was settled. */
  async restore(id: string): Promise<void> {
    const { conflict } = await this.#expect(id)
    const [left, right] = conflict.sides
    const { winner } = conflict
    if (winner === undefined) {
      throw new TidemarkError('bad-option', 'nobody lost this conflict: both sides are kept', {
        remedy: 'Use resolve with { keep: dot } to choose one of them',
      })
    }
    const loser = left.dot.replica === winner.replica && left.dot.seq === winner.seq ? right : left
    await this.#write(conflict, loser.op === 'delete' ? null : loser.values)
  }

  #sideOf(conflict: Conflict, dot: Dot): Readonly<Record<string, Value>> | null {
    const side = conflict.sides.find((each) => each.dot.replica === dot.replica && each.dot.seq === dot.seq)
    if (side === undefined) {
      throw new TidemarkError('bad-option', 'the dot to keep is none of the two sides', {
        remedy: `They are ${conflict.sides.map((each) => `${each.dot.replica}:${each.dot.seq}`).join(' and ')}`,
      })
    }
    return side.op === 'delete' ? null : side.values
  }

  /** A write over all heads: fields into a row that lives, a whole row where it does not, or a delete. */
  async #write({ table, row }: Conflict, values: Readonly<Record<string, unknown>> | null): Promise<void> {
    const state = await this.#replica.readState(table, row)
    const read = { table, id: row, position: state.position }
    const definition = this.#definition(table)
    const isAlive = settleRow(state, definition, this.#ledger.state).isAlive
    const write = this.#replica.opsOf(table)
    if (values === null) write.erase(row)
    else if (isAlive && definition.granularity === 'fields') write.update(row, values)
    else write.rewrite(row, isAlive ? values : { ...this.#beneath(definition, state), ...values })
    await this.#replica.write(write.ops, [read])
  }

  /** The fields that stay beneath a delete. */
  #beneath(definition: TableDefinition, state: RowState): Record<string, Value> {
    const heads = state.heads.filter((head) => head.op !== 'delete')
    const last = heads[heads.length - 1]
    if (definition.granularity === 'row')
      return last === undefined ? {} : decodeVersions(versionsOf(state, last), this.#ledger.state)
    return decodeVersions(state.versions, this.#ledger.state)
  }

  // ── Looking up ────────────────────────────────────────────────────────────────────────────────────────────────────

  async #expect(id: string): Promise<{ readonly conflict: Conflict; readonly isOpen: boolean }> {
    const found = await this.#find(id)
    if (found !== undefined) return found
    throw new TidemarkError('conflict-unknown', `there is no conflict ${quote(id)}`, {
      remedy: 'Its sides may not have arrived here, or the log does not reach back to them',
    })
  }

  async #find(id: string): Promise<{ readonly conflict: Conflict; readonly isOpen: boolean } | undefined> {
    const address = parseConflictId(id)
    if (address === undefined || !this.#replica.tables.has(address.table)) return undefined
    const { replicas } = this.#ledger.state
    const [left, right] = address.dots.map(({ replica, seq }) => ({ replica: replicas.find(replica), seq }))
    if (left === undefined || right === undefined || left.replica < 0 || right.replica < 0) return undefined
    return this.#report(address.table, address.row, left, right)
  }

  /** The report about two changes, from the row while both are heads, from the log afterwards. */
  async #report(
    table: string,
    row: string,
    left: DotRef,
    right: DotRef,
  ): Promise<{ readonly conflict: Conflict; readonly isOpen: boolean } | undefined> {
    const state = await this.#replica.readState(table, row)
    const headOf = (from: RowState, dot: DotRef): Head | undefined =>
      from.heads.find((head) => head.replica === dot.replica && head.seq === dot.seq)
    const isOpen = headOf(state, left) !== undefined && headOf(state, right) !== undefined
    const source = isOpen ? state : await this.#stateFromLog(table, row, [left, right])
    const heads = [source && headOf(source, left), source && headOf(source, right)].filter((head) => head !== undefined)
    heads.sort((a, b) => compareStamps(a, b, this.#ledger.state.replicas))
    const [first, second] = heads
    if (source === undefined || first === undefined || second === undefined) return undefined
    const conflict = reportPair(this.#options(table, row, source), first, second)
    return conflict && { conflict: await this.#withDetail(conflict), isOpen }
  }

  /** Two changes of a row as if nothing else had happened to it; undefined when they are not concurrent changes of it. */
  async #stateFromLog(table: string, row: string, dots: readonly DotRef[]): Promise<RowState | undefined> {
    const { log, state } = this.#ledger
    const entries: ChangeEntry[] = []
    for (const { replica, seq } of dots) {
      const found = await log.entryOf(replica, seq)
      if (found === undefined || found.entry.op === 'void' || found.entry.id !== row) return undefined
      if (state.names.textOf(found.entry.table) !== table) return undefined
      entries.push(found.entry)
    }
    const [left, right] = entries as [ChangeEntry, ChangeEntry]
    const isSeen = (by: ChangeEntry, other: ChangeEntry): boolean => clockCovers(by.context, other.replica, other.seq)
    if (isSeen(left, right) || isSeen(right, left)) return undefined
    const bare = entries.map((entry) => ({ ...entry, context: [] }))
    return bare.reduce((row_, entry) => applyChange(row_, entry, 0, state.replicas), EMPTY_ROW)
  }

  /** Adds what only the log knows: the writers' contexts, and the values before. */
  async #withDetail(conflict: Conflict): Promise<Conflict> {
    if (this.#definition(conflict.table).journal.isRedacted) return this.#redacted(conflict)
    const { log, state } = this.#ledger
    const entries: ChangeEntry[] = []
    for (const { dot } of conflict.sides) {
      const replica = state.replicas.find(dot.replica)
      const found = replica < 0 ? undefined : await log.entryOf(replica, dot.seq)
      if (found === undefined || found.entry.op === 'void') return conflict
      entries.push(found.entry)
    }
    const [left, right] = entries as [ChangeEntry, ChangeEntry]
    const sides = conflict.sides.map((side, index) => ({
      ...side,
      context: toVectorClock((index === 0 ? left : right).context, state),
    })) as unknown as readonly [ConflictSide, ConflictSide]
    const base = conflict.fields.length === 0 ? {} : await this.#baseOf(conflict, left, right)
    const fields = conflict.fields.map((field): ConflictField => {
      const value = base[field.name]
      return value === undefined ? field : { ...field, base: value }
    })
    return { ...conflict, sides, fields }
  }

  /** The values that both writers had seen: the newest change of each field that both contexts cover. */
  async #baseOf(conflict: Conflict, left: ChangeEntry, right: ChangeEntry): Promise<Record<string, Value>> {
    const { log, store, state } = this.#ledger
    const [bytes] = await store.getMany([rowKey('r', left.table, conflict.row)])
    const base: Record<string, Value> = Object.create(null) as Record<string, Value>
    if (bytes === undefined) return base
    let left_ = HISTORY_MAX
    for await (const { entry } of log.rowHistory(decodeRow(bytes).position)) {
      if (left_-- === 0) break
      if (entry.op === 'void' || !clockCovers(left.context, entry.replica, entry.seq)) continue
      if (!clockCovers(right.context, entry.replica, entry.seq)) continue
      const values = decodeVersions(entry.versions, state)
      for (const { name } of conflict.fields) if (!(name in base) && name in values) base[name] = values[name] as Value
    }
    return base
  }

  #redacted(conflict: Conflict): Conflict {
    if (!this.#definition(conflict.table).journal.isRedacted) return conflict
    const sides = conflict.sides.map((side) => ({ ...side, values: {} })) as unknown as readonly [
      ConflictSide,
      ConflictSide,
    ]
    return { ...conflict, sides }
  }

  #options(table: string, row: string, state: RowState): ReportOptions {
    return { table, row, state, rules: this.#definition(table), dictionaries: this.#ledger.state }
  }

  #definition(table: string): TableDefinition {
    return this.#replica.tables.get(table) as TableDefinition
  }
}

function closed(id: string): TidemarkError {
  return new TidemarkError('conflict-closed', `conflict ${quote(id)} is settled already`, {
    remedy: 'Use restore to bring back the side that lost',
  })
}
