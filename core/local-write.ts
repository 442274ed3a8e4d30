/**
 * The local write: operations of one transaction become changes of our own stream.
 *
 * Knows: what may be written over what, and the stamps. Must never know: types, validators, where the operations come from.
 *
 * Invariants:
 * O1  The context of a change is the row's clock as the writer saw it: the change covers all heads of its row.
 * O2  A transaction is written whole or not at all, and takes consecutive seqs.
 * O3  Local writes do not depend on a server: nothing here waits for one.
 */
import { keepAgreed } from './agreed.ts'
import type { ChangeEntry } from './block.ts'
import { clockIncludes, type SparseClock } from './clock.ts'
import { isCounter, sumCounters } from './counter.ts'
import { beginAnew, goOn } from './counting.ts'
import type { Dictionary } from './dictionary.ts'
import type { Draft } from './draft.ts'
import { TidemarkError } from './errors.ts'
import { type EncodedFields, toVersions } from './fields.ts'
import type { Job, Ledger } from './ledger.ts'
import { quote } from './names.ts'
import type { HeadOp, RowState, Stamp, Version } from './row.ts'
import { isSmall, ROW_BYTES_MAX, sizeOf } from './row-bounds.ts'
import type { RowEntry } from './row-cache.ts'
import { decodeRow, type RowHeader } from './row-codec.ts'
import type { SettledRow } from './settle.ts'
import { nextTimestamp } from './timestamp.ts'
import { encodeValue } from './value.ts'

/**
 * `upsert` becomes an insert or an update; `update` a replace where the table has row granularity. `rewrite` and `erase` decide
 * conflicts: they write or delete the row whether it exists or not.
 */
export type WriteKind = 'insert' | 'update' | 'upsert' | 'delete' | 'rewrite' | 'erase'

export interface WriteOp {
  readonly kind: WriteKind
  readonly table: string
  readonly id: string
  readonly fields: EncodedFields
}

/** What the definition of a table says about writing to it. */
export interface WriteRules {
  /** True: an update carries the whole row. */
  readonly isWholeRow: boolean
  readonly isAlive: (row: RowState) => boolean
  /** What the row amounts to for the writer. */
  readonly settle: (row: RowState) => SettledRow
  /** Checks a row as it would be; throws `invalid-row`. */
  readonly validate: ((id: string, versions: readonly Version[]) => void) | undefined
}

/** A change that was written, with the row's state after it. */
export interface WrittenChange {
  readonly change: ChangeEntry
  readonly position: number
  /** The row's bytes. */
  readonly after: Uint8Array
}

/** A row that a transaction has read: its clock then. When the row is another since, the transaction runs again. */
export interface ReadRow {
  readonly table: string
  readonly id: string
  readonly clock: SparseClock
}

export interface LocalWriteOptions {
  readonly ops: readonly WriteOp[]
  readonly reads: readonly ReadRow[]
  readonly now: () => number
  readonly rulesOf: (table: string) => WriteRules
}

/** Bytes of a change beside its id and values, without its context: flags, stamps, counts, names by number. */
const CHANGE_OVERHEAD_BYTES = 48
const CONTEXT_ENTRY_BYTES = 24

const LARGE_REMEDY = 'Store large content elsewhere and keep its address in the row'

export class LocalWrite implements Job<WrittenChange | undefined> {
  readonly weight: number
  readonly #options: LocalWriteOptions
  #rows: readonly RowEntry[] = []
  #reads: readonly RowEntry[] = []
  #rules: WriteRules | undefined
  #rulesTable = ''

  constructor(options: LocalWriteOptions) {
    this.#options = options
    this.weight = options.ops.length
  }

  prepare(ledger: Ledger): void {
    const { ops, reads } = this.#options
    const { state } = ledger
    this.#rows = ops.map(({ table, id }) => ledger.need(state.internName(table), id))
    this.#reads = reads.map(({ table, id }) => ledger.need(state.internName(table), id))
  }

  /** Answers with the last change. */
  apply(draft: Draft, ledger: Ledger): WrittenChange | undefined {
    const { ops, reads } = this.#options
    for (const [index, read] of reads.entries()) expectUnmoved(this.#reads[index] as RowEntry, read)
    const changes: ChangeEntry[] = []
    const previous: number[] = []
    let bytes = nameBytes(ops)
    const { own, meta } = draft.state
    const nowMs = this.#options.now()
    let position = meta.nextPosition
    for (let index = 0; index < ops.length; index++) {
      const op = ops[index] as WriteOp
      const entry = this.#rows[index] as RowEntry
      const { header } = entry
      const stamp: Stamp = { replica: own, seq: meta.ownSeq + 1, timestamp: nextTimestamp(meta.lastTimestamp, nowMs) }
      const change = this.#toChange(draft, op, entry, header, stamp, index < ops.length - 1)
      meta.lastTimestamp = stamp.timestamp
      meta.ownSeq = stamp.seq
      bytes += expectFits(op, change, ledger)
      previous.push(header.position)
      if (meta.authority === 0) keepAgreed(draft, entry, header, own)
      const before = entry.bytes
      draft.apply(entry, change, position, 'local')
      expectRowFits(op, change.op, entry, before)
      changes.push(change)
      position++
    }
    expectTransactionFits(bytes, ledger)
    draft.raiseSeq(own, meta.ownSeq)
    if (meta.authority !== 0) meta.ackedSeq = meta.ownSeq
    const last = this.#rows[ops.length - 1]
    if (last === undefined) return undefined
    draft.appendEntries([own], changes, previous, bytes)
    return { change: changes[changes.length - 1] as ChangeEntry, position: position - 1, after: last.bytes }
  }

  #toChange(draft: Draft, op: WriteOp, entry: RowEntry, header: RowHeader, stamp: Stamp, more: boolean): ChangeEntry {
    const { id } = op
    const { replica, seq, timestamp } = stamp
    const rules = this.#rulesOf(op.table)
    const isAlive = header.op === undefined ? rules.isAlive(entry.state) : header.op !== 'delete'
    const kind = kindOver(op, isAlive, rules)
    let versions = kind === 'delete' ? NO_VERSIONS : toVersions(op.fields, stamp, draft.state)
    const { replicas } = draft.state
    if (kind === 'update' && versions.some(isCounter)) goOn(versions, entry.state, replicas)
    const isWhole = kind === 'insert' || op.kind === 'rewrite'
    if (isWhole && header.clock.length > 0) versions = beginAnew(versions, entry.state, stamp, replicas)
    if (op.kind === 'rewrite') rules.validate?.(id, versions)
    else if (kind === 'replace' || (kind === 'update' && rules.validate !== undefined)) {
      const row = entry.state
      const whole = overlay(rules.settle(row).versions, versions, stamp)
      rules.validate?.(id, summed(whole, versions, row, replicas))
      if (kind === 'replace') versions = beginAnew(whole, row, stamp, replicas)
    }
    return { op: kind, replica, seq, timestamp, more, table: entry.table, id, context: header.clock, versions }
  }

  /** Operations on the same table mostly follow each other. */
  #rulesOf(table: string): WriteRules {
    if (this.#rules === undefined || this.#rulesTable !== table) {
      this.#rules = this.#options.rulesOf(table)
      this.#rulesTable = table
    }
    return this.#rules
  }
}

const NO_VERSIONS: readonly Version[] = []

function kindOver(op: WriteOp, isAlive: boolean, rules: WriteRules): HeadOp {
  if (op.kind === 'insert' && isAlive) {
    throw new TidemarkError('row-exists', `${op.table} already has a row ${quote(op.id)}`, {
      remedy: 'Use update, or upsert to write it either way',
    })
  }
  if ((op.kind === 'update' || op.kind === 'delete') && !isAlive) {
    throw new TidemarkError('row-missing', `${op.table} has no row ${quote(op.id)}`, {
      remedy: 'It may have been deleted by another replica; insert it to bring it back',
    })
  }
  if (op.kind === 'delete' || op.kind === 'erase') return 'delete'
  if (!isAlive) return 'insert'
  return rules.isWholeRow || op.kind === 'rewrite' ? 'replace' : 'update'
}

/** The whole row that a patch makes of what is there, all of it written by the patch's change. */
function overlay(base: readonly Version[], patch: readonly Version[], stamp: Stamp): Version[] {
  const kept = base.filter((old) => !patch.some((version) => version.name === old.name))
  return [...kept.map((version) => ({ ...version, stamp })), ...patch].sort((a, b) => a.name - b.name)
}

/** Counters of the patch as they will show: our part as it is written, and what the others have counted. */
function summed(
  whole: readonly Version[],
  patch: readonly Version[],
  row: RowState,
  replicas: Dictionary,
): readonly Version[] {
  return whole.map((version) => {
    if (!isCounter(version) || !patch.includes(version)) return version
    const others = row.versions.filter(({ name, stamp }) => name === version.name && !isOwn(stamp, version))
    const bytes = encodeValue(sumCounters([version, ...others], replicas))
    return { ...version, bytes, start: 0, end: bytes.length }
  })
}

function isOwn({ replica }: Stamp, { stamp }: Version): boolean {
  return replica === stamp.replica
}

function expectUnmoved(row: RowEntry, read: ReadRow): void {
  const { clock } = row.header
  // Positions would not do: what a snapshot brings moves none.
  if (clockIncludes(clock, read.clock) && clockIncludes(read.clock, clock)) return
  throw new TidemarkError('transaction-conflict', `row ${quote(read.id)} changed while the transaction ran`, {
    retryable: true,
  })
}

function expectFits(op: WriteOp, change: ChangeEntry, ledger: Ledger): number {
  const contextBytes = (change.context.length / 2) * CONTEXT_ENTRY_BYTES
  let bytes = CHANGE_OVERHEAD_BYTES + op.id.length * 3 + contextBytes
  for (const { start, end } of change.versions) bytes += end - start + 2
  const what = `the change to ${op.table} ${quote(op.id)}`
  if (bytes > ledger.limits.changeBytesMax) throw tooLarge(what, bytes, ledger.limits.changeBytesMax)
  return bytes
}

/** What a server would refuse (`row-bounds.ts` RB2). */
function expectRowFits({ table, id }: WriteOp, op: HeadOp, entry: RowEntry, before: Uint8Array): void {
  if (op === 'delete' || isSmall(entry.bytes)) return
  const bytes = sizeOf(entry.state)
  if (bytes <= ROW_BYTES_MAX || bytes <= sizeOf(decodeRow(before))) return
  throw tooLarge(`row ${quote(id)} of ${table}, as it would be,`, bytes, ROW_BYTES_MAX)
}

/** A block spells each name once. */
function nameBytes(ops: readonly WriteOp[]): number {
  const shapes = new Set<EncodedFields['shape']>()
  let bytes = 0
  for (const { table, fields } of ops) {
    if (shapes.has(fields.shape)) continue
    shapes.add(fields.shape)
    bytes += table.length + 1
    for (const name of fields.shape.names) bytes += name.length + 1
  }
  return bytes
}

function expectTransactionFits(bytes: number, ledger: Ledger): void {
  const limit = ledger.limits.transactionBytesMax
  if (bytes > limit) throw tooLarge('the transaction', bytes, limit, 'Write fewer or smaller rows in one transaction')
}

function tooLarge(what: string, bytes: number, limit: number, remedy = LARGE_REMEDY): TidemarkError {
  return new TidemarkError('too-large', `${what} has ${bytes} bytes; the limit is ${limit}`, {
    remedy,
    details: { bytes, limit },
  })
}
