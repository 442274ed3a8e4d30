/**
 * The conflicts of a replica: found, looked up, resolved, brought back.
 *
 * Open conflicts are a view of the rows with several heads, found through their index. Settled ones are in the journal, with
 * their values read back from the log. Every way of resolving is an ordinary write that covers all heads of the row, so it
 * closes the conflict on all replicas.
 */
import type { Dot } from './clock.ts'
import { type Conflict, type ConflictSide, isSameReport, parseConflictId } from './conflict.ts'
import { ConflictFinder, type Found, type RowInQuestion } from './conflict-finder.ts'
import { isCounter } from './counter.ts'
import type { TouchedRow } from './draft.ts'
import { TidemarkError } from './errors.ts'
import { EraseRecords, ExpireRecords, isForgotten } from './forgetting.ts'
import { decodeRecord, witnessHeads } from './journal.ts'
import { journalKeyNumber, journalRange, keyIndex, kindRange, rowKeyAs, rowKeyId } from './keys.ts'
import { type Ledger, tell } from './ledger.ts'
import { scanRange } from './ledger-state.ts'
import { quote } from './names.ts'
import type { Replica } from './replica.ts'
import { type RowState, sameValue } from './row.ts'
import { decodeRow } from './row-codec.ts'
import { decodeVersions, settleFields, settleRow, settleWhole, withoutMessage } from './settle.ts'
import type { TableDefinition } from './table.ts'
import type { DecidingOps } from './transaction.ts'
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
  /** Most entries to answer with; 100 by default. What shares a number is not torn apart: a few more may come. */
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
  /** `changed`: it is still open, and its report is another: a third change took something from a side, or gave it. */
  readonly type: 'opened' | 'changed' | 'closed'
  readonly conflict: Conflict
}

export class ReplicaConflicts {
  readonly #replica: Replica
  readonly #ledger: Ledger
  readonly #finder: ConflictFinder
  /** When to look for records that are too old. */
  #expiresMs = Number.NEGATIVE_INFINITY

  constructor(replica: Replica) {
    this.#replica = replica
    this.#ledger = replica.ledger
    this.#finder = new ConflictFinder(replica.ledger)
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
      const row = this.#inQuestion(table, rowKeyId(key), decodeRow(bytes))
      for await (const conflict of this.#finder.open(row)) yield this.#redacted(conflict)
    }
  }

  /** Conflicts in the order in which this replica learned of them, settled ones included. */
  async journal(query: JournalQuery = {}): Promise<JournalEntry[]> {
    await this.#ledger.catchUp()
    await this.#expire()
    const { store, state } = this.#ledger
    const { journalStart, journalEnd } = state.meta
    const from = Math.max(journalStart, (query.since ?? 0) + 1)
    const entries: JournalEntry[] = []
    for await (const { key, value } of scanRange(store, journalRange(from, journalEnd))) {
      const { table, id, time, head, others } = decodeRecord(value)
      const name = state.names.textOf(table)
      if ((query.table !== undefined && query.table !== name) || !this.#replica.tables.has(name)) continue
      const row = this.#inQuestion(name, id, await this.#replica.readState(name, id))
      for (const other of others) {
        const found = await this.#finder.between(row, other, head)
        if (found === undefined || (query.type !== undefined && query.type !== found.conflict.type)) continue
        const { conflict, isOpen } = found
        entries.push({ number: journalKeyNumber(key), time, conflict: this.#redacted(conflict), isOpen })
      }
      if (entries.length >= (query.limit ?? 100)) break
    }
    return entries
  }

  /** One conflict, open or settled; undefined when this replica does not know it (any more). */
  async get(id: string): Promise<Conflict | undefined> {
    const found = await this.#find(id)
    return found && this.#redacted(found.conflict)
  }

  /**
   * Forgets settled conflicts, of one table or all: nothing is told of them here any more, also to somebody who has their ids.
   * Those that are open stay open, and are forgotten once they are settled. Answers with how many records there were. The
   * changes themselves stay in the log until it is truncated, and in those of other replicas.
   */
  eraseJournal(filter: { readonly table?: string } = {}): Promise<number> {
    return this.#ledger.submit(new EraseRecords(filter.table))
  }

  /** Calls back when a conflict opens, changes or closes, whoever caused it. Answers with the way to stop. */
  subscribe(listener: (event: ConflictEvent) => void): () => void {
    return this.#ledger.onRows((rows) => {
      for (const row of rows) for (const event of this.#eventsOf(row)) tell(() => listener(event))
    })
  }

  #eventsOf({ entry, before, after }: TouchedRow): ConflictEvent[] {
    if (before.heads.length < 2 && after.heads.length < 2) return []
    const table = this.#ledger.state.names.textOf(entry.table)
    if (!this.#replica.tables.has(table)) return []
    const had = this.#finder.inRow(this.#inQuestion(table, entry.id, before))
    const has = this.#finder.inRow(this.#inQuestion(table, entry.id, after))
    const events: ConflictEvent[] = []
    for (const conflict of had) if (!has.some(({ id }) => id === conflict.id)) events.push({ type: 'closed', conflict })
    for (const conflict of has) {
      const old = had.find(({ id }) => id === conflict.id)
      if (old === undefined) events.push({ type: 'opened', conflict })
      else if (!isSameReport(old, conflict)) events.push({ type: 'changed', conflict })
    }
    return events.map(({ type, conflict }) => ({ type, conflict: this.#redacted(conflict) }))
  }

  // ── Deciding ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Decides an open conflict with a write that covers all heads of its row. */
  async resolve(id: string, decision: Decision): Promise<void> {
    const { conflict, isOpen } = await this.#expect(id)
    if (!isOpen) throw closed(id)
    if ('keep' in decision) return this.#writeSide(conflict, this.#sideOf(conflict, decision.keep))
    await this.#writeValue(conflict, 'value' in decision ? decision.value : decision.merge(this.#redacted(conflict)))
  }

  /** Makes the provisional value final, as it stands. */
  async accept(id: string): Promise<void> {
    const { conflict, isOpen } = await this.#expect(id)
    if (!isOpen) throw closed(id)
    await this.#write(conflict, (write, { state, definition }) => {
      const { isAlive, versions } = settleRow(state, definition, this.#ledger.state)
      if (!isAlive) return write.erase(conflict.row)
      const isWhole = state.versions.every((version) => versions.some(({ name }) => name === version.name))
      if (definition.granularity === 'row' || !isWhole) {
        return write.rewrite(conflict.row, decodeVersions(versions, this.#ledger.state))
      }
      const unsettled = versions.filter((shown) => {
        const held = state.versions.filter(({ name }) => name === shown.name)
        return !held.some(isCounter) && (held.length > 1 || !held.some((version) => sameValue(version, shown)))
      })
      write.update(conflict.row, decodeVersions(unsettled, this.#ledger.state))
    })
  }

  /**
   * Brings back what a side lost, as a new write; also long after the conflict was settled. The side that lost, or the one
   * with this dot: where each lost something, or to have back the one that won.
   */
  async restore(id: string, dot?: Dot): Promise<void> {
    const { conflict } = await this.#expect(id)
    const side = dot === undefined ? loserOf(conflict) : this.#sideOf(conflict, dot)
    const isByField = conflict.fields.length > 0 && this.#definition(conflict.table).granularity === 'fields'
    if (!isByField || conflict.sides.some(({ op }) => op === 'delete')) return this.#writeSide(conflict, side)
    const lost = conflict.fields.filter(({ winner }) => winner === undefined || !isSameDot(winner, side.dot))
    const wanted = lost.length > 0 ? lost : conflict.fields
    const values = Object.fromEntries(wanted.map(({ name }) => [name, side.values[name] as Value]))
    await this.#writeSide(conflict, { ...side, values })
  }

  #sideOf(conflict: Conflict, dot: Dot): ConflictSide {
    const side = conflict.sides.find((each) => isSameDot(each.dot, dot))
    if (side !== undefined) return side
    throw new TidemarkError('bad-option', 'the dot is none of the two sides', {
      remedy: `They are ${conflict.sides.map((each) => `${each.dot.replica}:${each.dot.seq}`).join(' and ')}`,
    })
  }

  /** What a side wrote, over all heads: its delete, its row, or its fields. Counters keep what has been counted. */
  async #writeSide({ table, row }: Conflict, side: ConflictSide): Promise<void> {
    await this.#write({ table, row }, (write, { state, definition, isAlive }) => {
      if (side.op === 'delete') return write.erase(row)
      if (definition.granularity === 'row') return write.rewrite(row, side.values)
      const counters = this.#replica.countersOf(table)
      const values = Object.fromEntries(Object.entries(side.values).filter(([name]) => counters?.has(name) !== true))
      if (isAlive) write.update(row, values)
      else write.rewrite(row, { ...this.#beneath(definition, state), ...values })
    })
  }

  /** These fields, over all heads and over what the row shows or, where it is deleted, over what is beneath; or a delete. */
  async #writeValue({ table, row }: Conflict, values: Readonly<Record<string, unknown>> | null): Promise<void> {
    await this.#write({ table, row }, (write, { state, definition, isAlive }) => {
      if (values === null) write.erase(row)
      else if (isAlive) write.update(row, values)
      else write.rewrite(row, { ...this.#beneath(definition, state), ...values })
    })
  }

  async #write({ table, row }: Pick<Conflict, 'table' | 'row'>, decide: Decide): Promise<void> {
    const state = await this.#replica.readState(table, row)
    const definition = this.#definition(table)
    const { isAlive } = settleRow(state, definition, this.#ledger.state)
    const write = this.#replica.opsOf(table)
    decide(write, { state, definition, isAlive })
    await this.#replica.write(write.ops, [{ table, id: row, clock: state.clock }])
  }

  /** The fields that stay beneath a delete. */
  #beneath(definition: TableDefinition, state: RowState): Record<string, Value> {
    const heads = state.heads.filter((head) => head.op !== 'delete')
    const last = heads[heads.length - 1]
    if (definition.granularity === 'row') {
      const { state: dictionaries } = this.#ledger
      if (last === undefined) return {}
      return decodeVersions(settleWhole(state, last, definition, dictionaries).versions, dictionaries)
    }
    return decodeVersions(settleFields(state.versions, definition, this.#ledger.state).versions, this.#ledger.state)
  }

  // ── Looking up ────────────────────────────────────────────────────────────────────────────────────────────────────

  async #expect(id: string): Promise<Found> {
    const found = await this.#find(id)
    if (found !== undefined) return found
    throw new TidemarkError('conflict-unknown', `there is no conflict ${quote(id)}`, {
      remedy: 'Its sides may not have arrived here, or the log does not reach back to them',
    })
  }

  async #find(id: string): Promise<Found | undefined> {
    const address = parseConflictId(id)
    if (address === undefined || !this.#replica.tables.has(address.table)) return undefined
    const { replicas } = this.#ledger.state
    const [left, right] = address.dots.map(({ replica, seq }) => ({ replica: replicas.find(replica), seq }))
    if (left === undefined || right === undefined || left.replica < 0 || right.replica < 0) return undefined
    const { table, row, dots } = address
    const state = await this.#replica.readState(table, row)
    const found = await this.#finder.between(this.#inQuestion(table, row, state), left, right)
    if (found === undefined || found.isOpen) return found
    await this.#expire()
    return (await isForgotten(this.#ledger, table, this.#definition(table), dots)) ? undefined : found
  }

  /** Removes what is older than its table keeps it, when there may be such a record (J6). */
  async #expire(): Promise<void> {
    const { tables, now } = this.#replica
    if (now() < this.#expiresMs || [...tables.values()].every(({ journal }) => journal.keptDays === undefined)) return
    this.#expiresMs = await this.#ledger.submit(new ExpireRecords(tables, now()))
  }

  #redacted(conflict: Conflict): Conflict {
    if (!this.#definition(conflict.table).journal.isRedacted) return conflict
    const sides = conflict.sides.map((side) => ({ ...side, values: {} })) as unknown as readonly [
      ConflictSide,
      ConflictSide,
    ]
    const fields = conflict.fields.map(({ name, winner }) => ({ name, winner }))
    const { fallback } = conflict
    return { ...conflict, sides, fields, ...(fallback === undefined ? {} : { fallback: withoutMessage(fallback) }) }
  }

  #inQuestion(table: string, id: string, state: RowState): RowInQuestion {
    return { table, id, definition: this.#definition(table), state }
  }

  #definition(table: string): TableDefinition {
    return this.#replica.tables.get(table) as TableDefinition
  }
}

/** Gathers what to write, given the row as it stands. */
type Decide = (
  write: DecidingOps,
  row: { readonly state: RowState; readonly definition: TableDefinition; readonly isAlive: boolean },
) => void

function isSameDot(left: Dot, right: Dot): boolean {
  return left.replica === right.replica && left.seq === right.seq
}

function loserOf({ sides, winner, type, fields }: Conflict): ConflictSide {
  const [left, right] = sides
  if (winner !== undefined) return isSameDot(left.dot, winner) ? right : left
  if (type === 'merged' || (type === 'insert-insert' && fields.length === 0)) {
    throw new TidemarkError('bad-option', 'nobody lost this conflict: both sides are kept')
  }
  throw new TidemarkError('bad-option', 'each side of this conflict lost something', {
    remedy: `Say which to bring back: ${sides.map(({ dot }) => `${dot.replica}:${dot.seq}`).join(' or ')}`,
  })
}

function closed(id: string): TidemarkError {
  return new TidemarkError('conflict-closed', `conflict ${quote(id)} is settled already`, {
    remedy: 'Use restore to bring back the side that lost',
  })
}
