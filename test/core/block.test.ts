/**
 * Blocks: what one store writes another reads, whatever their dictionaries; the bytes of each format version for ever; and
 * what hostile bytes get.
 */

import { readdirSync, readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeBlock, type Entry, readBlockHeader, VOID_CODES } from '../../core/block.ts'
import { BlockWriter, canonicalEntry } from '../../core/block-writer.ts'
import { ByteReader, ByteWriter, concatBytes, isUuidText, writeUuid } from '../../core/bytes.ts'
import { decodeCounter, encodeCounter, scanField } from '../../core/counter.ts'
import { isTidemarkError } from '../../core/errors.ts'
import { DEFAULT_LIMITS, parseLimits } from '../../core/limits.ts'
import { isName } from '../../core/names.ts'
import { OPS, type Stamp } from '../../core/row.ts'
import { writeValue } from '../../core/value.ts'
import {
  changeArbitrary,
  createDictionaries,
  encodeBlock,
  entriesArbitrary,
  type PlainChange,
  type PlainEntry,
  REPLICA_IDS,
  resolverOf,
  toEntry,
  toPlain,
} from './block-entry.ts'
import { createPicker, isSameValue, mutateBytes } from './value-arbitrary.ts'

const [R0, R1, R2] = REPLICA_IDS as [string, string, string]

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

function fromHex(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'))
}

function readPlain(block: Uint8Array, turn = 0): PlainEntry[] {
  const dictionaries = createDictionaries(turn)
  return decodeBlock(block, resolverOf(dictionaries), DEFAULT_LIMITS).map((entry) => toPlain(entry, dictionaries))
}

/** The code that a block is refused with; undefined when it is taken. Anything but a TidemarkError is a failure. */
function refusalOf(block: Uint8Array, limits = DEFAULT_LIMITS): string | undefined {
  try {
    decodeBlock(block, resolverOf(createDictionaries()), limits)
  } catch (error) {
    if (isTidemarkError(error)) return error.code
    throw error
  }
  return undefined
}

/** `isSameValue` as an assertion: it looks through prototypes, and is fast while nothing is wrong. */
function expectSame(actual: unknown, expected: unknown): void {
  if (!isSameValue(actual, expected)) expect(actual).toEqual(expected)
}

// ── There and back ──────────────────────────────────────────────────────────────────────────────────────────────────

describe('a block', () => {
  test('reads as what was written, in a store that numbers replicas and names differently', async () => {
    await fc.assert(
      fc.property(entriesArbitrary, fc.nat(8), fc.nat(8), (entries, from, to) => {
        const block = encodeBlock(entries, createDictionaries(from))
        expectSame(readPlain(block, to), entries)
      }),
      { numRuns: 4_000 },
    )
  })

  test('has a header that says how many entries, by whom, with which names, and nothing of the reader', async () => {
    await fc.assert(
      fc.property(entriesArbitrary, fc.nat(8), (entries, turn) => {
        const header = readBlockHeader(encodeBlock(entries, createDictionaries(turn)))
        const changes = entries.filter((entry): entry is PlainChange => entry.op !== 'void')
        const authors = new Set(entries.map(({ author }) => author))
        expect(header.count).toBe(entries.length)
        expect(header.authors).toEqual([...authors])
        expect(new Set(header.replicas)).toEqual(
          new Set([...authors, ...changes.flatMap(({ context }) => Object.keys(context))]),
        )
        expect(header.replicas.length).toBe(new Set(header.replicas).size)
        const names = new Set(changes.flatMap(({ table, fields }) => [table, ...Object.keys(fields)]))
        expect(new Set(header.names)).toEqual(names)
        expect(header.names.length).toBe(names.size)
      }),
      { numRuns: 2_000 },
    )
  })

  test('tells the resolver who wrote and who is only named', () => {
    const block = encodeBlock([change({ author: R1, context: { [R2]: 4, [R1]: 1 } })], createDictionaries())
    const asked: unknown[] = []
    const replica = (id: string, isAuthor: boolean): number => asked.push([id, isAuthor])
    decodeBlock(block, { replica, name: (name) => asked.push(name) }, DEFAULT_LIMITS)
    expect(asked).toEqual([[R1, true], [R2, false], 'cities', 'a'])
  })

  test('writes the same bytes when it is read and written again', async () => {
    await fc.assert(
      fc.property(entriesArbitrary, (entries) => {
        const block = encodeBlock(entries, createDictionaries())
        const dictionaries = createDictionaries()
        const decoded = decodeBlock(block, resolverOf(dictionaries), DEFAULT_LIMITS)
        const writer = new BlockWriter(
          dictionaries,
          readBlockHeader(block).authors.map((id) => dictionaries.replicas.find(id)),
        )
        const sizes = decoded.map((entry) => writer.add(entry))
        expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(writer.bodyBytes)
        expect(writer.count).toBe(entries.length)
        // The dictionaries learned the names in the order of the block, so fields stand in the same order.
        const again = writer.finish()
        expectSame(readPlain(again), entries)
        expect(again.length).toBe(block.length)
      }),
      { numRuns: 2_000 },
    )
  })

  test('keeps a timestamp of 0 that comes before others', () => {
    const entries = [change({ timestamp: 0 }), change({ seq: 2, timestamp: 5 })]
    expectSame(readPlain(encodeBlock(entries, createDictionaries())), entries)
  })

  test('keeps timestamps as far apart as they can be', () => {
    const entries = [change({ timestamp: 1 }), change({ seq: 2, timestamp: Number.MAX_SAFE_INTEGER })]
    expectSame(readPlain(encodeBlock(entries, createDictionaries())), entries)
  })

  test('takes 16 bytes for a UUID and the text itself for any other id', () => {
    const sizeOf = (id: string): number => encodeBlock([change({ id })], createDictionaries()).length
    expect(sizeOf('01234567-89ab-cdef-0123-456789abcdef') - sizeOf('x')).toBe(16 - 2)
    expect(sizeOf('01234567-89AB-CDEF-0123-456789ABCDEF') - sizeOf('x')).toBe(37 - 2)
  })
})

function change(parts: Partial<PlainChange> = {}): PlainChange {
  const plain: PlainChange = {
    op: 'insert',
    author: R0,
    seq: 1,
    timestamp: 3,
    more: false,
    table: 'cities',
    id: 'x',
    context: {},
    fields: { a: 1 },
  }
  return { ...plain, ...parts }
}

// ── Golden bytes ────────────────────────────────────────────────────────────────────────────────────────────────────

interface Golden {
  readonly format: number
  /** Pieces of the block in hex, each with what it stands for. */
  readonly block: readonly (readonly [bytes: string, meaning: string])[]
  readonly entries: readonly PlainEntry[]
}

const goldenFolder = new URL('golden/', import.meta.url)
const goldens = readdirSync(goldenFolder)
  .filter((name) => /^block-\d+\.json$/.test(name))
  .map((name) => JSON.parse(readFileSync(new URL(name, goldenFolder), 'utf8')) as Golden)

describe.each(goldens)('a block of format $format', (golden) => {
  const block = fromHex(golden.block.map(([bytes]) => bytes).join(''))

  test('reads as it always did', () => {
    expect(block[0]).toBe(golden.format)
    expectSame(readPlain(block), golden.entries)
    expectSame(readPlain(block, 5), golden.entries)
  })

  test('is what this version writes, if it is the current format', () => {
    const written = encodeBlock(golden.entries, createDictionaries())
    if (written[0] === golden.format) expect(hex(written)).toBe(hex(block))
  })
})

test('every block format up to the current one has golden bytes', () => {
  const current = encodeBlock([change()], createDictionaries())[0] as number
  const formats = goldens.map(({ format }) => format).sort((a, b) => a - b)
  expect(formats).toEqual(Array.from({ length: current }, (_, at) => at + 1))
})

test('operations and void codes keep their numbers', () => {
  expect(OPS).toEqual(['insert', 'update', 'delete', 'replace', 'void'])
  expect(VOID_CODES.slice(0, 10)).toEqual([
    'forbidden',
    'unknown-context',
    'void-context',
    'clock-skew',
    'too-large',
    'too-many-heads',
    'bad-value',
    'bad-name',
    'quota-exceeded',
    'invalid-row',
  ])
})

// ── The canonical form of one change ────────────────────────────────────────────────────────────────────────────────

describe('the canonical form of a change', () => {
  test('regression 30: is the same whatever the dictionaries, the neighbours in the block and the transaction', async () => {
    await fc.assert(
      fc.property(entriesArbitrary, fc.nat(8), fc.nat(8), (entries, from, to) => {
        const block = encodeBlock(entries, createDictionaries(from))
        const reader = createDictionaries(to)
        for (const [index, entry] of decodeBlock(block, resolverOf(reader), DEFAULT_LIMITS).entries()) {
          const writer = createDictionaries(from)
          const alone = toEntry(entries[index] as PlainEntry, writer)
          const expected = hex(canonicalEntry(alone, writer))
          expect(hex(canonicalEntry(entry, reader))).toBe(expected)
          if (alone.op !== 'void') expect(hex(canonicalEntry({ ...alone, more: !alone.more }, writer))).toBe(expected)
        }
      }),
      { numRuns: 3_000 },
    )
  })

  test('is a block by itself, which reads as the change', async () => {
    await fc.assert(
      fc.property(changeArbitrary, fc.nat(8), (plain, turn) => {
        const dictionaries = createDictionaries(turn)
        const canonical = canonicalEntry(toEntry(plain, dictionaries), dictionaries)
        expectSame(readPlain(canonical), [{ ...plain, more: false }])
      }),
      { numRuns: 2_000 },
    )
  })

  test.each<[string, Partial<PlainChange>]>([
    ['operation', { op: 'replace' }],
    ['author', { author: R1 }],
    ['seq', { seq: 2 }],
    ['timestamp', { timestamp: 4 }],
    ['table', { table: 'a' }],
    ['row', { id: 'y' }],
    ['context', { context: { [R2]: 1 } }],
    ['seq in the context', { context: { [R1]: 2 } }],
    ['value', { fields: { a: 2 } }],
    ['kind of value', { fields: { a: '1' } }],
    ['field', { fields: { name: 1 } }],
    ['number of fields', { fields: { a: 1, name: 1 } }],
  ])('differs when the %s does', (_, parts) => {
    const canonical = (plain: PlainEntry): string => {
      const dictionaries = createDictionaries()
      return hex(canonicalEntry(toEntry(plain, dictionaries), dictionaries))
    }
    const plain = change({ context: { [R1]: 1 } })
    expect(canonical({ ...plain, ...parts })).not.toBe(canonical(plain))
  })

  test('differs from that of the void that took its place, and voids differ by code', () => {
    const dictionaries = createDictionaries()
    const forms = [change(), ...VOID_CODES.map((code) => ({ op: 'void' as const, author: R0, seq: 1, code }))]
    const canonical = forms.map((plain) => hex(canonicalEntry(toEntry(plain, dictionaries), dictionaries)))
    expect(new Set(canonical).size).toBe(forms.length)
  })

  test('leaves the change as it was', () => {
    const dictionaries = createDictionaries(3)
    const entry = toEntry(change({ context: { [R0]: 1, [R1]: 2, [R2]: 3 }, fields: { name: 1, a: 2 } }), dictionaries)
    const before = structuredClone(entry)
    canonicalEntry(entry, dictionaries)
    expect(entry).toEqual(before)
  })
})

// ── Hostile bytes ───────────────────────────────────────────────────────────────────────────────────────────────────

describe('a mutated block', () => {
  test('B1: reads as entries within the limits, or is refused as a bad frame or too large; nothing else happens', async () => {
    const outcomes: Record<string, number> = {}
    await fc.assert(
      fc.property(entriesArbitrary, fc.nat(), (entries, seed) => {
        const block = encodeBlock(entries, createDictionaries())
        const pick = createPicker(seed)
        for (let round = 0; round < 30; round++) {
          const outcome = expectTakenOrRefused(mutateBytes(block, pick))
          outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
        }
      }),
      { numRuns: 3_000 },
    )
    expect(outcomes.taken).toBeGreaterThan(5_000)
    expect(outcomes['bad-frame']).toBeGreaterThan(5_000)
  })

  test('B1: is no trouble at any single place, with any byte there', () => {
    for (const golden of goldens) {
      const block = fromHex(golden.block.map(([bytes]) => bytes).join(''))
      for (let at = 0; at < block.length; at++) {
        expectTakenOrRefused(block.subarray(0, at))
        for (let byte = 0; byte < 256; byte++) {
          const mutated = block.slice()
          mutated[at] = byte
          expectTakenOrRefused(mutated)
        }
      }
    }
  })

  test('B1: is no trouble when it is nothing like a block', async () => {
    await fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
        expectTakenOrRefused(bytes)
        expectTakenOrRefused(concatBytes(Uint8Array.of(1, 1, 1, 1), bytes))
      }),
      { numRuns: 5_000 },
    )
  })

  test('B1: is never read beyond its end, also as a part of a longer array', async () => {
    await fc.assert(
      fc.property(entriesArbitrary, fc.nat(), (entries, seed) => {
        const pick = createPicker(seed)
        const block = encodeBlock(entries, createDictionaries())
        const cut = block.subarray(0, pick(block.length))
        expect(refusalOf(cut)).toBe('bad-frame')
        expect(refusalOf(concatBytes(block, Uint8Array.of(pick(256))))).toBe('bad-frame')
      }),
      { numRuns: 2_000 },
    )
  })
})

function expectTakenOrRefused(block: Uint8Array): string {
  const dictionaries = createDictionaries()
  let entries: Entry[]
  try {
    entries = decodeBlock(block, resolverOf(dictionaries), DEFAULT_LIMITS)
  } catch (error) {
    const code = isTidemarkError(error) ? error.code : String(error)
    expect(['bad-frame', 'too-large']).toContain(code)
    return code
  }
  for (const entry of entries) {
    const problem = problemOf(entry, dictionaries)
    if (problem !== undefined) expect(problem, hex(block)).toBeUndefined()
  }
  return 'taken'
}

/** What is wrong with an entry that was let pass. */
function problemOf(entry: Entry, { replicas, names }: ReturnType<typeof createDictionaries>): string | undefined {
  if (!Number.isSafeInteger(entry.seq) || entry.seq < 1) return `the seq is ${entry.seq}`
  if (replicas.textOf(entry.replica).length !== 36) return 'the author is no replica'
  if (entry.op === 'void') return VOID_CODES.includes(entry.code) ? undefined : 'the void has no code'
  if (!Number.isSafeInteger(entry.timestamp) || entry.timestamp < 0) return `the timestamp is ${entry.timestamp}`
  if (!isName(names.textOf(entry.table))) return 'the table has no name'
  const idBytes = Buffer.byteLength(entry.id)
  if (idBytes < 1 || idBytes > DEFAULT_LIMITS.idBytesMax) return `the id has ${idBytes} bytes`
  if (['__proto__', 'constructor', 'prototype'].includes(entry.id)) return 'the id is reserved'
  for (let at = 0; at < entry.context.length; at += 2) {
    const seq = entry.context[at + 1] as number
    if (!Number.isSafeInteger(seq) || seq < 1) return `the context has seq ${seq}`
    if (at > 0 && (entry.context[at] as number) <= (entry.context[at - 2] as number)) return 'the context is not sorted'
    replicas.textOf(entry.context[at] as number)
  }
  if (entry.op === 'delete' && entry.versions.length > 0) return 'a delete writes fields'
  if (entry.versions.length > DEFAULT_LIMITS.fieldsPerRowMax) return 'too many fields'
  let last = -1
  for (const { name, stamp, bytes, start, end } of entry.versions) {
    if (name <= last) return 'the fields are not sorted and distinct'
    last = name
    if (!isName(names.textOf(name))) return 'a field has no name'
    if (!isSameStamp(stamp, entry)) return 'a version has another stamp'
    const reader = new ByteReader(bytes, start, end)
    scanField(reader)
    reader.expectEnd()
  }
  return undefined
}

function isSameStamp(left: Stamp, right: Stamp): boolean {
  return left.replica === right.replica && left.seq === right.seq && left.timestamp === right.timestamp
}

/** Blocks put together by hand, right by default: one insert of row "x" by the first replica. */
interface RawBlock {
  format?: number
  count?: number
  authors?: number
  replicas?: number
  replicaIds?: readonly string[]
  names?: number
  nameTexts?: readonly string[]
  timestamp?: number
  body?: readonly (number | Uint8Array)[]
}

const varint = (value: number): Uint8Array => {
  const writer = new ByteWriter(8)
  writer.varint(value)
  return writer.toBytes()
}

/** A counter's part as MessagePack extension 2 of 8 bytes: a float. */
function counter(total: number): Uint8Array {
  const bytes = Buffer.alloc(10)
  bytes.writeUInt16BE(0xd702)
  bytes.writeDoubleBE(total, 2)
  return Uint8Array.from(bytes)
}

/** Flags, author, seq, timestamp difference, table, id, context, fields. */
const INSERT = [0x00, 0, 1, 0, 0, 1, 0x78, 0, 1, 1, 0xc0]

function rawBlock(raw: RawBlock): Uint8Array {
  const { replicaIds = [R0, R1], nameTexts = ['cities', 'name'] } = raw
  const writer = new ByteWriter()
  writer.byte(raw.format ?? 1)
  writer.varint(raw.count ?? 1)
  writer.varint(raw.authors ?? 1)
  writer.varint(raw.replicas ?? replicaIds.length)
  for (const id of replicaIds) writeUuid(writer, id)
  writer.varint(raw.names ?? nameTexts.length)
  for (const name of nameTexts) {
    const text = Buffer.from(name)
    writer.byte(text.length)
    writer.raw(text)
  }
  writer.fixed(raw.timestamp ?? 5, 7)
  for (const part of raw.body ?? INSERT) writer.raw(typeof part === 'number' ? Uint8Array.of(part) : part)
  return writer.toBytes()
}

describe('a block put together by hand', () => {
  const proto = Uint8Array.from(Buffer.from('__proto__'))
  const uuidText = Uint8Array.from(Buffer.from('01234567-89ab-cdef-0123-456789abcdef'))

  test('is taken when all is right', () => {
    expectSame(readPlain(rawBlock({ replicaIds: [R0] })), [change({ timestamp: 5, fields: { name: null } })])
  })

  test.each<[string, RawBlock]>([
    ['has format 0', { format: 0 }],
    ['has a format of the future', { format: 2 }],
    ['says it has no entries', { count: 0, body: [] }],
    ['says it has fewer entries than it has', { count: 1, body: [...INSERT, ...INSERT] }],
    ['says it has more entries than it has', { count: 2 }],
    ['says it has more entries than bytes', { count: Number.MAX_SAFE_INTEGER }],
    ['says it has no authors', { authors: 0 }],
    ['names a replica that no entry uses', {}],
    ['says it has more authors than replicas', { authors: 3 }],
    ['says it has more replicas than bytes', { authors: 1, replicas: 2 ** 50 }],
    ['says it has so many replicas that their size is beyond 2^53', { replicas: Number.MAX_SAFE_INTEGER }],
    ['says it has fewer replicas than it has', { replicas: 1 }],
    ['says it has more names than bytes', { names: 2 ** 52 }],
    ['says it has fewer names than it has', { names: 1 }],
    ['has a name that no entry uses', { replicaIds: [R0], nameTexts: ['cities', 'name', 'more'] }],
    ['has an empty name', { nameTexts: ['cities', ''] }],
    ['has a name of 64 characters', { nameTexts: ['cities', 'x'.repeat(64)] }],
    ['has a name that begins with a digit', { nameTexts: ['cities', '1a'] }],
    ['has a name with a letter that is not ASCII', { nameTexts: ['cities', 'é'] }],
    ['has a reserved name', { nameTexts: ['cities', 'constructor'] }],
    ['has a reserved table', { nameTexts: ['prototype', 'name'] }],
    [
      'has the same name twice, and writes the field twice',
      {
        nameTexts: ['cities', 'name', 'name'],
        body: [0x00, 0, 1, 0, 0, 1, 0x78, 0, 2, 1, 0xc0, 2, 0xc0],
      },
    ],
    ['begins at a timestamp beyond 2^53', { timestamp: 2 ** 53 }],
    ['begins at a timestamp of seven full bytes', { timestamp: 2 ** 56 - 8 }],
    ['goes below timestamp 0', { body: [0x00, 0, 1, 11, 0, 1, 0x78, 0, 1, 1, 0xc0] }],
    [
      'goes to a timestamp beyond 2^53',
      {
        timestamp: Number.MAX_SAFE_INTEGER,
        body: [0x00, 0, 1, 2, 0, 1, 0x78, 0, 1, 1, 0xc0],
      },
    ],
    ['has operation 5', { body: [0x05, ...INSERT.slice(1)] }],
    ['has operation 7', { body: [0x07, ...INSERT.slice(1)] }],
    ['has a flag of the future', { body: [0x80, ...INSERT.slice(1)] }],
    ['begins with "the same table"', { body: [0x10, 0, 1, 0, 1, 0x78, 0, 1, 1, 0xc0] }],
    ['begins with "the next seq"', { body: [0x20, 0, 0, 1, 0x78, 0, 1, 1, 0xc0] }],
    ['has seq 0', { body: [0x00, 0, 0, ...INSERT.slice(3)] }],
    ['has an author that it only names', { body: [0x00, 1, 1, ...INSERT.slice(3)] }],
    ['has an author that it does not name', { body: [0x00, 2, 1, ...INSERT.slice(3)] }],
    ['has a table that it does not name', { body: [0x00, 0, 1, 0, 2, 1, 0x78, 0, 1, 1, 0xc0] }],
    ['has a field that it does not name', { body: [0x00, 0, 1, 0, 0, 1, 0x78, 0, 1, 2, 0xc0] }],
    ['writes a field twice', { body: [0x00, 0, 1, 0, 0, 1, 0x78, 0, 2, 1, 0xc0, 1, 0xc0] }],
    ['has an empty id', { body: [0x00, 0, 1, 0, 0, 0, 0, 1, 1, 0xc0] }],
    [
      'has an id of 513 bytes',
      {
        body: [0x00, 0, 1, 0, 0, varint(513), new Uint8Array(513).fill(0x78), 0, 1, 1, 0xc0],
      },
    ],
    ['has an id with a length beyond its end', { body: [0x00, 0, 1, 0, 0, varint(512), 0x78] }],
    ['has an id that is not UTF-8', { body: [0x00, 0, 1, 0, 0, 1, 0xff, 0, 1, 1, 0xc0] }],
    ['has a reserved id', { body: [0x00, 0, 1, 0, 0, 9, proto, 0, 1, 1, 0xc0] }],
    ['has a UUID as text', { body: [0x00, 0, 1, 0, 0, 36, uuidText, 0, 1, 1, 0xc0] }],
    ['has a UUID that is cut off', { body: [0x40, 0, 1, 0, 0, new Uint8Array(15)] }],
    ['has a context of more entries than bytes', { body: [0x00, 0, 1, 0, 0, 1, 0x78, varint(2 ** 52), 0, 1] }],
    ['has a context with seq 0', { body: [0x00, 0, 1, 0, 0, 1, 0x78, 1, 1, 0, 1, 1, 0xc0] }],
    ['has a context with a replica that it does not name', { body: [0x00, 0, 1, 0, 0, 1, 0x78, 1, 2, 1, 1, 1, 0xc0] }],
    ['has a context with a replica twice', { body: [0x00, 0, 1, 0, 0, 1, 0x78, 2, 1, 1, 1, 2, 1, 1, 0xc0] }],
    [
      'names a replica twice, and so has it in a context twice',
      {
        replicaIds: [R0, R1, R1],
        body: [0x00, 0, 1, 0, 0, 1, 0x78, 2, 1, 1, 2, 2, 1, 1, 0xc0],
      },
    ],
    ['writes more fields than bytes', { body: [0x00, 0, 1, 0, 0, 1, 0x78, 0, varint(200), 1, 0xc0] }],
    ['writes a value that is not canonical', { body: [0x00, 0, 1, 0, 0, 1, 0x78, 0, 1, 1, 0xcc, 0x01] }],
    ['writes a counter that is a fraction', { body: [...INSERT.slice(0, 10), counter(0.5)] }],
    ['writes a counter that is minus zero', { body: [...INSERT.slice(0, 10), counter(-0)] }],
    ['writes a counter that is NaN', { body: [...INSERT.slice(0, 10), counter(Number.NaN)] }],
    ['writes a counter beyond 2^53', { body: [...INSERT.slice(0, 10), counter(2 ** 53)] }],
    ['writes a counter that is cut off', { body: [...INSERT.slice(0, 10), counter(1).subarray(0, 9)] }],
    ['writes a counter inside of a value', { body: [...INSERT.slice(0, 10), 0x91, counter(1)] }],
    [
      'writes a value nested too deeply',
      {
        body: [0x00, 0, 1, 0, 0, 1, 0x78, 0, 1, 1, new Uint8Array(17).fill(0x91), 1],
      },
    ],
    ['has a delete with fields', { body: [0x02, 0, 1, 0, 0, 1, 0x78, 0, 1, 1, 0xc0] }],
    ['has a void with a code of the future', { body: [0x04, 0, 1, VOID_CODES.length] }],
    ['has a void in the middle of a transaction', { body: [0x0c, 0, 1, 0] }],
    ['has a void with a table', { body: [0x14, 0, 1, 0] }],
    ['has a void with an id', { body: [0x44, 0, 1, 0] }],
    ['ends inside a transaction', { body: [0x08, ...INSERT.slice(1)] }],
    ['has a number that is longer than it needs to be', { body: [0x00, 0x80, 0, ...INSERT.slice(2)] }],
    ['lets a seq run beyond 2^53', { count: 2, body: [0x04, 0, varint(Number.MAX_SAFE_INTEGER), 0, 0x24, 0] }],
  ])('that %s is a bad frame', (_, raw) => {
    expect(refusalOf(rawBlock(raw))).toBe('bad-frame')
  })

  test.each([0, 1, -1, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER])('may have a counter of %i', (total) => {
    const block = rawBlock({ replicaIds: [R0], body: [...INSERT.slice(0, 10), counter(total)] })
    const [entry] = decodeBlock(block, resolverOf(createDictionaries()), DEFAULT_LIMITS)
    const [version] = entry?.op === 'insert' ? entry.versions : []
    expect(version && decodeCounter(version.bytes, version.start)).toBe(total)
    expect(version && hex(version.bytes.subarray(version.start, version.end))).toBe(hex(encodeCounter(total)))
    expect(hex(encodeCounter(total))).toBe(hex(counter(total)))
  })

  test('may have 256 fields and not one more', () => {
    const withFields = (count: number): Uint8Array => {
      const nameTexts = ['cities', ...Array.from({ length: count }, (_, at) => `f${at}`)]
      const fields = Array.from({ length: count }, (_, at) => [varint(at + 1), 0xc0]).flat()
      return rawBlock({ replicaIds: [R0], nameTexts, body: [0x00, 0, 1, 0, 0, 1, 0x78, 0, varint(count), ...fields] })
    }
    expect(refusalOf(withFields(256))).toBeUndefined()
    expect(refusalOf(withFields(257))).toBe('bad-frame')
  })

  test('may have a change as large as the limit, and one that is larger is too large', () => {
    const limits = parseLimits({ changeBytesMax: 1_000 })
    const withBytes = (size: number): Uint8Array => {
      const writer = new ByteWriter()
      writeValue(writer, new Uint8Array(size - 13))
      return rawBlock({ replicaIds: [R0], body: [...INSERT.slice(0, 10), writer.toBytes()] })
    }
    expect(refusalOf(withBytes(1_000), limits)).toBeUndefined()
    expect(refusalOf(withBytes(1_001), limits)).toBe('too-large')
  })

  test('names twenty thousand replicas in a context without stopping the reader', () => {
    const count = 20_000
    const ids = Array.from(
      { length: count },
      (_, at) => `${at.toString(16).padStart(8, '0')}-0000-4000-8000-000000000000`,
    )
    const context = new ByteWriter()
    for (let slot = 0; slot < count; slot++) {
      context.varint(count - 1 - slot)
      context.byte(1)
    }
    const block = rawBlock({
      replicaIds: ids,
      nameTexts: ['cities'],
      body: [0x02, 0, 1, 0, 0, 1, 0x78, varint(count), context.toBytes()],
    })
    expect(block.length).toBeLessThan(DEFAULT_LIMITS.frameBytesMax)
    const startedAt = performance.now()
    const [entry] = decodeBlock(block, resolverOf(createDictionaries()), DEFAULT_LIMITS)
    expect(performance.now() - startedAt).toBeLessThan(1_000)
    expect(entry?.op !== 'void' && entry?.context.length).toBe(count * 2)
  })
})

test('ids of random entries are spread over both forms', () => {
  const ids = fc.sample(changeArbitrary, 200).map(({ id }) => id)
  expect(ids.filter(isUuidText).length).toBeGreaterThan(5)
  expect(ids.filter((id) => !isUuidText(id)).length).toBeGreaterThan(50)
})
