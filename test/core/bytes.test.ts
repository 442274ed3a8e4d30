/** Byte buffers: what a writer writes a reader reads, and no reader ever passes its end. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  ByteReader,
  ByteWriter,
  compareBytes,
  concatBytes,
  copyBytes,
  equalSlices,
  isUuidText,
  prefixEnd,
  readText,
  readUuid,
  writeUuid,
} from '../../core/bytes.ts'
import { isTidemarkError } from '../../core/errors.ts'

const count: fc.Arbitrary<number> = fc.oneof(
  fc.nat(),
  fc.maxSafeNat(),
  fc.integer({ min: 0, max: 53 }).map((bits) => 2 ** bits - 1),
  fc.integer({ min: 0, max: 52 }).map((bits) => 2 ** bits),
)
const signed: fc.Arbitrary<number> = fc.oneof(
  fc.tuple(count, fc.boolean()).map(([value, isNegative]) => (isNegative && value > 0 ? -value : value)),
  fc.maxSafeInteger().map((value) => value + 0),
)

function written(write: (writer: ByteWriter) => void): Uint8Array {
  const writer = new ByteWriter(1)
  write(writer)
  return writer.toBytes()
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

function codeOf(run: () => unknown): string | undefined {
  try {
    run()
  } catch (error) {
    if (isTidemarkError(error)) return error.code
    throw error
  }
  return undefined
}

// ── Numbers ─────────────────────────────────────────────────────────────────────────────────────────────────────────

describe('a varint', () => {
  test.each([
    [0, '00'],
    [1, '01'],
    [127, '7f'],
    [128, '8001'],
    [300, 'ac02'],
    [16_383, 'ff7f'],
    [16_384, '808001'],
    [2 ** 31 - 1, 'ffffffff07'],
    [2 ** 31, '8080808008'],
    [2 ** 32, '8080808010'],
    [2 ** 49 - 1, 'ffffffffffff7f'],
    [2 ** 49, '8080808080808001'],
    [Number.MAX_SAFE_INTEGER, 'ffffffffffffff0f'],
  ])('of %i is %s for ever', (value, bytes) => {
    expect(hex(written((writer) => writer.varint(value)))).toBe(bytes)
    const reader = new ByteReader(Uint8Array.from(Buffer.from(bytes, 'hex')))
    expect(reader.varint()).toBe(value)
    reader.expectEnd()
  })

  test('gives back every safe integer from 0', async () => {
    await fc.assert(
      fc.property(fc.array(count), (values) => {
        const reader = new ByteReader(
          written((writer) => {
            for (const value of values) writer.varint(value)
          }),
        )
        expect(values.map(() => reader.varint())).toEqual(values)
        reader.expectEnd()
      }),
      { numRuns: 3_000 },
    )
  })

  test.each([
    ['is longer than it needs to be', '8000'],
    ['is a long zero', '808080808000'],
    ['is one beyond 2^53 − 1', '8080808080808010'],
    ['is as large as eight bytes can say', 'ffffffffffffff7f'],
    ['has nine bytes', 'ffffffffffffffff01'],
    ['goes on past its end', '80'],
    ['is not there', ''],
  ])('that %s is a bad frame', (_, bytes) => {
    expect(codeOf(() => new ByteReader(Uint8Array.from(Buffer.from(bytes, 'hex'))).varint())).toBe('bad-frame')
  })

  test('has exactly one spelling: what reads as a number is what writing it gives', async () => {
    await fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 9 }), (bytes) => {
        const reader = new ByteReader(bytes)
        let value: number
        try {
          value = reader.varint()
        } catch {
          return
        }
        expect(hex(written((writer) => writer.varint(value)))).toBe(hex(bytes.subarray(0, reader.at)))
      }),
      { numRuns: 5_000 },
    )
  })
})

describe('a zigzag number', () => {
  test('keeps small magnitudes small', () => {
    const spelled = [0, -1, 1, -2, 63, -64, 64].map((value) => hex(written((writer) => writer.zigzag(value))))
    expect(spelled).toEqual(['00', '01', '02', '03', '7e', '7f', '8001'])
  })

  test('gives back every safe integer, as its docstring promises', async () => {
    await fc.assert(
      fc.property(signed, (value) => {
        const reader = new ByteReader(written((writer) => writer.zigzag(value)))
        expect(reader.zigzag()).toBe(value)
        reader.expectEnd()
      }),
      {
        numRuns: 3_000,
        examples: [[2 ** 52], [-(2 ** 52)], [-(2 ** 52) - 1], [Number.MAX_SAFE_INTEGER], [Number.MIN_SAFE_INTEGER]],
      },
    )
  })

  test('never reads as minus zero or beyond the safe integers', async () => {
    await fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 9 }), (bytes) => {
        const reader = new ByteReader(bytes)
        let value: number
        try {
          value = reader.zigzag()
        } catch (error) {
          expect(isTidemarkError(error) && error.code).toBe('bad-frame')
          return
        }
        expect(Number.isSafeInteger(value) && !Object.is(value, -0)).toBe(true)
        expect(hex(written((writer) => writer.zigzag(value)))).toBe(hex(bytes.subarray(0, reader.at)))
      }),
      {
        numRuns: 5_000,
        // The last two are 2^53 − 1 and −2^53.
        examples: [
          [Uint8Array.of(0)],
          [Uint8Array.of(1)],
          [Uint8Array.of(0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f)],
          [Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f)],
        ],
      },
    )
  })
})

test('a number of fixed width comes back, and its bytes sort like it', async () => {
  const wide = fc.integer({ min: 1, max: 7 }).chain((width) => {
    const value = fc.integer({ min: 0, max: Math.min(256 ** width - 1, Number.MAX_SAFE_INTEGER) })
    return fc.tuple(fc.constant(width), value, value)
  })
  await fc.assert(
    fc.property(wide, ([width, left, right]) => {
      const [a, b] = [left, right].map((value) => written((writer) => writer.fixed(value, width))) as [
        Uint8Array,
        Uint8Array,
      ]
      expect(a.length).toBe(width)
      expect(new ByteReader(a).fixed(width)).toBe(left)
      expect(Math.sign(compareBytes(a, b))).toBe(Math.sign(left - right))
    }),
    { numRuns: 3_000 },
  )
})

// ── Text ────────────────────────────────────────────────────────────────────────────────────────────────────────────

describe('a text', () => {
  test('comes back, with as many bytes as were announced, also at the lengths where the way of writing changes', async () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc
        .tuple(fc.constantFrom(46, 47, 48, 190, 191, 192, 193), fc.constantFrom('', 'é', '😀', '\ufeff'))
        .map(([length, last]) => 'x'.repeat(length) + last),
    )
    await fc.assert(
      fc.property(text, (value) => {
        const writer = new ByteWriter(0)
        writer.byte(7)
        const size = writer.text(value)
        const reader = new ByteReader(writer.toBytes(), 1)
        expect(size).toBe(Buffer.byteLength(value))
        expect(reader.text(size)).toBe(value)
        reader.expectEnd()
      }),
      { numRuns: 3_000 },
    )
  })

  test('keeps a byte order mark and a null character', () => {
    const value = '\ufeffa\0'
    expect(readText(Buffer.from(value), 0, 5)).toBe(value)
  })

  test.each([
    '\ud800',
    '\udc00',
    'a\ud800b',
    '\udc00\ud800',
    '\udc00\udc00',
    '\ud800\ud800',
    `${'x'.repeat(500)}\ud800`,
  ])('with half of a surrogate pair is a bad value: %j', (value) => {
    expect(codeOf(() => new ByteWriter().text(value))).toBe('bad-value')
  })

  test.each(['ff', 'c080', 'c3', 'e282', 'eda080', 'f4908080', '61ff', `${'61'.repeat(60)}80`])(
    'of the bytes %s is a bad frame',
    (bytes) => {
      const source = Uint8Array.from(Buffer.from(bytes, 'hex'))
      expect(codeOf(() => new ByteReader(source).text(source.length))).toBe('bad-frame')
    },
  )
})

// ── UUIDs ───────────────────────────────────────────────────────────────────────────────────────────────────────────

describe('a UUID', () => {
  test('comes back from its 16 bytes, in lower case, whatever its version', async () => {
    await fc.assert(
      fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), (bytes) => {
        const text = hex(bytes).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
        const writer = new ByteWriter(0)
        expect(writeUuid(writer, text)).toBe(true)
        expect(hex(writer.toBytes())).toBe(hex(bytes))
        expect(readUuid(concatBytes(new Uint8Array(3), bytes), 3)).toBe(text)
        expect(isUuidText(text)).toBe(true)
      }),
      { numRuns: 2_000 },
    )
  })

  const UUID = '01234567-89ab-cdef-0123-456789abcdef'

  test('is only what has 36 characters of the canonical form: one changed character makes another text of it', () => {
    for (let at = 0; at < 36; at++) {
      for (const character of ['g', 'A', '-', '/', ':', '`', 'é', '\u0130', '０']) {
        const text = UUID.slice(0, at) + character + UUID.slice(at + 1)
        if (text === UUID) continue
        const writer = new ByteWriter(0)
        expect(writeUuid(writer, text), text).toBe(false)
        expect(writer.length).toBe(0)
        expect(isUuidText(text)).toBe(false)
      }
    }
    for (const text of ['', UUID.slice(1), `${UUID}0`, UUID.toUpperCase(), UUID.replaceAll('-', '')]) {
      expect(isUuidText(text), text).toBe(false)
    }
  })
})

// ── Bounds ──────────────────────────────────────────────────────────────────────────────────────────────────────────

describe('a reader', () => {
  type Read = (reader: ByteReader) => unknown
  const read: fc.Arbitrary<Read> = fc.oneof(
    fc.constantFrom<Read>(
      (reader) => reader.byte(),
      (reader) => reader.varint(),
      (reader) => reader.zigzag(),
      (reader) => reader.text(reader.byte()),
      (reader) => hex(reader.raw(reader.varint())),
      (reader) => reader.expectEnd(),
    ),
    fc.integer({ min: 0, max: 8 }).map(
      (width): Read =>
        (reader) =>
          reader.fixed(width),
    ),
    fc.integer({ min: 0, max: 20 }).map(
      (size): Read =>
        (reader) =>
          reader.skip(size) - reader.at,
    ),
  )

  test('never reads at or past its end: what lies behind changes no answer, and the end is a bad frame', async () => {
    await fc.assert(
      fc.property(fc.uint8Array({ maxLength: 20 }), fc.array(read, { maxLength: 12 }), (bytes, reads) => {
        const alone = new ByteReader(bytes)
        const zeros = new ByteReader(concatBytes(bytes, new Uint8Array(20)), 0, bytes.length)
        const ones = new ByteReader(
          concatBytes(new Uint8Array(9), bytes, new Uint8Array(20).fill(0x7f)),
          9,
          9 + bytes.length,
        )
        for (const step of reads) {
          const answers = [alone, zeros, ones].map((reader) => {
            try {
              return step(reader)
            } catch (error) {
              expect(isTidemarkError(error) && error.code).toBe('bad-frame')
              return 'bad-frame'
            }
          })
          expect(answers[1]).toEqual(answers[0])
          expect(answers[2]).toEqual(answers[0])
          expect(alone.at).toBeLessThanOrEqual(alone.end)
          expect([zeros.at, ones.at - 9]).toEqual([alone.at, alone.at])
        }
      }),
      { numRuns: 5_000 },
    )
  })

  test('refuses a length of up to 2^53 without moving', () => {
    const reader = new ByteReader(new Uint8Array(4))
    for (const size of [5, 2 ** 31, 2 ** 32, Number.MAX_SAFE_INTEGER]) {
      expect(codeOf(() => reader.skip(size))).toBe('bad-frame')
      expect(reader.at).toBe(0)
    }
  })
})

describe('a writer', () => {
  test('keeps what it has when it grows, whatever it began with', async () => {
    const piece = fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      fc.string({ maxLength: 10 }).map((text) => Uint8Array.from(Buffer.from(text))),
    )
    await fc.assert(
      fc.property(fc.nat(40), fc.array(piece, { maxLength: 12 }), (capacity, pieces) => {
        const writer = new ByteWriter(capacity)
        for (const part of pieces) {
          if (part.length % 3 === 0) for (const byte of part) writer.byte(byte)
          else writer.raw(concatBytes(Uint8Array.of(1), part, Uint8Array.of(2)), 1, 1 + part.length)
        }
        expect(hex(writer.toBytes())).toBe(hex(concatBytes(...pieces)))
      }),
      { numRuns: 2_000 },
    )
  })

  test('gives its bytes away in an array of their own', () => {
    const writer = new ByteWriter()
    writer.byte(1)
    const bytes = writer.toBytes()
    writer.reset()
    writer.byte(2)
    expect([...bytes]).toEqual([1])
    expect([...writer.toBytes()]).toEqual([2])
  })
})

// ── Comparing ───────────────────────────────────────────────────────────────────────────────────────────────────────

describe('bytes', () => {
  const bytes = fc
    .array(fc.constantFrom(0, 1, 0x7f, 0x80, 0xfe, 0xff), { maxLength: 5 })
    .map((list) => Uint8Array.from(list))

  test('compare as unsigned, a prefix first', async () => {
    await fc.assert(
      fc.property(bytes, bytes, (left, right) => {
        expect(Math.sign(compareBytes(left, right))).toBe(Buffer.compare(left, right))
      }),
      { numRuns: 3_000 },
    )
  })

  test('that start with a prefix lie before its end, and all others do not lie between', async () => {
    await fc.assert(
      fc.property(bytes, bytes, (prefix, key) => {
        const end = prefixEnd(prefix)
        if (end.length === 0) {
          expect([...prefix].every((byte) => byte === 0xff)).toBe(true)
          return
        }
        const isInside = Buffer.compare(prefix, key) <= 0 && Buffer.compare(key, end) < 0
        expect(isInside).toBe(hex(key).startsWith(hex(prefix)))
      }),
      { numRuns: 3_000 },
    )
  })

  test('are equal slices when they are, wherever they lie', async () => {
    await fc.assert(
      fc.property(bytes, bytes, fc.nat(3), (left, right, offset) => {
        const shifted = concatBytes(new Uint8Array(offset), right, Uint8Array.of(9))
        const isEqual = equalSlices(left, 0, left.length, shifted, offset, offset + right.length)
        expect(isEqual).toBe(hex(left) === hex(right))
      }),
      { numRuns: 3_000 },
    )
  })

  test.each([0, 1, 255, 256, 257, 1_000])('are copied, %i of them', (size) => {
    const source = Uint8Array.from({ length: size + 2 }, (_, at) => at)
    const target = new Uint8Array(size + 6)
    copyBytes(source, 1, size + 1, target, 3)
    expect(hex(target)).toBe(hex(concatBytes(new Uint8Array(3), source.subarray(1, size + 1), new Uint8Array(3))))
  })
})
