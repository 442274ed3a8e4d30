/**
 * Every way to spell a value in MessagePack, written from its specification.
 *
 * Knows: all widths, signed and unsigned, floats for whole numbers, any order of keys, all three kinds of timestamps.
 * Must never know: which spelling is the canonical one, except that a `pick` of 0 everywhere asks for the tightest.
 */

import type { Value } from '../../core/value.ts'

/** Answers with a number below its bound; 0 asks for the tightest spelling. */
export type Pick = (bound: number) => number

export function spellLoosely(value: Value, pick: Pick): Uint8Array {
  return Uint8Array.from(spell(value, pick))
}

function spell(value: Value, pick: Pick): number[] {
  if (value === null) return [0xc0]
  if (typeof value === 'boolean') return [value ? 0xc3 : 0xc2]
  if (typeof value === 'number') return spellNumber(value, pick)
  if (typeof value === 'string') return spellText(value, pick)
  if (value instanceof Date) return spellDate(value, pick)
  if (value instanceof Uint8Array)
    return [
      ...spellLength(
        value.length,
        [
          [0xc4, 1],
          [0xc5, 2],
          [0xc6, 4],
        ],
        pick,
      ),
      ...value,
    ]
  if (Array.isArray(value)) {
    const header = spellLength(
      value.length,
      [
        [0x90, 0, 15],
        [0xdc, 2],
        [0xdd, 4],
      ],
      pick,
    )
    return [...header, ...(value as readonly Value[]).flatMap((item) => spell(item, pick))]
  }
  return spellMap(value as Readonly<Record<string, Value>>, pick)
}

/** A tag and the bytes of its length; with no bytes, the length is part of the tag, up to a maximum. */
type LengthForm = readonly [tag: number, width: number, max?: number]

function spellLength(length: number, forms: readonly LengthForm[], pick: Pick): number[] {
  const fitting = forms.filter(([, width, max]) => length <= (max ?? 256 ** width - 1))
  const [tag, width] = fitting[pick(fitting.length)] as LengthForm
  return width === 0 ? [tag | length] : [tag, ...bigEndian(BigInt(length), width)]
}

function spellText(text: string, pick: Pick): number[] {
  const utf8 = Buffer.from(text, 'utf8')
  return [
    ...spellLength(
      utf8.length,
      [
        [0xa0, 0, 31],
        [0xd9, 1],
        [0xda, 2],
        [0xdb, 4],
      ],
      pick,
    ),
    ...utf8,
  ]
}

function spellNumber(value: number, pick: Pick): number[] {
  const forms: number[][] = []
  if (Number.isSafeInteger(value)) {
    const whole = BigInt(value)
    if (value >= 0 && value < 0x80) forms.push([value])
    if (value < 0 && value >= -0x20) forms.push([value + 0x100])
    for (const [tag, width] of [
      [0xcc, 1],
      [0xcd, 2],
      [0xce, 4],
      [0xcf, 8],
    ] as const) {
      if (value >= 0 && whole < 1n << BigInt(width * 8)) forms.push([tag, ...bigEndian(whole, width)])
    }
    for (const [tag, width] of [
      [0xd0, 1],
      [0xd1, 2],
      [0xd2, 4],
      [0xd3, 8],
    ] as const) {
      const half = 1n << BigInt(width * 8 - 1)
      if (whole >= -half && whole < half) forms.push([tag, ...bigEndian(whole, width)])
    }
  }
  const float = Buffer.alloc(9)
  float.writeUInt8(0xcb)
  float.writeDoubleBE(value, 1)
  forms.push([...float])
  if (Math.fround(value) === value) {
    const single = Buffer.alloc(5)
    single.writeUInt8(0xca)
    single.writeFloatBE(value, 1)
    forms.push([...single])
  }
  return forms[pick(forms.length)] as number[]
}

function spellDate(date: Date, pick: Pick): number[] {
  const ms = date.getTime()
  const seconds = Math.floor(ms / 1000)
  const nanoseconds = (ms - seconds * 1000) * 1_000_000 + (pick(8) === 1 ? 1 : 0)
  const forms: number[][] = []
  if (nanoseconds === 0 && seconds >= 0 && seconds < 2 ** 32) forms.push([0xd6, 0xff, ...bigEndian(BigInt(seconds), 4)])
  if (seconds >= 0 && seconds < 2 ** 34) {
    forms.push([0xd7, 0xff, ...bigEndian((BigInt(nanoseconds) << 34n) | BigInt(seconds), 8)])
  }
  forms.push([0xc7, 12, 0xff, ...bigEndian(BigInt(nanoseconds), 4), ...bigEndian(BigInt(seconds), 8)])
  return forms[pick(forms.length)] as number[]
}

function spellMap(map: Readonly<Record<string, Value>>, pick: Pick): number[] {
  const entries = Object.entries(map).sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  for (let at = 1; at < entries.length; at++) {
    if (pick(8) === 1) entries.splice(at - 1, 2, ...entries.slice(at - 1, at + 1).reverse())
  }
  const [first] = entries
  if (first !== undefined && pick(16) === 1) entries.unshift(first)
  const header = spellLength(
    entries.length,
    [
      [0x80, 0, 15],
      [0xde, 2],
      [0xdf, 4],
    ],
    pick,
  )
  return [...header, ...entries.flatMap(([key, item]) => [...spellText(key, pick), ...spell(item, pick)])]
}

function bigEndian(value: bigint, width: number): number[] {
  const bytes: number[] = []
  for (let shift = (width - 1) * 8; shift >= 0; shift -= 8) bytes.push(Number((value >> BigInt(shift)) & 0xffn))
  return bytes
}
