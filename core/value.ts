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
 * V5  Nesting is at most `valueDepthMax`; scanning and its memory are bounded by the length of the bytes.
 */
import { ByteReader, ByteWriter, badFrame, compareBytes, readText } from './bytes.ts'
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
const TWO_32 = 2 ** 32
/** The range of JavaScript dates. */
const DATE_MS_MAX = 8.64e15
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
    writeLength(writer, value.length, 0, -1, 0xc4)
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

function readValue(reader: ByteReader): Value {
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

function readFloat(reader: ByteReader): number {
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

function readDate(reader: ByteReader, tag: number): Date {
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

// ── Scanning ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Places of the last key of each open map; an array, so that scanning needs no recursion. */
interface Level {
  left: number
  isMap: boolean
  keyStart: number
  keyEnd: number
}

/**
 * Checks that exactly one canonical value starts at the reader's place, and moves past it. Builds nothing.
 * Throws `bad-frame` for bytes that are no canonical value. Time and memory are linear in the bytes.
 */
export function scanValue(reader: ByteReader): void {
  const first = scanScalar(reader)
  if (first < 0) return
  const open: Level[] = [{ left: first >>> 1, isMap: (first & 1) === 1, keyStart: 0, keyEnd: 0 }]
  while (open.length > 0) {
    const level = open[open.length - 1] as Level
    if (level.left === 0) {
      open.pop()
      continue
    }
    level.left--
    if (level.isMap) scanKey(reader, level)
    const inner = scanScalar(reader)
    if (inner < 0) continue
    if (open.length === DEPTH_MAX) throw badFrame(`a value is nested deeper than ${DEPTH_MAX}`)
    open.push({ left: inner >>> 1, isMap: (inner & 1) === 1, keyStart: 0, keyEnd: 0 })
  }
}

/** Moves past a scalar (answers −1) or past the header of an array or map (answers count × 2 + 1 for a map). */
function scanScalar(reader: ByteReader): number {
  const tag = reader.byte()
  if (tag < 0x80 || tag >= 0xe0) return -1
  if (tag < 0x90) return opened(reader, tag & 0x0f, true)
  if (tag < 0xa0) return opened(reader, tag & 0x0f, false)
  if (tag < 0xc0) return scanText(reader, tag & 0x1f)
  switch (tag) {
    case 0xc0:
    case 0xc2:
    case 0xc3:
      return -1
    case 0xc4:
    case 0xc5:
    case 0xc6:
      reader.skip(scanLength(reader, 1 << (tag - 0xc4), 0))
      return -1
    case 0xd9:
    case 0xda:
    case 0xdb:
      return scanText(reader, scanLength(reader, 1 << (tag - 0xd9), 32))
    case 0xdc:
    case 0xdd:
      return opened(reader, scanLength(reader, 2 << (tag - 0xdc), 16), false)
    case 0xde:
    case 0xdf:
      return opened(reader, scanLength(reader, 2 << (tag - 0xde), 16), true)
    case 0xd6:
    case 0xd7:
    case 0xc7:
      scanDate(reader, tag)
      return -1
    default:
      scanNumber(reader, tag)
      return -1
  }
}

/** A declared count can never be larger than the bytes that are left: each element takes at least one. */
function opened(reader: ByteReader, count: number, isMap: boolean): number {
  if ((isMap ? count * 2 : count) > reader.end - reader.at) throw badFrame('a count is larger than its bytes')
  return count * 2 + (isMap ? 1 : 0)
}

/** A length of `width` bytes that would not have fitted in fewer. */
function scanLength(reader: ByteReader, width: number, least: number): number {
  const length = reader.fixed(width)
  const floor = width === 1 ? least : width === 2 ? Math.max(least, least === 16 ? 16 : 0x100) : 0x10000
  if (length < floor) throw badFrame('a length is not in its shortest form')
  return length
}

function scanText(reader: ByteReader, size: number): number {
  const start = reader.at
  const end = reader.skip(size)
  const bytes = reader.bytes
  for (let at = start; at < end; at++) {
    if ((bytes[at] as number) > 0x7f) {
      readText(bytes, at, end)
      break
    }
  }
  return -1
}

function scanKey(reader: ByteReader, level: Level): void {
  const tag = reader.bytes[reader.at] as number
  if (reader.at >= reader.end || !((tag >= 0xa0 && tag < 0xc0) || tag === 0xd9 || tag === 0xda)) {
    throw badFrame('a key is not a text')
  }
  const header = tag < 0xc0 ? 1 : tag === 0xd9 ? 2 : 3
  const start = reader.at + header
  scanScalar(reader)
  const end = reader.at
  if (end - start > KEY_BYTES_MAX) throw badFrame('a key is too long')
  if (level.keyEnd > 0) {
    const last = reader.bytes.subarray(level.keyStart, level.keyEnd)
    if (compareBytes(last, reader.bytes.subarray(start, end)) >= 0) throw badFrame('keys are not sorted and distinct')
  }
  if (isPoisonedKey(readText(reader.bytes, start, end))) throw badFrame('a key is reserved')
  level.keyStart = start
  level.keyEnd = end
}

function scanNumber(reader: ByteReader, tag: number): void {
  if (tag < 0xcb || tag > 0xd3) throw badFrame(`0x${tag.toString(16)} starts no value`)
  const start = reader.at - 1
  if (tag === 0xcb) {
    const value = readFloat(reader)
    if (!Number.isFinite(value) || Number.isInteger(value)) throw badFrame('a float is not in its canonical form')
    return
  }
  reader.at = start
  const value = readValue(reader) as number
  if (!Number.isSafeInteger(value)) throw badFrame('an integer is beyond 2^53')
  if (integerWidth(value) !== reader.at - start) throw badFrame('an integer is not in its shortest form')
  if (value >= 0 !== tag <= 0xcf) throw badFrame('an integer is not in its canonical form')
}

/** Bytes of the shortest form of a safe integer, with its tag. */
function integerWidth(value: number): number {
  if (value >= 0) {
    if (value < 0x80) return 1
    if (value <= 0xff) return 2
    if (value <= 0xffff) return 3
    return value < TWO_32 ? 5 : 9
  }
  if (value >= -0x20) return 1
  if (value >= -0x80) return 2
  if (value >= -0x8000) return 3
  return value >= -0x80000000 ? 5 : 9
}

function scanDate(reader: ByteReader, tag: number): void {
  const start = reader.at
  const type = tag === 0xc7 ? reader.fixed(2) : reader.byte()
  if (type !== (tag === 0xc7 ? 0x0cff : 0xff)) throw badFrame('an extension type is not allowed')
  reader.at = start
  const date = readDate(reader, tag)
  const ms = date.getTime()
  if (!(Math.abs(ms) <= DATE_MS_MAX)) throw badFrame('a date is out of range')
  const end = reader.at
  const seconds = Math.floor(ms / 1000)
  const exact = reader.bytes
  const nanoseconds = (ms - seconds * 1000) * 1_000_000
  const shortest = seconds >= 0 && seconds < 2 ** 34 ? (nanoseconds === 0 && seconds < TWO_32 ? 0xd6 : 0xd7) : 0xc7
  if (shortest !== tag) throw badFrame('a date is not in its shortest form')
  if (tag === 0xd6) return
  const at = tag === 0xd7 ? start + 1 : start + 2
  const stored = new ByteReader(exact, at, end).fixed(4)
  const expected = tag === 0xd7 ? nanoseconds * 4 + Math.floor(seconds / TWO_32) : nanoseconds
  if (stored !== expected) throw badFrame('a date is finer than milliseconds')
}
