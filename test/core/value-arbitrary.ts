/**
 * Random values of every kind that can be stored, biased to the places where their encoding changes.
 *
 * Knows: what a value is, and when two of them are equal. Must never know: how values are encoded.
 */

import fc from 'fast-check'
import type { Value } from '../../core/value.ts'

const POISONED = ['__proto__', 'constructor', 'prototype']

/** Whole numbers beside every power of two, where widths change. */
const integer: fc.Arbitrary<number> = fc.oneof(
  fc.maxSafeInteger(),
  fc.integer({ min: -300, max: 300 }),
  fc
    .tuple(fc.integer({ min: 0, max: 53 }), fc.integer({ min: -2, max: 2 }), fc.boolean())
    .map(([bits, off, isNegative]) => clamp((isNegative ? -1 : 1) * (2 ** bits + off))),
)

function clamp(value: number): number {
  return Math.max(-Number.MAX_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, value))
}

const fraction: fc.Arbitrary<number> = fc
  .double({ noNaN: true, noDefaultInfinity: true })
  .map((value) => (Number.isInteger(value) && !Number.isSafeInteger(value) ? 1 / value : value))

/** Characters on both sides of the surrogates and of every UTF-8 width. */
const unit: fc.Arbitrary<string> = fc.oneof(
  fc.constantFrom('a', 'b', '\0', '\x7f', '\x80', '\u07ff', '\u0800', '\ud7ff', '\ue000', '\ufeff', '\uffff'),
  fc.constantFrom('\u{10000}', '\u{1f600}', '\u{10ffff}'),
  fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }),
)

/** Lengths on both sides of every width of a length, in ASCII and in wider characters. */
const text: fc.Arbitrary<string> = fc.oneof(
  { weight: 8, arbitrary: fc.string({ unit, maxLength: 12 }) },
  { weight: 2, arbitrary: fc.string({ maxLength: 40 }) },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.constantFrom(29, 30, 31, 32, 63, 64, 127, 128, 190, 191, 192, 193, 254, 255, 256, 300), unit)
      .map(([length, last]) => 'x'.repeat(length) + last),
  },
)

export const keyArbitrary: fc.Arbitrary<string> = fc
  .oneof(
    fc.string({ unit, maxLength: 4 }),
    fc.constantFrom('toString', 'hasOwnProperty', '10', '9', '', 'z'.repeat(31), 'z'.repeat(32), 'é'.repeat(256)),
  )
  .filter((key) => !POISONED.includes(key))

const date: fc.Arbitrary<Date> = fc
  .oneof(
    fc.integer({ min: -8.64e15, max: 8.64e15 }),
    fc.integer({ min: -3000, max: 3000 }),
    fc.integer({ min: 0, max: 2 ** 31 }).map((seconds) => seconds * 1000),
    fc
      .tuple(
        fc.constantFrom(0, 2 ** 31, 2 ** 32, 2 ** 33, 2 ** 34, 8.64e12, -8.64e12),
        fc.integer({ min: -1001, max: 1001 }),
      )
      .map(([seconds, ms]) => Math.max(-8.64e15, Math.min(8.64e15, seconds * 1000 + ms))),
  )
  .map((ms) => new Date(ms))

const bin: fc.Arbitrary<Uint8Array> = fc.oneof(
  { weight: 8, arbitrary: fc.uint8Array({ maxLength: 12 }) },
  { weight: 1, arbitrary: fc.constantFrom(255, 256, 257).map((length) => new Uint8Array(length).fill(7)) },
)

export const valueArbitrary: fc.Arbitrary<Value> = fc.letrec<{ value: Value }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 5, depthSize: 'small' },
    { weight: 2, arbitrary: fc.constantFrom<Value>(null, true, false) },
    { weight: 4, arbitrary: integer },
    { weight: 2, arbitrary: fraction },
    { weight: 4, arbitrary: text },
    { weight: 2, arbitrary: date },
    { weight: 1, arbitrary: bin },
    { weight: 2, arbitrary: fc.array(tie('value'), { maxLength: 5 }) },
    { weight: 1, arbitrary: fc.array(fc.boolean(), { minLength: 14, maxLength: 18 }) },
    { weight: 3, arbitrary: fc.dictionary(keyArbitrary, tie('value'), { maxKeys: 5 }) },
    { weight: 1, arbitrary: fc.dictionary(keyArbitrary, fc.boolean(), { minKeys: 14, maxKeys: 18 }) },
  ),
})).value

/** Small values, where it is not the values that are in question. */
export const plainValueArbitrary: fc.Arbitrary<Value> = fc.oneof(
  fc.integer({ min: -2, max: 300 }),
  fc.string({ maxLength: 4 }),
  fc.constantFrom<Value>(null, true, 0.5, new Date(1), new Uint8Array([1]), [1, [2]], { b: 1, a: { c: [] } }),
)

/** Equal content: whatever the prototype of an object or the class of a byte array, and with one zero. */
export function isSameValue(left: unknown, right: unknown): boolean {
  if (typeof left !== 'object' || typeof right !== 'object' || left === null || right === null) return left === right
  if (left instanceof Date || right instanceof Date) {
    return left instanceof Date && right instanceof Date && left.getTime() === right.getTime()
  }
  if (left instanceof Uint8Array || right instanceof Uint8Array) {
    if (!(left instanceof Uint8Array) || !(right instanceof Uint8Array)) return false
    return left.length === right.length && left.every((byte, at) => byte === right[at])
  }
  if (Array.isArray(left) !== Array.isArray(right)) return false
  const leftEntries = Object.entries(left)
  if (leftEntries.length !== Object.keys(right).length) return false
  return leftEntries.every(
    ([key, value]) => Object.hasOwn(right, key) && isSameValue(value, (right as Record<string, unknown>)[key]),
  )
}

/** A small deterministic stream of numbers for choices inside one run: mulberry32. Each call answers below `bound`. */
export function createPicker(seed: number): (bound: number) => number {
  let state = seed >>> 0
  return (bound) => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) % bound
  }
}

/** The bytes with a few of them changed, inserted, removed or repeated. */
export function mutateBytes(bytes: Uint8Array, pick: (bound: number) => number): Uint8Array {
  let mutated = [...bytes]
  for (let left = 1 + pick(3); left > 0; left--) {
    const at = pick(mutated.length + 1)
    const old = mutated[at] ?? 0
    switch (pick(8)) {
      case 0:
        mutated[at] = pick(256)
        break
      case 1:
        mutated[at] = old ^ (1 << pick(8))
        break
      case 2:
        mutated[at] = (old + 1) & 0xff
        break
      case 3:
        mutated[at] = (old + 255) & 0xff
        break
      case 4:
        mutated.splice(at, 0, pick(256))
        break
      case 5:
        mutated.splice(at, 1 + pick(3))
        break
      case 6:
        mutated.splice(at, 0, ...mutated.slice(at, at + 1 + pick(12)))
        break
      default:
        mutated = mutated.slice(0, at)
    }
  }
  return Uint8Array.from(mutated)
}
