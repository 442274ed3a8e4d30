/**
 * MessagePack for envelopes and small records: frames around blocks, cursors, meta records.
 *
 * They are arrays of scalars, texts and bytes in the form that values have. Bytes from outside pass `scanFrame` first
 * (frame.ts).
 */
import { ByteWriter, badFrame, putVarint, varintLength } from './bytes.ts'
import { decodeValue, writeBytesHeader, writeValue } from './value.ts'

export type Packed = null | boolean | number | string | Uint8Array | readonly Packed[]

const writer: ByteWriter = new ByteWriter(1024)
/** Records of fewer bytes share memory with others, which costs less than an array of their own. */
const SMALL_BYTES = 1_000

/** Throws `bad-value` for half a surrogate pair in a text. */
export function packRecord(value: Packed): Uint8Array {
  writer.reset()
  writeValue(writer, value)
  return writer.toBytes()
}

/**
 * A record whose last field is bytes made of parts, each behind its length. It may be large and has to be quick, so it is laid
 * out where it stays.
 */
export function packAroundParts(values: readonly Packed[], parts: readonly Uint8Array[]): Uint8Array {
  let partsBytes = 0
  for (const { length } of parts) partsBytes += varintLength(length) + length
  writer.reset()
  writer.byte(0x90 | (values.length + 1))
  for (const value of values) writeValue(writer, value)
  writeBytesHeader(writer, partsBytes)
  if (partsBytes <= SMALL_BYTES) {
    for (const part of parts) {
      writer.varint(part.length)
      writer.raw(part)
    }
    return writer.toBytes()
  }
  const record = new Uint8Array(writer.length + partsBytes)
  record.set(writer.bytes.subarray(0, writer.length))
  let at = writer.length
  for (const part of parts) {
    at = putVarint(record, at, part.length)
    record.set(part, at)
    at += part.length
  }
  return record
}

/** Throws `bad-frame` for bytes that are no record. What is in it is for the caller to check. */
export function unpackRecord(bytes: Uint8Array): Packed {
  return decodeValue(bytes, 0, bytes.length) as Packed
}

// ── Typed access to unpacked arrays ─────────────────────────────────────────────────────────────────────────────────

export function asArray(value: Packed | undefined): readonly Packed[] {
  if (Array.isArray(value)) return value as readonly Packed[]
  throw badFrame('an array was expected')
}

/** A whole number from 0 up to 2^53. */
export function asCount(value: Packed | undefined): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
  throw badFrame('a count was expected')
}

export function asText(value: Packed | undefined): string {
  if (typeof value === 'string') return value
  throw badFrame('a text was expected')
}

export function asBytes(value: Packed | undefined): Uint8Array {
  if (value instanceof Uint8Array) return value
  throw badFrame('bytes were expected')
}
