/**
 * The key layout of a store: one letter for the kind, then fixed-width numbers or text, so that bytes sort like what
 * they name. The only place that builds or reads a key.
 *
 *   m                     meta: log identity, positions, counters, own stream
 *   l position(6)         log record: a block, with the place of each change's predecessor on its row
 *   d replica(4) seq(6)   dot index: last seq of a replica in a block → position of the block
 *   i replica(4)          replica id and its entry of the clock
 *   n name(4)             table or field name
 *   r table(4) id         row state
 *   a table(4) id         agreed state of a row that has changes of our own the server has not answered
 *   o table(4) id         row with more than one head
 *   v replica(4) seq(6)   void dot → its code
 *   x replica(4) seq(6)   a change of our own that was refused
 *   j number(6)           journal record: heads that met
 *   f table(4)            settled conflicts of a table are told of from this position of the log on; without a table: of all
 *   c                     cursor into the server's log
 *   p                     progress of a snapshot that is being received;  q: its clock;  P: the clock of all that began
 *   s replica(4)          whom a replica belongs to, on a server
 *   w replica(4)          where a replica stood in the log when its last session ended, on a server
 *   t name                definition of a table, as far as convergence depends on it
 *   h                     home and family: see family.ts
 *   y subject             post of the relay whose token has this subject, by a hash of that: see posts.ts
 */
import { ByteWriter, concatBytes, prefixEnd, readText } from './bytes.ts'
import { TidemarkError } from './errors.ts'
import { DEFAULT_LIMITS, type Limits } from './limits.ts'
import { isPoisonedKey, quote } from './names.ts'

const letter = (text: string): number => text.charCodeAt(0)

const POSITION_WIDTH = 6
const INDEX_WIDTH = 4
const ROW_PREFIX_BYTES = 1 + INDEX_WIDTH

const writer: ByteWriter = new ByteWriter(1024)

function fixedKey(kind: string, ...parts: readonly (readonly [value: number, width: number])[]): Uint8Array {
  writer.reset()
  writer.byte(letter(kind))
  for (const [value, width] of parts) writer.fixed(value, width)
  return writer.toBytes()
}

function readFixed(key: Uint8Array, at: number, width: number): number {
  let value = 0
  for (let index = at; index < at + width; index++) value = value * 256 + (key[index] as number)
  return value
}

export interface KeyRange {
  readonly from: Uint8Array
  readonly to: Uint8Array
}

export const META_KEY: Uint8Array = fixedKey('m')
export const CURSOR_KEY: Uint8Array = fixedKey('c')
export const SNAPSHOT_KEY: Uint8Array = fixedKey('p')
export const SNAPSHOT_CLOCK_KEY: Uint8Array = fixedKey('q')
export const BASE_CLOCK_KEY: Uint8Array = fixedKey('P')
export const FAMILY_KEY: Uint8Array = fixedKey('h')

/** All keys of a kind. */
export function kindRange(kind: 'i' | 'n' | 't' | 'a' | 'x' | 'o'): KeyRange {
  const from = fixedKey(kind)
  return { from, to: prefixEnd(from) }
}

export function logKey(position: number): Uint8Array {
  return fixedKey('l', [position, POSITION_WIDTH])
}

export function logKeyPosition(key: Uint8Array): number {
  return readFixed(key, 1, POSITION_WIDTH)
}

/** Records that start at `from` up to, not including, `to`. */
export function logRange(from: number, to: number): KeyRange {
  return { from: logKey(from), to: logKey(to) }
}

export function dotKey(replica: number, seq: number): Uint8Array {
  return fixedKey('d', [replica, INDEX_WIDTH], [seq, POSITION_WIDTH])
}

/** Dot-index entries of a replica from `seq` on. */
export function dotRange(replica: number, seq: number): KeyRange {
  return { from: dotKey(replica, seq), to: prefixEnd(fixedKey('d', [replica, INDEX_WIDTH])) }
}

export function dotKeySeq(key: Uint8Array): number {
  return readFixed(key, 1 + INDEX_WIDTH, POSITION_WIDTH)
}

export function replicaKey(replica: number): Uint8Array {
  return fixedKey('i', [replica, INDEX_WIDTH])
}

export function subjectKey(replica: number): Uint8Array {
  return fixedKey('s', [replica, INDEX_WIDTH])
}

export function nameKey(name: number): Uint8Array {
  return fixedKey('n', [name, INDEX_WIDTH])
}

export function placeKey(replica: number): Uint8Array {
  return fixedKey('w', [replica, INDEX_WIDTH])
}

/** The index that a replica or name key is about. */
export function keyIndex(key: Uint8Array): number {
  return readFixed(key, 1, INDEX_WIDTH)
}

export function voidKey(replica: number, seq: number): Uint8Array {
  return fixedKey('v', [replica, INDEX_WIDTH], [seq, POSITION_WIDTH])
}

export function voidRange(replica: number, afterSeq: number, toSeq: number): KeyRange {
  return { from: voidKey(replica, afterSeq + 1), to: voidKey(replica, toSeq + 1) }
}

export function voidKeySeq(key: Uint8Array): number {
  return readFixed(key, 1 + INDEX_WIDTH, POSITION_WIDTH)
}

export function journalKey(number: number): Uint8Array {
  return fixedKey('j', [number, POSITION_WIDTH])
}

export function journalKeyNumber(key: Uint8Array): number {
  return readFixed(key, 1, POSITION_WIDTH)
}

/** Journal records from one number up to, not including, another. */
export function journalRange(from: number, to: number): KeyRange {
  return { from: journalKey(from), to: journalKey(to) }
}

export function floorKey(table?: number): Uint8Array {
  return table === undefined ? fixedKey('f') : fixedKey('f', [table, INDEX_WIDTH])
}

/** Our own changes are under our own replica index, which may change: see identity.ts. */
export function rejectedKey(replica: number, seq: number): Uint8Array {
  return fixedKey('x', [replica, INDEX_WIDTH], [seq, POSITION_WIDTH])
}

export function rejectedRange(replica: number): KeyRange {
  const from = fixedKey('x', [replica, INDEX_WIDTH])
  return { from, to: prefixEnd(from) }
}

export function rejectedKeySeq(key: Uint8Array): number {
  return readFixed(key, 1 + INDEX_WIDTH, POSITION_WIDTH)
}

export function tableKey(name: string): Uint8Array {
  return textKey('t', name)
}

export function tableKeyName(key: Uint8Array): string {
  return readText(key, 1, key.length)
}

export function postKey(subjectHash: string): Uint8Array {
  return textKey('y', subjectHash)
}

function textKey(kind: string, text: string): Uint8Array {
  writer.reset()
  writer.byte(letter(kind))
  writer.text(text)
  return writer.toBytes()
}

// ── Rows ────────────────────────────────────────────────────────────────────────────────────────────────────────────

export type RowKind = 'r' | 'a' | 'o'

/** Throws `bad-id` or `too-large` for what cannot be a row id. */
export function rowKey(kind: RowKind, table: number, id: string): Uint8Array {
  writer.reset()
  writer.byte(letter(kind))
  writer.fixed(table, INDEX_WIDTH)
  const size = writer.text(id)
  if (size > DEFAULT_LIMITS.idBytesMax) {
    throw new TidemarkError('too-large', `a row id has ${size} bytes; the limit is ${DEFAULT_LIMITS.idBytesMax}`)
  }
  return writer.toBytes()
}

/** A character of a text takes three bytes at most. */
export function idFits(id: string, { idBytesMax }: Limits): boolean {
  return id.length * 3 <= idBytesMax || new ByteWriter(id.length * 3).text(id) <= idBytesMax
}

export function parseRowId(id: unknown): string {
  if (typeof id === 'string' && id.length > 0 && !isPoisonedKey(id)) return id
  throw new TidemarkError('bad-id', `${quote(id)} is not a row id`, { remedy: 'Use a text of 1 to 512 bytes' })
}

/** A row key as the same row's key of another kind. */
export function rowKeyAs(kind: RowKind, key: Uint8Array): Uint8Array {
  const same = key.slice()
  same[0] = letter(kind)
  return same
}

export function rowKeyId(key: Uint8Array): string {
  return readText(key, ROW_PREFIX_BYTES, key.length)
}

export interface IdRange {
  /** First id, inclusive. */
  readonly from?: string | undefined
  /** Last id, exclusive. */
  readonly to?: string | undefined
  /** Ids that start with this text. */
  readonly prefix?: string | undefined
}

/** The rows of a table whose ids lie in the range. */
export function rowRange(kind: RowKind, table: number, ids: IdRange = {}): KeyRange {
  const whole = fixedKey(kind, [table, INDEX_WIDTH])
  let from = ids.from === undefined ? whole : rowKey(kind, table, ids.from)
  let to = ids.to === undefined ? prefixEnd(whole) : rowKey(kind, table, ids.to)
  if (ids.prefix !== undefined) {
    const prefix = rowKey(kind, table, ids.prefix)
    if (isLess(from, prefix)) from = prefix
    const end = prefixEnd(prefix)
    if (isLess(end, to)) to = end
  }
  return { from, to }
}

/** The rows of all tables. */
export function allRows(): KeyRange {
  const from = fixedKey('r')
  return { from, to: prefixEnd(from) }
}

/** The first key after `key`. */
export function keyAfter(key: Uint8Array): Uint8Array {
  return concatBytes(key, new Uint8Array(1))
}

function isLess(left: Uint8Array, right: Uint8Array): boolean {
  for (let at = 0; at < left.length && at < right.length; at++) {
    if (left[at] !== right[at]) return (left[at] as number) < (right[at] as number)
  }
  return left.length < right.length
}
