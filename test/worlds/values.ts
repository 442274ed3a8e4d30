/**
 * What is written in a world: values and ids by name, so that a world can be printed as code and read by people. Most of them
 * are beside a place where something could tell two equal values apart, or take two different ones for equal.
 *
 * Knows: values, and how to spell what replicas answer. Must never know: who wrote what.
 */
import { increment } from '../../core/index.ts'

export const VALUES = {
  zero: 0,
  minusZero: -0,
  one: 1,
  two: 2,
  tenth: 0.1,
  most: Number.MAX_SAFE_INTEGER,
  beyond: 2 ** 53,
  notANumber: Number.NaN,
  nothing: null,
  yes: true,
  empty: '',
  text: 'pump',
  longer: 'pump 4',
  composed: '\u00e9',
  decomposed: 'e\u0301',
  astral: '\u{1f600}',
  loneSurrogate: '\ud800',
  date: new Date(1),
  laterDate: new Date(8.64e15),
  bytes: new Uint8Array([1, 2]),
  map: { x: 1, y: { z: 1, w: 2 } },
  mapTurned: { y: { w: 2, z: 1 }, x: 1 },
  list: [1, 'pump', new Date(1)],
  listTurned: [new Date(1), 'pump', 1],
  /** The server refuses whoever writes it. */
  refused: 'no!',
  oneMore: increment(1),
  manyLess: increment(-(2 ** 52)),
} as const
export type ValueName = keyof typeof VALUES
export const VALUE_NAMES = Object.keys(VALUES) as readonly ValueName[]

export const IDS = { x: 'x', y: 'y', composed: 'r\u00e9', decomposed: 're\u0301', long: 'z'.repeat(512) } as const
export type IdName = keyof typeof IDS
export const ID_NAMES = Object.keys(IDS) as readonly IdName[]

export const FIELDS = ['a', 'b', 'c', 'n'] as const
export type Field = (typeof FIELDS)[number]
export type Fields = { readonly [Name in Field]?: ValueName }

export interface Cell {
  readonly id: string
  readonly a?: unknown
  readonly b?: unknown
  readonly c?: unknown
  readonly n?: unknown
}

export function toValues(fields: Fields): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, VALUES[value]]))
}

/** The same text for the same answer and for no other: with the order of properties, and every kind of value told apart. */
export function spell(answer: unknown): string {
  switch (typeof answer) {
    case 'number':
      return Object.is(answer, -0) ? '-0' : String(answer)
    case 'string':
      return JSON.stringify(answer)
    case 'object':
      return spellObject(answer)
    default:
      return String(answer)
  }
}

function spellObject(answer: object | null): string {
  if (answer === null) return 'null'
  if (answer instanceof Date) return `date ${answer.getTime()}`
  if (answer instanceof Uint8Array) return `bytes ${answer.join()}`
  if (Array.isArray(answer)) return `[${answer.map(spell).join(', ')}]`
  if ('toJSON' in answer && typeof answer.toJSON === 'function') return spell(answer.toJSON())
  return `{${Object.entries(answer)
    .map(([name, value]) => `${name}: ${spell(value)}`)
    .join(', ')}}`
}
