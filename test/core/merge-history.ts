/**
 * Random histories: replicas of the real core that write and pull, each with the oracle's sets beside its rows.
 *
 * Knows: the core's row, clock and dictionaries, and the oracle. Must never know: stores, logs, sessions.
 * Every store numbers replicas and names in an order of its own, so that whatever depends on an index shows.
 */

import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { expect } from 'vitest'
import { clockWith, EMPTY_CLOCK, type SparseClock } from '../../core/clock.ts'
import { decodeField, encodeCounter, isCounter } from '../../core/counter.ts'
import { Dictionary } from '../../core/dictionary.ts'
import { applyChange, EMPTY_ROW, type RowChange, type RowState, type Version } from '../../core/row.ts'
import { decodeRow, encodeRow, type IndexMap } from '../../core/row-codec.ts'
import { nextTimestamp } from '../../core/timestamp.ts'
import { encodeValue } from '../../core/value.ts'
import { fieldsOf, headsOf, type Known, type OracleChange, type OracleOp, visibleOf } from './merge-oracle.ts'

/** Ids whose order as texts is neither the order of their numbers nor its reverse. */
export const REPLICA_IDS = [3, 1, 4, 0, 2].map((digit) => `${digit}f000000-0000-4000-8000-00000000000${digit}`)
export const FIELDS = ['a', 'b', 'c']
export const ROWS = ['x', 'y']

// ── Steps ───────────────────────────────────────────────────────────────────────────────────────────────────────────

export interface WriteStep {
  readonly type: 'write'
  readonly replica: number
  readonly row: number
  readonly op: OracleOp
  /** Values by field number; undefined where the field is not written. A `#` before it makes a counter's part of it. */
  readonly values: readonly (string | undefined)[]
  /** Wall milliseconds, or, with arbitrary timestamps, the timestamp. */
  readonly time: number
}

export interface PullStep {
  readonly type: 'pull'
  readonly to: number
  readonly from: number
  readonly count: number
}

export type Step = WriteStep | PullStep

export interface History {
  readonly replicas: number
  /** `hybrid`: what a hybrid clock gives at a skewed wall time. `arbitrary`: any numbers, as a broken writer gives. */
  readonly timestamps: 'hybrid' | 'arbitrary'
  /** `orderly`: writers insert whole rows where there are none, and change only what exists. `any`: any op, any time. */
  readonly writers: 'orderly' | 'any'
  readonly steps: readonly Step[]
}

const value: fc.Arbitrary<string> = fc.tuple(fc.constantFrom('', '', '', '#'), fc.nat(3)).map((parts) => parts.join(''))

const write: fc.Arbitrary<WriteStep> = fc.record({
  type: fc.constant('write'),
  replica: fc.nat(4),
  row: fc.constantFrom(0, 0, 0, 1),
  op: fc.constantFrom('insert', 'update', 'update', 'update', 'delete', 'delete', 'replace'),
  values: fc.tuple(...FIELDS.map(() => fc.option(value, { nil: undefined, freq: 2 }))),
  time: fc.nat(3),
})

const pull: fc.Arbitrary<PullStep> = fc.record({
  type: fc.constant('pull'),
  to: fc.nat(4),
  from: fc.nat(4),
  count: fc.oneof(fc.integer({ min: 1, max: 3 }), fc.constant(1_000)),
})

export const historyArbitrary: fc.Arbitrary<History> = fc.record({
  replicas: fc.integer({ min: 2, max: 5 }),
  timestamps: fc.constantFrom('hybrid', 'hybrid', 'arbitrary'),
  writers: fc.constantFrom('orderly', 'any'),
  steps: fc.array(fc.oneof({ weight: 3, arbitrary: write }, { weight: 2, arbitrary: pull }), {
    minLength: 1,
    maxLength: 40,
    size: 'max',
  }),
})

export const orderlyArbitrary: fc.Arbitrary<History> = historyArbitrary.map((history) => ({
  ...history,
  writers: 'orderly',
}))

// ── Stores ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/** A change as it travels: names instead of indexes. */
export interface TravellingChange {
  readonly row: string
  readonly oracle: OracleChange
  /** Replica id → seq. */
  readonly context: Readonly<Record<string, number>>
}

/** What stands in for a store: dictionaries, and the rows numbered by them. */
export class RowStore {
  readonly replicas = new Dictionary()
  readonly names = new Dictionary()
  readonly rows = new Map<string, RowState>()

  /** `turn` shifts the order in which the dictionaries learn what they will meet. */
  constructor(turn = 0) {
    for (let at = 0; at < REPLICA_IDS.length; at++) {
      this.replicas.intern(REPLICA_IDS[(at * (1 + (turn % 4)) + turn) % REPLICA_IDS.length] as string)
    }
    for (let at = 0; at < FIELDS.length; at++)
      this.names.intern(FIELDS[(at * (1 + (turn % 2)) + turn) % FIELDS.length] as string)
  }

  row(row: string): RowState {
    return this.rows.get(row) ?? EMPTY_ROW
  }

  apply(travelling: TravellingChange, position = 1): RowState {
    const state = applyChange(this.row(travelling.row), this.toChange(travelling), position, this.replicas)
    this.rows.set(travelling.row, state)
    return state
  }

  toChange({ oracle, context }: TravellingChange): RowChange {
    const stamp = { replica: this.replicas.intern(oracle.replica), seq: oracle.seq, timestamp: oracle.timestamp }
    let clock: SparseClock = EMPTY_CLOCK
    for (const [id, seq] of Object.entries(context)) clock = clockWith(clock, this.replicas.intern(id), seq)
    const versions = Object.entries(oracle.fields).map(([field, written]): Version => {
      const bytes = written.startsWith('#') ? encodeCounter(Number(written.slice(1))) : encodeValue(Number(written))
      return { stamp, name: this.names.intern(field), bytes, start: 0, end: bytes.length }
    })
    return { ...stamp, op: oracle.op, context: clock, versions: versions.sort((a, b) => a.name - b.name) }
  }

  /** Replica id → seq. */
  namedClock(clock: SparseClock): Readonly<Record<string, number>> {
    const named: Record<string, number> = {}
    for (let at = 0; at < clock.length; at += 2) {
      named[this.replicas.textOf(clock[at] as number)] = clock[at + 1] as number
    }
    return named
  }

  /** A state of another store in this one's terms, by the way that a snapshot goes. */
  import(state: RowState, from: RowStore): RowState {
    const map: IndexMap = {
      replica: (index) => this.replicas.intern(from.replicas.textOf(index)),
      name: (index) => this.names.intern(from.names.textOf(index)),
    }
    return decodeRow(encodeRow(state), map)
  }
}

/** A replica: a store, the log it would serve, and for each row the set of changes that it knows. */
export class Replica extends RowStore {
  readonly id: string
  readonly log: TravellingChange[] = []
  readonly known = new Map<string, Known>()
  readonly #seqs = new Map<string, number>()
  #lastTimestamp = 0

  constructor(number: number) {
    super(number)
    this.id = REPLICA_IDS[number] as string
  }

  knownOf(row: string): Known {
    return this.known.get(row) ?? []
  }

  write(
    step: WriteStep,
    { timestamps, writers }: Pick<History, 'timestamps' | 'writers'>,
  ): TravellingChange | undefined {
    const row = ROWS[step.row] as string
    const known = this.knownOf(row)
    const op = writers === 'any' ? step.op : orderlyOp(step.op, known)
    if (op === undefined) return undefined
    const fields: Record<string, string> = {}
    for (const [index, field] of FIELDS.entries()) {
      const value = step.values[index] ?? (writers === 'orderly' && op !== 'update' ? '0' : undefined)
      if (value !== undefined && op !== 'delete') fields[field] = value
    }
    if (op === 'update' && Object.keys(fields).length === 0) return undefined
    const timestamp = timestamps === 'hybrid' ? nextTimestamp(this.#lastTimestamp, step.time) : step.time
    const seq = (this.#seqs.get(this.id) ?? 0) + 1
    const dot = `${this.id}:${seq}`
    const seen = new Set(known.map((change) => change.dot))
    const oracle = { dot, replica: this.id, seq, timestamp, op, fields, seen }
    const travelling = { row, oracle, context: this.namedClock(this.row(row).clock) }
    this.receive(travelling)
    return travelling
  }

  receive(travelling: TravellingChange): void {
    const { oracle, row } = travelling
    if (oracle.seq !== (this.#seqs.get(oracle.replica) ?? 0) + 1) throw new Error('the history leaves a gap')
    this.#seqs.set(oracle.replica, oracle.seq)
    this.#lastTimestamp = Math.max(this.#lastTimestamp, oracle.timestamp)
    this.log.push(travelling)
    this.known.set(row, [...this.knownOf(row), oracle])
    this.apply(travelling, this.log.length)
  }

  /** Serving the log in arrival order keeps causal order and leaves no gaps. */
  pull(from: Replica, count: number): void {
    let left = count
    for (const travelling of [...from.log]) {
      if (left === 0) return
      if (travelling.oracle.seq <= (this.#seqs.get(travelling.oracle.replica) ?? 0)) continue
      this.receive(travelling)
      left--
    }
  }
}

function orderlyOp(op: OracleOp, known: Known): OracleOp | undefined {
  const isThere = headsOf(known).some((head) => head.op !== 'delete')
  if (!isThere) return op === 'delete' ? undefined : 'insert'
  return op === 'insert' ? 'update' : op
}

/** A change of a replica, its first unless said otherwise, whose context is what it saw. */
export function change(
  replica: number,
  op: OracleOp,
  values: Readonly<Record<string, number | string>>,
  timestamp = 1,
  context: Readonly<Record<string, number>> = {},
  seq = 1,
): TravellingChange {
  const id = REPLICA_IDS[replica] as string
  const fields = Object.fromEntries(Object.entries(values).map(([field, value]) => [field, String(value)]))
  const oracle = { dot: `${id}:${seq}`, replica: id, seq, timestamp, op, fields, seen: new Set<string>() }
  return { row: 'x', context, oracle }
}

// ── Living through a history ────────────────────────────────────────────────────────────────────────────────────────

/** A state that some replica had at some time, with what it knew then. */
export interface Moment {
  readonly store: RowStore
  readonly state: RowState
  readonly known: Known
}

export interface World {
  readonly replicas: readonly Replica[]
  /** Every change ever written, in the order of writing. */
  readonly changes: readonly TravellingChange[]
  /** All states that row x had after some step, anywhere; at least one. */
  readonly moments: readonly Moment[]
}

export function live(history: History): World {
  const replicas = Array.from({ length: history.replicas }, (_, number) => new Replica(number))
  const changes: TravellingChange[] = []
  const moments: Moment[] = []
  for (const step of history.steps) {
    const number = (step.type === 'write' ? step.replica : step.to) % history.replicas
    const replica = replicas[number] as Replica
    if (step.type === 'pull') replica.pull(replicas[step.from % history.replicas] as Replica, step.count)
    else {
      const written = replica.write(step, history)
      if (written !== undefined) changes.push(written)
    }
    const state = replica.row('x')
    if (moments.every((moment) => moment.state !== state))
      moments.push({ store: replica, state, known: replica.knownOf('x') })
  }
  return { replicas, changes, moments }
}

/** Everybody pulls everything from everybody. */
export function syncAll(replicas: readonly Replica[]): void {
  for (const to of replicas) for (const from of replicas) to.pull(from, Number.POSITIVE_INFINITY)
}

// ── One form for both ───────────────────────────────────────────────────────────────────────────────────────────────

/** A row without indexes or positions; heads and versions in the order in which they stand. */
export interface RowForm {
  readonly clock: Readonly<Record<string, number>>
  readonly heads: readonly string[]
  readonly versions: Readonly<Record<string, readonly string[]>>
}

export function formOf(state: RowState, store: RowStore): RowForm {
  const versions: Record<string, string[]> = {}
  for (const version of state.versions) {
    const { replica, seq, timestamp } = version.stamp
    const field = store.names.textOf(version.name)
    const mark = isCounter(version) ? '#' : ''
    versions[field] ??= []
    versions[field].push(
      `${store.replicas.textOf(replica)}:${seq} at ${timestamp} = ${mark}${String(decodeField(version))}`,
    )
  }
  const heads = state.heads.map(({ replica, seq, timestamp, op, fields, clock }) => {
    const names = fields.map((name) => store.names.textOf(name)).sort()
    const dot = `${store.replicas.textOf(replica)}:${seq}`
    return `${dot} at ${timestamp} ${op} ${names.join()} knew ${listOf(store.namedClock(clock))}`
  })
  return { clock: store.namedClock(state.clock), heads, versions }
}

export function expectedForm(known: Known): RowForm {
  const versions: Record<string, string[]> = {}
  for (const field of fieldsOf(known)) {
    const visible = visibleOf(known, field)
    if (visible.length === 0) continue
    versions[field] = visible.map(({ dot, timestamp, fields }) => `${dot} at ${timestamp} = ${fields[field]}`)
  }
  const heads = headsOf(known).map((head) => {
    const names = head.op === 'update' ? Object.keys(head.fields).sort() : []
    const knew = clockOf(known.filter(({ dot }) => dot === head.dot || head.seen.has(dot)))
    return `${head.dot} at ${head.timestamp} ${head.op} ${names.join()} knew ${listOf(knew)}`
  })
  return { clock: clockOf(known), heads, versions }
}

/** The highest seq of each replica. */
function clockOf(changes: Known): Readonly<Record<string, number>> {
  const clock: Record<string, number> = {}
  for (const { replica, seq } of changes) clock[replica] = Math.max(seq, clock[replica] ?? 0)
  return clock
}

function listOf(clock: Readonly<Record<string, number>>): string {
  return Object.entries(clock)
    .map((entry) => entry.join(':'))
    .sort()
    .join()
}

/** Everything known to any of them. */
export function unionOf(...parts: readonly Known[]): Known {
  return [...new Map(parts.flat().map((change) => [change.dot, change])).values()]
}

/** Much faster than `toEqual` while nothing is wrong. */
export function expectSame(actual: unknown, expected: unknown): void {
  if (!isDeepStrictEqual(actual, expected)) expect(actual).toEqual(expected)
}
