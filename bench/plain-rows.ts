/**
 * Rows that know last write only: a clock, and one register for each field, of which the later timestamp stays. What a store
 * without conflicts would keep, in the same form and with the same codec. It stands in for `core/row-codec.ts` and
 * `core/row-overwrite.ts` in a bundle of its own, so that everything around the rows is the same code.
 *
 * Knows: the layout below. Must never know: heads, contexts, what is concurrent.
 *
 * Layout, all numbers varints unless said otherwise:
 *   position; the operation of the last write, a byte
 *   n, then n stamps: replica, seq, timestamp (the first 7 bytes fixed, the others as signed differences to the first)
 *   n, then n clock entries that exceed what the stamps cover: replica, seq
 *   n, then n fields: name, stamp number, byte length, value bytes
 */
import { ByteReader, copyBytes, putFixed, putVarint, putZigzag } from '../dist/core/bytes.js'
import { clockWith, EMPTY_CLOCK, type SparseClock } from '../dist/core/clock.js'
import {
  EMPTY_ROW,
  type HeadOp,
  OPS,
  type RowChange,
  type RowState,
  type Stamp,
  type Version,
} from '../dist/core/row.js'
import { Slab } from '../dist/core/slab.js'

export const TIMESTAMP_WIDTH = 7
export const rowSlab: Slab = new Slab()

const STAMPS_MAX = 64
const FIELDS_MAX = 256
const FIELD_OVERHEAD_BYTES = 24
const ROW_OVERHEAD_BYTES = 64

const replicas = new Int32Array(STAMPS_MAX)
const seqs = new Float64Array(STAMPS_MAX)
const timestamps = new Float64Array(STAMPS_MAX)
const places = new Int32Array(STAMPS_MAX)
const kept = new Int32Array(STAMPS_MAX)
let keptCount = 0
const names = new Int32Array(FIELDS_MAX)
const stamps = new Int32Array(FIELDS_MAX)
const starts = new Int32Array(FIELDS_MAX)
const lengths = new Int32Array(FIELDS_MAX)
const ends = new Int32Array(FIELDS_MAX)
let fieldCount = 0
/** Clock entries beyond the stamps. */
const extraReplicas = new Int32Array(STAMPS_MAX)
const extraSeqs = new Float64Array(STAMPS_MAX)
let extraCount = 0

/** A row's bytes after a change, which is the last write of all its fields in everything that is measured. */
export function overwriteRow(row: Uint8Array, change: RowChange, position: number): Uint8Array | undefined {
  keptCount = 0
  fieldCount = 0
  extraCount = 0
  if (row.length > 0) readRow(new ByteReader(row), change)
  let bound = row.length + ROW_OVERHEAD_BYTES
  for (const { start, end } of change.versions) bound += end - start + FIELD_OVERHEAD_BYTES
  let at = putHeader(rowSlab.reserve(bound), change, position)
  at = putVarint(rowSlab.bytes, at, fieldCount + change.versions.length)
  return rowSlab.take(putFields(at, row, change.versions))
}

function readRow(reader: ByteReader, { op, versions, timestamp, replica }: RowChange): void {
  reader.varint()
  reader.byte()
  const stampCount = reader.varint()
  for (let place = 0; place < stampCount; place++) {
    replicas[place] = reader.varint()
    seqs[place] = reader.varint()
    timestamps[place] = place === 0 ? reader.fixed(TIMESTAMP_WIDTH) : timestamps[0] + reader.zigzag()
    places[place] = 0
    // Last write wins, register by register: here as everywhere the change is the later one.
    if (timestamps[place] > timestamp) throw new Error('an earlier write is not measured')
  }
  for (let left = reader.varint(); left > 0; left--) {
    extraReplicas[extraCount] = reader.varint()
    extraSeqs[extraCount++] = reader.varint()
  }
  if (op !== 'insert') readFields(reader, versions)
  for (let place = 0; place < stampCount; place++) {
    if (places[place] !== 0 || replicas[place] === replica) continue
    extraReplicas[extraCount] = replicas[place]
    extraSeqs[extraCount++] = seqs[place]
  }
}

function readFields(reader: ByteReader, written: readonly Version[]): void {
  for (let left = reader.varint(); left > 0; left--) {
    starts[fieldCount] = reader.at
    const name = reader.varint()
    const stamp = reader.varint()
    lengths[fieldCount] = reader.at
    reader.skip(reader.varint())
    if (isWritten(name, written)) continue
    names[fieldCount] = name
    stamps[fieldCount] = stamp
    ends[fieldCount++] = reader.at
    if (places[stamp] !== 0) continue
    kept[keptCount++] = stamp
    places[stamp] = keptCount
  }
}

function isWritten(name: number, written: readonly Version[]): boolean {
  for (const version of written) if (version.name === name) return true
  return false
}

function putHeader(start: number, change: RowChange, position: number): number {
  const { bytes } = rowSlab
  let at = putVarint(bytes, start, position)
  bytes[at++] = OPS.indexOf(change.op)
  at = putVarint(bytes, at, keptCount + 1)
  at = putVarint(bytes, at, change.replica)
  at = putVarint(bytes, at, change.seq)
  at = putFixed(bytes, at, change.timestamp, TIMESTAMP_WIDTH)
  for (let place = 0; place < keptCount; place++) {
    const stamp = kept[place]
    at = putVarint(bytes, at, replicas[stamp])
    at = putVarint(bytes, at, seqs[stamp])
    at = putZigzag(bytes, at, timestamps[stamp] - change.timestamp)
  }
  return putExtraClock(bytes, at, change.replica)
}

function putExtraClock(bytes: Uint8Array, start: number, author: number): number {
  let count = 0
  for (let entry = 0; entry < extraCount; entry++) if (!isStamped(entry, author)) count++
  let at = putVarint(bytes, start, count)
  for (let entry = 0; entry < extraCount && count > 0; entry++) {
    if (isStamped(entry, author)) continue
    at = putVarint(bytes, at, extraReplicas[entry])
    at = putVarint(bytes, at, extraSeqs[entry])
  }
  return at
}

function isStamped(entry: number, author: number): boolean {
  if (extraReplicas[entry] === author) return true
  for (let place = 0; place < keptCount; place++) {
    if (replicas[kept[place]] === extraReplicas[entry] && seqs[kept[place]] >= extraSeqs[entry]) return true
  }
  return false
}

function putFields(start: number, row: Uint8Array, written: readonly Version[]): number {
  let at = start
  let next = 0
  for (let field = 0; field < fieldCount; ) {
    while (next < written.length && written[next].name < names[field]) at = putWritten(at, written[next++])
    const end = runEnd(field, written[next])
    at = end > field ? putRun(at, row, field, end) : putKept(at, row, field)
    field = Math.max(end, field + 1)
  }
  while (next < written.length) at = putWritten(at, written[next++])
  return at
}

function runEnd(first: number, written: Version | undefined): number {
  let end = first
  while (end < fieldCount) {
    const stamp = stamps[end]
    if (places[stamp] !== stamp) break
    if (written !== undefined && names[end] > written.name) break
    end++
  }
  return end
}

function putRun(start: number, row: Uint8Array, first: number, end: number): number {
  copyBytes(row, starts[first], ends[end - 1], rowSlab.bytes, start)
  return start + ends[end - 1] - starts[first]
}

function putKept(start: number, row: Uint8Array, field: number): number {
  const { bytes } = rowSlab
  let at = putVarint(bytes, start, names[field])
  at = putVarint(bytes, at, places[stamps[field]])
  copyBytes(row, lengths[field], ends[field], bytes, at)
  return at + ends[field] - lengths[field]
}

function putWritten(start: number, { name, bytes: source, start: from, end: to }: Version): number {
  const { bytes } = rowSlab
  let at = putVarint(bytes, start, name)
  bytes[at++] = 0
  at = putVarint(bytes, at, to - from)
  copyBytes(source, from, to, bytes, at)
  return at + to - from
}

// ── What the rest of the engine reads of a row ──────────────────────────────────────────────────────────────────────

export interface RowHeader {
  readonly position: number
  readonly clock: SparseClock
  readonly heads: number
  readonly op: HeadOp | undefined
}

const ABSENT: RowHeader = { position: 0, clock: EMPTY_CLOCK, heads: 0, op: undefined }

export function readRowHeader(bytes: Uint8Array): RowHeader {
  if (bytes.length === 0) return ABSENT
  const reader = new ByteReader(bytes)
  const position = reader.varint()
  const op = OPS[reader.byte()] as HeadOp
  let clock = EMPTY_CLOCK
  for (let count = reader.varint(), place = 0; place < count; place++) {
    const replica = reader.varint()
    clock = clockWith(clock, replica, reader.varint())
    if (place === 0) reader.skip(TIMESTAMP_WIDTH)
    else reader.zigzag()
  }
  for (let left = reader.varint(); left > 0; left--) {
    const replica = reader.varint()
    clock = clockWith(clock, replica, reader.varint())
  }
  return { position, clock, heads: 1, op }
}

export function readRowPosition(bytes: Uint8Array): number {
  return new ByteReader(bytes).varint()
}

/** For the check afterwards: a row with one head, the last write. */
export function decodeRow(bytes: Uint8Array): RowState {
  if (bytes.length === 0) return EMPTY_ROW
  const reader = new ByteReader(bytes)
  const { position, clock, op = 'insert' } = readRowHeader(bytes)
  reader.varint()
  reader.byte()
  const table: Stamp[] = []
  for (let left = reader.varint(); left > 0; left--) {
    const replica = reader.varint()
    const seq = reader.varint()
    const base = table[0]?.timestamp
    table.push({ replica, seq, timestamp: base === undefined ? reader.fixed(TIMESTAMP_WIDTH) : base + reader.zigzag() })
  }
  for (let left = reader.varint() * 2; left > 0; left--) reader.varint()
  const versions: Version[] = []
  for (let left = reader.varint(); left > 0; left--) {
    const name = reader.varint()
    const stamp = table[reader.varint()]
    const length = reader.varint()
    const start = reader.at
    versions.push({ name, stamp, bytes, start, end: reader.skip(length) })
  }
  return { clock, heads: [{ ...table[0], op, fields: [], clock }], versions, position }
}

export function encodeRow(): Uint8Array {
  throw new Error('a row that is merged for real is not measured')
}

export function rowSeqOf(): number {
  throw new Error('nothing that is measured asks for this')
}
