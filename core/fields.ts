/**
 * The fields of an object the app hands in, encoded for a write.
 *
 * Objects of one table mostly have the same keys in the same order; a `Shape` remembers what follows from that, so that
 * names are checked and sorted once and not for each row.
 * Invariant N1: fields are encoded in the order of their names, whatever the order of the object's keys.
 */
import type { ByteWriter } from './bytes.ts'
import { encodeCounter, Increment } from './counter.ts'
import type { Dictionary } from './dictionary.ts'
import { TidemarkError } from './errors.ts'
import type { LedgerState } from './ledger-state.ts'
import { DEFAULT_LIMITS } from './limits.ts'
import { parseName, quote } from './names.ts'
import type { Stamp, Version } from './row.ts'
import { writeValue } from './value.ts'

/** The keys of an object, in the object's order. */
export class Shape {
  readonly keys: readonly string[]
  /** The field names, sorted: without `id`. */
  readonly names: readonly string[]
  #dictionary: Dictionary | undefined
  #slots: readonly NameSlot[] = []

  constructor(keys: readonly string[]) {
    this.keys = keys
    this.names = keys
      .filter((key) => key !== 'id')
      .map((key) => parseName(key, 'field'))
      .sort()
    if (this.names.length > DEFAULT_LIMITS.fieldsPerRowMax) {
      throw new TidemarkError(
        'too-large',
        `a row has ${this.names.length} fields; the limit is ${DEFAULT_LIMITS.fieldsPerRowMax}`,
        {
          remedy: 'Put what belongs together into one field as an object',
        },
      )
    }
  }

  matches(keys: readonly string[]): boolean {
    if (keys.length !== this.keys.length) return false
    for (let at = 0; at < keys.length; at++) if (keys[at] !== this.keys[at]) return false
    return true
  }

  /** The names' indexes in a ledger, ascending, each with the place of its value. */
  slotsIn(state: LedgerState): readonly NameSlot[] {
    if (this.#dictionary !== state.names) {
      this.#slots = this.names
        .map((name, place) => ({ name: state.internName(name), place }))
        .sort((a, b) => a.name - b.name)
      this.#dictionary = state.names
    }
    return this.#slots
  }
}

interface NameSlot {
  readonly name: number
  readonly place: number
}

/** Encoded values of one object: value `i` is at [offsets[i], offsets[i + 1]). */
export interface EncodedFields {
  readonly shape: Shape
  readonly bytes: Uint8Array
  readonly offsets: readonly number[]
}

/** Finds the shape of an object, mostly the one of the object before it. */
export class ShapeCache {
  #last: Shape | undefined
  #other: Shape | undefined

  shapeOf(object: object): Shape {
    const keys = Object.keys(object)
    if (this.#last?.matches(keys) === true) return this.#last
    const other = this.#other?.matches(keys) === true ? this.#other : new Shape(keys)
    this.#other = this.#last
    this.#last = other
    return other
  }
}

/** Which fields of a table are counters; undefined for none. */
export type CounterFields = ReadonlySet<string> | undefined

/** Encodes the fields of an object. Throws `bad-value` or `bad-name` with the place of what cannot be stored. */
export function encodeFields(
  writer: ByteWriter,
  shape: Shape,
  object: Readonly<Record<string, unknown>>,
  counters: CounterFields,
  isInsert: boolean,
): EncodedFields {
  const offsets: number[] = [writer.length]
  for (const name of shape.names) {
    try {
      if (counters?.has(name) === true) writer.raw(encodePart(object[name], isInsert))
      else writeValue(writer, object[name])
    } catch (error) {
      throw atField(name, error)
    }
    offsets.push(writer.length)
  }
  return { shape, bytes: writer.bytes, offsets }
}

/** A counter field starts from a number and goes on by increments. */
function encodePart(value: unknown, isInsert: boolean): Uint8Array {
  if (value instanceof Increment) return encodeCounter(value.by)
  if (isInsert && typeof value === 'number') return encodeCounter(value)
  throw new TidemarkError('bad-value', 'the field is a counter, which a value would overwrite for everybody', {
    remedy: 'Update it with increment(n); only an insert gives a number to start from',
  })
}

function atField(name: string, error: unknown): unknown {
  if (!(error instanceof TidemarkError)) return error
  return error.at({ field: name }, `field ${quote(name + (error.details.path ?? ''))}: `)
}

/** The versions that a write makes of its fields, sorted by name index. */
export function toVersions(fields: EncodedFields, stamp: Stamp, state: LedgerState): Version[] {
  const { bytes, offsets } = fields
  const versions: Version[] = []
  for (const { name, place } of fields.shape.slotsIn(state)) {
    const start = offsets[place] as number
    const end = offsets[place + 1] as number
    versions.push({ name, stamp, bytes, start, end })
  }
  return versions
}

export const NO_FIELDS: EncodedFields = { shape: new Shape([]), bytes: new Uint8Array(0), offsets: [0] }
