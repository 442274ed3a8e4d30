/**
 * Values and their canonical form, against MessagePack itself: an independent reader (msgpackr), an independent writer of
 * all other spellings (loose-messagepack.ts), and bytes that were written by hand from the specification.
 */

import fc from 'fast-check'
import { Unpackr } from 'msgpackr'
import { describe, expect, test } from 'vitest'
import { ByteReader, ByteWriter } from '../../core/bytes.ts'
import { isTidemarkError, type TidemarkError } from '../../core/errors.ts'
import { compareCodePoints, decodeValue, type Value, writeValue } from '../../core/value.ts'
import { scanValue } from '../../core/value-scan.ts'
import { spellLoosely } from './loose-messagepack.ts'
import { createPicker, isSameValue, keyArbitrary, mutateBytes, valueArbitrary } from './value-arbitrary.ts'

const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'number' })

function encode(value: unknown): Uint8Array {
  const writer = new ByteWriter(1)
  writeValue(writer, value)
  return writer.toBytes()
}

function decode(bytes: Uint8Array): Value {
  return decodeValue(bytes, 0, bytes.length)
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

function fromHex(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'))
}

/** True when the bytes are one canonical value and nothing else; any refusal but `bad-frame` is a failure. */
function isCanonical(bytes: Uint8Array): boolean {
  const reader = new ByteReader(bytes)
  try {
    scanValue(reader)
    reader.expectEnd()
    return true
  } catch (error) {
    if (isTidemarkError(error) && error.code === 'bad-frame') return false
    throw error
  }
}

function failureOf(run: () => unknown): TidemarkError {
  try {
    run()
  } catch (error) {
    if (isTidemarkError(error)) return error
    throw error
  }
  throw new Error('nothing was refused')
}

// ── V1: there and back ──────────────────────────────────────────────────────────────────────────────────────────────

describe('a value and its bytes', () => {
  test('V1: decode to an equal value, here and in another MessagePack library', async () => {
    await fc.assert(
      fc.property(valueArbitrary, (value) => {
        const bytes = encode(value)
        expect(isCanonical(bytes)).toBe(true)
        const decoded = decode(bytes)
        if (!isSameValue(decoded, value)) expect(decoded).toEqual(value)
        const independent = unpackr.unpack(bytes)
        if (!isSameValue(independent, value)) expect(independent).toEqual(value)
        expect(hex(encode(decoded))).toBe(hex(bytes))
      }),
      { numRuns: 5_000 },
    )
  })

  test('V1: scanning stops exactly where the value ends, whatever follows', async () => {
    await fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 5 }),
        valueArbitrary,
        fc.uint8Array({ maxLength: 5 }),
        (before, value, after) => {
          const bytes = encode(value)
          const reader = new ByteReader(Uint8Array.from([...before, ...bytes, ...after]), before.length)
          scanValue(reader)
          expect(reader.at).toBe(before.length + bytes.length)
        },
      ),
      { numRuns: 3_000 },
    )
  })

  test('V3: do not depend on the order in which keys were put into objects', async () => {
    await fc.assert(
      fc.property(valueArbitrary, fc.nat(), (value, seed) => {
        expect(hex(encode(shuffleKeys(value, createPicker(seed))))).toBe(hex(encode(value)))
      }),
      { numRuns: 3_000 },
    )
  })

  test('V1: do not depend on what the writer held before', () => {
    for (const before of [0, 1, 250, 4_000]) {
      const writer = new ByteWriter(8)
      writer.raw(new Uint8Array(before).fill(1))
      writeValue(writer, { name: 'é'.repeat(200), list: [1, 'two', 3.5] })
      expect(hex(writer.toBytes().subarray(before))).toBe(hex(encode({ list: [1, 'two', 3.5], name: 'é'.repeat(200) })))
    }
  })

  test('V1: share nothing: a decoded bin stays as it was when its source changes', () => {
    const bytes = encode(new Uint8Array([1, 2, 3]))
    const decoded = decode(bytes) as Uint8Array
    bytes.fill(9)
    expect([...decoded]).toEqual([1, 2, 3])
  })

  test('V3: decode to objects in which no key means anything but itself', () => {
    const decoded = decode(encode({ a: 1 })) as object
    expect(Object.getPrototypeOf(decoded)).toBeNull()
    expect('toString' in decoded).toBe(false)
    expect(isSameValue(decode(encode({ toString: 1, hasOwnProperty: 2 })), { toString: 1, hasOwnProperty: 2 })).toBe(
      true,
    )
  })
})

function shuffleKeys(value: Value, pick: (bound: number) => number): Value {
  if (typeof value !== 'object' || value === null || value instanceof Date || value instanceof Uint8Array) return value
  if (Array.isArray(value)) return (value as readonly Value[]).map((item) => shuffleKeys(item, pick))
  const entries = Object.entries(value as Readonly<Record<string, Value>>)
  const shuffled: [string, Value][] = []
  while (entries.length > 0) {
    const [entry] = entries.splice(pick(entries.length), 1)
    if (entry !== undefined) shuffled.push([entry[0], shuffleKeys(entry[1], pick)])
  }
  return Object.fromEntries(shuffled)
}

// ── The canonical form, exactly ─────────────────────────────────────────────────────────────────────────────────────

describe('scanValue', () => {
  test('V1, V2: lets a spelling of a value pass exactly when it is the canonical one', async () => {
    const seen = { canonical: 0, other: 0 }
    await fc.assert(
      fc.property(valueArbitrary, fc.nat(), fc.constantFrom(1, 4, 16), (value, seed, rarity) => {
        const picker = createPicker(seed)
        const spelled = spellLoosely(value, (bound) => (picker(rarity) === 0 ? picker(bound) : 0))
        const isExpected = hex(spelled) === hex(encode(value))
        seen[isExpected ? 'canonical' : 'other']++
        expect(isCanonical(spelled), hex(spelled)).toBe(isExpected)
      }),
      { numRuns: 10_000 },
    )
    expect(Math.min(seen.canonical, seen.other)).toBeGreaterThan(500)
  })

  test('V1: lets mutated bytes pass only when they are what encoding their value gives', async () => {
    let accepted = 0
    await fc.assert(
      fc.property(valueArbitrary, fc.nat(), (value, seed) => {
        const bytes = encode(value)
        const pick = createPicker(seed)
        for (let round = 0; round < 40; round++) {
          const mutated = mutateBytes(bytes, pick)
          if (!isCanonical(mutated)) continue
          accepted++
          expectRoundTrip(mutated)
        }
      }),
      { numRuns: 5_000 },
    )
    expect(accepted).toBeGreaterThan(10_000)
  })

  test('V1: lets no byte of a canonical form be replaced but by another canonical form', () => {
    for (const [value] of GOLDEN) {
      const bytes = encode(value)
      if (bytes.length > 40) continue
      for (let at = 0; at < bytes.length; at++) {
        for (let byte = 0; byte < 256; byte++) {
          const replaced = bytes.slice()
          replaced[at] = byte
          if (isCanonical(replaced)) expectRoundTrip(replaced)
        }
      }
    }
  })

  test('V1: agrees with the encoder on every sequence of one and two bytes', () => {
    let accepted = 0
    for (let first = 0; first < 256; first++) {
      for (let second = -1; second < 256; second++) {
        const bytes = Uint8Array.from(second < 0 ? [first] : [first, second])
        if (!isCanonical(bytes)) continue
        accepted++
        expectRoundTrip(bytes)
      }
    }
    // 1 byte: 128 + 32 integers, null, false, true, '', [], {}. 2 bytes: 128 of uint8, 96 of int8, 128 texts,
    // an array of each 1-byte value, an empty bin.
    expect(accepted).toBe(166 + 128 + 96 + 128 + 166 + 1)
  })

  test.each([
    ['nothing at all', ''],
    ['a reserved tag', 'c1'],
    ['a 32-bit float', 'ca3f000000'],
    ['a float that is a whole number', 'cb3ff0000000000000'],
    ['a float that is minus zero', 'cb8000000000000000'],
    ['NaN', 'cb7ff8000000000000'],
    ['Infinity', 'cb7ff0000000000000'],
    ['an unsigned integer beyond 2^53', 'cf0020000000000000'],
    ['a signed integer beyond −2^53', 'd3ffe0000000000000'],
    ['a positive integer in a signed form', 'd100ff'],
    ['an extension that is no date', 'd60100000000'],
    ['a fixext 1', 'd40100'],
    ['an 8-bit extension', 'c70401ffffffff'],
    ['a date with nanoseconds', 'd7ff0000000400000000'],
    ['a date with a whole second too many in its nanoseconds', 'd7ffee6b280000000000'],
    ['a date beyond the range of dates', 'c70cff00000000000007dba8218001'],
    ['a date that would fit 32 bits in 64', 'd7ff0000000000000001'],
    ['invalid UTF-8', 'a1ff'],
    ['overlong UTF-8', 'a2c080'],
    ['half of a surrogate pair in UTF-8', 'a3eda080'],
    ['a text that is cut off', 'a2c3'],
    ['a key that is no text', '81c0c0'],
    ['a key that is a number', '810101'],
    ['a key in bytes', '81c40161c0'],
    ['a key without its value', '81a161'],
    ['keys in the wrong order', '82a16201a16101'],
    ['the same key twice', '82a16101a16101'],
    ['a key named __proto__', '81a95f5f70726f746f5f5f01'],
    ['a key named constructor', '81ab636f6e7374727563746f7201'],
    ['a key named prototype', '81a970726f746f7479706501'],
    ['a reserved key spelled in a wider form', '81d9095f5f70726f746f5f5f01'],
    ['an array of more items than bytes', 'dd7fffffff'],
    ['a map of more entries than bytes', 'dfffffffff'],
    ['a bin that is cut off', 'c403ffff'],
    ['bytes after the value', 'c0c0'],
  ])('V1 to V4: refuses %s as a bad frame', (_, text) => {
    expect(isCanonical(fromHex(text))).toBe(false)
  })

  test('V5: refuses a hundred thousand nested arrays or maps without recursion and at once', () => {
    const arrays = new Uint8Array(100_000).fill(0x91)
    const maps = Uint8Array.from({ length: 100_000 }, (_, at) => [0x81, 0xa1, 0x61][at % 3] as number)
    for (const bytes of [arrays, maps]) expect(isCanonical(bytes)).toBe(false)
  })

  test('V5: takes time in proportion to the bytes, also for many empty containers', () => {
    const count = 200_000
    const bytes = Uint8Array.from([0xdd, 0, 3, 0x0d, 0x40, ...new Array<number>(count).fill(0x90)])
    expect(isCanonical(bytes)).toBe(true)
  })
})

function expectRoundTrip(bytes: Uint8Array): void {
  const decoded = decode(bytes)
  const again = hex(encode(decoded))
  if (again !== hex(bytes)) expect(again).toBe(hex(bytes))
  if (!isSameValue(unpackr.unpack(bytes), decoded)) expect(unpackr.unpack(bytes)).toEqual(decoded)
}

// ── Golden bytes ────────────────────────────────────────────────────────────────────────────────────────────────────

const GOLDEN: readonly (readonly [value: Value, bytes: string])[] = [
  [null, 'c0'],
  [false, 'c2'],
  [true, 'c3'],
  [0, '00'],
  [-0, '00'],
  [1, '01'],
  [127, '7f'],
  [128, 'cc80'],
  [255, 'ccff'],
  [256, 'cd0100'],
  [65_535, 'cdffff'],
  [65_536, 'ce00010000'],
  [2 ** 32 - 1, 'ceffffffff'],
  [2 ** 32, 'cf0000000100000000'],
  [Number.MAX_SAFE_INTEGER, 'cf001fffffffffffff'],
  [-1, 'ff'],
  [-32, 'e0'],
  [-33, 'd0df'],
  [-128, 'd080'],
  [-129, 'd1ff7f'],
  [-32_768, 'd18000'],
  [-32_769, 'd2ffff7fff'],
  [-(2 ** 31), 'd280000000'],
  [-(2 ** 31) - 1, 'd3ffffffff7fffffff'],
  [-(2 ** 32), 'd3ffffffff00000000'],
  [Number.MIN_SAFE_INTEGER, 'd3ffe0000000000001'],
  [0.5, 'cb3fe0000000000000'],
  [-1.5, 'cbbff8000000000000'],
  [0.1, 'cb3fb999999999999a'],
  [Number.MIN_VALUE, 'cb0000000000000001'],
  [2 ** 52 - 0.5, 'cb432fffffffffffff'],
  ['', 'a0'],
  ['a', 'a161'],
  ['\0', 'a100'],
  ['é', 'a2c3a9'],
  ['\ufeff', 'a3efbbbf'],
  ['😀', 'a4f09f9880'],
  [new Date(0), 'd6ff00000000'],
  [new Date(1_000), 'd6ff00000001'],
  [new Date((2 ** 32 - 1) * 1000), 'd6ffffffffff'],
  [new Date(2 ** 32 * 1000), 'd7ff0000000100000000'],
  [new Date(1), 'd7ff003d090000000000'],
  [new Date(1_999), 'd7ffee2e1f0000000001'],
  [new Date((2 ** 34 - 1) * 1000), 'd7ff00000003ffffffff'],
  [new Date(2 ** 34 * 1000), 'c70cff000000000000000400000000'],
  [new Date(-1), 'c70cff3b8b87c0ffffffffffffffff'],
  [new Date(-1_000), 'c70cff00000000ffffffffffffffff'],
  [new Date(8.64e15), 'c70cff00000000000007dba8218000'],
  [new Date(-8.64e15), 'c70cff00000000fffff82457de8000'],
  [new Uint8Array(0), 'c400'],
  [new Uint8Array([1, 255]), 'c40201ff'],
  [[], '90'],
  [{}, '80'],
  [[1, [2, []]], '9201920290'],
  [{ b: 1, a: [true], '': null }, '83a0c0a16191c3a16201'],
  [{ 10: 'x', 9: 'y', a: { z: -1, y: 0.5 } }, '83a23130a178a139a179a16182a179cb3fe0000000000000a17aff'],
]

test.each(GOLDEN.map(([value, bytes]) => [bytes, value] as const))(
  'V2 to V4: the canonical form %s is for ever',
  (bytes, value) => {
    expect(hex(encode(value))).toBe(bytes)
    expect(isSameValue(decode(fromHex(bytes)), value)).toBe(true)
    expect(Object.is(decode(fromHex(bytes)), -0)).toBe(false)
  },
)

describe.each([
  ['ASCII', 'x', 1],
  ['two-byte characters', 'é', 2],
  ['four-byte characters', '😀', 4],
])('V2: a text of %s', (_, character, width) => {
  test.each([
    [0, 'a0'],
    [31, 'bf'],
    [32, 'd920'],
    [192, 'd9c0'],
    [255, 'd9ff'],
    [256, 'da0100'],
    [65_535, 'daffff'],
    [65_536, 'db00010000'],
  ])('of %i bytes has the shortest header, %s', (size, header) => {
    const text = character.repeat(Math.floor(size / width)) + 'y'.repeat(size % width)
    const bytes = encode(text)
    expect(hex(bytes.subarray(0, bytes.length - size))).toBe(header)
    expect(hex(bytes.subarray(bytes.length - size))).toBe(Buffer.from(text).toString('hex'))
    expect(decode(bytes)).toBe(text)
    expect(isCanonical(bytes)).toBe(true)
  })
})

test.each([
  ['bin', 255, 'c4ff'],
  ['bin', 256, 'c50100'],
  ['bin', 65_535, 'c5ffff'],
  ['bin', 65_536, 'c600010000'],
  ['array', 15, '9f'],
  ['array', 16, 'dc0010'],
  ['array', 65_535, 'dcffff'],
  ['array', 65_536, 'dd00010000'],
  ['map', 15, '8f'],
  ['map', 16, 'de0010'],
  ['map', 65_535, 'deffff'],
  ['map', 65_536, 'df00010000'],
])('V2: a %s of %i elements has the shortest header, %s', (kind, count, header) => {
  const items = new Array<number>(count).fill(1)
  const value =
    kind === 'bin'
      ? Uint8Array.from(items)
      : kind === 'array'
        ? items
        : Object.fromEntries(items.map((item, index) => [`k${index}`, item]))
  const bytes = encode(value)
  expect(hex(bytes.subarray(0, header.length / 2))).toBe(header)
  expect(isCanonical(bytes)).toBe(true)
  expect(isSameValue(decode(bytes), value)).toBe(true)
})

// ── Keys ────────────────────────────────────────────────────────────────────────────────────────────────────────────

describe('keys of objects', () => {
  test('V3: stand in the order of their UTF-8 bytes, so that surrogate pairs come after U+E000 to U+FFFF', () => {
    const keys = ['\u{10000}', '\uffff', '\ue000', '\ud7ff', '\u{10ffff}', 'é', 'z', '']
    const bytes = encode(Object.fromEntries(keys.map((key) => [key, null])))
    expect(Object.keys(decode(bytes) as object)).toEqual([
      '',
      'z',
      'é',
      '\ud7ff',
      '\ue000',
      '\uffff',
      '\u{10000}',
      '\u{10ffff}',
    ])
    expect(isCanonical(bytes)).toBe(true)
  })

  test('V3: compare like their UTF-8 bytes', async () => {
    await fc.assert(
      fc.property(keyArbitrary, keyArbitrary, fc.string({ unit: 'binary', maxLength: 3 }), (left, right, shared) => {
        const ours = compareCodePoints(shared + left, shared + right)
        expect(Math.sign(ours)).toBe(Buffer.compare(Buffer.from(shared + left), Buffer.from(shared + right)))
      }),
      { numRuns: 5_000 },
    )
  })

  test('V3: may have 512 bytes and not one more, at the writer and at the scanner', () => {
    expect(isCanonical(encode({ ['é'.repeat(256)]: 1 }))).toBe(true)
    const error = failureOf(() => encode({ [`${'é'.repeat(256)}x`]: 1 }))
    expect(error.code).toBe('too-large')
    expect(isCanonical(Uint8Array.from([0x81, 0xda, 2, 1, ...new Array<number>(513).fill(0x78), 1]))).toBe(false)
  })
})

// ── Depth ───────────────────────────────────────────────────────────────────────────────────────────────────────────

describe.each([
  ['arrays', (inner: unknown): unknown => [inner], [0x91]],
  ['objects', (inner: unknown): unknown => ({ k: inner }), [0x81, 0xa1, 0x6b]],
] as const)('V5: nested %s', (_, wrap, header) => {
  const nest = (depth: number): unknown => {
    let value: unknown = 1
    for (let level = 0; level < depth; level++) value = wrap(value)
    return value
  }
  const bytesOf = (depth: number): Uint8Array => Uint8Array.from([...new Array(depth).fill(header).flat(), 1])

  test('may be 16 deep', () => {
    expect(hex(encode(nest(16)))).toBe(hex(bytesOf(16)))
    expect(isCanonical(bytesOf(16))).toBe(true)
    expect(isSameValue(decode(bytesOf(16)), nest(16))).toBe(true)
  })

  test('may not be 17 deep, and the message says what to do instead', () => {
    const error = failureOf(() => encode(nest(17)))
    expect(error.code).toBe('bad-value')
    expect(error.message).toMatch(/deeper than 16.*rows of their own/)
    expect(isCanonical(bytesOf(17))).toBe(false)
  })

  test('of 16 levels may stand beside each other', () => {
    const value = [nest(15), nest(15), 1, nest(15)]
    expect(isCanonical(encode(value))).toBe(true)
    expect(failureOf(() => encode([value])).code).toBe('bad-value')
  })
})

// ── Bad values ──────────────────────────────────────────────────────────────────────────────────────────────────────

class Money {
  readonly cents = 5
}

const BAD_VALUES: readonly (readonly [what: string, value: unknown, code: string, message: RegExp])[] = [
  ['NaN', Number.NaN, 'bad-value', /NaN .*null/],
  ['Infinity', Number.POSITIVE_INFINITY, 'bad-value', /Infinity .*null/],
  ['−Infinity', Number.NEGATIVE_INFINITY, 'bad-value', /-Infinity .*null/],
  ['undefined', undefined, 'bad-value', /undefined .*leave .*out/i],
  ['a function', (): void => {}, 'bad-value', /function/],
  ['a symbol', Symbol('s'), 'bad-value', /symbol/],
  ['a bigint', 1n, 'bad-value', /bigint/],
  ['an integer of 2^53', 2 ** 53, 'bad-value', /2\^53/],
  ['an integer of −2^53', -(2 ** 53), 'bad-value', /2\^53/],
  ['a huge float', 1e300, 'bad-value', /2\^53/],
  ['an invalid Date', new Date(Number.NaN), 'bad-value', /Date .*null/],
  ['the first half of a surrogate pair', 'a\ud800', 'bad-value', /toWellFormed/],
  ['the second half of a surrogate pair', '\udc00a', 'bad-value', /toWellFormed/],
  ['two first halves', '\ud800\ud800', 'bad-value', /toWellFormed/],
  ['two second halves', '\udc00\udc00', 'bad-value', /toWellFormed/],
  ['half of a surrogate pair in a long text', `${'x'.repeat(300)}\udfff`, 'bad-value', /toWellFormed/],
  ['half of a surrogate pair in a key', { '\ud800': 1 }, 'bad-value', /toWellFormed/],
  ['an instance of a class', new Money(), 'bad-value', /Money.*plain objects/],
  ['a Map', new Map(), 'bad-value', /Map.*plain objects/],
  ['a Set', new Set(), 'bad-value', /Set.*plain objects/],
  ['a RegExp', /x/, 'bad-value', /RegExp.*plain objects/],
  ['a boxed number', Object(1), 'bad-value', /Number.*plain objects/],
  ['an ArrayBuffer', new ArrayBuffer(1), 'bad-value', /ArrayBuffer.*Uint8Array/],
  ['another typed array', new Int16Array(1), 'bad-value', /Int16Array.*Uint8Array/],
  ['an object with inherited keys', Object.create({ a: 1 }), 'bad-value', /plain objects/],
  ['an array with a hole', new Array(1), 'bad-value', /undefined/],
  ['a key named __proto__', JSON.parse('{"__proto__":1}'), 'bad-name', /__proto__/],
  ['a key named constructor', { constructor: 1 }, 'bad-name', /constructor/],
  ['a key named prototype', { prototype: 1 }, 'bad-name', /prototype/],
  ['a key of 513 bytes', { ['x'.repeat(513)]: 1 }, 'too-large', /512/],
]

describe.each(BAD_VALUES)('%s', (_, value, code, message) => {
  test(`is refused as ${code}, with a message that names it and says what to do`, () => {
    const error = failureOf(() => encode(value))
    expect(error.code).toBe(code)
    expect(error.message).toMatch(message)
    expect(error.message).toMatch(/\b(use|leave|repair|store|rename|shorten)\b/i)
  })

  test('is refused inside of a value too, with its place', () => {
    const error = failureOf(() => encode({ list: [1, { deep: value }] }))
    expect(error.code).toBe(code)
    expect(error.message).toMatch(message)
    expect(error.details.path).toMatch(/^\.list\[1\]\.deep/)
  })
})

test('a refusal inside of a value keeps its advice', () => {
  const outer = failureOf(() => encode(new Map()))
  const inner = failureOf(() => encode({ a: new Map() }))
  expect(inner.message).toBe(outer.message)
  expect(inner.remedy).toBe(outer.remedy)
})

test('V5: an object that holds itself is refused as nested too deeply', () => {
  const cycle: Record<string, unknown> = {}
  cycle.self = cycle
  expect(failureOf(() => encode(cycle)).code).toBe('bad-value')
})
