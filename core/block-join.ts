/**
 * Joining blocks of one change each: what a writer made one by one, as if it had been made at once.
 *
 * Such blocks mostly spell out the same replicas and names. Then their numbers mean the same, and the joined block is the
 * first one's header with the changes side by side: nothing has to be decoded.
 *
 * Invariant B2: what `joinBlocks` answers is, byte for byte, what `BlockWriter` makes of the same entries, or undefined.
 */
import { FLAG_MORE, FLAG_NEXT_SEQ, FLAG_SAME_TABLE, TIMESTAMP_WIDTH, UUID_BYTES } from './block.ts'
import { ByteReader, ByteWriter, equalSlices } from './bytes.ts'
import { OPS } from './row.ts'

const VOID = OPS.indexOf('void')

/** Where the parts of a block are: the list of replicas and names at [listed, timestampAt), the change from `at` on. */
interface Parts {
  readonly listed: number
  readonly timestampAt: number
  readonly timestamp: number
  readonly at: number
}

/** One block for all. Undefined when one of them holds more than one change, or lists other replicas or names. */
export function joinBlocks(blocks: readonly Uint8Array[]): Uint8Array | undefined {
  const [first] = blocks
  const parts = blocks.map(readParts)
  const [head] = parts
  if (first === undefined || head === undefined) return undefined
  const body = new ByteWriter(blocks.length * 48)
  const place = { author: -1, seq: 0, table: -1, timestamp: head.timestamp }
  for (const [index, block] of blocks.entries()) {
    const part = parts[index]
    if (part === undefined) return undefined
    if (!equalSlices(first, head.listed, head.timestampAt, block, part.listed, part.timestampAt)) return undefined
    if (!joinChange(body, block, part, place)) return undefined
  }
  const header = new ByteWriter(64)
  header.byte(first[0] as number)
  header.varint(blocks.length)
  header.raw(first, head.listed, head.at)
  const joined = new Uint8Array(header.length + body.length)
  joined.set(header.bytes.subarray(0, header.length))
  joined.set(body.bytes.subarray(0, body.length), header.length)
  return joined
}

function readParts(block: Uint8Array): Parts | undefined {
  const reader = new ByteReader(block, 1)
  if (reader.varint() !== 1) return undefined
  const listed = reader.at
  reader.varint()
  reader.skip(reader.varint() * UUID_BYTES)
  for (let names = reader.varint(); names > 0; names--) reader.skip(reader.byte())
  const timestampAt = reader.at
  return { listed, timestampAt, timestamp: reader.fixed(TIMESTAMP_WIDTH), at: reader.at }
}

/** Where the joined block stands after its last change. */
interface Place {
  author: number
  seq: number
  table: number
  timestamp: number
}

/** A change that was the first of its block spells out its dot and table; here only where they do not follow. */
function joinChange(body: ByteWriter, block: Uint8Array, { at, timestamp }: Parts, place: Place): boolean {
  const reader = new ByteReader(block, at)
  const flags = reader.byte()
  const author = reader.varint()
  const seq = reader.varint()
  if ((flags & 0x07) === VOID || (flags & FLAG_MORE) !== 0 || reader.zigzag() !== 0) return false
  const table = reader.varint()
  const isNext = author === place.author && seq === place.seq + 1
  const isSameTable = table === place.table
  body.byte(flags | (isNext ? FLAG_NEXT_SEQ : 0) | (isSameTable ? FLAG_SAME_TABLE : 0))
  if (!isNext) {
    body.varint(author)
    body.varint(seq)
  }
  body.zigzag(timestamp - place.timestamp)
  if (!isSameTable) body.varint(table)
  body.raw(block, reader.at, block.length)
  place.author = author
  place.seq = seq
  place.table = table
  place.timestamp = timestamp
  return true
}
