/**
 * Mutations: a valid frame, changed a little, in the places where decoders believe what they read.
 *
 * Knows: MessagePack and that frames carry byte strings with a layout of their own. Must never know: what is valid.
 * Invariant: the outcome depends on the input and the random stream alone, so a seed and a number name a frame.
 */
import type { Random } from '../simulation/random.ts'
import { array, type Bytes, binary, bytesOf, float, text, uint } from './craft.ts'

/** Bytes that mean something at some place. */
const TELLING_BYTES = [
  0x00, 0x01, 0x07, 0x0f, 0x10, 0x20, 0x40, 0x7f, 0x80, 0x81, 0x90, 0x91, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc4, 0xc6,
  0xc7, 0xc9, 0xca, 0xcb, 0xcf, 0xd3, 0xd4, 0xd6, 0xd7, 0xd8, 0xd9, 0xdb, 0xdc, 0xdd, 0xde, 0xdf, 0xe0, 0xff,
] as const
const TELLING_RUNS: readonly (readonly number[])[] = [
  [0xff, 0xff, 0xff, 0xff],
  [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f],
  [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
  [0x80, 0x80, 0x80, 0x00],
  [0x00, 0x00, 0x00, 0x00],
  [0xdd, 0xff, 0xff, 0xff, 0xff],
  [0xc6, 0xff, 0xff, 0xff, 0xff],
  [0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0],
  [0xd7, 0x02, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0],
  [0xd6, 0x70, 0, 0, 0, 1],
  [0xd4, 0x72, 0x40],
  [0xaf, 0x5f, 0x5f, 0x70, 0x72, 0x6f, 0x74, 0x6f, 0x5f, 0x5f],
  [0xed, 0xa0, 0x80],
]

const FIELD_MUTATIONS = { drop: 1, double: 1, copy: 1, replace: 3 } as const
const MUTATIONS = { bits: 4, byte: 4, run: 2, cut: 2, drop: 2, double: 2, swap: 1, splice: 2, node: 5 } as const

/** The frame with one to four mutations. `donors` are frames to take pieces from. */
export function mutate(frame: Uint8Array, donors: readonly Uint8Array[], random: Random): Uint8Array {
  let mutated = frame
  for (let left = random.between(1, 4); left > 0; left--) mutated = mutateOnce(mutated, donors, random)
  return mutated
}

function mutateOnce(frame: Uint8Array, donors: readonly Uint8Array[], random: Random): Uint8Array {
  const at = random.below(frame.length + 1)
  const end = Math.min(frame.length, at + random.between(1, 12))
  switch (random.weighted(MUTATIONS)) {
    case 'bits':
      return withByte(frame, at, (byte) => byte ^ (1 << random.below(8)))
    case 'byte':
      return withByte(frame, at, () => random.pick(TELLING_BYTES))
    case 'run':
      return bytesOf(frame.subarray(0, at), random.pick(TELLING_RUNS), frame.subarray(random.chance(0.5) ? at : end))
    case 'cut':
      return frame.slice(0, at)
    case 'drop':
      return bytesOf(frame.subarray(0, at), frame.subarray(end))
    case 'double':
      return bytesOf(frame.subarray(0, end), frame.subarray(at))
    case 'swap':
      return bytesOf(frame.subarray(0, at), frame.subarray(end), frame.subarray(at, end))
    case 'splice': {
      const donor = random.pick(donors)
      const from = random.below(donor.length + 1)
      return bytesOf(frame.subarray(0, at), donor.subarray(from, from + random.between(1, 64)), frame.subarray(end))
    }
    case 'node':
      return mutateNode(frame, donors, random)
  }
}

function withByte(frame: Uint8Array, at: number, change: (byte: number) => number): Uint8Array {
  if (frame.length === 0) return frame
  const place = Math.min(at, frame.length - 1)
  const changed = frame.slice()
  changed[place] = change(frame[place] as number)
  return changed
}

// ── By structure ────────────────────────────────────────────────────────────────────────────────────────────────────

/** Where one element of the outermost array lies. */
interface Span {
  readonly start: number
  readonly end: number
}

/**
 * Changes one field as a whole: another value in its place, the field twice or not at all, or, inside a byte string, a few
 * bytes with the length made right again, so that the decoders behind the envelope see them.
 */
function mutateNode(frame: Uint8Array, donors: readonly Uint8Array[], random: Random): Uint8Array {
  const fields = fieldsOf(frame)
  if (fields === undefined || fields.length === 0) return frame
  const chosen = random.below(fields.length)
  const parts: Bytes[] = fields.map(({ start, end }) => frame.subarray(start, end))
  const field = parts[chosen] as Uint8Array
  const inner = contentOf(field)
  switch (inner !== undefined && random.chance(0.8) ? 'inside' : random.weighted(FIELD_MUTATIONS)) {
    case 'inside':
      parts[chosen] = binary(mutateOnce(inner as Uint8Array, donors, random))
      break
    case 'drop':
      parts.splice(chosen, 1)
      break
    case 'double':
      parts.splice(chosen, 0, field)
      break
    case 'copy':
      parts[chosen] = parts[random.below(parts.length)] as Bytes
      break
    case 'replace':
      parts[chosen] = hostileValue(random)
      break
  }
  return array(...parts)
}

/** The elements of the outermost array; undefined when the bytes are no such thing. */
function fieldsOf(frame: Uint8Array): Span[] | undefined {
  const first = frame[0] ?? 0
  let at = 1
  let count = first - 0x90
  if (first === 0xdc && frame.length >= 3) {
    count = ((frame[1] as number) << 8) | (frame[2] as number)
    at = 3
  } else if (first < 0x90 || first > 0x9f) return undefined
  const spans: Span[] = []
  for (let left = count; left > 0; left--) {
    const end = skip(frame, at)
    if (end === undefined) return undefined
    spans.push({ start: at, end })
    at = end
  }
  return spans
}

/** The place behind the value at `start`. */
function skip(frame: Uint8Array, start: number): number | undefined {
  let left = 1
  let at = start
  while (left > 0) {
    const tag = frame[at]
    if (tag === undefined) return undefined
    left--
    const width = tag === 0xdc || tag === 0xdd ? 2 << (tag - 0xdc) : lengthWidth(tag)
    let length = 0
    for (let index = 1; index <= width; index++) length = length * 256 + (frame[at + index] ?? 0)
    at += 1 + width
    if (tag >= 0x90 && tag < 0xa0) left += tag & 0x0f
    else if (tag === 0xdc || tag === 0xdd) left += length
    else if (tag >= 0xa0 && tag < 0xc0) at += tag & 0x1f
    else if (width > 0) at += length
    else at += fixedWidth(tag)
    if (at > frame.length || left > frame.length) return undefined
  }
  return at
}

/** Bytes of the length of a text or byte string. */
function lengthWidth(tag: number): number {
  if (tag >= 0xc4 && tag <= 0xc6) return 1 << (tag - 0xc4)
  return tag >= 0xd9 && tag <= 0xdb ? 1 << (tag - 0xd9) : 0
}

function fixedWidth(tag: number): number {
  if (tag === 0xcb) return 8
  return tag >= 0xcc && tag <= 0xcf ? 1 << (tag - 0xcc) : 0
}

/** What is inside a byte string; undefined for any other field. */
function contentOf(field: Uint8Array): Uint8Array | undefined {
  const tag = field[0] as number
  return tag >= 0xc4 && tag <= 0xc6 ? field.subarray(1 + lengthWidth(tag)) : undefined
}

function hostileValue(random: Random): Bytes {
  return random.pick<() => Bytes>([
    () => [0xc0],
    () => [0xc2],
    () => [0xc3],
    () => [0x80],
    () => [0x90],
    () => [0xe0],
    () => float(Number.NaN),
    () => float(-0),
    () => float(-1),
    () => float(1.5),
    () => float(1e300),
    () => uint(Number.MAX_SAFE_INTEGER),
    () => [0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    () => [0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0],
    () => text(''),
    () => text('__proto__'),
    () => text('x'.repeat(random.between(0, 700))),
    () => binary([]),
    () => binary(new Uint8Array(random.between(1, 40)).fill(random.below(256))),
    () => array([1], [1], [1]),
    () => array(array(array([1]))),
    () => [0xd4, 0x01, 0x00],
    () => [0xc1],
  ])()
}
