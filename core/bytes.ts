/**
 * Growing byte buffers and bounded readers: the floor that every codec stands on.
 *
 * Knows: varints (LEB128, up to 2^53 - 1), UTF-8, UUIDs in 16 bytes. Must never know: what is encoded.
 * Invariant: a reader never reads at or past its end; what does not fit is a `bad-frame`.
 */
import { TidemarkError } from './errors.ts'
import { Slab } from './slab.ts'

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Below this many characters a loop over character codes beats a call into the platform's encoder. */
const SHORT_TEXT = 192
const EMPTY = new Uint8Array(0)
const COPY_LOOP_MAX = 40
/** Arrays up to this length share slabs. */
const SLAB_ARRAY_MAX = 1_024
const slab: Slab = new Slab()
const TWO_32 = 2 ** 32
/** Engines keep arrays up to this length inside the heap: one costs less than a tenth of a longer one. */
export const SMALL_ARRAY_BYTES = 64

export class ByteWriter {
  bytes: Uint8Array
  length = 0

  constructor(capacity = 256) {
    this.bytes = new Uint8Array(capacity)
  }

  /** Makes room for `more` further bytes. */
  reserve(more: number): void {
    const needed = this.length + more
    if (needed <= this.bytes.length) return
    const grown = new Uint8Array(Math.max(needed, this.bytes.length * 2))
    grown.set(this.bytes.subarray(0, this.length))
    this.bytes = grown
  }

  byte(value: number): void {
    if (this.length === this.bytes.length) this.reserve(1)
    this.bytes[this.length++] = value
  }

  /** An unsigned safe integer, 7 bits to a byte, lowest first. */
  varint(value: number): void {
    this.reserve(8)
    this.length = putVarint(this.bytes, this.length, value)
  }

  /** A signed safe integer; small magnitudes stay small. */
  zigzag(value: number): void {
    this.reserve(9)
    this.length = putZigzag(this.bytes, this.length, value)
  }

  raw(source: Uint8Array, start = 0, end: number = source.length): void {
    this.reserve(end - start)
    copyBytes(source, start, end, this.bytes, this.length)
    this.length += end - start
  }

  /** A whole number of fixed width, highest byte first: sorts as bytes like the number does. */
  fixed(value: number, width: number): void {
    this.reserve(width)
    this.length = putFixed(this.bytes, this.length, value, width)
  }

  /** UTF-8 without a length; answers with the number of bytes. Throws `bad-value` for lone surrogates. */
  text(text: string): number {
    const start = this.length
    this.reserve(text.length * 3)
    if (text.length < SHORT_TEXT) {
      const bytes = this.bytes
      let at = start
      let index = 0
      for (; index < text.length; index++) {
        const code = text.charCodeAt(index)
        if (code > 0x7f) break
        bytes[at++] = code
      }
      if (index === text.length) {
        this.length = at
        return at - start
      }
    }
    if (!isWellFormed(text)) {
      throw new TidemarkError('bad-value', 'the text holds half of a surrogate pair, which has no UTF-8 form', {
        remedy: 'Repair it with text.toWellFormed() before writing',
      })
    }
    const { written } = encoder.encodeInto(text, this.bytes.subarray(start))
    this.length = start + written
    return written
  }

  /** Everything written so far, in an array that nobody writes to. */
  toBytes(): Uint8Array {
    if (this.length > SLAB_ARRAY_MAX) return this.bytes.slice(0, this.length)
    const start = slab.reserve(this.length)
    copyBytes(this.bytes, 0, this.length, slab.bytes, start)
    return slab.take(start + this.length)
  }

  reset(): void {
    this.length = 0
  }
}

export class ByteReader {
  readonly bytes: Uint8Array
  at: number
  readonly end: number

  constructor(bytes: Uint8Array, at = 0, end: number = bytes.length) {
    this.bytes = bytes
    this.at = at
    this.end = end
  }

  byte(): number {
    if (this.at >= this.end) throw badFrame('it ends too early')
    return this.bytes[this.at++] as number
  }

  /** Most numbers are small: they take one byte and this short way. */
  varint(): number {
    const first = this.at < this.end ? (this.bytes[this.at] as number) : 0xff
    if (first > 0x7f) return this.#longVarint()
    this.at++
    return first
  }

  #longVarint(): number {
    const bytes = this.bytes
    let value = 0
    let scale = 1
    for (let count = 0; count < 8; count++) {
      if (this.at >= this.end) throw badFrame('it ends inside a number')
      const byte = bytes[this.at++] as number
      if (byte < 0x80) {
        if (byte === 0 && count > 0) throw badFrame('a number is longer than it needs to be')
        value += byte * scale
        if (value > Number.MAX_SAFE_INTEGER) throw badFrame('a number is beyond 2^53')
        return value
      }
      value += (byte & 0x7f) * scale
      scale *= 128
    }
    throw badFrame('a number has too many bytes')
  }

  zigzag(): number {
    const first = this.byte()
    let magnitude = (first & 0x7e) >>> 1
    if (first > 0x7f) {
      const rest = this.varint()
      if (rest === 0) throw badFrame('a number is longer than it needs to be')
      magnitude += rest * 64
    }
    const value = (first & 1) === 1 ? -magnitude - 1 : magnitude
    if (!Number.isSafeInteger(magnitude) || !Number.isSafeInteger(value)) throw badFrame('a number is beyond 2^53')
    return value
  }

  /** The place after the next `count` bytes; moves there. */
  skip(count: number): number {
    if (count > this.end - this.at) throw badFrame('a length points past its end')
    this.at += count
    return this.at
  }

  fixed(width: number): number {
    const start = this.at
    const end = this.skip(width)
    let value = 0
    for (let at = start; at < end; at++) value = value * 256 + (this.bytes[at] as number)
    return value
  }

  raw(count: number): Uint8Array {
    const start = this.at
    return this.bytes.subarray(start, this.skip(count))
  }

  text(count: number): string {
    const start = this.at
    return readText(this.bytes, start, this.skip(count))
  }

  expectEnd(): void {
    if (this.at !== this.end) throw badFrame('bytes follow its end')
  }
}

/** Writes a varint where there is room for it; answers with the place after it. */
export function putVarint(bytes: Uint8Array, start: number, value: number): number {
  if (value > 0x7f) return putLongVarint(bytes, start, value)
  bytes[start] = value
  return start + 1
}

function putLongVarint(bytes: Uint8Array, start: number, value: number): number {
  let at = start
  let rest = value
  while (rest > 0x7f) {
    bytes[at++] = (rest & 0x7f) | 0x80
    rest = rest > 0x7fffffff ? Math.floor(rest / 128) : rest >>> 7
  }
  bytes[at++] = rest
  return at
}

/** How many bytes a varint takes. */
export function varintLength(value: number): number {
  let length = 1
  for (let rest = value; rest > 0x7f; rest = Math.floor(rest / 128)) length++
  return length
}

/** A whole number of fixed width, highest byte first. In two halves, because `%` on doubles is a slow call. */
export function putFixed(bytes: Uint8Array, start: number, value: number, width: number): number {
  let half = value >>> 0
  let at = start + width - 1
  for (; at >= start && at > start + width - 5; at--, half >>>= 8) bytes[at] = half
  half = Math.floor(value / TWO_32)
  for (; at >= start; at--, half >>>= 8) bytes[at] = half
  return start + width
}

/** The sign in the lowest bit, then the magnitude as in a varint: never doubled, so that no safe integer overflows. */
export function putZigzag(bytes: Uint8Array, start: number, value: number): number {
  const sign = value < 0 ? 1 : 0
  const magnitude = value < 0 ? -value - 1 : value
  const low = (magnitude & 63) * 2 + sign
  if (magnitude < 64) {
    bytes[start] = low
    return start + 1
  }
  bytes[start] = low | 0x80
  return putVarint(bytes, start + 1, Math.floor(magnitude / 64))
}

export function badFrame(what: string): TidemarkError {
  return new TidemarkError('bad-frame', `malformed bytes: ${what}`)
}

/** UTF-8 to a string; `bad-frame` when it is not valid UTF-8. */
export function readText(bytes: Uint8Array, start: number, end: number): string {
  if (end - start < 48) {
    let ascii = true
    for (let at = start; at < end; at++) {
      if ((bytes[at] as number) > 0x7f) {
        ascii = false
        break
      }
    }
    if (ascii) return String.fromCharCode.apply(null, bytes.subarray(start, end) as unknown as number[])
  }
  try {
    return decoder.decode(bytes.subarray(start, end))
  } catch {
    throw badFrame('a text is not valid UTF-8')
  }
}

/** Short copies run faster in a loop than through a view and `set`, which takes about 30 ns for any length. */
export function copyBytes(source: Uint8Array, start: number, end: number, target: Uint8Array, to: number): void {
  if (end - start > COPY_LOOP_MAX) {
    target.set(source.subarray(start, end), to)
    return
  }
  let at = to
  for (let from = start; from < end; from++) target[at++] = source[from] as number
}

export function concatBytes(...parts: readonly Uint8Array[]): Uint8Array {
  let length = 0
  for (const part of parts) length += part.length
  const whole = new Uint8Array(length)
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

/** Order of unsigned bytes; a prefix comes first. */
export function compareBytes(left: Uint8Array, right: Uint8Array): number {
  const shorter = Math.min(left.length, right.length)
  for (let at = 0; at < shorter; at++) {
    const difference = (left[at] as number) - (right[at] as number)
    if (difference !== 0) return difference
  }
  return left.length - right.length
}

export function equalSlices(
  a: Uint8Array,
  aStart: number,
  aEnd: number,
  b: Uint8Array,
  bStart: number,
  bEnd: number,
): boolean {
  if (aEnd - aStart !== bEnd - bStart) return false
  for (let i = aStart, j = bStart; i < aEnd; i++, j++) if (a[i] !== b[j]) return false
  return true
}

/** The first key after every key that starts with `prefix`. */
export function prefixEnd(prefix: Uint8Array): Uint8Array {
  for (let at = prefix.length - 1; at >= 0; at--) {
    const byte = prefix[at] as number
    if (byte < 0xff) {
      const end = prefix.slice(0, at + 1)
      end[at] = byte + 1
      return end
    }
  }
  return EMPTY
}

function isWellFormed(text: string): boolean {
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index)
    if (code < 0xd800 || code > 0xdfff) continue
    const next = text.charCodeAt(index + 1)
    if (code > 0xdbff || !(next >= 0xdc00 && next <= 0xdfff)) return false
    index++
  }
  return true
}

// ── UUIDs: 36 characters in 16 bytes ────────────────────────────────────────────────────────────────────────────────

const HEX_DIGITS = '0123456789abcdef'
/** Value of a lower-case hex digit by character code; 255 for anything else. */
const HEX_VALUES: Uint8Array = new Uint8Array(128).fill(255)
for (let value = 0; value < 16; value++) HEX_VALUES[HEX_DIGITS.charCodeAt(value)] = value
const HEX_CODES: Uint8Array = new Uint8Array(512)
for (let value = 0; value < 256; value++) {
  HEX_CODES[value * 2] = HEX_DIGITS.charCodeAt(value >> 4)
  HEX_CODES[value * 2 + 1] = HEX_DIGITS.charCodeAt(value & 15)
}
/** Where the 16 pairs of digits start. */
const UUID_PAIRS = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34] as const
const HYPHEN = 45
const uuidCodes: number[] = new Array<number>(36).fill(HYPHEN)

/** Writes 16 bytes when `text` is a UUID in its canonical lower-case form; else writes nothing and answers false. */
export function writeUuid(writer: ByteWriter, text: string): boolean {
  if (text.length !== 36) return false
  if (text.charCodeAt(8) !== HYPHEN || text.charCodeAt(13) !== HYPHEN) return false
  if (text.charCodeAt(18) !== HYPHEN || text.charCodeAt(23) !== HYPHEN) return false
  writer.reserve(16)
  const bytes = writer.bytes
  const start = writer.length
  for (let pair = 0; pair < 16; pair++) {
    const at = UUID_PAIRS[pair] as number
    const high = HEX_VALUES[text.charCodeAt(at)] ?? 255
    const low = HEX_VALUES[text.charCodeAt(at + 1)] ?? 255
    if (high === 255 || low === 255) return false
    bytes[start + pair] = high * 16 + low
  }
  writer.length = start + 16
  return true
}

export function readUuid(bytes: Uint8Array, at: number): string {
  for (let pair = 0; pair < 16; pair++) {
    const byte = bytes[at + pair] as number
    const to = UUID_PAIRS[pair] as number
    uuidCodes[to] = HEX_CODES[byte * 2] as number
    uuidCodes[to + 1] = HEX_CODES[byte * 2 + 1] as number
  }
  return String.fromCharCode.apply(null, uuidCodes)
}

/** True when the slice is the text of a canonical UUID, which has to travel in its 16-byte form. */
export function isUuidText(text: string): boolean {
  return text.length === 36 && writeUuid(uuidProbe(), text)
}

const probe: ByteWriter = new ByteWriter(16)
function uuidProbe(): ByteWriter {
  probe.reset()
  return probe
}
