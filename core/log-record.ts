/**
 * Log records: a block and, beside it, where each of its changes continues its row's history in this log.
 *
 * The distances are local to a store; the block is the same on every replica.
 */
import { ByteReader, ByteWriter, copyBytes } from './bytes.ts'

const distances: ByteWriter = new ByteWriter(1_024)
const header: ByteWriter = new ByteWriter(8)

/**
 * Layout: the length in bytes of the distances, the distances back to each entry's predecessor on its row (0: none;
 * nothing at all when none has one, as in a block of inserts), the block.
 */
export function encodeLogRecord(block: Uint8Array, previous: readonly number[], position: number): Uint8Array {
  distances.reset()
  if (previous.some((place) => place !== 0)) {
    for (const [index, place] of previous.entries()) distances.varint(place === 0 ? 0 : position + index - place)
  }
  header.reset()
  header.varint(distances.length)
  const record = new Uint8Array(header.length + distances.length + block.length)
  copyBytes(header.bytes, 0, header.length, record, 0)
  copyBytes(distances.bytes, 0, distances.length, record, header.length)
  copyBytes(block, 0, block.length, record, header.length + distances.length)
  return record
}

/** The block alone, as every replica has it. */
export function blockOfRecord(record: Uint8Array): Uint8Array {
  const reader = new ByteReader(record)
  const length = reader.varint()
  return record.subarray(reader.skip(length))
}

/** The position before each entry on its row; 0 for none. */
export function previousOfRecord(record: Uint8Array, position: number, count: number): number[] {
  const reader = new ByteReader(record)
  if (reader.varint() === 0) return new Array<number>(count).fill(0)
  const previous: number[] = []
  for (let index = 0; index < count; index++) {
    const distance = reader.varint()
    previous.push(distance === 0 ? 0 : position + index - distance)
  }
  return previous
}
