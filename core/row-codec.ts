/**
 * Row states as bytes, in a store and in snapshots.
 *
 * Layout, all numbers varints unless said otherwise:
 *   position
 *   n, then n stamps: replica, seq, timestamp (the first 7 bytes fixed, the others as signed differences to the first)
 *   n, then n clock entries that exceed what the stamps cover: replica, seq
 *   n, then n heads: stamp number × 8 + op; an update: n, then n field names
 *   n, then n versions: name, stamp number, byte length, value bytes
 * Replicas and names are indexes of the store's dictionaries; a snapshot brings its own, see `mapRow`.
 */
import { ByteReader, ByteWriter, badFrame } from './bytes.ts'
import { clockGet, clockWith, EMPTY_CLOCK, type SparseClock } from './clock.ts'
import { type Head, type HeadOp, OPS, type RowState, type Stamp, type Version } from './row.ts'
import { scanValue } from './value.ts'

const TIMESTAMP_WIDTH = 7

/**
 * Encoded rows share slabs: allocating each on its own costs more than encoding it. Small enough that one row that
 * lives long keeps little else alive.
 */
const SLAB_BYTES = 16 * 1024
const slab: ByteWriter = new ByteWriter(SLAB_BYTES)
const stamps: Stamp[] = []

/** The row as bytes. Moves the state's versions onto the new bytes, so that a row in memory keeps no block alive (M6). */
export function encodeRow(row: RowState): Uint8Array {
  const bound = boundRow(row)
  if (slab.length + bound > slab.bytes.length) {
    slab.bytes = new Uint8Array(Math.max(SLAB_BYTES, bound))
    slab.length = 0
  }
  const start = slab.length
  writeRow(slab, row)
  return slab.bytes.subarray(start, slab.length)
}

/** More than the row can take, so that `encodeRow` never grows a slab in the middle of a row. */
function boundRow(row: RowState): number {
  let bound = 64 + row.clock.length * 8 + row.heads.length * 36
  for (const head of row.heads) bound += head.fields.length * 8
  for (const version of row.versions) bound += version.end - version.start + 48
  return bound
}

function writeRow(writer: ByteWriter, row: RowState): void {
  writer.varint(row.position)
  collectStamps(row)
  writer.varint(stamps.length)
  let base = 0
  for (let at = 0; at < stamps.length; at++) {
    const stamp = stamps[at] as Stamp
    writer.varint(stamp.replica)
    writer.varint(stamp.seq)
    if (at === 0) {
      base = stamp.timestamp
      writer.fixed(base, TIMESTAMP_WIDTH)
    } else writer.zigzag(stamp.timestamp - base)
  }
  writeClock(writer, row.clock)
  writer.varint(row.heads.length)
  for (const head of row.heads) {
    writer.varint(stampNumber(head) * 8 + OPS.indexOf(head.op))
    if (head.op !== 'update') continue
    writer.varint(head.fields.length)
    for (const name of head.fields) writer.varint(name)
  }
  writer.varint(row.versions.length)
  for (const version of row.versions) {
    const length = version.end - version.start
    writer.varint(version.name)
    writer.varint(stampNumber(version))
    writer.varint(length)
    writer.raw(version.bytes, version.start, version.end)
    version.bytes = writer.bytes
    version.end = writer.length
    version.start = writer.length - length
  }
}

function collectStamps(row: RowState): void {
  stamps.length = 0
  for (const head of row.heads) if (stampNumber(head) < 0) stamps.push(head)
  for (const version of row.versions) if (stampNumber(version) < 0) stamps.push(version)
}

function stampNumber(stamp: Stamp): number {
  for (let at = 0; at < stamps.length; at++) {
    const other = stamps[at] as Stamp
    if (other.seq === stamp.seq && other.replica === stamp.replica) return at
  }
  return -1
}

function writeClock(writer: ByteWriter, clock: SparseClock): void {
  let extra = 0
  for (let at = 0; at < clock.length; at += 2) if (exceedsStamps(clock, at)) extra++
  writer.varint(extra)
  for (let at = 0; at < clock.length; at += 2) {
    if (!exceedsStamps(clock, at)) continue
    writer.varint(clock[at] as number)
    writer.varint(clock[at + 1] as number)
  }
}

function exceedsStamps(clock: SparseClock, at: number): boolean {
  const replica = clock[at] as number
  const seq = clock[at + 1] as number
  for (const stamp of stamps) if (stamp.replica === replica && stamp.seq >= seq) return false
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
 * checked. Throws `bad-frame` for bytes that are no row.
 */
export function decodeRow(bytes: Uint8Array, map?: IndexMap): RowState {
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
    clock = clockWith(clock, replica, Math.max(1, reader.varint()))
  }
  const heads = readHeads(reader, table, map)
  const versions = readVersions(reader, table, map, checked)
  return { clock, heads, versions, position }
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

function readHeads(reader: ByteReader, table: readonly Stamp[], map: IndexMap): Head[] {
  const heads: Head[] = []
  for (let left = reader.varint(); left > 0; left--) {
    const packed = reader.varint()
    const { replica, seq, timestamp } = stampAt(table, Math.floor(packed / 8))
    const op = OPS[packed % 8]
    if (op === undefined || op === 'void') throw badFrame('a head has no operation')
    const fields: number[] = []
    if (op === 'update') for (let more = reader.varint(); more > 0; more--) fields.push(map.name(reader.varint()))
    heads.push({ replica, seq, timestamp, op: op satisfies HeadOp, fields: fields.sort((a, b) => a - b) })
  }
  return heads
}

function readVersions(reader: ByteReader, table: readonly Stamp[], map: IndexMap, checked: boolean): Version[] {
  const versions: Version[] = []
  let ordered = true
  for (let left = reader.varint(); left > 0; left--) {
    const name = map.name(reader.varint())
    const { replica, seq, timestamp } = stampAt(table, reader.varint())
    const length = reader.varint()
    const start = reader.at
    const end = reader.skip(length)
    if (checked) {
      const value = new ByteReader(reader.bytes, start, end)
      scanValue(value)
      value.expectEnd()
    }
    const last = versions[versions.length - 1]
    if (last !== undefined && last.name > name) ordered = false
    versions.push({ name, replica, seq, timestamp, bytes: reader.bytes, start, end })
  }
  // Names are sorted by the sender's indexes. Versions of one name keep their canonical order: sorting is stable.
  return ordered ? versions : versions.sort((a, b) => a.name - b.name)
}

/** The position that the bytes begin with, without reading the row. */
export function readRowPosition(bytes: Uint8Array): number {
  return new ByteReader(bytes).varint()
}

/** The highest seq of `replica` among what the row covers. */
export function rowSeqOf(row: RowState, replica: number): number {
  return clockGet(row.clock, replica)
}
