/**
 * Writing blocks: changes as the bytes that `block.ts` tells of.
 *
 * Knows: bytes, dictionaries. Must never know: whether a change is well formed, or who may write it.
 */
import {
  type Dictionaries,
  type Entry,
  FLAG_MORE,
  FLAG_NEXT_SEQ,
  FLAG_SAME_TABLE,
  FLAG_UUID,
  FORMAT,
  TIMESTAMP_WIDTH,
  VOID_CODES,
} from './block.ts'
import { ByteWriter, copyBytes, writeUuid } from './bytes.ts'
import type { SparseClock } from './clock.ts'
import type { Dictionary } from './dictionary.ts'
import { invariant } from './errors.ts'
import { OPS, type Version } from './row.ts'

const BODY_BYTES = 4_096
/** Bodies of blocks that are finished: a buffer of its own would cost a single change more than all the rest of its commit. */
const spareBodies: ByteWriter[] = []
const SPARE_BODIES_MAX = 4
const SPARE_BYTES_MAX = 1 << 16
const header: ByteWriter = new ByteWriter(1_024)

/** Gathers entries into one block. */
export class BlockWriter {
  readonly #body: ByteWriter = spareBodies.pop() ?? new ByteWriter(BODY_BYTES)
  readonly #dictionaries: Dictionaries
  readonly #authors: number[] = []
  readonly #others: number[] = []
  readonly #replicaSlots = new Map<number, number>()
  readonly #names: number[] = []
  readonly #nameSlots = new Map<number, number>()
  #baseTimestamp: number | undefined
  #lastTimestamp = 0
  #lastAuthor = -1
  #lastSeq = 0
  #lastTable = -1
  #isFinished = false
  count = 0

  constructor(dictionaries: Dictionaries, authors: readonly number[]) {
    this.#dictionaries = dictionaries
    this.#authors.push(...authors)
    for (const [slot, author] of authors.entries()) this.#replicaSlots.set(author, slot)
  }

  /** Bytes so far, without the header. */
  get bodyBytes(): number {
    return this.#body.length
  }

  /** The authors have to be known from the start; answers with the encoded size of the entry. */
  add(entry: Entry): number {
    invariant(!this.#isFinished, 'a block that is finished takes no more')
    const body = this.#body
    const start = body.length
    this.count++
    const nextSeq = entry.replica === this.#lastAuthor && entry.seq === this.#lastSeq + 1
    this.#lastAuthor = entry.replica
    this.#lastSeq = entry.seq
    if (entry.op === 'void') {
      body.byte(OPS.indexOf('void') | (nextSeq ? FLAG_NEXT_SEQ : 0))
      this.#writeDot(entry, nextSeq)
      body.byte(VOID_CODES.indexOf(entry.code))
      return body.length - start
    }
    const sameTable = entry.table === this.#lastTable
    this.#lastTable = entry.table
    const flagsAt = body.length
    body.byte(
      OPS.indexOf(entry.op) |
        (entry.more ? FLAG_MORE : 0) |
        (sameTable ? FLAG_SAME_TABLE : 0) |
        (nextSeq ? FLAG_NEXT_SEQ : 0),
    )
    this.#writeDot(entry, nextSeq)
    this.#writeTimestamp(entry.timestamp)
    if (!sameTable) body.varint(this.#nameSlot(entry.table))
    if (writeUuid(body, entry.id)) body.bytes[flagsAt] = (body.bytes[flagsAt] as number) | FLAG_UUID
    else writeSizedText(body, entry.id)
    this.#writeContext(entry.context)
    if (entry.op !== 'delete') this.#writeVersions(entry.versions)
    return body.length - start
  }

  /** The block. Ends the writer: its buffer goes to another. */
  finish(): Uint8Array {
    invariant(!this.#isFinished, 'a block is finished once')
    this.#isFinished = true
    const { replicas, names } = this.#dictionaries
    const body = this.#body
    header.reset()
    header.byte(FORMAT)
    header.varint(this.count)
    header.varint(this.#authors.length)
    header.varint(this.#authors.length + this.#others.length)
    for (const replica of this.#authors) writeUuid(header, replicas.textOf(replica))
    for (const replica of this.#others) writeUuid(header, replicas.textOf(replica))
    header.varint(this.#names.length)
    for (const name of this.#names) {
      const text = names.textOf(name)
      header.byte(text.length)
      header.text(text)
    }
    header.fixed(this.#baseTimestamp ?? 0, TIMESTAMP_WIDTH)
    const block = new Uint8Array(header.length + body.length)
    copyBytes(header.bytes, 0, header.length, block, 0)
    copyBytes(body.bytes, 0, body.length, block, header.length)
    body.reset()
    if (body.bytes.length <= SPARE_BYTES_MAX && spareBodies.length < SPARE_BODIES_MAX) spareBodies.push(body)
    return block
  }

  #writeDot(entry: Entry, nextSeq: boolean): void {
    if (nextSeq) return
    this.#body.varint(this.#replicaSlot(entry.replica))
    this.#body.varint(entry.seq)
  }

  #writeTimestamp(timestamp: number): void {
    if (this.#baseTimestamp === undefined) {
      this.#baseTimestamp = timestamp
      this.#lastTimestamp = timestamp
    }
    this.#body.zigzag(timestamp - this.#lastTimestamp)
    this.#lastTimestamp = timestamp
  }

  #writeContext(context: SparseClock): void {
    this.#body.varint(context.length / 2)
    for (let at = 0; at < context.length; at += 2) {
      this.#body.varint(this.#replicaSlot(context[at] as number))
      this.#body.varint(context[at + 1] as number)
    }
  }

  #writeVersions(versions: readonly Version[]): void {
    this.#body.varint(versions.length)
    for (const version of versions) {
      this.#body.varint(this.#nameSlot(version.name))
      this.#body.raw(version.bytes, version.start, version.end)
    }
  }

  #replicaSlot(replica: number): number {
    const known = this.#replicaSlots.get(replica)
    if (known !== undefined) return known
    const slot = this.#authors.length + this.#others.push(replica) - 1
    this.#replicaSlots.set(replica, slot)
    return slot
  }

  #nameSlot(name: number): number {
    const known = this.#nameSlots.get(name)
    if (known !== undefined) return known
    const slot = this.#names.push(name) - 1
    this.#nameSlots.set(name, slot)
    return slot
  }
}

const encoded: ByteWriter = new ByteWriter(256)

function writeSizedText(writer: ByteWriter, text: string): void {
  encoded.reset()
  writer.varint(encoded.text(text))
  writer.raw(encoded.bytes, 0, encoded.length)
}

/**
 * The content of a change in a form that does not depend on dictionaries or neighbours: equal for equal changes on all
 * replicas. Fingerprints and agreement are computed over it.
 */
export function canonicalEntry(entry: Entry, dictionaries: Dictionaries): Uint8Array {
  const writer = new BlockWriter(dictionaries, [entry.replica])
  if (entry.op === 'void') {
    writer.add(entry)
    return writer.finish()
  }
  const { names } = dictionaries
  const versions = [...entry.versions].sort((a, b) => (names.textOf(a.name) < names.textOf(b.name) ? -1 : 1))
  writer.add({ ...entry, more: false, context: sortedContext(entry.context, dictionaries.replicas), versions })
  return writer.finish()
}

/** A context in the order of replica ids instead of indexes: only for writing. */
function sortedContext(context: SparseClock, replicas: Dictionary): SparseClock {
  const pairs: [number, number][] = []
  for (let at = 0; at < context.length; at += 2) pairs.push([context[at] as number, context[at + 1] as number])
  return pairs.sort(([a], [b]) => (replicas.textOf(a) < replicas.textOf(b) ? -1 : 1)).flat()
}
