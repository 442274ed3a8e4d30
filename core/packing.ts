/**
 * MessagePack for envelopes and small records: frames around blocks, cursors, meta records.
 *
 * One place configures msgpackr: plain arrays and scalars only, no records, no references, no structured clone.
 * Bytes from outside pass `scanFrame` first (frame.ts).
 */
import { Packr } from 'msgpackr/pack'
import { badFrame } from './bytes.ts'

export type Packed = null | boolean | number | string | Uint8Array | readonly Packed[]

const packr: Packr = new Packr({ useRecords: false, moreTypes: false, variableMapSize: true, mapsAsObjects: true })

export function packRecord(value: Packed): Uint8Array {
  return packr.pack(value).slice()
}

export function unpackRecord(bytes: Uint8Array): Packed {
  try {
    return packr.unpack(bytes) as Packed
  } catch (error) {
    throw badFrame(error instanceof Error ? error.message : 'not MessagePack')
  }
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
