/**
 * Scanning: whether bytes from outside are one canonical value, found out without building it.
 *
 * Knows: every canonical form of a value. Must never know: what the value is for.
 *
 * Invariants:
 * V5  Nesting is at most `valueDepthMax`; time and memory are linear in the bytes, and there is no recursion.
 * V6  What passes is read by `decodeValue` and written again as the same bytes (V1 of value.ts).
 */
import { ByteReader, badFrame, compareBytes, readText } from './bytes.ts'
import { DEFAULT_LIMITS } from './limits.ts'
import { isPoisonedKey } from './names.ts'
import { DATE_MS_MAX, readDate, readFloat, readValue, TWO_32 } from './value.ts'

const DEPTH_MAX = DEFAULT_LIMITS.valueDepthMax
const KEY_BYTES_MAX = DEFAULT_LIMITS.idBytesMax

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
  if (isBare(tag)) return -1
  if (tag < 0x90) return opened(reader, tag & 0x0f, true)
  if (tag < 0xa0) return opened(reader, tag & 0x0f, false)
  if (tag < 0xc0) return scanText(reader, tag & 0x1f)
  switch (tag) {
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

/** Scalars that are their tag, and nothing behind it: small integers, nil, booleans. */
export function isBare(tag: number): boolean {
  return tag < 0x80 || tag >= 0xe0 || (tag >= 0xc0 && tag <= 0xc3 && tag !== 0xc1)
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
