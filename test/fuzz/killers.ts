/**
 * Frames made by hand to kill a decoder or a server, each with a sentence that says how.
 *
 * Knows: what has killed decoders before. Must never know: what ours does about it.
 */
import { packUuid } from '../../core/frame.ts'
import { blockKillers } from './block-killers.ts'
import { array, type Bytes, binary, bytesOf, float, NIL, NO, repeated, text, uint, varint, YES } from './craft.ts'

/** What an attacker knows who has a token and has read a welcome. */
export interface Target {
  readonly tenant: string
  /** Its own replica, and the first seq that the server does not have of it. */
  readonly replica: string
  readonly nextSeq: number
  /** The server's. */
  readonly server: string
  readonly logId: string
  readonly epoch: number
  /** The end of the server's log. */
  readonly position: number
}

export interface Killer {
  readonly sentence: string
  readonly frame: (target: Target) => Uint8Array
}

export const FRAME_BYTES_MAX = 1 << 20

export function allKillers(): Killer[] {
  return [...shapeKillers(), ...textKillers(), ...sizeKillers(), ...helloKillers(), ...orderKillers(), ...blocks()]
}

function blocks(): Killer[] {
  return blockKillers().map(({ sentence, block }) => ({
    sentence,
    frame: (target) => pushOf(...[block(packUuid(target.replica), target.nextSeq)].flat()),
  }))
}

/** A push of these blocks. */
export function pushOf(...parts: readonly Uint8Array[]): Uint8Array {
  return array([4], binary(bytesOf(...parts.map((part) => bytesOf(varint(part.length), part)))))
}

function plain(sentence: string, ...parts: readonly Bytes[]): Killer {
  return { sentence, frame: () => bytesOf(...parts) }
}

// ── The shape of MessagePack ────────────────────────────────────────────────────────────────────────────────────────

function shapeKillers(): Killer[] {
  const tags: Killer[] = []
  for (let tag = 0; tag < 256; tag++) {
    const name = `0x${tag.toString(16).padStart(2, '0')}`
    tags.push(plain(`Tag ${name} alone.`, [tag]))
    tags.push(
      plain(`Tag ${name} as the only field of a credit, with enough behind it.`, [0x92, 6, tag], repeated(24, [0])),
    )
    tags.push(
      plain(
        `Tag ${name} in the place of a nested array, every length as large as it can be.`,
        [0x93, 5, 1, tag],
        repeated(24, [0xff]),
      ),
    )
  }
  return [
    ...tags,
    plain('Nothing at all.'),
    plain('Arrays inside each other, 500,000 deep.', repeated(500_000, [0x91])),
    plain('Maps inside each other, 200,000 deep.', repeated(200_000, [0x81, 0xa1, 0x61])),
    plain('A frame of the right depth, with one array too many inside.', [0x92, 5], repeated(5, [0x91]), [1]),
    plain('An array that declares 2^32 - 1 elements.', [0xdd, 0xff, 0xff, 0xff, 0xff, 5]),
    plain(
      'Arrays that each declare as many elements as bytes are left.',
      repeated(4, [0xdd, 0, 0, 0xff, 0xff]),
      new Uint8Array(70_000),
    ),
    plain('A text that declares 4 GiB.', [0x92, 12, 0xdb, 0xff, 0xff, 0xff, 0xff, 0x61]),
    plain('A binary that declares 2 GiB.', [0x92, 4, 0xc6, 0x7f, 0xff, 0xff, 0xff, 0]),
    plain('A binary that ends one byte before its length.', [0x92, 4, 0xc4, 5, 0, 0, 0, 0]),
    plain('A binary with a length of ten bits set beyond its end.', [0x92, 4, 0xc5, 0x03, 0xff], new Uint8Array(1_022)),
    plain('A valid frame with one byte behind it.', array([6], [1]), [0]),
    plain('Two valid frames in one message.', array([6], [1]), array([6], [1])),
    plain('An array of 65,535 empty arrays.', [0xdc, 0xff, 0xff], repeated(65_535, [0x90])),
    plain('An array of 65,537 scalars.', [0xdd, 0, 1, 0, 1], repeated(65_537, [5])),
    ...msgpackrKillers(),
  ]
}

/** Extensions that msgpackr gives a meaning of its own: records, references, errors, typed arrays, bundled texts. */
function msgpackrKillers(): Killer[] {
  const pointer = (id: number): Uint8Array => bytesOf([0xd6, 0x70], [0, 0, 0, id])
  const named = (id: number, value: Bytes): Uint8Array => bytesOf([0xd6, 0x69], [0, 0, 0, id], value)
  let laughs: Bytes = named(1, array([1], [1]))
  for (let level = 2; level < 24; level++)
    laughs = bytesOf(named(level, array(pointer(level - 1), pointer(level - 1))), [])
  return [
    plain('A reference to itself: an array that holds its own pointer.', named(1, array([5], pointer(1)))),
    plain(
      'A reference to an array that is still open, as the refusals of an ack.',
      [0x93, 5, 1],
      named(7, array(pointer(7))),
    ),
    plain('Shared references that double 24 times.', [0x98], repeated(8, laughs)),
    plain('A record definition in the place of a frame.', [0xd4, 0x72, 0x40, 0x92, 0xa1, 0x61, 0xa1, 0x62, 1, 2]),
    plain('A record that was never defined.', [0x92, 6, 0x40]),
    plain(
      'Inline records inside an array of refusals.',
      [0x93, 5, 1, 0x92, 0xd4, 0x72, 0x41, 0x91, 0xa9],
      new TextEncoder().encode('__proto__'),
      [1, 2],
    ),
    plain('An error extension with a message.', [0x92, 12, 0xc7, 6, 0x65, 0x92, 0xa1, 0x61, 0xa1, 0x62, 0xc0]),
    plain('A typed array extension of the largest length.', [0x92, 4, 0xc9, 0xff, 0xff, 0xff, 0xff, 0x74, 1]),
    plain('Bundled texts that point behind the frame.', [0x92, 12, 0xd6, 0x62, 0x7f, 0xff, 0xff, 0xff]),
    plain(
      'A set, a regular expression and a big integer.',
      [0x94, 5, 0xd4, 0x73, 0x90, 0xd4, 0x78, 0x92, 0xa1, 0x28, 0xa0, 0xc7, 1, 0x42, 1],
    ),
    plain('A timestamp extension in the place of a count.', [0x92, 6, 0xd6, 0xff, 0, 0, 0, 1]),
  ]
}

// ── Texts ───────────────────────────────────────────────────────────────────────────────────────────────────────────

function textKillers(): Killer[] {
  const texts: readonly (readonly [string, readonly number[]])[] = [
    ['that is half of a surrogate pair', [0xed, 0xa0, 0x80]],
    ['in an overlong form', [0xc0, 0xaf]],
    ['cut inside a letter', [0xe2, 0x82]],
    ['beyond the last code point', [0xf4, 0x90, 0x80, 0x80]],
    ['of continuation bytes', [0x80, 0x80, 0x80]],
    ['that holds 0xff', [0x61, 0xff, 0x62]],
    ['with a byte order mark and a zero', [0xef, 0xbb, 0xbf, 0x00]],
    ['of right-to-left marks and line separators', [0xe2, 0x80, 0xae, 0xe2, 0x80, 0xa8]],
  ]
  return texts.flatMap(([name, bytes]) => [
    { sentence: `A refusal with a code ${name}.`, frame: () => array([12], text(bytes), text('x'), NO) },
    { sentence: `A comparison of a table ${name}.`, frame: () => array([13], [1], text(bytes), NIL, NIL, text('0')) },
    {
      sentence: `A comparison of rows after an id ${name}.`,
      frame: () => array([13], [1], text('notes'), text(bytes), NIL, text('0')),
    },
  ])
}

// ── Sizes ───────────────────────────────────────────────────────────────────────────────────────────────────────────

function sizeKillers(): Killer[] {
  const room = FRAME_BYTES_MAX - 64
  return [
    plain('A push of a million parts without a byte.', array([4], binary(new Uint8Array(room)))),
    plain('A push of half a million parts of one byte.', array([4], binary(repeated(room / 2, [1, 1])))),
    plain(
      'A push of 60,000 parts of sixteen bytes.',
      array([4], binary(repeated(60_000, [16, ...new Uint8Array(16)]))),
    ),
    plain('A push whose part is longer than the push.', array([4], binary(bytesOf(varint(2 ** 40), [1, 2, 3])))),
    plain('A push whose part has a length of nine bytes.', array([4], binary(repeated(9, [0xff])))),
    plain('A push whose part has a length in more bytes than it needs.', array([4], binary([0x81, 0x00, 0x01]))),
    plain(
      'A snapshot chunk of half a million empty rows.',
      array([8], text('notes'), NIL, NIL, [0x90], [0x90], binary(new Uint8Array(room))),
    ),
    plain(
      'A snapshot clock of 60,000 replicas.',
      array([7], [1], binary(repeated(60_000, [...new Uint8Array(16), 1]))),
    ),
    plain(
      'An ack of 16,000 refusals.',
      array([5], [1], array(...Array.from({ length: 16_000 }, () => array([1], text('x'))))),
    ),
    plain(
      'An ack of 21,000 refusals.',
      array([5], [1], array(...Array.from({ length: 21_000 }, () => array([1], text('x'))))),
    ),
    plain('A refusal with a message of a megabyte.', array([12], text('closed'), text(repeated(room, [0x61])), NO)),
    plain(
      'A comparison of a table whose name has a megabyte.',
      array([13], [1], text(repeated(room, [0x61])), NIL, NIL, text('0')),
    ),
    plain(
      'A comparison of rows after an id of a megabyte.',
      array([13], [1], text('notes'), text(repeated(room, [0x61])), NIL, text('0')),
    ),
    plain('A frame of exactly the limit, of zeros.', new Uint8Array(FRAME_BYTES_MAX)),
    plain('A frame of one byte more than the limit.', new Uint8Array(FRAME_BYTES_MAX + 1)),
    plain(
      'A frame of one byte more than the limit that is well formed.',
      array([12], text('x'), text(repeated(FRAME_BYTES_MAX, [0x61])), NO),
    ),
    { sentence: 'A compared that holds a chunk that holds a chunk, 1,000 deep.', frame: () => nestedCompared(1_000) },
  ]
}

function nestedCompared(depth: number): Uint8Array {
  let frame = array([9])
  for (let level = 0; level < depth; level++) frame = array([14], [1], NO, [0x90], binary(frame))
  return frame
}

// ── Hello ───────────────────────────────────────────────────────────────────────────────────────────────────────────

interface CraftedHello {
  readonly versions?: Bytes
  readonly tenant?: Bytes
  readonly replica?: Bytes
  readonly isMesh?: Bytes
  readonly ownSeq?: Bytes
  readonly ackedSeq?: Bytes
  readonly fingerprint?: Bytes
  readonly resume?: Bytes
  readonly tables?: Bytes
  readonly relay?: Bytes
}

/** A hello that is in order but for what is given. */
export function craftHello(target: Target, hello: CraftedHello = {}): Uint8Array {
  return array(
    [1],
    hello.versions ?? array([1], [1]),
    hello.tenant ?? text(target.tenant),
    hello.replica ?? binary(packUuid(target.replica)),
    hello.isMesh ?? NO,
    hello.ownSeq ?? uint(target.nextSeq - 1),
    hello.ackedSeq ?? uint(target.nextSeq - 1),
    hello.fingerprint ?? binary([]),
    hello.resume ?? cursorOf(target, target.position),
    hello.tables ?? array(),
    ...(hello.relay === undefined ? [] : [hello.relay]),
  )
}

export function cursorOf(target: Target, position: number): Uint8Array {
  return array([1], binary(packUuid(target.logId)), uint(target.epoch), uint(position))
}

function helloKillers(): Killer[] {
  const hello = (sentence: string, make: (target: Target) => CraftedHello): Killer => ({
    sentence: `A hello ${sentence}.`,
    frame: (target) => craftHello(target, make(target)),
  })
  const snapshotAt = (target: Target, table: Bytes, id: Bytes): Uint8Array =>
    array([3], binary(packUuid(target.logId)), uint(target.epoch), uint(1), table, id)
  return [
    hello('for all versions there can be', () => ({ versions: array([0], uint(Number.MAX_SAFE_INTEGER)) })),
    hello('for versions that end before they begin', () => ({ versions: array([9], [1]) })),
    hello('for no version', () => ({ versions: array() })),
    hello('for a tenant above it in the file system', () => ({ tenant: text('../../etc/passwd') })),
    hello('for the tenant __proto__', () => ({ tenant: text('__proto__') })),
    hello('in the name of the server itself', (target) => ({ replica: binary(packUuid(target.server)) })),
    hello('of the replica of zeros', () => ({ replica: binary(new Uint8Array(16)) })),
    hello('whose replica has 15 bytes', () => ({ replica: binary(new Uint8Array(15)) })),
    hello('of a mesh peer', () => ({ isMesh: YES })),
    hello('of a relay without a log', () => ({ relay: array() })),
    hello('of a relay whose log is a number', () => ({ relay: array([7], [1], [1]) })),
    hello('of a relay whose log ends at the end of time', (target) => ({
      versions: array([2], [2]),
      relay: array(binary(packUuid(target.replica)), uint(Number.MAX_SAFE_INTEGER), uint(Number.MAX_SAFE_INTEGER)),
    })),
    hello('of a relay that is a mesh peer as well', (target) => ({
      isMesh: YES,
      relay: array(binary(packUuid(target.replica)), [1], [1]),
    })),
    hello('of a writer with 2^53 - 1 changes', () => ({ ownSeq: uint(Number.MAX_SAFE_INTEGER) })),
    hello('that has heard more answers than there are changes', () => ({ ackedSeq: uint(Number.MAX_SAFE_INTEGER) })),
    hello('with a negative seq', () => ({ ownSeq: [0xff] })),
    hello('with a seq that is not a number', () => ({ ownSeq: float(Number.NaN) })),
    hello('with a fingerprint of a megabyte', () => ({ fingerprint: binary(new Uint8Array(FRAME_BYTES_MAX - 400)) })),
    hello('with a cursor at the end of time', (target) => ({ resume: cursorOf(target, Number.MAX_SAFE_INTEGER) })),
    hello('with a cursor before the beginning', (target) => ({ resume: cursorOf(target, 0) })),
    ...[1, 2, 3, 5, 8].map((back) =>
      hello(`with a cursor ${back} before the end, which may be inside a block`, (target) => ({
        resume: cursorOf(target, Math.max(1, target.position - back)),
      })),
    ),
    hello('with a cursor of another log', (target) => ({ resume: cursorOf({ ...target, logId: target.replica }, 1) })),
    hello('with a cursor of another epoch', (target) => ({ resume: cursorOf({ ...target, epoch: 2 ** 40 }, 1) })),
    hello('with a place to resume of an unknown kind', () => ({ resume: array([9]) })),
    hello('with no place to resume', () => ({ resume: NIL })),
    hello('in the middle of a snapshot of an unknown table', (target) => ({
      resume: snapshotAt(target, text('nobody'), text('x')),
    })),
    hello('in the middle of a snapshot, after a row with an id of 600 bytes', (target) => ({
      resume: snapshotAt(target, text('notes'), text(repeated(600, [0x61]))),
    })),
    hello('in the middle of a snapshot, after a row without an id', (target) => ({
      resume: snapshotAt(target, text('notes'), text('')),
    })),
    hello('with a clock that is cut', () => ({ resume: array([2], binary(new Uint8Array(20))) })),
    hello('with a clock of 50,000 replicas', () => ({ resume: array([2], binary(clockOfMany(50_000))) })),
    hello('with a clock that names one replica 50,000 times', () => ({
      resume: array([2], binary(repeated(50_000, [...new Uint8Array(16), 1]))),
    })),
    hello('with a clock from the future', (target) => ({
      resume: array([2], binary(bytesOf(packUuid(target.server), varint(Number.MAX_SAFE_INTEGER)))),
    })),
    hello('with 10,000 tables', () => ({
      tables: array(...Array.from({ length: 10_000 }, (_, at) => array(text(`t${at}`), text('x')))),
    })),
    hello('with a table __proto__', () => ({ tables: array(array(text('__proto__'), text('x'))) })),
    hello('with a table that is a number', () => ({ tables: array(array([1], [2])) })),
    hello('with tables that are not pairs', () => ({ tables: array(array(), NIL, [5]) })),
  ]
}

function clockOfMany(replicas: number): Uint8Array {
  const clock = new Uint8Array(replicas * 17)
  const view = new DataView(clock.buffer)
  for (let at = 0; at < replicas; at++) {
    view.setUint32(at * 17, at * 2_654_435_761)
    view.setUint32(at * 17 + 12, at)
    clock[at * 17 + 16] = 1
  }
  return clock
}

// ── The order of things ─────────────────────────────────────────────────────────────────────────────────────────────

function orderKillers(): Killer[] {
  const max = uint(Number.MAX_SAFE_INTEGER)
  return [
    { sentence: 'A second hello.', frame: (target) => craftHello(target) },
    plain(
      'A welcome to the server.',
      array(
        [2],
        [1],
        binary(new Uint8Array(16)),
        binary(new Uint8Array(16)),
        [1],
        [1],
        [0],
        binary([]),
        array(),
        NIL,
        [0],
        NIL,
      ),
    ),
    plain('Changes to the server.', array([3], [1], [1], binary([1, 1]))),
    plain('An ack to the server.', array([5], max, array(array(max, text('forbidden'))))),
    plain('A snapshot that begins at the server.', array([7], max, binary([]))),
    plain('A snapshot that ends at the server.', array([9])),
    plain('Credit for everything.', array([6], max)),
    plain('Credit of nothing.', array([6], [0])),
    plain('Credit of half a byte.', array([6], float(0.5))),
    plain('Credit that is not a number.', array([6], float(Number.NaN))),
    plain('Credit without end.', array([6], float(Number.POSITIVE_INFINITY))),
    plain('Credit of minus zero.', array([6], float(-0))),
    plain('Credit of 2^64 - 1.', array([6], bytesOf([0xcf], repeated(8, [0xff])))),
    plain('A mark with the largest token.', array([10], max)),
    plain('The answer to a mark that nobody asked.', array([11], max, max)),
    plain('The answer to a comparison that nobody asked.', array([14], max, NO, array(), NIL)),
    plain(
      'The answer to a comparison with parts that are no parts.',
      array([14], [1], NO, array(array(), array([1], [2], [3])), NIL),
    ),
    plain('A comparison of an unknown table.', array([13], [1], text('nobody'), NIL, NIL, text('0'))),
    plain('A comparison of a table __proto__.', array([13], [1], text('__proto__'), NIL, NIL, text('0'))),
    plain(
      'A comparison of a range that ends before it begins.',
      array([13], [1], text('notes'), text('z'), text('a'), text('0')),
    ),
    plain('A comparison with a hash that is no hash.', array([13], [1], text('notes'), NIL, NIL, text('💥'))),
    plain(
      'A comparison of rows after an id of 600 bytes.',
      array([13], [1], text('notes'), text(repeated(600, [0x61])), NIL, text('0')),
    ),
    plain('A message of a type that does not exist.', array([99])),
    plain('A message of type minus one.', array([0xff])),
    plain('A message whose type is a text.', array(text('hello'))),
    plain('A push without a field.', array([4])),
    plain('A push of a text.', array([4], text('x'))),
    plain('A push of nothing.', array([4], binary([]))),
  ]
}
