/**
 * The merge of the common change, on bytes: a row with at most one head, and a change whose writer had seen all of it.
 *
 * Such a change leaves one head and takes the place of the versions it names; the rest is copied. Nothing is decoded: rows
 * are spread over memory, and a decoded one is twenty objects that each have to be fetched, kept and collected.
 *
 * Knows: the layout of row-codec.ts, and the rules of row.ts where nothing is concurrent. Must never know: any other case.
 *
 * Invariant M7: what `overwriteRow` answers is, byte for byte, `encodeRow(applyChange(row, change))`, or undefined.
 */
import { ByteReader, copyBytes, putFixed, putVarint, putZigzag } from './bytes.ts'
import { clockCovers, clockGet, type SparseClock } from './clock.ts'
import { isCounter } from './counter.ts'
import { OPS, type RowChange, type Version, writesWholeRow } from './row.ts'
import { rowSlab, TIMESTAMP_WIDTH } from './row-codec.ts'

const UPDATE = OPS.indexOf('update')
/** Numbers around the values: position, counts, stamps and clock entries, at their widest. */
const VERSION_OVERHEAD_BYTES = 24
const ROW_OVERHEAD_BYTES = 64
const CLOCK_ENTRY_BYTES = 16

/** A row with more of either takes the real merge. */
const STAMPS_MAX = 64
const VERSIONS_MAX = 256

/** What was read of the row at hand: its stamps, and the place that each has in the new row (0: none, or none yet) … */
const replicas: Int32Array = new Int32Array(STAMPS_MAX)
const seqs: Float64Array = new Float64Array(STAMPS_MAX)
const timestamps: Float64Array = new Float64Array(STAMPS_MAX)
const places: Int32Array = new Int32Array(STAMPS_MAX)
/** … the stamps that stay, in their new order … */
const kept: Int32Array = new Int32Array(STAMPS_MAX)
let keptCount = 0
/** … and the versions that stay: name, stamp, and in the row's bytes their start, the place of their length, their end. */
const names: Int32Array = new Int32Array(VERSIONS_MAX)
const stamps: Int32Array = new Int32Array(VERSIONS_MAX)
const starts: Int32Array = new Int32Array(VERSIONS_MAX)
const lengths: Int32Array = new Int32Array(VERSIONS_MAX)
const ends: Int32Array = new Int32Array(VERSIONS_MAX)
let versionCount = 0

/** A row's bytes after a change; none at all stand for a row that is not there. Undefined: it takes the real merge. */
export function overwriteRow(row: Uint8Array, change: RowChange, position: number): Uint8Array | undefined {
  const { context, versions } = change
  if (clockCovers(context, change.replica, change.seq) || hasCounter(versions)) return undefined
  keptCount = 0
  versionCount = 0
  if (row.length > 0 && !readRow(new ByteReader(row), change)) return undefined
  let at = putHeader(rowSlab.reserve(boundRow(row, change)), change, position)
  at = putVarint(rowSlab.bytes, at, versionCount + versions.length)
  return rowSlab.take(putVersions(at, row, versions))
}

function hasCounter(versions: readonly Version[]): boolean {
  for (const version of versions) if (isCounter(version)) return true
  return false
}

/** More than the new row can take. */
function boundRow(row: Uint8Array, { context, versions }: RowChange): number {
  let bound = row.length + ROW_OVERHEAD_BYTES + context.length * CLOCK_ENTRY_BYTES
  for (const { start, end } of versions) bound += end - start + VERSION_OVERHEAD_BYTES
  return bound
}

/** Reads what stays. False when the row has several heads, too much, or something that the writer had not seen. */
function readRow(reader: ByteReader, { context, op, versions }: RowChange): boolean {
  reader.varint()
  const stampCount = reader.varint()
  if (stampCount > STAMPS_MAX) return false
  for (let place = 0; place < stampCount; place++) {
    const replica = reader.varint()
    const seq = reader.varint()
    if (clockGet(context, replica) < seq) return false
    replicas[place] = replica
    seqs[place] = seq
    timestamps[place] = place === 0 ? reader.fixed(TIMESTAMP_WIDTH) : (timestamps[0] as number) + reader.zigzag()
    places[place] = 0
  }
  for (let left = reader.varint(); left > 0; left--) {
    const replica = reader.varint()
    if (clockGet(context, replica) < reader.varint()) return false
  }
  if (reader.varint() !== 1) return false
  if (reader.varint() % 8 === UPDATE) for (let left = reader.varint(); left > 0; left--) reader.varint()
  return writesWholeRow(op) || readVersions(reader, versions)
}

function readVersions(reader: ByteReader, written: readonly Version[]): boolean {
  const count = reader.varint()
  if (count > VERSIONS_MAX) return false
  for (let left = count; left > 0; left--) {
    starts[versionCount] = reader.at
    const name = reader.varint()
    const stamp = reader.varint()
    lengths[versionCount] = reader.at
    reader.skip(reader.varint())
    if (isWritten(name, written)) continue
    names[versionCount] = name
    stamps[versionCount] = stamp
    ends[versionCount++] = reader.at
    if (places[stamp] !== 0) continue
    kept[keptCount++] = stamp
    places[stamp] = keptCount
  }
  return true
}

function isWritten(name: number, written: readonly Version[]): boolean {
  for (const version of written) if (version.name === name) return true
  return false
}

/** Everything before the versions. */
function putHeader(start: number, change: RowChange, position: number): number {
  const { bytes } = rowSlab
  let at = putVarint(bytes, start, position)
  at = putVarint(bytes, at, keptCount + 1)
  at = putVarint(bytes, at, change.replica)
  at = putVarint(bytes, at, change.seq)
  at = putFixed(bytes, at, change.timestamp, TIMESTAMP_WIDTH)
  for (let place = 0; place < keptCount; place++) {
    const stamp = kept[place] as number
    at = putVarint(bytes, at, replicas[stamp] as number)
    at = putVarint(bytes, at, seqs[stamp] as number)
    at = putZigzag(bytes, at, (timestamps[stamp] as number) - change.timestamp)
  }
  at = putExtraClock(bytes, at, change)
  at = putVarint(bytes, at, 1)
  at = putVarint(bytes, at, OPS.indexOf(change.op))
  if (change.op !== 'update') return at
  at = putVarint(bytes, at, change.versions.length)
  for (const { name } of change.versions) at = putVarint(bytes, at, name)
  return at
}

/** The entries of the row's clock that its stamps do not cover. */
function putExtraClock(bytes: Uint8Array, start: number, { context, replica }: RowChange): number {
  let extra = 0
  for (let entry = 0; entry < context.length; entry += 2) if (!isStamped(context, entry, replica)) extra++
  let at = putVarint(bytes, start, extra)
  for (let entry = 0; entry < context.length && extra > 0; entry += 2) {
    if (isStamped(context, entry, replica)) continue
    at = putVarint(bytes, at, context[entry] as number)
    at = putVarint(bytes, at, context[entry + 1] as number)
  }
  return at
}

function isStamped(context: SparseClock, entry: number, author: number): boolean {
  const replica = context[entry] as number
  if (replica === author) return true
  for (let place = 0; place < keptCount; place++) {
    const stamp = kept[place] as number
    if (replicas[stamp] === replica && (seqs[stamp] as number) >= (context[entry + 1] as number)) return true
  }
  return false
}

/** What stays and what is written, in the order of names. */
function putVersions(start: number, row: Uint8Array, written: readonly Version[]): number {
  let at = start
  let next = 0
  for (let version = 0; version < versionCount; ) {
    const name = names[version] as number
    while (next < written.length && (written[next] as Version).name < name)
      at = putWritten(at, written[next++] as Version)
    const end = runEnd(version, written[next])
    at = end > version ? putRun(at, row, version, end) : putKept(at, row, version)
    version = Math.max(end, version + 1)
  }
  while (next < written.length) at = putWritten(at, written[next++] as Version)
  return at
}

/**
 * The end of the versions from `first` on whose stamps keep their place: one copy for all. They stand side by side, because
 * a version that goes lies where the change writes, and there a run ends.
 */
function runEnd(first: number, written: Version | undefined): number {
  let end = first
  while (end < versionCount) {
    const stamp = stamps[end] as number
    if (places[stamp] !== stamp) break
    if (written !== undefined && (names[end] as number) > written.name) break
    end++
  }
  return end
}

function putRun(start: number, row: Uint8Array, first: number, end: number): number {
  const from = starts[first] as number
  const to = ends[end - 1] as number
  copyBytes(row, from, to, rowSlab.bytes, start)
  return start + to - from
}

function putKept(start: number, row: Uint8Array, version: number): number {
  const { bytes } = rowSlab
  const from = lengths[version] as number
  const to = ends[version] as number
  let at = putVarint(bytes, start, names[version] as number)
  at = putVarint(bytes, at, places[stamps[version] as number] as number)
  copyBytes(row, from, to, bytes, at)
  return at + to - from
}

/** A version of the change, whose stamp is the first. */
function putWritten(start: number, { name, bytes: source, start: from, end: to }: Version): number {
  const { bytes } = rowSlab
  let at = putVarint(bytes, start, name)
  bytes[at++] = 0
  at = putVarint(bytes, at, to - from)
  copyBytes(source, from, to, bytes, at)
  return at + to - from
}
