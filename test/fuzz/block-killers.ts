/**
 * Blocks made by hand: lying counts, hostile names and ids, contexts from the future, values that are not canonical.
 *
 * Knows: the layout of a block. Must never know: what a server does about it.
 */
import {
  type Bytes,
  bytesOf,
  type CraftedBlock,
  contextOf,
  craftBlock,
  craftEntry,
  fieldsOf,
  float,
  MORE,
  NEXT_SEQ,
  repeated,
  SAME_TABLE,
  sized,
  text,
  UUID_ID,
  uint,
  valueEntry,
  varint,
  voidEntry,
} from './craft.ts'

/** Blocks of a push by this replica (16 bytes), whose next seq this is. */
export type MakeBlock = (replica: Uint8Array, seq: number) => Uint8Array | readonly Uint8Array[]

export interface BlockKiller {
  readonly sentence: string
  readonly block: MakeBlock
}

export function blockKillers(): BlockKiller[] {
  return [...headerKillers(), ...entryKillers(), ...contextKillers(), ...valueKillers(), ...massKillers()]
}

const STRANGER = Uint8Array.from({ length: 16 }, (_, at) => 0xd0 + at)

function killer(sentence: string, make: (replica: Uint8Array, seq: number) => Partial<CraftedBlock>): BlockKiller {
  return {
    sentence,
    block: (replica, seq) =>
      craftBlock({ replicas: [replica], entries: [craftEntry({ dot: [0, seq] })], ...make(replica, seq) }),
  }
}

// ── The header ──────────────────────────────────────────────────────────────────────────────────────────────────────

function headerKillers(): BlockKiller[] {
  return [
    killer('A block of an unknown format.', () => ({ format: 2 })),
    killer('A block that says it has no entry.', () => ({ count: 0 })),
    killer('A block that says it has one entry more than it has.', () => ({ count: 2 })),
    killer('A block that says it has one entry less than it has.', (_, seq) => ({
      count: 1,
      entries: [craftEntry({ dot: [0, seq] }), craftEntry({ dot: [0, seq + 1] })],
    })),
    killer('A block that says it has 2^53 - 1 entries.', () => ({ count: Number.MAX_SAFE_INTEGER })),
    killer('A block without an author.', () => ({ authors: 0 })),
    killer('A block with more authors than replicas.', () => ({ authors: 5 })),
    killer('A block with more replicas than bytes.', () => ({ replicaCount: 2 ** 50 })),
    killer('A block with more names than bytes.', () => ({ nameCount: 2 ** 50 })),
    killer('A block by somebody else.', () => ({ replicas: [STRANGER] })),
    killer('A block by two authors, one of them somebody else.', (replica) => ({
      authors: 2,
      replicas: [replica, STRANGER],
    })),
    killer('A block that names its author twice.', (replica) => ({ authors: 2, replicas: [replica, replica] })),
    killer('A block with a table __proto__.', () => ({ names: ['__proto__', 'text'] })),
    killer('A block with a field constructor.', () => ({ names: ['notes', 'constructor'] })),
    killer('A block with a field id, which would rename its row.', () => ({ names: ['notes', 'id'] })),
    killer('A block with a name without a letter.', () => ({ names: ['notes', ''] })),
    killer('A block with a name of 64 letters.', () => ({ names: ['notes', 'x'.repeat(64)] })),
    killer('A block with a name of letters that are not ASCII.', () => ({ names: ['notes', 'näme'] })),
    killer('A block with a name that is not UTF-8.', () => ({ names: ['notes', [0xff, 0xfe]] })),
    killer('A block with a name twice, each written once.', (_, seq) => ({
      names: ['notes', 'text', 'text'],
      entries: [craftEntry({ dot: [0, seq], fields: fieldsOf([1, [1]], [2, [2]]) })],
    })),
    killer('A block with bytes behind its last entry.', () => ({ after: [0] })),
    killer('A block from the end of time.', () => ({ timestamp: repeated(7, [0xff]) })),
    killer('A block a year ahead of the server.', () => ({ timestamp: ticks(Date.now() + 3.2e10) })),
    killer('A block from before the first second.', () => ({ timestamp: new Uint8Array(7) })),
    {
      sentence: 'A block that is cut in the middle.',
      block: (replica, seq) =>
        craftBlock({ replicas: [replica], entries: [craftEntry({ dot: [0, seq] })] }).slice(0, 40),
    },
  ]
}

function ticks(ms: number): number[] {
  const bytes: number[] = []
  for (let shift = 6; shift >= 0; shift--) bytes.push(Math.floor((ms * 2048) / 256 ** shift) % 256)
  return bytes
}

// ── Entries ─────────────────────────────────────────────────────────────────────────────────────────────────────────

function entryKillers(): BlockKiller[] {
  const one = (sentence: string, make: (seq: number) => Bytes | readonly Uint8Array[]): BlockKiller =>
    killer(sentence, (_, seq) => {
      const made = make(seq)
      return { entries: made instanceof Uint8Array ? [made] : (made as readonly Uint8Array[]) }
    })
  const id = (sentence: string, bytes: Bytes, flags = 0): BlockKiller =>
    one(`A row whose id ${sentence}.`, (seq) => craftEntry({ dot: [0, seq], id: bytes, flags }))
  const uuid = '0f000000-0000-4000-8000-000000000001'
  return [
    ...[5, 6, 7].map((op) => one(`An operation of number ${op}.`, (seq) => craftEntry({ op, dot: [0, seq] }))),
    one('An entry with the highest flag set.', (seq) => craftEntry({ flags: 0x80, dot: [0, seq] })),
    one('A first entry that says its seq is the next.', () => craftEntry({ flags: NEXT_SEQ, dot: null })),
    one('A first entry that says its table is the same.', (seq) => craftEntry({ flags: SAME_TABLE, dot: [0, seq] })),
    one('An author beyond the authors.', (seq) => craftEntry({ dot: [7, seq] })),
    one('A table beyond the names.', (seq) => craftEntry({ dot: [0, seq], table: [9] })),
    one('A seq of 0.', () => craftEntry({ dot: [0, 0] })),
    one('A seq of 2^53 - 1.', () => craftEntry({ dot: [0, Number.MAX_SAFE_INTEGER] })),
    one('The seq after 2^53 - 1.', () => [
      craftEntry({ dot: [0, Number.MAX_SAFE_INTEGER] }),
      craftEntry({ flags: NEXT_SEQ, dot: null }),
    ]),
    one('A seq that jumps by one.', (seq) => craftEntry({ dot: [0, seq + 1] })),
    one('The same dot twice in one block.', (seq) => [
      craftEntry({ dot: [0, seq] }),
      craftEntry({ dot: [0, seq], id: sized('s') }),
    ]),
    one('Dots in the wrong order.', (seq) => [craftEntry({ dot: [0, seq + 1] }), craftEntry({ dot: [0, seq] })]),
    one('A block that ends inside a transaction.', (seq) => craftEntry({ dot: [0, seq], flags: MORE })),
    one('A transaction that a void ends.', (seq) => [craftEntry({ dot: [0, seq], flags: MORE }), voidEntry(seq + 1)]),
    one('A void of the writer’s own.', (seq) => voidEntry(seq)),
    one('A void with a code that does not exist.', (seq) => voidEntry(seq, 200)),
    one('A void that claims to belong to a transaction.', (seq) => voidEntry(seq, 0, MORE)),
    one('A timestamp below zero.', (seq) => craftEntry({ dot: [0, seq], delta: repeatedVarint() })),
    one('A delete with fields behind it.', (seq) => bytesOf(craftEntry({ op: 2, dot: [0, seq] }), fieldsOf([1, [1]]))),
    one('An update of nothing.', (seq) => craftEntry({ op: 1, dot: [0, seq], fields: [0] })),
    one('An insert of nothing.', (seq) => craftEntry({ dot: [0, seq], fields: [0] })),
    one('An update of a row that nobody inserted.', (seq) => craftEntry({ op: 1, dot: [0, seq], id: sized('nobody') })),
    one('A delete of a row that nobody inserted.', (seq) => craftEntry({ op: 2, dot: [0, seq], id: sized('nobody') })),
    id('is empty', sized('')),
    id('has 513 bytes', sized('x'.repeat(513))),
    id('has 512 bytes', sized('x'.repeat(512))),
    id('is a UUID in 36 letters', sized(uuid)),
    id('is a UUID that is cut', [1, 2, 3], UUID_ID),
    id('is __proto__', sized('__proto__')),
    id('is constructor', sized('constructor')),
    id('is not UTF-8', sized([0xff])),
    id('is a zero', sized([0])),
    id('says it is longer than the block', [0xff, 0xff, 0x03]),
  ]
}

/** A difference of −(2^53 − 1). */
function repeatedVarint(): Uint8Array {
  return bytesOf([0xff], varint(Math.floor(Number.MAX_SAFE_INTEGER / 64) - 1))
}

// ── Contexts ────────────────────────────────────────────────────────────────────────────────────────────────────────

function contextKillers(): BlockKiller[] {
  const context = (sentence: string, make: (seq: number) => Bytes, others: readonly Uint8Array[] = []): BlockKiller =>
    killer(`A context ${sentence}.`, (replica, seq) => ({
      replicas: [replica, ...others],
      entries: [craftEntry({ dot: [0, seq], context: make(seq) })],
    }))
  const strangers = Array.from({ length: 20_000 }, (_, at) => {
    const id = STRANGER.slice()
    new DataView(id.buffer).setUint32(4, at * 2_654_435_761)
    new DataView(id.buffer).setUint32(12, at)
    return id
  })
  return [
    context('that covers its own dot', (seq) => contextOf([0, seq])),
    context('that covers its own future', (seq) => contextOf([0, seq + 1_000])),
    context('with a seq of 0', () => contextOf([0, 0])),
    context('that names a replica twice', (seq) => contextOf([0, seq], [0, seq]), [STRANGER]),
    context('that names a replica which nobody knows', () => contextOf([1, 1]), [STRANGER]),
    context('that names a replica beyond the block’s', () => contextOf([9, 1]), [STRANGER, STRANGER]),
    context('that says it has 2^53 - 1 entries', () => varint(Number.MAX_SAFE_INTEGER)),
    context('of 20,000 replicas', () => contextOf(...strangers.map((_, at) => [at + 1, at + 1] as const)), strangers),
    context(
      'of 20,000 replicas, highest first',
      () => contextOf(...strangers.map((_, at) => [20_000 - at, 1] as const)),
      strangers,
    ),
  ]
}

// ── Values ──────────────────────────────────────────────────────────────────────────────────────────────────────────

function valueKillers(): BlockKiller[] {
  const value = (sentence: string, ...parts: readonly Bytes[]): BlockKiller =>
    killer(`A value ${sentence}.`, (_, seq) => ({ entries: [valueEntry(seq, bytesOf(...parts))] }))
  const key = (name: string): Uint8Array => text(name)
  return [
    value('that is not there'),
    value('nested 17 deep', repeated(17, [0x91]), [1]),
    value('nested 16 deep', repeated(16, [0x91]), [1]),
    value('nested 200,000 deep', repeated(200_000, [0x91]), [1]),
    value('of maps nested 60,000 deep', repeated(60_000, [0x81, 0xa1, 0x61]), [1]),
    value('that is an array of 2^32 - 1', [0xdd, 0xff, 0xff, 0xff, 0xff]),
    value('that is a map of 2^32 - 1', [0xdf, 0xff, 0xff, 0xff, 0xff]),
    value('that is a text of 2^32 - 1', [0xdb, 0xff, 0xff, 0xff, 0xff]),
    value('with a key twice', [0x82], key('a'), [1], key('a'), [2]),
    value('with keys in the wrong order', [0x82], key('b'), [1], key('a'), [2]),
    value('with the key __proto__', [0x81], key('__proto__'), [0x81], key('admin'), [0xc3]),
    value('with the key constructor', [0x81], key('constructor'), [1]),
    value('with a key that is a number', [0x81, 1, 1]),
    value('with a key of 513 bytes', [0x81], text(repeated(513, [0x61])), [1]),
    value('with a key that is not UTF-8', [0x81, 0xa1, 0xff, 1]),
    value('that is not UTF-8', [0xa2, 0xc3, 0x28]),
    value('that is half of a surrogate pair', text([0xed, 0xa0, 0x80])),
    value('that is not a number', float(Number.NaN)),
    value('that is a NaN of another kind', [0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 1]),
    value('that is infinite', float(Number.NEGATIVE_INFINITY)),
    value('that is minus zero', float(-0)),
    value('that is a whole number as a float', float(3)),
    value('that is a single-precision float', [0xca, 0x3f, 0xc0, 0, 0]),
    value('that is a small number in nine bytes', [0xcf, 0, 0, 0, 0, 0, 0, 0, 1]),
    value('that is a positive number in a signed form', [0xd0, 5]),
    value('that is 2^53', [0xcf, 0, 0x20, 0, 0, 0, 0, 0, 0]),
    value('that is −2^63', [0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0]),
    value('that is an unused tag', [0xc1]),
    value('that is a short text in a long form', [0xdb, 0, 0, 0, 1, 0x61]),
    value('that is an extension of no known type', [0xd4, 0x07, 0]),
    value(
      'that is a date beyond all dates',
      [0xc7, 12, 0xff, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    ),
    value('that is a date finer than milliseconds', [0xd7, 0xff, 0, 0, 0, 4, 0, 0, 0, 1]),
    value('that is a date in a longer form than it needs', [0xc7, 12, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    value('that is a counter of half', [0xd7, 0x02], float(0.5).slice(1)),
    value('that is a counter of minus zero', [0xd7, 0x02], float(-0).slice(1)),
    value('that is a counter that is not a number', [0xd7, 0x02], float(Number.NaN).slice(1)),
    value('that is a counter which is cut', [0xd7, 0x02, 0, 0]),
    value('that is a reference of msgpackr', [0xd6, 0x70, 0, 0, 0, 1]),
    value('that is a record of msgpackr', [0xd4, 0x72, 0x40]),
    value(
      'of 300,000 bytes, which is more than a change may have',
      [0xc6, ...uint(300_000).slice(1)],
      new Uint8Array(300_000),
    ),
  ]
}

// ── Masses ──────────────────────────────────────────────────────────────────────────────────────────────────────────

const ROOM = (1 << 20) - 4_096

function massKillers(): BlockKiller[] {
  const many = (
    sentence: string,
    make: (seq: number) => readonly Uint8Array[],
    names?: readonly string[],
  ): BlockKiller => killer(sentence, (_, seq) => ({ entries: make(seq), ...(names === undefined ? {} : { names }) }))
  const next = voidEntry(null, 0, NEXT_SEQ)
  const tiny = (at: number): Uint8Array =>
    craftEntry({ op: 2, flags: NEXT_SEQ | SAME_TABLE, dot: null, id: sized(at.toString(36)) })
  const names = Array.from({ length: 16_000 }, (_, at) => `n${at.toString(36)}`)
  return [
    many('A block of half a million voids.', (seq) =>
      [voidEntry(seq), repeated(ROOM / 2 - 8, next)].flatMap((part, at) =>
        at === 0 ? [part] : split(part, next.length),
      ),
    ),
    many('A block of 100,000 tiny changes of as many rows.', (seq) => [
      craftEntry({ op: 2, dot: [0, seq] }),
      ...Array.from({ length: 99_999 }, (_, at) => tiny(at)),
    ]),
    many('A block of 100,000 tiny changes of one row.', (seq) => [
      craftEntry({ op: 2, dot: [0, seq] }),
      ...Array.from({ length: 99_999 }, () => tiny(7)),
    ]),
    many('A block of 1,001 changes.', (seq) => [
      craftEntry({ dot: [0, seq] }),
      ...Array.from({ length: 1_000 }, (_, at) => tiny(at)),
    ]),
    many('One transaction of 50,000 changes.', (seq) => [
      craftEntry({ op: 2, dot: [0, seq], flags: MORE }),
      ...Array.from({ length: 49_999 }, (_, at) =>
        craftEntry({
          op: 2,
          flags: NEXT_SEQ | SAME_TABLE | (at < 49_998 ? MORE : 0),
          dot: null,
          id: sized(at.toString(36)),
        }),
      ),
    ]),
    many(
      'A change of 257 fields.',
      (seq) => [
        craftEntry({
          dot: [0, seq],
          fields: fieldsOf(...Array.from({ length: 257 }, (_, at) => [at + 1, [1]] as const)),
        }),
      ],
      names.slice(0, 300),
    ),
    many('A change that says it has 2^40 fields.', (seq) => [craftEntry({ dot: [0, seq], fields: varint(2 ** 40) })]),
    many(
      'A block of 16,000 new names that is refused for its last byte.',
      (seq) => [bytesOf(craftEntry({ dot: [0, seq] }), [0xff])],
      names,
    ),
    many('A block of 16,000 new names that leaves a gap.', (seq) => [craftEntry({ dot: [0, seq + 5] })], names),
    {
      sentence: 'A thousand blocks of one change, each of the same dot.',
      block: (replica, seq) =>
        Array.from({ length: 1_000 }, (_, at) =>
          craftBlock({ replicas: [replica], entries: [craftEntry({ dot: [0, seq], id: sized(`same${at}`) })] }),
        ),
    },
  ]
}

/** A run of equal entries as the entries they are. */
function split(run: Uint8Array, length: number): Uint8Array[] {
  const parts: Uint8Array[] = []
  for (let at = 0; at < run.length; at += length) parts.push(run.subarray(at, at + length))
  return parts
}
