/**
 * Cases to try a policy on: concurrent changes of one row, and the ways by which they may come to a replica.
 *
 * Every way goes through the merge of the engine itself, in a store that numbers replicas and names in an order of its own.
 * Knows: changes and routes. Must never know: what a policy should answer.
 */
import fc from 'fast-check'
import { clockWith, EMPTY_CLOCK } from '../../core/clock.ts'
import { Dictionary } from '../../core/dictionary.ts'
import type { Granularity, Value } from '../../core/index.ts'
import {
  applyChange,
  EMPTY_ROW,
  type HeadOp,
  joinRows,
  type RowChange,
  type RowState,
  type Version,
} from '../../core/row.ts'
import { decodeRow, encodeRow } from '../../core/row-codec.ts'
import { msToTimestamp } from '../../core/timestamp.ts'
import { encodeValue } from '../../core/value.ts'

/** A change, spelled out. */
export interface CaseChange {
  readonly replica: number
  readonly op: HeadOp
  readonly timeMs: number
  readonly values: Readonly<Record<string, Value>>
  /** True: the writer had seen the row as it was before. */
  readonly sawBase: boolean
}

export interface PolicyCase {
  /** The row before; undefined where all sides inserted it. */
  readonly base: Readonly<Record<string, Value>> | undefined
  /** Two or more, each by another replica, none of which had seen another. */
  readonly changes: readonly CaseChange[]
  /** Keys to sort the changes by: an order of arrival for each of two replicas. */
  readonly arrivals: readonly [readonly number[], readonly number[]]
}

/** The one field that a field policy is tried on. */
export const FIELD = 'value'

const TIMES_MAX = 4
const BASE_REPLICA = 0

/** Ids whose order as texts is not that of their numbers. */
function replicaId(number: number): string {
  return `${((number * 7) % 16).toString(16)}0000000-0000-4000-8000-${String(number).padStart(12, '0')}`
}

// ── Arbitraries ─────────────────────────────────────────────────────────────────────────────────────────────────────

const arrivals = fc.tuple(fc.array(fc.nat(9), { maxLength: 8 }), fc.array(fc.nat(9), { maxLength: 8 }))

/** Concurrent values of one field. */
export function fieldCases(values: fc.Arbitrary<Value>, versionsMax: number): fc.Arbitrary<PolicyCase> {
  const change = fc.record({ value: values, timeMs: fc.nat(TIMES_MAX) })
  const changes = fc.array(change, { minLength: 2, maxLength: versionsMax })
  return fc.record({ changes, arrivals }).map((made) => ({
    base: { [FIELD]: null },
    changes: made.changes.map(({ value, timeMs }, index) => ({
      replica: index + 1,
      op: 'update',
      timeMs,
      values: { [FIELD]: value },
      sawBase: true,
    })),
    arrivals: made.arrivals,
  }))
}

/** Concurrent changes of a row: updates of some of its fields, inserts, deletes. */
export function rowCases(
  rows: fc.Arbitrary<Readonly<Record<string, Value>>>,
  versionsMax: number,
  granularity: Granularity,
): fc.Arbitrary<PolicyCase> {
  const change = fc.record({
    row: rows,
    op: fc.constantFrom('update', 'update', 'update', 'delete', 'insert'),
    /** Which fields an update writes, bit by bit. */
    written: fc.nat(255),
    timeMs: fc.nat(TIMES_MAX),
  })
  const changes = fc.array(change, { minLength: 2, maxLength: versionsMax })
  return fc.record({ base: rows, changes, arrivals }).map((made) => ({
    base: withoutId(made.base),
    changes: made.changes.map(({ row, op, written, timeMs }, index): CaseChange => {
      const isWhole = op === 'insert' || granularity === 'row'
      const fields = Object.entries(withoutId(row)).filter((_, bit) => isWhole || ((written >> (bit % 8)) & 1) === 0)
      return {
        replica: index + 1,
        op: op === 'update' && granularity === 'row' ? 'replace' : (op as HeadOp),
        timeMs,
        values: op === 'delete' ? {} : Object.fromEntries(fields),
        sawBase: op !== 'insert',
      }
    }),
    arrivals: made.arrivals,
  }))
}

function withoutId(row: Readonly<Record<string, Value>>): Readonly<Record<string, Value>> {
  return Object.fromEntries(Object.entries(row).filter(([name]) => name !== 'id'))
}

// ── Stores and ways ─────────────────────────────────────────────────────────────────────────────────────────────────

/** What stands in for a store: the row, and dictionaries with numbers of their own. */
export class CaseStore {
  readonly replicas: Dictionary = new Dictionary()
  readonly names: Dictionary = new Dictionary()
  state: RowState = EMPTY_ROW

  /** `turn` decides in which order names and replicas are numbered. */
  constructor({ base, changes }: PolicyCase, turn: number) {
    const names = [base ?? {}, ...changes.map(({ values }) => values)].flatMap(Object.keys).sort()
    const ids = [BASE_REPLICA, ...changes.map(({ replica }) => replica)].map(replicaId)
    for (const name of turn % 2 === 0 ? names : names.reverse()) this.names.intern(name)
    for (const id of turn % 2 === 0 ? ids : ids.reverse()) this.replicas.intern(id)
    if (base !== undefined) {
      this.apply({ replica: BASE_REPLICA, op: 'insert', timeMs: 0, values: base, sawBase: false })
    }
  }

  apply(change: CaseChange): void {
    this.state = applyChange(this.state, this.#toRowChange(change), 0, this.replicas)
  }

  /** Joins the row of another store, by the way that a snapshot goes. */
  join(other: CaseStore): void {
    const theirs = decodeRow(encodeRow(other.state), {
      replica: (index) => this.replicas.intern(other.replicas.textOf(index)),
      name: (index) => this.names.intern(other.names.textOf(index)),
    })
    this.state = joinRows(this.state, theirs, this.replicas)
  }

  #toRowChange({ replica, op, timeMs, values, sawBase }: CaseChange): RowChange {
    const stamp = { replica: this.replicas.intern(replicaId(replica)), seq: 1, timestamp: msToTimestamp(timeMs) }
    const base = this.replicas.intern(replicaId(BASE_REPLICA))
    const versions = Object.entries(values).map(([name, value]): Version => {
      const bytes = encodeValue(value)
      return { stamp, name: this.names.intern(name), bytes, start: 0, end: bytes.length }
    })
    return {
      ...stamp,
      op,
      context: sawBase ? clockWith(EMPTY_CLOCK, base, 1) : EMPTY_CLOCK,
      versions: versions.sort((a, b) => a.name - b.name),
    }
  }
}

/** The changes in an order of arrival: none has seen another, so that each order is possible. */
function inOrder(changes: readonly CaseChange[], keys: readonly number[]): CaseChange[] {
  const keyed = changes.map((change, index) => ({ change, key: keys[index] ?? 0, index }))
  return keyed.sort((a, b) => a.key - b.key || a.index - b.index).map(({ change }) => change)
}

/** A way of all changes to a store. `look` is called whenever somebody there could look at the row. */
export type Route = (policyCase: PolicyCase, look: (store: CaseStore) => void) => CaseStore

/** One by one, each a second time later on. */
const oneByOne: Route = (policyCase, look) => {
  const store = new CaseStore(policyCase, 0)
  const arriving = inOrder(policyCase.changes, policyCase.arrivals[0])
  for (const [index, change] of arriving.entries()) {
    store.apply(change)
    look(store)
    store.apply(arriving[index >> 1] as CaseChange)
    look(store)
  }
  return store
}

/** Half of them to one replica, half to another, from the end; then one joins the other, twice. */
const byHalves: Route = (policyCase, look) => {
  const [left, right] = [new CaseStore(policyCase, 1), new CaseStore(policyCase, 2)]
  const arriving = inOrder(policyCase.changes, policyCase.arrivals[1]).reverse()
  for (const [index, change] of arriving.entries()) {
    const store = index * 2 < arriving.length ? left : right
    store.apply(change)
    look(store)
  }
  right.join(left)
  look(right)
  left.join(right)
  look(left)
  left.join(right)
  return left
}

/** All at once. */
const atOnce: Route = (policyCase) => {
  const store = new CaseStore(policyCase, 3)
  for (const change of policyCase.changes) store.apply(change)
  return store
}

export const ROUTES: readonly Route[] = [oneByOne, byHalves, atOnce]
