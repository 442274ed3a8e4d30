/**
 * The state of one row, and the merge: a join-semilattice, so that order, duplication and route cannot matter.
 *
 * Source: dotted version vector sets (Preguiça et al. 2010; Almeida et al. 2014) for the heads, an optimised
 * observed-remove map of multi-value registers for the fields.
 *
 * Knows: clocks, heads, versions. Must never know: policies, wall time, stores, which side is local.
 *
 * Invariants:
 * M1  Applying a change whose dot the row covers does nothing.
 * M2  Replaying changes in any causal order and joining states of any parts of them give the same state.
 * M3  A head or version is dropped only by something whose context covers its dot.
 * M4  Heads and the versions of a field stand in canonical order: timestamp, replica id, seq.
 * M5  A delete writes no field: the fields stay beneath it, so that an update that wins gives back a whole row.
 * M6  States are immutable. Only the place of a version's bytes may move, never their content.
 */
import { equalSlices } from './bytes.ts'
import { clockCovers, clockIncludes, clockMerge, clockWith, EMPTY_CLOCK, type SparseClock } from './clock.ts'
import { isCounter } from './counter.ts'
import type { Dictionary } from './dictionary.ts'

/** `replace` is an update that carries the whole row: the one register of a table with row granularity. */
export const OPS = ['insert', 'update', 'delete', 'replace', 'void'] as const
export type Op = (typeof OPS)[number]
/** What can stand as a head: everything but a void. */
export type HeadOp = Exclude<Op, 'void'>

/** What apps are told: to them a whole row that is written over another is an update. */
export type ChangeOp = Exclude<HeadOp, 'replace'>

/** The name and time of one change inside a store: `replica` is an index of its dictionary. */
export interface Stamp {
  readonly replica: number
  readonly seq: number
  readonly timestamp: number
}

/** What one change wrote to one field: canonical value bytes at [start, end). The versions of a change share its stamp. */
export interface Version {
  readonly name: number
  readonly stamp: Stamp
  bytes: Uint8Array
  start: number
  end: number
}

export interface Head extends Stamp {
  readonly op: HeadOp
  /** Indexes of the names of the fields it changed, ascending. */
  readonly fields: readonly number[]
  /** The change's clock: its context and its own dot. Of a sole head it is the row's clock. */
  readonly clock: SparseClock
}

export interface RowState {
  readonly clock: SparseClock
  readonly heads: readonly Head[]
  /** Sorted by name index, then canonically. More than one of a name are concurrent. */
  readonly versions: readonly Version[]
  /** Position of the row's last change in this store's log; 0 when the log does not hold it. */
  readonly position: number
}

/** A change as the merge sees it. */
export interface RowChange extends Stamp {
  readonly op: HeadOp
  readonly context: SparseClock
  /** Sorted by name index. */
  readonly versions: readonly Version[]
}

export const EMPTY_ROW: RowState = { clock: EMPTY_CLOCK, heads: [], versions: [], position: 0 }

/** Canonical order. Replica ids break ties, because indexes differ from store to store. */
export function compareStamps(left: Stamp, right: Stamp, replicas: Dictionary): number {
  if (left.timestamp !== right.timestamp) return left.timestamp - right.timestamp
  if (left.replica === right.replica) return left.seq - right.seq
  return replicas.textOf(left.replica) < replicas.textOf(right.replica) ? -1 : 1
}

export function publicOp({ op }: Pick<Head, 'op'>): ChangeOp {
  return op === 'replace' ? 'update' : op
}

/** True for the operations that write the whole row and so take the place of every field they cover. */
export function writesWholeRow(op: HeadOp): boolean {
  return op === 'insert' || op === 'replace'
}

/** The state after `change` arrived at `position` of the log. */
export function applyChange(row: RowState, change: RowChange, position: number, replicas: Dictionary): RowState {
  if (clockCovers(row.clock, change.replica, change.seq)) return row
  const clock = clockWith(change.context, change.replica, change.seq)
  const head: Head = {
    replica: change.replica,
    seq: change.seq,
    timestamp: change.timestamp,
    op: change.op,
    fields: fieldNames(change),
    clock,
  }
  return {
    clock: clockMerge(clock, row.clock),
    heads: addHead(row.heads, head, change.context, replicas),
    versions: change.op === 'delete' ? row.versions : writeVersions(row, change, replicas),
    position,
  }
}

const NO_FIELDS: readonly number[] = []
const SINGLE_FIELDS = new Map<number, readonly number[]>()

/** Only an update names its fields: the others concern the whole row. */
function fieldNames(change: RowChange): readonly number[] {
  if (change.op !== 'update') return NO_FIELDS
  if (change.versions.length !== 1) return change.versions.map((version) => version.name)
  const name = (change.versions[0] as Version).name
  let single = SINGLE_FIELDS.get(name)
  if (single === undefined) {
    single = [name]
    SINGLE_FIELDS.set(name, single)
  }
  return single
}

function addHead(heads: readonly Head[], head: Head, context: SparseClock, replicas: Dictionary): readonly Head[] {
  let kept: Head[] | undefined
  for (const other of heads) {
    if (clockCovers(context, other.replica, other.seq)) continue
    if (kept === undefined) kept = [other]
    else kept.push(other)
  }
  if (kept === undefined) return [head]
  let place = kept.length
  while (place > 0 && compareStamps(kept[place - 1] as Head, head, replicas) > 0) place--
  kept.splice(place, 0, head)
  return kept
}

/** A hot loop: the common change overwrites one version of an unconflicted row, and copies the rest by reference. */
function writeVersions(row: RowState, change: RowChange, replicas: Dictionary): readonly Version[] {
  const { versions: written } = change
  if (row.versions.length === 0) return written
  const whole = writesWholeRow(change.op)
  const merged: Version[] = []
  let next = 0
  let disordered = false
  for (const old of row.versions) {
    while (next < written.length && (written[next] as Version).name < old.name) merged.push(written[next++] as Version)
    const touched = whole || (next < written.length && (written[next] as Version).name === old.name)
    if (touched && takesPlaceOf(change, whole ? undefined : written[next], old)) continue
    merged.push(old)
    if (touched) disordered = true
  }
  while (next < written.length) merged.push(written[next++] as Version)
  return disordered ? merged.sort((a, b) => compareVersions(a, b, replicas)) : merged
}

/** True when what the change writes takes the place of an old version; `part` is what it writes to that very field. */
function takesPlaceOf(change: RowChange, part: Version | undefined, old: Version): boolean {
  if (!clockCovers(change.context, old.stamp.replica, old.stamp.seq)) return false
  // Of a counter each replica keeps its own part; only a whole row starts it anew.
  return part === undefined || !isCounter(part) || (isCounter(old) && old.stamp.replica === change.replica)
}

function compareVersions(left: Version, right: Version, replicas: Dictionary): number {
  return left.name - right.name || compareStamps(left.stamp, right.stamp, replicas)
}

/** The join of two states of one row: what both have, and what either has that the other's clock does not cover. */
export function joinRows(left: RowState, right: RowState, replicas: Dictionary): RowState {
  if (left.clock === EMPTY_CLOCK) return { ...right, position: left.position }
  const sameName = (a: Version, b: Version): boolean => a.name === b.name
  const heads = joinSides(
    left,
    right,
    (row) => row.heads,
    stampOfHead,
    () => true,
  )
  const versions = joinSides(left, right, (row) => row.versions, stampOfVersion, sameName)
  return {
    clock: clockMerge(left.clock, right.clock),
    heads: heads.sort((a, b) => compareStamps(a, b, replicas)),
    versions: versions.sort((a, b) => compareVersions(a, b, replicas)),
    position: left.position,
  }
}

const stampOfHead = (head: Head): Stamp => head
const stampOfVersion = (version: Version): Stamp => version.stamp

function joinSides<Item>(
  left: RowState,
  right: RowState,
  itemsOf: (row: RowState) => readonly Item[],
  stampOf: (item: Item) => Stamp,
  sameSlot: (a: Item, b: Item) => boolean,
): Item[] {
  const has = (row: RowState, item: Item): boolean =>
    itemsOf(row).some((other) => sameStamp(stampOf(other), stampOf(item)) && sameSlot(other, item))
  const isUnknownTo = (row: RowState, item: Item): boolean =>
    !clockCovers(row.clock, stampOf(item).replica, stampOf(item).seq)
  const joined = itemsOf(left).filter((item) => has(right, item) || isUnknownTo(right, item))
  for (const item of itemsOf(right)) if (!has(left, item) && isUnknownTo(left, item)) joined.push(item)
  return joined
}

type ChangeName = Pick<Stamp, 'replica' | 'seq'>

/** True when both name the same change. */
export function sameStamp(left: ChangeName, right: ChangeName): boolean {
  return left === right || (left.seq === right.seq && left.replica === right.replica)
}

/** True when `row` already holds everything `other` does. */
export function rowIncludes(row: RowState, other: RowState): boolean {
  return clockIncludes(row.clock, other.clock)
}

export function sameValue(left: Version, right: Version): boolean {
  return equalSlices(left.bytes, left.start, left.end, right.bytes, right.start, right.end)
}
