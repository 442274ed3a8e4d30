/**
 * Row states as bytes, in a store and in snapshots.
 *
 * Layout, all numbers varints unless said otherwise:
 *   position
 *   n, then n stamps: replica, seq, timestamp (the first 7 bytes fixed, the others as signed differences to the first)
 *   n, then n clock entries that exceed what the stamps cover: replica, seq
 *   n, then n heads: stamp number × 8 + op; an update: n, then n field names;
 *                    when there are several heads, the clock of each: n, then n of replica, seq
 *   n, then n versions: name, stamp number, byte length, value bytes
 * Replicas and names are indexes of the store's dictionaries; a snapshot brings its own, see `mapRow`.
 */
import { ByteReader, badFrame, copyBytes, putFixed, putVarint, putZigzag } from './bytes.ts'
import { clockGet, clockWith, EMPTY_CLOCK, type SparseClock } from './clock.ts'
import { scanField } from './counter.ts'
import { EMPTY_ROW, type Head, type HeadOp, OPS, type RowState, type Stamp, sameStamp, type Version } from './row.ts'
import { Slab } from './slab.ts'

export const TIMESTAMP_WIDTH = 7

/** A version's name, stamp number and length, at most: indexes of names and stamps are below 2^28. */
const VERSION_NUMBERS_BYTES = 12

/** Where encoded rows live. */
export const rowSlab: Slab = new Slab()
/** The stamps of the row at hand: the first `stampCount` places. Never shrinks. */
const stamps: Stamp[] = []
let stampCount = 0

/** The row as bytes. Moves the state's versions onto the new bytes, so that a row in memory keeps no block alive (M6). */
export function encodeRow(row: RowState): Uint8Array {
  collectStamps(row)
  const start = rowSlab.reserve(boundRow(row))
  return rowSlab.take(writeRow(rowSlab.bytes, start, row))
}

/** More than the row can take, and not much more: what is reserved stays alive with it. Its stamps are collected. */
function boundRow(row: RowState): number {
  let bound = 64 + row.clock.length * 8 + row.heads.length * 16 + stampCount * 24
  for (const head of row.heads) bound += (head.fields.length + head.clock.length) * 8
  for (const version of row.versions) bound += version.end - version.start + VERSION_NUMBERS_BYTES
  return bound
}

/** A hot loop, once per row and commit: it writes straight into the slab, which `boundRow` has made large enough. */
function writeRow(bytes: Uint8Array, start: number, row: RowState): number {
  let at = putVarint(bytes, start, row.position)
  at = putStamps(bytes, at)
  at = putClock(bytes, at, row.clock)
  at = putVarint(bytes, at, row.heads.length)
  for (const head of row.heads) {
    at = putVarint(bytes, at, stampNumber(head) * 8 + opNumber(head.op))
    if (head.op === 'update') {
      at = putVarint(bytes, at, head.fields.length)
      for (const name of head.fields) at = putVarint(bytes, at, name)
    }
    if (row.heads.length > 1) at = putHeadClock(bytes, at, head.clock)
  }
  at = putVarint(bytes, at, row.versions.length)
  for (const version of row.versions) {
    const length = version.end - version.start
    at = putVarint(bytes, at, version.name)
    at = putVarint(bytes, at, stampNumber(version.stamp))
    at = putVarint(bytes, at, length)
    copyBytes(version.bytes, version.start, version.end, bytes, at)
    version.bytes = bytes
    version.start = at
    at += length
    version.end = at
  }
  return at
}

function putHeadClock(bytes: Uint8Array, start: number, clock: SparseClock): number {
  let at = putVarint(bytes, start, clock.length / 2)
  for (let entry = 0; entry < clock.length; entry++) at = putVarint(bytes, at, clock[entry] as number)
  return at
}

function opNumber(op: HeadOp): number {
  return op === 'insert' ? 0 : op === 'update' ? 1 : OPS.indexOf(op)
}

function putStamps(bytes: Uint8Array, start: number): number {
  let at = putVarint(bytes, start, stampCount)
  let base = 0
  for (let number = 0; number < stampCount; number++) {
    const { replica, seq, timestamp } = stamps[number] as Stamp
    at = putVarint(bytes, at, replica)
    at = putVarint(bytes, at, seq)
    if (number === 0) {
      base = timestamp
      at = putFixed(bytes, at, base, TIMESTAMP_WIDTH)
    } else at = putZigzag(bytes, at, timestamp - base)
  }
  return at
}

function collectStamps(row: RowState): void {
  stampCount = 0
  for (const head of row.heads) if (stampNumber(head) < 0) stamps[stampCount++] = head
  for (const { stamp } of row.versions) if (stampNumber(stamp) < 0) stamps[stampCount++] = stamp
}

function stampNumber(stamp: Stamp): number {
  for (let at = 0; at < stampCount; at++) {
    if (sameStamp(stamps[at] as Stamp, stamp)) return at
  }
  return -1
}

function putClock(bytes: Uint8Array, start: number, clock: SparseClock): number {
  let extra = 0
  for (let at = 0; at < clock.length; at += 2) if (exceedsStamps(clock, at)) extra++
  let at = putVarint(bytes, start, extra)
  for (let entry = 0; entry < clock.length && extra > 0; entry += 2) {
    if (!exceedsStamps(clock, entry)) continue
    at = putVarint(bytes, at, clock[entry] as number)
    at = putVarint(bytes, at, clock[entry + 1] as number)
  }
  return at
}

function exceedsStamps(clock: SparseClock, at: number): boolean {
  const replica = clock[at] as number
  const seq = clock[at + 1] as number
  for (let number = 0; number < stampCount; number++) {
    const stamp = stamps[number] as Stamp
    if (stamp.replica === replica && stamp.seq >= seq) return false
  }
  return true
}

/** How the indexes of a sender's dictionaries read in ours. */
export interface IndexMap {
  replica(index: number): number
  name(index: number): number
}

const SAME: IndexMap = { replica: (index) => index, name: (index) => index }

/**
 * The row state in the bytes. With `map`, the bytes come from another store: indexes are translated and every value is
 * checked. Throws `bad-frame` for bytes that are no row. In our own store no bytes at all stand for a row that is not there.
 */
export function decodeRow(bytes: Uint8Array, map?: IndexMap): RowState {
  if (bytes.length === 0 && map === undefined) return EMPTY_ROW
  const reader = new ByteReader(bytes)
  const row = readRow(reader, map ?? SAME, map !== undefined)
  reader.expectEnd()
  return row
}

function readRow(reader: ByteReader, map: IndexMap, checked: boolean): RowState {
  const position = reader.varint()
  const table = readStamps(reader, map)
  let clock = EMPTY_CLOCK
  for (const stamp of table) clock = clockWith(clock, stamp.replica, stamp.seq)
  for (let left = reader.varint(); left > 0; left--) {
    const replica = map.replica(reader.varint())
    clock = clockWith(clock, replica, readSeq(reader))
  }
  const heads = readHeads(reader, table, map, clock)
  const versions = readVersions(reader, table, map, checked)
  return { clock, heads, versions, position }
}

/** A seq of a clock: 0 would be no entry at all. */
function readSeq(reader: ByteReader): number {
  const seq = reader.varint()
  if (seq < 1) throw badFrame('a clock covers a seq of 0')
  return seq
}

function readStamps(reader: ByteReader, map: IndexMap): Stamp[] {
  const count = reader.varint()
  const table: Stamp[] = []
  let base = 0
  for (let at = 0; at < count; at++) {
    const replica = map.replica(reader.varint())
    const seq = reader.varint()
    let timestamp = base
    if (at === 0) {
      base = reader.fixed(TIMESTAMP_WIDTH)
      timestamp = base
    } else timestamp += reader.zigzag()
    if (seq < 1 || !Number.isSafeInteger(timestamp) || timestamp < 0) throw badFrame('a stamp is out of range')
    table.push({ replica, seq, timestamp })
  }
  return table
}

function stampAt(table: readonly Stamp[], at: number): Stamp {
  const stamp = table[at]
  if (stamp === undefined) throw badFrame('a stamp number is out of range')
  return stamp
}

function readHeads(reader: ByteReader, table: readonly Stamp[], map: IndexMap, rowClock: SparseClock): Head[] {
  const heads: Head[] = []
  const count = reader.varint()
  for (let left = count; left > 0; left--) {
    const packed = reader.varint()
    const { replica, seq, timestamp } = stampAt(table, Math.floor(packed / 8))
    const op = OPS[packed % 8]
    if (op === undefined || op === 'void') throw badFrame('a head has no operation')
    const fields: number[] = []
    if (op === 'update') for (let more = reader.varint(); more > 0; more--) fields.push(map.name(reader.varint()))
    const clock = count > 1 ? readHeadClock(reader, map) : rowClock
    if (fields.length > 1) fields.sort((a, b) => a - b)
    heads.push({ replica, seq, timestamp, op: op satisfies HeadOp, fields, clock })
  }
  return heads
}

function readHeadClock(reader: ByteReader, map: IndexMap): SparseClock {
  let clock = EMPTY_CLOCK
  for (let left = reader.varint(); left > 0; left--) {
    const replica = map.replica(reader.varint())
    clock = clockWith(clock, replica, readSeq(reader))
  }
  return clock
}

function readVersions(reader: ByteReader, table: readonly Stamp[], map: IndexMap, checked: boolean): Version[] {
  const versions: Version[] = []
  let ordered = true
  for (let left = reader.varint(); left > 0; left--) {
    const name = map.name(reader.varint())
    const stamp = stampAt(table, reader.varint())
    const length = reader.varint()
    const start = reader.at
    const end = reader.skip(length)
    if (checked) {
      const value = new ByteReader(reader.bytes, start, end)
      scanField(value)
      value.expectEnd()
    }
    const last = versions[versions.length - 1]
    if (last !== undefined && last.name > name) ordered = false
    versions.push({ name, stamp, bytes: reader.bytes, start, end })
  }
  // Names are sorted by the sender's indexes. Versions of one name keep their canonical order: sorting is stable.
  return ordered ? versions : versions.sort((a, b) => a.name - b.name)
}

/** What a change needs to know of the row that it continues. */
export interface RowHeader {
  readonly position: number
  readonly clock: SparseClock
  /** How many heads it has. */
  readonly heads: number
  /** Of its sole head. */
  readonly op: HeadOp | undefined
}

/** The header of a row's bytes; none at all stand for a row that is not there. */
export function readRowHeader(bytes: Uint8Array): RowHeader {
  if (bytes.length === 0) return ABSENT
  const reader = new ByteReader(bytes)
  const position = reader.varint()
  let clock = EMPTY_CLOCK
  for (let stamps = reader.varint(), place = 0; place < stamps; place++) {
    const replica = reader.varint()
    clock = clockWith(clock, replica, reader.varint())
    if (place === 0) reader.skip(TIMESTAMP_WIDTH)
    else reader.zigzag()
  }
  for (let left = reader.varint(); left > 0; left--) {
    const replica = reader.varint()
    clock = clockWith(clock, replica, reader.varint())
  }
  const heads = reader.varint()
  return { position, clock, heads, op: heads === 1 ? (OPS[reader.varint() % 8] as HeadOp) : undefined }
}

const ABSENT: RowHeader = { position: 0, clock: EMPTY_CLOCK, heads: 0, op: undefined }

/** The position that the bytes begin with, without reading the row. */
export function readRowPosition(bytes: Uint8Array): number {
  return new ByteReader(bytes).varint()
}

/** The highest seq of `replica` among what the row covers. */
export function rowSeqOf(row: RowState, replica: number): number {
  return clockGet(row.clock, replica)
}
