/**
 * Agreed states: what a row would be without our own changes that the server has not answered yet.
 *
 * When the server refuses a change, the row shows its agreed state again, with our later changes that do not build on the
 * refused one. So the first such change of a row puts the row's state beside it, and what arrives from the server is
 * applied to both. No record means: nothing, the row began with an unanswered change.
 *
 * Invariants:
 * A1  Only rows that hold an own seq above `ackedSeq` have a live agreed state; any other record is obsolete.
 * A2  An agreed state holds everything that was applied to the row, but our own changes from the first unanswered on.
 * A3  Before a change that builds on accepted changes of our own is applied to it, those are.
 */
import type { ChangeEntry, VoidCode } from './block.ts'
import { clockCovers, clockGet } from './clock.ts'
import type { Dictionary } from './dictionary.ts'
import type { Draft } from './draft.ts'
import type { DotRef } from './journal.ts'
import { rejectedKey, rejectedKeySeq, rejectedRange, rowKeyAs } from './keys.ts'
import type { Ledger } from './ledger.ts'
import { scanRange } from './ledger-state.ts'
import { asArray, asBytes, asCount, asText, unpackRecord } from './packing.ts'
import { applyChange, EMPTY_ROW, type RowState } from './row.ts'
import type { RowEntry } from './row-cache.ts'
import { decodeRow, type RowHeader } from './row-codec.ts'

/** True when the row holds a change of ours that the server has not answered. */
export function hasUnanswered(entry: RowEntry, own: number, ackedSeq: number): boolean {
  return clockGet(entry.header.clock, own) > ackedSeq
}

/** An agreed state read for a job, and our own changes of the row that it lacks, oldest first. */
export interface AgreedRow {
  readonly state: RowState
  readonly ours: readonly ChangeEntry[]
}

/** `refused` is for jobs that read many rows: what `readRefused` answered them. */
export async function readAgreed(ledger: Ledger, row: RowEntry, refused: ReadonlySet<number>): Promise<AgreedRow> {
  const [bytes] = await ledger.store.getMany([rowKeyAs('a', row.key)])
  const state = bytes === undefined ? EMPTY_ROW : decodeRow(bytes)
  const { own } = ledger.state
  const ours: ChangeEntry[] = []
  for await (const { entry } of ledger.log.rowHistory(row.state.position)) {
    if (entry.op === 'void' || entry.replica !== own) continue
    if (clockCovers(state.clock, own, entry.seq)) break
    if (!refused.has(entry.seq)) ours.unshift(entry)
  }
  return { state, ours }
}

/** The agreed state with our own changes up to a seq, which the server is known to have accepted (A3). */
export function withAccepted(agreed: AgreedRow, throughSeq: number, replicas: Dictionary): AgreedRow {
  let { state } = agreed
  const accepted = agreed.ours.filter(({ seq }) => seq <= throughSeq)
  if (accepted.length === 0) return agreed
  for (const entry of accepted) state = applyChange(state, entry, 0, replicas)
  return { state, ours: agreed.ours.slice(accepted.length) }
}

/** The seqs of our own stream that were refused: they stay in the log, but count for nothing. */
export async function readRefused(ledger: Ledger): Promise<Set<number>> {
  return new Set((await readRejections(ledger)).keys())
}

/** True for a change of ours, under whatever id we had, that was refused: it stays in the log, but counts for nothing. */
export async function isRefused({ state, store }: Ledger, { replica, seq }: DotRef): Promise<boolean> {
  if (state.meta.rejected === 0) return false
  const [record] = await store.getMany([rejectedKey(replica, seq)])
  return record !== undefined
}

/** What is kept of a change of ours that was refused. */
export interface Rejection {
  readonly code: VoidCode
  /** The change, as a block of its own. */
  readonly bytes: Uint8Array
  /** The seq that it was issued again under. */
  readonly reissuedAs: number | undefined
}

/** The same by seq, in their order, with what is kept of each: of those above a seq. */
export async function readRejections(ledger: Ledger, afterSeq = 0): Promise<Map<number, Rejection>> {
  const rejections = new Map<number, Rejection>()
  if (ledger.state.meta.rejected === 0) return rejections
  const { own } = ledger.state
  const range = { ...rejectedRange(own), from: rejectedKey(own, afterSeq + 1) }
  for await (const { key, value } of scanRange(ledger.store, range)) {
    rejections.set(rejectedKeySeq(key), readRejection(value))
  }
  return rejections
}

export function readRejection(record: Uint8Array): Rejection {
  const [code, bytes, reissuedAs] = asArray(unpackRecord(record))
  return {
    code: asText(code) as VoidCode,
    bytes: asBytes(bytes),
    reissuedAs: reissuedAs === undefined ? undefined : asCount(reissuedAs),
  }
}

/** Before the first unanswered change of ours is applied to a row: put what is agreed beside it. */
export function keepAgreed(draft: Draft, entry: RowEntry, { clock }: RowHeader, own: number): void {
  const { meta } = draft.state
  if (clock.length === 0 || clockGet(clock, own) > meta.ackedSeq) return
  draft.setAgreed(entry, entry.bytes)
}

/**
 * Applies a change from the server to the agreed state as well. What it builds on was accepted, even where we have not
 * heard of that (any more).
 */
export function applyToAgreed(draft: Draft, entry: RowEntry, agreed: AgreedRow, change: ChangeEntry): AgreedRow {
  const { replicas, own, meta } = draft.state
  const known = withAccepted(agreed, Math.max(meta.ackedSeq, clockGet(change.context, own)), replicas)
  const state = applyChange(known.state, change, 0, replicas)
  draft.setAgreed(entry, state)
  return { state, ours: known.ours }
}
