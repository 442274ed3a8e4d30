/**
 * Entries of blocks in plain terms: ids and names instead of indexes, values instead of bytes; and stores to put them in.
 *
 * Knows: what an entry holds. Must never know: how a block is laid out.
 */

import fc from 'fast-check'
import { type BlockResolver, type Dictionaries, type Entry, VOID_CODES, type VoidCode } from '../../core/block.ts'
import { BlockWriter } from '../../core/block-writer.ts'
import { ByteWriter } from '../../core/bytes.ts'
import { clockWith, EMPTY_CLOCK, type SparseClock } from '../../core/clock.ts'
import { Dictionary } from '../../core/dictionary.ts'
import type { HeadOp, Version } from '../../core/row.ts'
import { decodeValue, type Value, writeValue } from '../../core/value.ts'
import { plainValueArbitrary, valueArbitrary } from './value-arbitrary.ts'

export interface PlainChange {
  readonly op: HeadOp
  readonly author: string
  readonly seq: number
  readonly timestamp: number
  readonly more: boolean
  readonly table: string
  readonly id: string
  /** Replica id → seq. */
  readonly context: Readonly<Record<string, number>>
  readonly fields: Readonly<Record<string, Value>>
}

export interface PlainVoid {
  readonly op: 'void'
  readonly author: string
  readonly seq: number
  readonly code: VoidCode
}

export type PlainEntry = PlainChange | PlainVoid

export const REPLICA_IDS = [5, 2, 9, 0, 7].map((digit) => `${digit}a000000-0000-4000-8000-00000000000${digit}`)
const TABLES = ['cities', 'Todo', 'a']
const FIELDS = ['a', 'name', 'population', 'b_2', 'Z']

// ── Stores ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Dictionaries that take in what they meet. */
interface Learning extends Dictionaries {
  readonly names: Dictionary
}

/** Dictionaries that have met `turn` things before, so that indexes differ from store to store. */
export function createDictionaries(turn = 0): Learning {
  const dictionaries = { replicas: new Dictionary(), names: new Dictionary() }
  for (let at = 0; at < turn; at++) {
    dictionaries.names.intern([...FIELDS, ...TABLES][(at * 3 + turn) % 8] as string)
    dictionaries.replicas.intern(REPLICA_IDS[(at * 2 + turn) % 5] as string)
  }
  return dictionaries
}

export function resolverOf({ replicas, names }: Learning): BlockResolver {
  return { replica: (id) => replicas.intern(id), name: (name) => names.intern(name) }
}

export function toEntry(plain: PlainEntry, { replicas, names }: Learning): Entry {
  const dot = { replica: replicas.intern(plain.author), seq: plain.seq }
  if (plain.op === 'void') return { op: 'void', ...dot, code: plain.code }
  const { op, timestamp, more, id } = plain
  const stamp = { ...dot, timestamp }
  let context: SparseClock = EMPTY_CLOCK
  for (const [replica, seq] of Object.entries(plain.context))
    context = clockWith(context, replicas.intern(replica), seq)
  const versions = Object.entries(plain.fields).map(([field, value]): Version => {
    const writer = new ByteWriter(8)
    writeValue(writer, value)
    return { stamp, name: names.intern(field), bytes: writer.toBytes(), start: 0, end: writer.length }
  })
  versions.sort((a, b) => a.name - b.name)
  return { op, ...dot, timestamp, more, table: names.intern(plain.table), id, context, versions }
}

export function toPlain(entry: Entry, { replicas, names }: Dictionaries): PlainEntry {
  const dot = { author: replicas.textOf(entry.replica), seq: entry.seq }
  if (entry.op === 'void') return { op: 'void', ...dot, code: entry.code }
  const context: Record<string, number> = {}
  for (let at = 0; at < entry.context.length; at += 2) {
    context[replicas.textOf(entry.context[at] as number)] = entry.context[at + 1] as number
  }
  const fields: Record<string, Value> = {}
  for (const { name, bytes, start, end } of entry.versions) fields[names.textOf(name)] = decodeValue(bytes, start, end)
  const { op, timestamp, more, id } = entry
  return { op, ...dot, timestamp, more, table: names.textOf(entry.table), id, context, fields }
}

/** A block of the entries, as a store with these dictionaries writes it. */
export function encodeBlock(entries: readonly PlainEntry[], dictionaries: Learning): Uint8Array {
  const authors = [...new Set(entries.map(({ author }) => dictionaries.replicas.intern(author)))]
  const writer = new BlockWriter(dictionaries, authors)
  for (const plain of entries) writer.add(toEntry(plain, dictionaries))
  return writer.finish()
}

// ── Random entries ──────────────────────────────────────────────────────────────────────────────────────────────────

const seq: fc.Arbitrary<number> = fc.oneof(
  { weight: 5, arbitrary: fc.integer({ min: 1, max: 300 }) },
  { weight: 1, arbitrary: fc.constantFrom(127, 128, 16_384, 2 ** 31, 2 ** 32, 2 ** 48, Number.MAX_SAFE_INTEGER) },
)

const timestamp: fc.Arbitrary<number> = fc.oneof(
  { weight: 5, arbitrary: fc.integer({ min: 0, max: 5_000 }).map((ticks) => 3.6e15 + ticks) },
  { weight: 1, arbitrary: fc.nat(3) },
  { weight: 1, arbitrary: fc.maxSafeNat() },
  { weight: 1, arbitrary: fc.constantFrom(2 ** 52 - 1, 2 ** 52, Number.MAX_SAFE_INTEGER) },
)

const rowId: fc.Arbitrary<string> = fc
  .oneof(
    fc.uuid(),
    fc.uuid().map((id) => id.toUpperCase()),
    fc.string({ minLength: 1, maxLength: 12 }),
    fc.string({ unit: 'binary', minLength: 1, maxLength: 6 }),
    fc.constantFrom('x'.repeat(127), 'x'.repeat(128), 'x'.repeat(512), 'é'.repeat(256), '\0', 'toString'),
  )
  .filter((id) => !['__proto__', 'constructor', 'prototype'].includes(id))

const replica: fc.Arbitrary<string> = fc.constantFrom(...REPLICA_IDS)
const value: fc.Arbitrary<Value> = fc.oneof(
  { weight: 3, arbitrary: plainValueArbitrary },
  { weight: 1, arbitrary: valueArbitrary },
)

export const changeArbitrary: fc.Arbitrary<PlainChange> = fc
  .record({
    op: fc.constantFrom<HeadOp>('insert', 'update', 'delete', 'replace'),
    author: replica,
    seq,
    timestamp,
    more: fc.boolean(),
    table: fc.constantFrom(...TABLES),
    id: rowId,
    context: fc.dictionary(replica, seq, { maxKeys: 4, noNullPrototype: true }),
    fields: fc.dictionary(fc.constantFrom(...FIELDS, 'x'.repeat(63)), value, { maxKeys: 5, noNullPrototype: true }),
  })
  .map((change) => (change.op === 'delete' ? { ...change, fields: {} } : change))

const voidArbitrary: fc.Arbitrary<PlainVoid> = fc.record({
  op: fc.constant('void'),
  author: replica,
  seq,
  code: fc.constantFrom(...VOID_CODES),
})

/** Runs of entries as logs have them: mostly the next of the same author, sometimes of the same table. */
export const entriesArbitrary: fc.Arbitrary<readonly PlainEntry[]> = fc
  .array(
    fc.record({
      entry: fc.oneof({ weight: 5, arbitrary: changeArbitrary }, { weight: 1, arbitrary: voidArbitrary }),
      isNext: fc.boolean(),
    }),
    { minLength: 1, maxLength: 10 },
  )
  .map((drawn) => {
    const entries: PlainEntry[] = []
    for (const [index, { entry, isNext }] of drawn.entries()) {
      const last = entries.at(-1)
      const follows = isNext && last !== undefined && last.seq < Number.MAX_SAFE_INTEGER
      const placed = follows ? { ...entry, author: last.author, seq: last.seq + 1 } : entry
      entries.push(placed.op !== 'void' && index === drawn.length - 1 ? { ...placed, more: false } : placed)
    }
    // A transaction is one writer's, and has no voids.
    return entries.map((entry, index) => {
      const next = entries[index + 1]
      const isTorn = next === undefined || next.op === 'void' || next.author !== entry.author
      return entry.op !== 'void' && isTorn ? { ...entry, more: false } : entry
    })
  })
