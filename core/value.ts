/**
 * Field values and their one canonical form: a subset of MessagePack in which equal values have equal bytes.
 *
 * Values are JSON values plus Date and Uint8Array. The canonical form is used at the local write, checked at admission,
 * compared for agreement and hashed for fingerprints; so it must not depend on insertion order, platform or history.
 * Any MessagePack library can read it; only this file may write it.
 *
 * Invariants:
 * V1  decode(encode(v)) equals v, and encode(decode(b)) equals b for every b that `scanValue` lets pass.
 * V2  Shortest form everywhere: integers and lengths in their smallest width, −0 as 0, no float that is a whole number.
 * V3  Keys of objects are sorted by their UTF-8 bytes, distinct, and none of `__proto__`, `constructor`, `prototype`.
 * V4  Dates are MessagePack timestamps (extension −1) of whole milliseconds.
 * V5  Nesting is at most `valueDepthMax`.
 */
import { ByteReader, ByteWriter, badFrame } from './bytes.ts'
import { TidemarkError } from './errors.ts'
import { DEFAULT_LIMITS } from './limits.ts'
import { isPoisonedKey, quote } from './names.ts'

export type Value =
  | null
  | boolean
  | number
  | string
  | Date
  | Uint8Array
  | readonly Value[]
  | { readonly [key: string]: Value }

const DEPTH_MAX = DEFAULT_LIMITS.valueDepthMax
const KEY_BYTES_MAX = DEFAULT_LIMITS.idBytesMax
export const TWO_32: number = 2 ** 32
/** The range of JavaScript dates. */
export const DATE_MS_MAX = 8.64e15
const SHORT_ASCII = 192

// ── Writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Appends the canonical form of `value`. Throws `bad-value` or `bad-name`, naming the place inside the value. */
export function writeValue(writer: ByteWriter, value: unknown): void {
  writeNested(writer, value, 0)
}

/** The canonical form of `value` in an array of its own. */
export function encodeValue(value: unknown): Uint8Array {
  const writer = new ByteWriter(64)
  writeNested(writer, value, 0)
  return writer.toBytes()
}

function writeNested(writer: ByteWriter, value: unknown, depth: number): void {
  switch (typeof value) {
    case 'string':
      return writeString(writer, value)
    case 'number':
      return writeNumber(writer, value)
    case 'boolean':
      return writer.byte(value ? 0xc3 : 0xc2)
    case 'object':
      return writeObject(writer, value, depth)
    default:
      throw badValue(
        `${value === undefined ? 'undefined' : `a ${typeof value}`} cannot be stored`,
        value === undefined
          ? 'Leave the field out, or use null'
          : 'Use a number, a text or a plain object in its place',
      )
  }
}

function writeString(writer: ByteWriter, text: string): void {
  const length = text.length
  if (length < SHORT_ASCII) {
    writer.reserve(length + 2)
    const bytes = writer.bytes
    let at = writer.length
    if (length < 32) bytes[at++] = 0xa0 | length
    else {
      bytes[at++] = 0xd9
      bytes[at++] = length
    }
    let index = 0
    for (; index < length; index++) {
      const code = text.charCodeAt(index)
      if (code > 0x7f) break
      bytes[at++] = code
    }
    if (index === length) {
      writer.length = at
      return
    }
  }
  writeLongString(writer, text)
}

/** The length comes before the text but is known only after it: write behind the widest header, then close the gap. */
function writeLongString(writer: ByteWriter, text: string): void {
  const start = writer.length
  writer.reserve(text.length * 3 + 5)
  writer.length = start + 5
  const size = writer.text(text)
  writer.length = start
  writeLength(writer, size, 0xa0, 31, 0xd9)
  writer.bytes.copyWithin(writer.length, start + 5, start + 5 + size)
  writer.length += size
}

/** The header of a string, bin, array or map: `short` + length up to `shortMax`, else `wide`, `wide`+1, `wide`+2. */
function writeLength(writer: ByteWriter, length: number, short: number, shortMax: number, wide: number): void {
  if (length <= shortMax) writer.byte(short | length)
  else if (length <= 0xff && wide !== ARRAY_WIDE && wide !== MAP_WIDE) {
    writer.byte(wide)
    writer.byte(length)
  } else if (length <= 0xffff) {
    writer.byte(wide + 1)
    writer.fixed(length, 2)
  } else {
    writer.byte(wide + 2)
    writer.fixed(length, 4)
  }
}
/** Arrays and maps have no 8-bit length; one below their 16-bit tag keeps `writeLength` uniform. */
const ARRAY_WIDE = 0xdb
const MAP_WIDE = 0xdd

const floatView: DataView = new DataView(new ArrayBuffer(8))

function writeNumber(writer: ByteWriter, value: number): void {
  if (Number.isInteger(value)) {
    if (!Number.isSafeInteger(value)) {
      throw badValue(`${value} is beyond 2^53, where integers are no longer exact`, 'Store it as a text')
    }
    return writeInteger(writer, value)
  }
  if (!Number.isFinite(value)) throw badValue(`${value} cannot be stored`, 'Use null for "no number"')
  writer.reserve(9)
  writer.byte(0xcb)
  floatView.setFloat64(0, value)
  for (let at = 0; at < 8; at++) writer.byte(floatView.getUint8(at))
}

function writeInteger(writer: ByteWriter, value: number): void {
  if (value >= 0) {
    if (value < 0x80) writer.byte(value)
    else if (value <= 0xff) {
      writer.byte(0xcc)
      writer.byte(value)
    } else if (value <= 0xffff) {
      writer.byte(0xcd)
      writer.fixed(value, 2)
    } else if (value < TWO_32) {
      writer.byte(0xce)
      writer.fixed(value, 4)
    } else {
      writer.byte(0xcf)
      writer.fixed(value, 8)
    }
    return
  }
  if (value >= -0x20) writer.byte(value + 0x100)
  else if (value >= -0x80) {
    writer.byte(0xd0)
    writer.byte(value + 0x100)
  } else if (value >= -0x8000) {
    writer.byte(0xd1)
    writer.fixed(value + 0x10000, 2)
  } else if (value >= -0x80000000) {
    writer.byte(0xd2)
    writer.fixed(value + TWO_32, 4)
  } else {
    writer.byte(0xd3)
    writeTwosComplement(writer, value)
  }
}

/** 64 bits of a negative safe integer, without losing precision at 2^64. */
function writeTwosComplement(writer: ByteWriter, value: number): void {
  const high = Math.floor(value / TWO_32)
  writer.fixed(high + TWO_32, 4)
  writer.fixed(value - high * TWO_32, 4)
}

function writeObject(writer: ByteWriter, value: object | null, depth: number): void {
  if (value === null) return writer.byte(0xc0)
  if (value instanceof Date) return writeDate(writer, value)
  if (value instanceof Uint8Array) {
    writeBytesHeader(writer, value.length)
    return writer.raw(value)
  }
  if (depth === DEPTH_MAX) {
    throw badValue(
      `arrays and objects are nested deeper than ${DEPTH_MAX}`,
      'Store the inner part as rows of their own',
    )
  }
  if (Array.isArray(value)) {
    writeLength(writer, value.length, 0x90, 15, ARRAY_WIDE)
    return writeItems(writer, value, depth)
  }
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null) {
    const name = (value as { constructor?: { name?: unknown } }).constructor?.name
    throw badValue(`a ${quote(name)} cannot be stored`, 'Use plain objects, arrays, Date or Uint8Array')
  }
  writeMap(writer, value as Readonly<Record<string, unknown>>, depth)
}

/** What stands before so many bytes. */
export function writeBytesHeader(writer: ByteWriter, length: number): void {
  writeLength(writer, length, 0, -1, 0xc4)
}

function writeItems(writer: ByteWriter, items: readonly unknown[], depth: number): void {
  let index = 0
  try {
    for (; index < items.length; index++) writeNested(writer, items[index], depth + 1)
  } catch (error) {
    throw inside(`[${index}]`, error)
  }
}

function writeMap(writer: ByteWriter, value: Readonly<Record<string, unknown>>, depth: number): void {
  const keys = Object.keys(value).sort(compareCodePoints)
  writeLength(writer, keys.length, 0x80, 15, MAP_WIDE)
  for (const key of keys) {
    if (isPoisonedKey(key))
      throw new TidemarkError('bad-name', `${quote(key)} cannot be a key of a stored object`, {
        remedy: 'Rename the key',
      })
    const start = writer.length
    writeString(writer, key)
    if (writer.length - start > KEY_BYTES_MAX + 3) {
      throw new TidemarkError('too-large', `a key of an object has more than ${KEY_BYTES_MAX} bytes`, {
        remedy: 'Shorten the key, or store it as a value',
      })
    }
    try {
      writeNested(writer, value[key], depth + 1)
    } catch (error) {
      throw inside(`.${key}`, error)
    }
  }
}

function writeDate(writer: ByteWriter, date: Date): void {
  const ms = date.getTime()
  if (Number.isNaN(ms)) throw badValue('an invalid Date cannot be stored', 'Use null for "no date"')
  const seconds = Math.floor(ms / 1000)
  const nanoseconds = (ms - seconds * 1000) * 1_000_000
  if (seconds >= 0 && seconds < 2 ** 34) {
    if (nanoseconds === 0 && seconds < TWO_32) {
      writer.byte(0xd6)
      writer.byte(0xff)
      return writer.fixed(seconds, 4)
    }
    writer.byte(0xd7)
    writer.byte(0xff)
    writer.fixed(nanoseconds * 4 + Math.floor(seconds / TWO_32), 4)
    return writer.fixed(seconds % TWO_32, 4)
  }
  writer.byte(0xc7)
  writer.byte(12)
  writer.byte(0xff)
  writer.fixed(nanoseconds, 4)
  if (seconds < 0) writeTwosComplement(writer, seconds)
  else writer.fixed(seconds, 8)
}

/** The error with the place in front of what it complains about. */
function inside(place: string, error: unknown): unknown {
  if (!(error instanceof TidemarkError)) return error
  return error.at({ path: place + (error.details.path ?? '') })
}

/** The order of UTF-8 bytes: like `<` on strings, but surrogate pairs come after U+E000 to U+FFFF. */
export function compareCodePoints(left: string, right: string): number {
  const shorter = Math.min(left.length, right.length)
  for (let at = 0; at < shorter; at++) {
    const a = left.charCodeAt(at)
    const b = right.charCodeAt(at)
    if (a !== b) return liftSurrogate(a) - liftSurrogate(b)
  }
  return left.length - right.length
}

function liftSurrogate(code: number): number {
  return code >= 0xd800 && code <= 0xdfff ? code + 0x10000 : code
}

function badValue(what: string, remedy?: string): TidemarkError {
  return new TidemarkError('bad-value', what, remedy === undefined ? {} : { remedy })
}

// ── Reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The value at `start`. The bytes must have passed `scanValue` (what is in a store or a block has). */
export function decodeValue(bytes: Uint8Array, start: number, end: number): Value {
  const reader = new ByteReader(bytes, start, end)
  const value = readValue(reader)
  reader.expectEnd()
  return value
}

export function readValue(reader: ByteReader): Value {
  const tag = reader.byte()
  if (tag < 0x80) return tag
  if (tag >= 0xe0) return tag - 0x100
  if (tag < 0x90) return readMap(reader, tag & 0x0f)
  if (tag < 0xa0) return readArray(reader, tag & 0x0f)
  if (tag < 0xc0) return reader.text(tag & 0x1f)
  return readWide(reader, tag)
}

function readWide(reader: ByteReader, tag: number): Value {
  switch (tag) {
    case 0xc0:
      return null
    case 0xc2:
      return false
    case 0xc3:
      return true
    case 0xc4:
    case 0xc5:
    case 0xc6:
      return reader.raw(reader.fixed(1 << (tag - 0xc4))).slice()
    case 0xcb:
      return readFloat(reader)
    case 0xcc:
    case 0xcd:
    case 0xce:
      return reader.fixed(1 << (tag - 0xcc))
    case 0xcf:
      return reader.fixed(8)
    case 0xd0:
      return reader.fixed(1) - 0x100
    case 0xd1:
      return reader.fixed(2) - 0x10000
    case 0xd2:
      return reader.fixed(4) - TWO_32
    case 0xd3:
      return readTwosComplement(reader)
    case 0xd6:
    case 0xd7:
    case 0xc7:
      return readDate(reader, tag)
    case 0xd9:
    case 0xda:
    case 0xdb:
      return reader.text(reader.fixed(1 << (tag - 0xd9)))
    case 0xdc:
    case 0xdd:
      return readArray(reader, reader.fixed(2 << (tag - 0xdc)))
    case 0xde:
    case 0xdf:
      return readMap(reader, reader.fixed(2 << (tag - 0xde)))
    default:
      throw badFrame(`0x${tag.toString(16)} starts no value`)
  }
}

function readArray(reader: ByteReader, count: number): Value {
  const items: Value[] = []
  for (let index = 0; index < count; index++) items.push(readValue(reader))
  return items
}

/** Objects have no prototype: no key can mean anything but itself. */
function readMap(reader: ByteReader, count: number): Value {
  const map = Object.create(null) as Record<string, Value>
  for (let index = 0; index < count; index++) {
    const key = readValue(reader) as string
    map[key] = readValue(reader)
  }
  return map
}

export function readFloat(reader: ByteReader): number {
  const start = reader.at
  reader.skip(8)
  for (let at = 0; at < 8; at++) floatView.setUint8(at, reader.bytes[start + at] as number)
  return floatView.getFloat64(0)
}

function readTwosComplement(reader: ByteReader): number {
  const high = reader.fixed(4)
  const low = reader.fixed(4)
  return (high >= 0x80000000 ? high - TWO_32 : high) * TWO_32 + low
}

export function readDate(reader: ByteReader, tag: number): Date {
  if (tag === 0xc7) {
    reader.skip(2)
    const nanoseconds = reader.fixed(4)
    return new Date(readTwosComplement(reader) * 1000 + nanoseconds / 1_000_000)
  }
  reader.skip(1)
  if (tag === 0xd6) return new Date(reader.fixed(4) * 1000)
  const upper = reader.fixed(4)
  const nanoseconds = Math.floor(upper / 4)
  return new Date(((upper % 4) * TWO_32 + reader.fixed(4)) * 1000 + nanoseconds / 1_000_000)
}
