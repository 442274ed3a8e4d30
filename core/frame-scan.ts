/**
 * Scanning a frame: whether bytes from outside have the only shape that may reach MessagePack.
 *
 * Knows: the shape that all frames share. Must never know: what any message says.
 *
 * Invariants:
 * H1  Arrays of scalars, texts and binaries, nested at most 4 deep, with every declared length inside the frame. No maps, no
 *     extensions, nothing after the end. Iterative, and linear in the bytes.
 */
import { ByteReader, badFrame, readText } from './bytes.ts'
import { isBare } from './value-scan.ts'

const FRAME_DEPTH_MAX = 4
/** An array counts twice: empty ones cost the most memory for their bytes. */
const FRAME_NODES_MAX = 65_536

/** Refuses whatever is no array of scalars, texts and binaries (H1). */
export function scanFrame(bytes: Uint8Array): void {
  const reader = new ByteReader(bytes)
  const open: number[] = []
  let nodes = 0
  let left = 1
  for (;;) {
    while (left === 0) {
      const outer = open.pop()
      if (outer === undefined) return reader.expectEnd()
      left = outer
    }
    left--
    if (++nodes > FRAME_NODES_MAX) throw badFrame('it has too many elements')
    const count = scanNode(reader)
    if (count < 0) {
      if (nodes === 1) throw badFrame('it is not an array')
      continue
    }
    if (open.length === FRAME_DEPTH_MAX) throw badFrame('it is nested too deep')
    nodes++
    open.push(left)
    left = count
  }
}

/** Moves past a scalar (−1) or an array's header (its count). */
function scanNode(reader: ByteReader): number {
  const tag = reader.byte()
  if (isBare(tag)) return -1
  if (tag >= 0x90 && tag < 0xa0) return tag & 0x0f
  if (tag >= 0xa0 && tag < 0xc0) return scanString(reader, tag & 0x1f)
  switch (tag) {
    case 0xc4:
    case 0xc5:
    case 0xc6:
      reader.skip(reader.fixed(1 << (tag - 0xc4)))
      return -1
    case 0xcb:
      reader.skip(8)
      return -1
    case 0xcc:
    case 0xcd:
    case 0xce:
    case 0xcf:
      reader.skip(1 << (tag - 0xcc))
      return -1
    case 0xd9:
    case 0xda:
    case 0xdb:
      return scanString(reader, reader.fixed(1 << (tag - 0xd9)))
    case 0xdc:
    case 0xdd:
      return countOf(reader, reader.fixed(2 << (tag - 0xdc)))
    default:
      throw badFrame(`0x${tag.toString(16)} is not allowed in a frame`)
  }
}

function scanString(reader: ByteReader, size: number): number {
  const start = reader.at
  readText(reader.bytes, start, reader.skip(size))
  return -1
}

function countOf(reader: ByteReader, count: number): number {
  if (count > reader.end - reader.at) throw badFrame('a count is larger than its bytes')
  return count
}
