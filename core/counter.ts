/**
 * Counters: fields whose concurrent increments add up.
 *
 * Each replica keeps one version, its part: the total of its own increments since it began a run of them. The field shows the
 * sum. An increment takes the place of its own replica's part only; a whole-row write takes the place of all that it covers. A
 * part that goes on without having seen a whole-row write still has in its total what that write has taken the place of, so the
 * write says how much of each part it has seen, and the sum leaves that out. The bytes say that a version is a counter's, so
 * that merging needs no table definition.
 *
 * Invariants:
 * G1  A counter shows what its increments come to that no whole-row write had seen; where a row starts from counts as one.
 * G2  A run of a replica ends with the first whole-row write that it knows: its next part begins another.
 *
 * Source: the PN-counter of Shapiro et al., "A comprehensive study of Convergent and Commutative Replicated Data Types" (2011),
 * with signed totals; resets by what was seen after Baquero, Almeida and Lerche, "The Problem with Embedded CRDT Counters and a
 * Solution" (2016).
 * Forms, each with the MessagePack extension 2:
 *   0xd7 0x02, 8 bytes                 a part that begins a run: the total as a big-endian IEEE double
 *   0xc7 length 0x02, then …           a part that goes on: total (zigzag), by how many seqs its run began earlier (from 1)
 *   0xc9 length (4 bytes) 0x02, then … total (zigzag), the same from 0, and what was seen of others, sorted by replica:
 *                                      replica (16 bytes), seq, total (zigzag)
 */
import { ByteReader, ByteWriter, badFrame, readUuid, writeUuid } from './bytes.ts'
import type { Dictionary } from './dictionary.ts'
import { TidemarkError } from './errors.ts'
import type { Version } from './row.ts'
import { decodeValue, type Value } from './value.ts'
import { scanValue } from './value-scan.ts'

const TAG = 0xd7
const TAG_GOING_ON = 0xc7
const TAG_HAVING_SEEN = 0xc9
const EXTENSION = 0x02
const BEGINNING_BYTES = 10
const UUID_BYTES = 16

/** What one replica has counted. */
export interface CounterPart {
  readonly total: number
  /** How many seqs before the part its run began; 0: with it. */
  readonly age: number
  /** What the whole-row write that it goes back to, or is, has taken the place of; sorted by replica, one of each. */
  readonly seen: readonly SeenPart[]
}

/** How far a replica had counted when somebody wrote the whole row. */
export interface SeenPart {
  readonly replica: string
  readonly seq: number
  readonly total: number
}

/** Where the bytes of a field's value are. */
export interface FieldBytes {
  readonly bytes: Uint8Array
  readonly start: number
  readonly end: number
}

/** What `update` takes for a counter field. */
export class Increment {
  readonly by: number

  constructor(by: number) {
    if (!Number.isSafeInteger(by)) {
      throw new TidemarkError('bad-value', `a counter is incremented by whole numbers, not ${String(by)}`)
    }
    this.by = by
  }
}

export function increment(by = 1): Increment {
  return new Increment(by)
}

export function isCounterAt(bytes: Uint8Array, start: number): boolean {
  switch (bytes[start]) {
    case TAG:
      return bytes[start + 1] === EXTENSION
    case TAG_GOING_ON:
      return bytes[start + 2] === EXTENSION
    case TAG_HAVING_SEEN:
      return bytes[start + 5] === EXTENSION
    default:
      return false
  }
}

export function isCounter({ bytes, start }: FieldBytes): boolean {
  return isCounterAt(bytes, start)
}

/** A part that begins a run and has seen none. */
export function encodeCounter(total: number): Uint8Array {
  return encodePart({ total, age: 0, seen: NONE_SEEN })
}

const NONE_SEEN: readonly SeenPart[] = []

export function encodePart({ total, age, seen }: CounterPart): Uint8Array {
  if (!Number.isSafeInteger(total)) {
    throw new TidemarkError('bad-value', 'the counter would pass 2^53, where integers are no longer exact')
  }
  const writer = new ByteWriter(BEGINNING_BYTES + seen.length * (UUID_BYTES + 4))
  if (age === 0 && seen.length === 0) {
    writer.byte(TAG)
    writer.byte(EXTENSION)
    const double = new DataView(new ArrayBuffer(8))
    double.setFloat64(0, total === 0 ? 0 : total)
    writer.raw(new Uint8Array(double.buffer))
    return writer.toBytes()
  }
  const body = new ByteWriter(16)
  body.zigzag(total === 0 ? 0 : total)
  body.varint(age)
  for (const part of seen) {
    writeUuid(body, part.replica)
    body.varint(part.seq)
    body.zigzag(part.total)
  }
  writer.byte(seen.length === 0 ? TAG_GOING_ON : TAG_HAVING_SEEN)
  writer.fixed(body.length, seen.length === 0 ? 1 : 4)
  writer.byte(EXTENSION)
  writer.raw(body.bytes, 0, body.length)
  return writer.toBytes()
}

/** Only of bytes that have been checked. */
export function decodePart(bytes: Uint8Array, start: number): CounterPart {
  const reader = new ByteReader(bytes, start)
  if (reader.byte() === TAG) return { total: decodeDouble(bytes, start), age: 0, seen: NONE_SEEN }
  const isLong = bytes[start] === TAG_HAVING_SEEN
  const length = reader.fixed(isLong ? 4 : 1)
  reader.skip(1)
  const end = reader.at + length
  const total = reader.zigzag()
  const age = reader.varint()
  const seen: SeenPart[] = []
  while (reader.at < end) {
    const replica = readUuid(bytes, reader.at)
    reader.skip(UUID_BYTES)
    seen.push({ replica, seq: reader.varint(), total: reader.zigzag() })
  }
  return { total, age, seen }
}

function decodeDouble(bytes: Uint8Array, start: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset + start + 2, 8).getFloat64(0)
}

/** One replica's total. */
export function decodeCounter(bytes: Uint8Array, start: number): number {
  return decodePart(bytes, start).total
}

/** Moves past a counter and checks it: whole numbers, and each part in one form only. */
export function scanCounter(reader: ByteReader): void {
  const start = reader.at
  const tag = reader.byte()
  if (tag === TAG) {
    reader.skip(BEGINNING_BYTES - 1)
    const total = decodeDouble(reader.bytes, start)
    if (!Number.isSafeInteger(total) || Object.is(total, -0)) throw badPart()
    return
  }
  const length = reader.fixed(tag === TAG_GOING_ON ? 1 : 4)
  reader.skip(1)
  const body = new ByteReader(reader.bytes, reader.at, reader.skip(length))
  body.zigzag()
  const age = body.varint()
  if (tag === TAG_GOING_ON && age === 0) throw badPart()
  if (tag === TAG_HAVING_SEEN) scanSeen(body)
  body.expectEnd()
}

/** At least one, in the order of their bytes. */
function scanSeen(reader: ByteReader): void {
  let last = ''
  do {
    const at = reader.at
    reader.skip(UUID_BYTES)
    const replica = readUuid(reader.bytes, at)
    if (replica <= last || reader.varint() === 0) throw badPart()
    reader.zigzag()
    last = replica
  } while (reader.at < reader.end)
}

function badPart(): TidemarkError {
  return badFrame('a counter is not in its canonical form')
}

/** Moves past what stands in a field: a counter or a canonical value. Throws `bad-frame`. */
export function scanField(reader: ByteReader): void {
  if (isCounterAt(reader.bytes, reader.at)) scanCounter(reader)
  else scanValue(reader)
}

/** What stands in a field; of a counter, one replica's part. */
export function decodeField({ bytes, start, end }: FieldBytes): Value {
  return isCounterAt(bytes, start) ? decodeCounter(bytes, start) : decodeValue(bytes, start, end)
}

/**
 * What a counter shows (G1), given versions of one field in canonical order: the sum, or the last exact integer where that is
 * beyond it. A plain number from before the field was a counter counts as well.
 */
export function sumCounters(versions: readonly Version[], replicas: Dictionary): number {
  const seen = seenBy(versions, replicas)
  let sum = 0
  for (const version of versions) {
    if (isCounter(version)) sum += countOf(version, seen.get(replicas.textOf(version.stamp.replica)))
    else {
      const value = decodeField(version)
      if (typeof value === 'number') sum += value
    }
  }
  return Math.max(-Number.MAX_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, sum))
}

/** A part without what was seen of its run. */
function countOf({ bytes, start, stamp }: Version, seen: SeenPart | undefined): number {
  const { total, age } = decodePart(bytes, start)
  return seen === undefined || seen.seq < stamp.seq - age ? total : total - seen.total
}

/** By replica the furthest that whole-row writes among the versions had seen of it. Nobody says so of itself. */
export function seenBy(versions: readonly Version[], replicas: Dictionary): ReadonlyMap<string, SeenPart> {
  const furthest = new Map<string, SeenPart>()
  for (const { bytes, start, stamp } of versions) {
    if (bytes[start] !== TAG_HAVING_SEEN || !isCounterAt(bytes, start)) continue
    for (const part of decodePart(bytes, start).seen) {
      if (part.replica !== replicas.textOf(stamp.replica)) keepFurthest(furthest, part)
    }
  }
  return furthest
}

export function keepFurthest(parts: Map<string, SeenPart>, part: SeenPart): void {
  if ((parts.get(part.replica)?.seq ?? 0) < part.seq) parts.set(part.replica, part)
}
