/**
 * The change log as the app reads it: by clock, by table, by row; and its figures.
 *
 * Invariant R2: what the log does not hold (below its floor, or inside a snapshot) is an error, never an empty answer.
 */
import { type Change, toChange } from './change.ts'
import { VectorClock } from './clock.ts'
import { TidemarkError } from './errors.ts'
import { readClock } from './frame.ts'
import { BASE_CLOCK_KEY, rowKey } from './keys.ts'
import type { Ledger } from './ledger.ts'
import type { PlacedEntry } from './log-reader.ts'
import { readRowPosition } from './row-codec.ts'

export interface LogStats {
  readonly logId: string
  readonly epoch: number
  /** First position still held. */
  readonly floor: number
  /** Position after the last entry. */
  readonly end: number
  /** Changes held or once held by this log. */
  readonly changes: number
  /** Dots that admission refused. */
  readonly voids: number
  readonly bytes: number
  /** Rows that exist. */
  readonly rows: number
  /** Rows with more than one head. */
  readonly conflicts: number
  readonly replicas: number
}

export interface LogQuery {
  readonly table?: string
  /** A row id; needs `table`. */
  readonly row?: string
  /** Only what stands after this position. */
  readonly after?: number
  /** Most changes to answer with; 100 by default. */
  readonly limit?: number
}

const SLICE_BYTES = 1 << 20

export class ReplicaLog {
  readonly #ledger: Ledger

  constructor(ledger: Ledger) {
    this.#ledger = ledger
  }

  /** Counters kept with every commit; nothing is scanned. */
  stats(): LogStats {
    const { meta, replicas } = this.#ledger.state
    return {
      logId: meta.logId,
      epoch: meta.epoch,
      floor: meta.floor,
      end: meta.nextPosition,
      changes: meta.changes,
      voids: meta.voids,
      bytes: meta.logBytes,
      rows: meta.rows,
      conflicts: meta.conflicts,
      replicas: replicas.size,
    }
  }

  /** Every change that `clock` does not cover, in the order of this log, as they stand when reading begins. */
  async *since(clock: VectorClock): AsyncGenerator<Change> {
    await this.#ledger.catchUp()
    const { state } = this.#ledger
    const end = this.#ledger.durablePosition
    let from = end
    await expectBase(this.#ledger, clock)
    for (const [index] of state.seqs.entries()) {
      const known = clock.get(state.replicas.textOf(index))
      if (state.seqOf(index) <= known) continue
      from = Math.min(from, (await this.#ledger.log.positionAfter(index, known)) ?? end)
    }
    for await (const { entry, position } of this.#entries(from, end)) {
      if (entry.op === 'void') continue
      const change = toChange(entry, position, state)
      if (!clock.covers(change.dot)) yield change
    }
  }

  /** Changes of a table or a row after a position, oldest first. */
  async query(query: LogQuery = {}): Promise<Change[]> {
    await this.#ledger.catchUp()
    const { state } = this.#ledger
    const limit = query.limit ?? 100
    const after = query.after ?? state.meta.floor - 1
    const table = query.table === undefined ? undefined : state.names.find(query.table)
    if (table === -1) return []
    if (query.row !== undefined) {
      if (table === undefined) throw new TidemarkError('bad-option', 'a query by row needs the table')
      return this.#rowChanges(table, query.row, after, limit)
    }
    const changes: Change[] = []
    for await (const { entry, position } of this.#entries(after + 1, this.#ledger.durablePosition)) {
      if (changes.length >= limit) break
      if (entry.op === 'void' || (table !== undefined && entry.table !== table)) continue
      changes.push(toChange(entry, position, state))
    }
    return changes
  }

  /** Walks back from the row's last change; each change knows the one before it. */
  async #rowChanges(table: number, id: string, after: number, limit: number): Promise<Change[]> {
    const { state, store, log } = this.#ledger
    const [bytes] = await store.getMany([rowKey('r', table, id)])
    if (bytes === undefined) return []
    const changes: Change[] = []
    for await (const { entry, position } of log.rowHistory(readRowPosition(bytes))) {
      if (position <= after) break
      if (entry.op !== 'void') changes.push(toChange(entry, position, state))
    }
    return changes.reverse().slice(0, limit)
  }

  async *#entries(from: number, end: number): AsyncGenerator<PlacedEntry> {
    const { log } = this.#ledger
    if (from >= end) return
    let next = (await log.blockAt(from)).from
    while (next < end) {
      const slice = await log.slice(next, end, SLICE_BYTES)
      for (const block of slice.blocks) {
        for (const placed of log.decode(block)) if (placed.position >= from) yield placed
      }
      next = slice.to
    }
  }
}

/** What came as a snapshot is not in the log: a reader must have it already. */
export async function expectBase(ledger: Ledger, clock: VectorClock): Promise<void> {
  const base = await readBaseClock(ledger)
  const order = base.compare(clock)
  if (order === 'before' || order === 'equal') return
  throw new TidemarkError('truncated', 'the log of this replica began with a snapshot that the clock does not cover', {
    remedy: 'Read a snapshot first, or ask a replica that holds the whole log',
    details: { base: base.toJSON() },
  })
}

/** The clock of the snapshots this replica began with; empty when its log is complete. */
export async function readBaseClock(ledger: Ledger): Promise<VectorClock> {
  const [bytes] = await ledger.store.getMany([BASE_CLOCK_KEY])
  return new VectorClock(bytes === undefined ? [] : readClock(bytes))
}
