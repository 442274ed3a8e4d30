/**
 * Blocks: runs of changes as bytes. What a writer encodes once is stored in its log, pushed, stored in the server's log
 * and passed on to every reader, byte for byte; only refused changes make the server encode a block anew.
 *
 * Layout, all numbers varints unless said otherwise:
 *   format (1 byte), entries
 *   authors, replicas, then 16 bytes for each replica: the authors first, then those that only contexts name
 *   names, then for each its length (1 byte) and ASCII text: tables and fields
 *   the first entry's timestamp (7 bytes fixed)
 *   entries: flags (1 byte)
 *            author, seq            unless the author is the last entry's and the seq its next
 *            a void: its code (1 byte); nothing else
 *            timestamp              signed difference to the last entry's
 *            table                  unless it is the last entry's
 *            row id                 16 bytes for a UUID, else length and UTF-8
 *            context: n, then n of replica, seq
 *            fields (not for a delete): n, then n of name, canonical value
 *
 * Here: the format, and reading it; `block-writer.ts` writes it.
 *
 * Knows: bytes, and what a well-formed change looks like. Must never know: what a row makes of it.
 * Invariant B1: whatever `decodeBlock` lets pass has valid names, ids and canonical values, and stays within the limits.
 */
import { ByteReader, badFrame, isUuidText, readUuid } from './bytes.ts'
import { EMPTY_CLOCK, type SparseClock } from './clock.ts'
import { scanField } from './counter.ts'
import type { Dictionary } from './dictionary.ts'
import { TidemarkError } from './errors.ts'
import type { Limits } from './limits.ts'
import { isName, isPoisonedKey, type ReplicaId } from './names.ts'
import { type HeadOp, OPS, type Version } from './row.ts'
import { runSlices, type Slices } from './slices.ts'

export const FORMAT = 1
export const TIMESTAMP_WIDTH = 7
export const UUID_BYTES = 16

export const FLAG_MORE = 0x08
export const FLAG_SAME_TABLE = 0x10
export const FLAG_NEXT_SEQ = 0x20
export const FLAG_UUID = 0x40

/** Why a dot is void, on the wire and on disk. Numbers are protocol: never reuse one. */
export const VOID_CODES = [
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
] as const
export type VoidCode = (typeof VOID_CODES)[number]

/** One change in a store's own terms: replicas, table and field names are indexes of its dictionaries. */
export interface ChangeEntry {
  readonly op: HeadOp
  readonly replica: number
  readonly seq: number
  readonly timestamp: number
  /** True when the next entry belongs to the same transaction. */
  readonly more: boolean
  readonly table: number
  readonly id: string
  readonly context: SparseClock
  /** Sorted by name index. */
  readonly versions: readonly Version[]
}

/** A dot that its writer used and admission refused. */
export interface VoidEntry {
  readonly op: 'void'
  readonly replica: number
  readonly seq: number
  readonly code: VoidCode
}

export type Entry = ChangeEntry | VoidEntry

/** Names by their indexes, and indexes by their names (−1 for one that is not known). */
export interface Names {
  textOf(index: number): string
  find(name: string): number
}

export interface Dictionaries {
  readonly replicas: Dictionary
  readonly names: Names
}

export interface BlockHeader {
  readonly count: number
  readonly authors: readonly ReplicaId[]
  readonly replicas: readonly ReplicaId[]
  readonly names: readonly string[]
}

/** A slice of decoding ends after so many entries or bytes: some 50 µs. */
const SLICE_ENTRIES = 16
const SLICE_BYTES = 16_384

/** How a block's replicas and names read in the receiver's dictionaries. Either may throw to refuse the block. */
export interface BlockResolver {
  replica(id: ReplicaId, isAuthor: boolean): number
  name(name: string): number
}

/** How many entries, and so positions, a block has. */
export function blockCount(block: Uint8Array): number {
  const reader = new ByteReader(block, 1)
  return reader.varint()
}

/** True when the block holds changes of this replica only. `id` is its UUID in 16 bytes. */
export function isAuthoredBy(block: Uint8Array, id: Uint8Array): boolean {
  const reader = new ByteReader(block, 1)
  reader.varint()
  const authors = reader.varint()
  reader.varint()
  if (authors !== 1) return false
  for (let at = 0; at < UUID_BYTES; at++) if (block[reader.at + at] !== id[at]) return false
  return true
}

/** The header alone: who wrote the block, and how many entries it has. */
export function readBlockHeader(block: Uint8Array): BlockHeader {
  return readHeader(new ByteReader(block)).header
}

function readHeader(reader: ByteReader): { header: BlockHeader; baseTimestamp: number } {
  if (reader.byte() !== FORMAT) throw badFrame('a block has an unknown format')
  const count = reader.varint()
  const authorCount = reader.varint()
  const replicaCount = reader.varint()
  if (count < 1 || count > reader.end || authorCount < 1 || authorCount > replicaCount)
    throw badFrame('a block has wrong counts')
  if (replicaCount * UUID_BYTES > reader.end - reader.at) throw badFrame('a block names more replicas than it holds')
  const replicas: ReplicaId[] = []
  for (let left = replicaCount; left > 0; left--) {
    replicas.push(readUuid(reader.bytes, reader.at) as ReplicaId)
    reader.skip(UUID_BYTES)
  }
  const nameCount = reader.varint()
  if (nameCount > reader.end - reader.at) throw badFrame('a block has more names than bytes')
  const names: string[] = []
  for (let left = nameCount; left > 0; left--) {
    const name = reader.text(reader.byte())
    if (!isName(name)) throw badFrame('a table or field name is not allowed')
    names.push(name)
  }
  const baseTimestamp = reader.fixed(TIMESTAMP_WIDTH)
  return { header: { count, authors: replicas.slice(0, authorCount), replicas, names }, baseTimestamp }
}

/** All entries of a block, checked (B1). Throws `bad-frame`, or `too-large` for a change above its limit. */
export function decodeBlock(block: Uint8Array, resolver: BlockResolver, limits: Limits): Entry[] {
  return runSlices(decodeBlockInSlices(block, resolver, limits))
}

/** The same, in slices. */
export function* decodeBlockInSlices(block: Uint8Array, resolver: BlockResolver, limits: Limits): Slices<Entry[]> {
  const reader = new ByteReader(block)
  const { header, baseTimestamp } = readHeader(reader)
  if (header.count > limits.transactionChangesMax) {
    throw badFrame(`a block has ${header.count} entries; the limit is ${limits.transactionChangesMax}`)
  }
  const replicas = header.replicas.map((id, slot) => resolver.replica(id, slot < header.authors.length))
  const names = header.names.map((name) => resolver.name(name))
  const decoder = new EntryDecoder(reader, replicas, header.authors.length, names, baseTimestamp, limits)
  const entries: Entry[] = []
  let sliceEnd = reader.at + SLICE_BYTES
  for (let left = header.count; left > 0; left--) {
    entries.push(decoder.next())
    if (left % SLICE_ENTRIES !== 0 && reader.at < sliceEnd) continue
    yield
    sliceEnd = reader.at + SLICE_BYTES
  }
  reader.expectEnd()
  decoder.expectAllUsed()
  expectWholeTransactions(entries, limits)
  return entries
}

/** A transaction is one writer's, has no holes, and ends inside its block. */
function expectWholeTransactions(entries: readonly Entry[], limits: Limits): void {
  let open = 0
  let author = -1
  for (const entry of entries) {
    if (open > 0 && (entry.op === 'void' || entry.replica !== author)) throw badFrame('a transaction is torn')
    author = entry.replica
    open = entry.op !== 'void' && entry.more ? open + 1 : 0
    if (open >= limits.transactionChangesMax) throw badFrame('a transaction has too many changes')
  }
  if (open > 0) throw badFrame('a block ends inside a transaction')
}

class EntryDecoder {
  readonly #reader: ByteReader
  readonly #replicas: readonly number[]
  readonly #authorCount: number
  readonly #names: readonly number[]
  readonly #limits: Limits
  readonly #usedReplicas: Uint8Array
  readonly #usedNames: Uint8Array
  #timestamp: number
  #author = -1
  #seq = 0
  #table = -1

  constructor(
    reader: ByteReader,
    replicas: readonly number[],
    authorCount: number,
    names: readonly number[],
    baseTimestamp: number,
    limits: Limits,
  ) {
    this.#reader = reader
    this.#replicas = replicas
    this.#authorCount = authorCount
    this.#names = names
    this.#timestamp = baseTimestamp
    this.#limits = limits
    this.#usedReplicas = new Uint8Array(replicas.length)
    this.#usedNames = new Uint8Array(names.length)
  }

  /** What a header names and no entry uses would be planted in every log that stores the block as it came. */
  expectAllUsed(): void {
    for (let slot = this.#authorCount; slot < this.#usedReplicas.length; slot++) {
      if (this.#usedReplicas[slot] === 0) throw badFrame('a block names a replica that no entry uses')
    }
    if (this.#usedNames.includes(0)) throw badFrame('a block has a name that no entry uses')
  }

  next(): Entry {
    const reader = this.#reader
    const start = reader.at
    const flags = reader.byte()
    const op = OPS[flags & 0x07]
    if (op === undefined || flags >= 0x80) throw badFrame('an entry has unknown flags')
    this.#readDot((flags & FLAG_NEXT_SEQ) !== 0)
    if (op === 'void') return this.#readVoid(flags)
    this.#timestamp += reader.zigzag()
    if (this.#timestamp < 0 || !Number.isSafeInteger(this.#timestamp)) throw badFrame('a timestamp is out of range')
    if ((flags & FLAG_SAME_TABLE) === 0) this.#table = this.#nameAt(reader.varint())
    else if (this.#table < 0) throw badFrame('the first entry has no table')
    const entry: ChangeEntry = {
      op,
      replica: this.#author,
      seq: this.#seq,
      timestamp: this.#timestamp,
      more: (flags & FLAG_MORE) !== 0,
      table: this.#table,
      id: this.#readId((flags & FLAG_UUID) !== 0),
      context: this.#readContext(),
      versions: op === 'delete' ? [] : this.#readVersions(),
    }
    if (reader.at - start > this.#limits.changeBytesMax) {
      throw new TidemarkError(
        'too-large',
        `a change has ${reader.at - start} bytes; the limit is ${this.#limits.changeBytesMax}`,
      )
    }
    return entry
  }

  #readDot(nextSeq: boolean): void {
    if (nextSeq) {
      if (this.#author < 0) throw badFrame('the first entry has no author')
      this.#seq++
      if (!Number.isSafeInteger(this.#seq)) throw badFrame('a seq is beyond 2^53')
      return
    }
    const slot = this.#reader.varint()
    if (slot >= this.#authorCount) throw badFrame('an entry has no author')
    this.#usedReplicas[slot] = 1
    this.#author = this.#replicas[slot] as number
    this.#seq = this.#reader.varint()
    if (this.#seq < 1) throw badFrame('a seq is below 1')
  }

  #readVoid(flags: number): VoidEntry {
    const code = VOID_CODES[this.#reader.byte()]
    if (code === undefined || (flags & ~(0x07 | FLAG_NEXT_SEQ)) !== 0) throw badFrame('a void has no known code')
    return { op: 'void', replica: this.#author, seq: this.#seq, code }
  }

  #nameAt(slot: number): number {
    const name = this.#names[slot]
    if (name === undefined) throw badFrame('an entry uses a name that the block does not have')
    this.#usedNames[slot] = 1
    return name
  }

  #readId(isUuid: boolean): string {
    const reader = this.#reader
    if (isUuid) {
      const id = readUuid(reader.bytes, reader.at)
      reader.skip(UUID_BYTES)
      return id
    }
    const length = reader.varint()
    if (length < 1 || length > this.#limits.idBytesMax) throw badFrame('a row id has a wrong length')
    const id = reader.text(length)
    if (isUuidText(id)) throw badFrame('a row id is not in its shortest form')
    if (isPoisonedKey(id)) throw badFrame('a row id is reserved')
    return id
  }

  #readContext(): SparseClock {
    const reader = this.#reader
    const count = reader.varint()
    if (count === 0) return EMPTY_CLOCK
    if (count > this.#replicas.length) throw badFrame('a context has more entries than the block has replicas')
    if (count === 1) return this.#readContextEntry()
    const context: number[] = []
    let isSorted = true
    let last = -1
    for (let left = count; left > 0; left--) {
      const [replica, seq] = this.#readContextEntry()
      context.push(replica, seq)
      if (replica <= last) isSorted = false
      last = replica
    }
    return isSorted ? context : sortContext(context)
  }

  #readContextEntry(): [replica: number, seq: number] {
    const slot = this.#reader.varint()
    this.#usedReplicas[slot] = 1
    const replica = this.#replicas[slot]
    const seq = this.#reader.varint()
    if (replica === undefined || seq < 1) throw badFrame('a context has a wrong entry')
    return [replica, seq]
  }

  #readVersions(): Version[] {
    const reader = this.#reader
    const count = reader.varint()
    if (count > this.#limits.fieldsPerRowMax) throw badFrame('a change has too many fields')
    // Of the right length at once: an array that grows takes 17 places for its first.
    const versions = new Array<Version>(count)
    let ordered = true
    let last = -1
    const stamp = { replica: this.#author, seq: this.#seq, timestamp: this.#timestamp }
    for (let at = 0; at < count; at++) {
      const name = this.#nameAt(reader.varint())
      const start = reader.at
      scanField(reader)
      versions[at] = { name, stamp, bytes: reader.bytes, start, end: reader.at }
      if (name <= last) ordered = false
      last = name
    }
    return ordered ? versions : sortDistinct(versions)
  }
}

function sortContext(context: readonly number[]): SparseClock {
  const seqs = new Map<number, number>()
  for (let at = 0; at < context.length; at += 2) seqs.set(context[at] as number, context[at + 1] as number)
  if (seqs.size * 2 < context.length) throw badFrame('a context names a replica twice')
  const sorted: number[] = []
  for (const replica of Float64Array.from(seqs.keys()).sort()) sorted.push(replica, seqs.get(replica) as number)
  return sorted
}

function sortDistinct(versions: Version[]): Version[] {
  versions.sort((a, b) => a.name - b.name)
  for (let at = 1; at < versions.length; at++) {
    if ((versions[at] as Version).name === (versions[at - 1] as Version).name)
      throw badFrame('a change writes a field twice')
  }
  return versions
}
