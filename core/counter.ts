/**
 * Counters: fields whose concurrent increments add up.
 *
 * Each replica keeps one version: the total of its own increments since the row was last inserted. The field shows the sum.
 * An increment takes the place of its own replica's version only; a whole-row write takes the place of all it covers.
 * The bytes say that a version is a counter's, so that merging needs no table definition.
 *
 * Source: the PN-counter of Shapiro et al., "A comprehensive study of Convergent and Commutative Replicated Data Types" (2011),
 * with signed totals.
 * Form: MessagePack extension 2 of 8 bytes (0xd7 0x02), the total as a big-endian IEEE double.
 */
import { type ByteReader, badFrame } from './bytes.ts'
import { TidemarkError } from './errors.ts'
import { decodeValue, scanValue, type Value } from './value.ts'

export const COUNTER_BYTES = 10
const TAG = 0xd7
const EXTENSION = 0x02

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
  return bytes[start] === TAG && bytes[start + 1] === EXTENSION
}

export function isCounter({ bytes, start }: FieldBytes): boolean {
  return isCounterAt(bytes, start)
}

export function encodeCounter(total: number): Uint8Array {
  if (!Number.isSafeInteger(total)) {
    throw new TidemarkError('bad-value', 'the counter would pass 2^53, where integers are no longer exact')
  }
  const bytes = new Uint8Array(COUNTER_BYTES)
  const view = new DataView(bytes.buffer)
  bytes[0] = TAG
  bytes[1] = EXTENSION
  view.setFloat64(2, total === 0 ? 0 : total)
  return bytes
}

export function decodeCounter(bytes: Uint8Array, start: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset + start + 2, 8).getFloat64(0)
}

/** Moves past a counter and checks it: a whole number, and zero in one form only. */
export function scanCounter(reader: ByteReader): void {
  const start = reader.at
  reader.skip(COUNTER_BYTES)
  const total = decodeCounter(reader.bytes, start)
  if (!Number.isSafeInteger(total) || Object.is(total, -0)) throw badFrame('a counter is not in its canonical form')
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
 * What a counter shows: the sum over replicas, or the last exact integer where that is beyond it. A plain number from before
 * the field was a counter counts as well.
 */
export function sumCounters(parts: readonly FieldBytes[]): number {
  let sum = 0
  for (const part of parts) {
    const value = decodeField(part)
    if (typeof value === 'number') sum += value
  }
  return Math.max(-Number.MAX_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, sum))
}
