/**
 * Records against an independent reader and writer of MessagePack.
 */

import fc from 'fast-check'
import { Packr } from 'msgpackr'
import { describe, expect, test } from 'vitest'
import { decodeFrame, encodeFrame } from '../../core/frame.ts'
import { DEFAULT_LIMITS } from '../../core/limits.ts'
import { type Packed, packRecord, unpackRecord } from '../../core/packing.ts'

const packr = new Packr({ useRecords: false, int64AsType: 'number' })

const scalar: fc.Arbitrary<Packed> = fc.oneof(
  fc.constantFrom(null, true, false, 0, 127, 128, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1),
  fc.maxSafeNat(),
  fc.string({ unit: 'binary' }),
  fc.uint8Array({ max: 255, maxLength: 300 }),
)
const record: fc.Arbitrary<Packed> = fc.array(
  fc.oneof(scalar, fc.array(scalar, { maxLength: 20 }), fc.array(fc.array(scalar), { maxLength: 20 })),
  { maxLength: 40 },
)

/** Bytes of Node and of everywhere compare by content. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain)
  return value instanceof Uint8Array ? [...value] : value
}

describe('a record', () => {
  test('is read as it was written, here and by others', () => {
    fc.assert(
      fc.property(record, (value) => {
        const bytes = packRecord(value)
        expect(plain(unpackRecord(bytes))).toEqual(plain(value))
        expect(plain(packr.unpack(bytes))).toEqual(plain(value))
      }),
      { numRuns: 1_000 },
    )
  })

  test('that others wrote is read as well', () => {
    fc.assert(
      fc.property(record, (value) => {
        expect(plain(unpackRecord(packr.pack(value)))).toEqual(plain(value))
      }),
      { numRuns: 1_000 },
    )
  })

  test('that was cut short, or that something follows, is refused', () => {
    fc.assert(
      fc.property(record, fc.nat(), (value, cut) => {
        const bytes = packRecord(value)
        for (const wrong of [bytes.subarray(0, cut % bytes.length), Buffer.concat([bytes, new Uint8Array(1)])]) {
          expect(() => unpackRecord(wrong)).toThrow(expect.objectContaining({ code: 'bad-frame' }))
        }
      }),
    )
  })
})

test('an error can be told whatever its message holds', () => {
  const frame = encodeFrame({ type: 'refuse', code: 'unavailable', message: 'half \ud83d of 👍', retryable: true })
  expect(decodeFrame(frame, DEFAULT_LIMITS)).toMatchObject({ code: 'unavailable', message: 'half \ufffd of 👍' })
})
