/**
 * Kinds of settings: what a value may be, told to people and checked the same way wherever it came from.
 *
 * Knows: texts of flags and environment, values of JSON. Must never know: which settings there are.
 *
 * Invariant CK1: a value that is not of its kind is refused, never bent: no rounding, no "yes" for true, no empty text.
 */
import { BlockList } from 'node:net'
import { addNetwork } from '../client-address.ts'

export interface Kind<Value> {
  /** Goes after "must be". */
  readonly describe: string
  /** For help, after the flag: `<number>`; empty for a switch. */
  readonly placeholder: string
  /** What a text stands for; flags and environment have nothing else. */
  readonly fromText: (text: string) => unknown
  /** Undefined when it is not of this kind. */
  readonly parse: (input: unknown) => Value | undefined
  /** The way people write it. */
  readonly show: (value: Value) => string
}

export function text(placeholder: string): Kind<string> {
  return {
    describe: 'a text that is not empty',
    placeholder,
    fromText: (given) => given,
    parse: (input) => (typeof input === 'string' && input.trim() !== '' ? input : undefined),
    show: String,
  }
}

export function whole(least: number, most: number): Kind<number> {
  return {
    describe:
      most === Number.MAX_SAFE_INTEGER ? `a whole number from ${least} up` : `a whole number from ${least} to ${most}`,
    placeholder: '<number>',
    fromText: (given) => (/^\d+$/.test(given) ? Number(given) : given),
    parse: (input) =>
      typeof input === 'number' && Number.isSafeInteger(input) && input >= least && input <= most ? input : undefined,
    show: String,
  }
}

/** A time in milliseconds; texts may have a unit. */
export function duration(leastMs: number, mostMs: number = Number.MAX_SAFE_INTEGER): Kind<number> {
  const { describe, parse } = whole(leastMs, mostMs)
  return {
    describe: `${describe}, in milliseconds, or a text with a unit such as 30s, 5m, 1h, 7d`,
    placeholder: '<duration>',
    fromText: (given) => given,
    parse: (input) => parse(typeof input === 'string' ? parseDuration(input) : input),
    show: showDuration,
  }
}

const UNIT_MS: Readonly<Record<string, number>> = { '': 1, ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** Milliseconds; undefined when the text is no duration. */
function parseDuration(given: string): number | undefined {
  const [, count = '', unit = ''] = /^(\d+)(ms|s|m|h|d|)$/.exec(given) ?? []
  return count === '' ? undefined : Number(count) * (UNIT_MS[unit] ?? Number.NaN)
}

/** In the largest unit that says it exactly. */
function showDuration(ms: number): string {
  const [unit, size] = Object.entries(UNIT_MS).findLast(([, each]) => ms % each === 0 && ms >= each) ?? ['ms', 1]
  return `${ms / size}${unit === '' ? 'ms' : unit}`
}

export function onOff(): Kind<boolean> {
  return {
    describe: 'true or false',
    placeholder: '',
    fromText: (given) => (given === 'true' ? true : given === 'false' ? false : given),
    parse: (input) => (typeof input === 'boolean' ? input : undefined),
    show: String,
  }
}

export function choice<Name extends string>(names: readonly Name[]): Kind<Name> {
  return {
    describe: `one of ${names.join(', ')}`,
    placeholder: '<name>',
    fromText: (given) => given,
    parse: (input) => names.find((name) => name === input),
    show: String,
  }
}

/** Texts, with commas between them where there are no brackets. */
export function list<Item extends string>(item: Kind<Item>): Kind<readonly Item[]> {
  return {
    describe: `a list, each ${item.describe}`,
    placeholder: '<list>',
    fromText: (given) => given.split(',').map((part) => part.trim()),
    parse: (input) => {
      if (!Array.isArray(input)) return undefined
      const items = input.map((part: unknown) => item.parse(part))
      return items.every((part) => part !== undefined) ? items : undefined
    },
    show: (items) => (items.length === 0 ? 'none' : items.join(',')),
  }
}

/** An origin as browsers send it, or `*` for all of them. */
export function origin(): Kind<string> {
  return {
    ...text('<origin>'),
    describe: 'an origin such as https://app.example.com, without a path, or *',
    parse: (input) =>
      typeof input === 'string' && (input === '*' || (URL.canParse(input) && new URL(input).origin === input))
        ? input
        : undefined,
  }
}

/** One address, or a network: 10.0.0.0/8. */
export function network(): Kind<string> {
  return {
    ...text('<address>'),
    describe: 'an IP address or a network such as 10.0.0.0/8',
    parse: (input) => (typeof input === 'string' && addNetwork(new BlockList(), input) ? input : undefined),
  }
}

/** An object whose inside is checked by whom it is for. Only a file can hold one. */
export function object(): Kind<Readonly<Record<string, unknown>>> {
  return {
    describe: 'an object',
    placeholder: '',
    fromText: (given) => given,
    parse: (input) => (isObject(input) ? input : undefined),
    show: (value) => Object.keys(value).join(','),
  }
}

export function isObject(input: unknown): input is Readonly<Record<string, unknown>> {
  return typeof input === 'object' && input !== null && !Array.isArray(input)
}
