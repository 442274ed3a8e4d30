/**
 * Bytes that no writer of ours would write: MessagePack of any form, blocks with any header, entries and rows in pieces.
 *
 * Knows: the layouts of core/frame.ts, core/block.ts and core/row-codec.ts, byte by byte. Must never know: whether anybody
 * accepts what is made here.
 */
import { ByteWriter } from '../../core/bytes.ts'

export type Bytes = Uint8Array | readonly number[]

export function bytesOf(...parts: readonly Bytes[]): Uint8Array {
  return concat(parts)
}

/** Like `bytesOf`, for more parts than a call can have arguments. */
export function concat(parts: readonly Bytes[]): Uint8Array {
  let length = 0
  for (const part of parts) length += part.length
  const whole = new Uint8Array(length)
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

/** The same bytes again and again. */
export function repeated(count: number, bytes: Bytes): Uint8Array {
  const whole = new Uint8Array(count * bytes.length)
  for (let at = 0; at < count; at++) whole.set(bytes, at * bytes.length)
  return whole
}

export function varint(value: number): Uint8Array {
  const writer = new ByteWriter(9)
  writer.varint(value)
  return writer.toBytes()
}

function big(value: number, width: number): number[] {
  const bytes: number[] = []
  for (let shift = width - 1; shift >= 0; shift--) bytes.push(Math.floor(value / 256 ** shift) % 256)
  return bytes
}

// ── MessagePack ─────────────────────────────────────────────────────────────────────────────────────────────────────

/** A number as a float, which may be anything that a double can be. */
export function float(value: number): Uint8Array {
  const bytes = new Uint8Array(9)
  bytes[0] = 0xcb
  new DataView(bytes.buffer).setFloat64(1, value)
  return bytes
}

export function uint(value: number): Uint8Array {
  if (value < 0x80) return Uint8Array.of(value)
  if (value < 2 ** 32) return bytesOf([0xce], big(value, 4))
  return bytesOf([0xcf], big(value, 8))
}

export function text(value: string | Bytes): Uint8Array {
  const bytes = typeof value === 'string' ? new TextEncoder().encode(value) : value
  return bytes.length < 32 ? bytesOf([0xa0 | bytes.length], bytes) : bytesOf([0xdb], big(bytes.length, 4), bytes)
}

export function binary(bytes: Bytes): Uint8Array {
  return bytesOf([0xc6], big(bytes.length, 4), bytes)
}

/** An array of parts that are MessagePack already. */
export function array(...parts: readonly Bytes[]): Uint8Array {
  return bytesOf(parts.length < 16 ? [0x90 | parts.length] : [0xdc, ...big(parts.length, 2)], concat(parts))
}

export const NIL = Uint8Array.of(0xc0)
export const NO = Uint8Array.of(0xc2)
export const YES = Uint8Array.of(0xc3)

// ── Blocks ──────────────────────────────────────────────────────────────────────────────────────────────────────────

export interface CraftedBlock {
  readonly format?: number
  /** Declared; by default as many as there are. */
  readonly count?: number
  readonly authors?: number
  readonly replicaCount?: number
  /** 16 bytes each. */
  readonly replicas: readonly Bytes[]
  readonly nameCount?: number
  readonly names?: readonly (string | Bytes)[]
  /** 7 bytes. */
  readonly timestamp?: Bytes
  readonly entries: readonly Bytes[]
  readonly after?: Bytes
}

/** 2023-11-14 in ticks of a hybrid clock: long ago for every server. */
const TIMESTAMP = 1_700_000_000_000 * 2048

export function craftBlock(block: CraftedBlock): Uint8Array {
  const { replicas, names = ['notes', 'text'], entries } = block
  return bytesOf(
    [block.format ?? 1],
    varint(block.count ?? entries.length),
    varint(block.authors ?? 1),
    varint(block.replicaCount ?? replicas.length),
    concat(replicas),
    varint(block.nameCount ?? names.length),
    concat(
      names.map((name) => {
        const bytes = typeof name === 'string' ? new TextEncoder().encode(name) : name
        return bytesOf([bytes.length % 256], bytes)
      }),
    ),
    block.timestamp ?? big(TIMESTAMP, 7),
    concat(entries),
    block.after ?? [],
  )
}

export interface CraftedEntry {
  readonly op?: number
  readonly flags?: number
  /** Author slot and seq; left out with `null`. */
  readonly dot?: readonly [slot: number, seq: number] | null
  readonly delta?: Bytes
  readonly table?: Bytes
  readonly id?: Bytes
  readonly context?: Bytes
  /** Count and fields; by default one text. */
  readonly fields?: Bytes
}

export const MORE = 0x08
export const SAME_TABLE = 0x10
export const NEXT_SEQ = 0x20
export const UUID_ID = 0x40

export const sized = (value: string | Bytes): Uint8Array => {
  const bytes = typeof value === 'string' ? new TextEncoder().encode(value) : value
  return bytesOf(varint(bytes.length), bytes)
}

/** An insert of row `r`, field `text`, unless told otherwise. */
export function craftEntry(entry: CraftedEntry = {}): Uint8Array {
  const { op = 0, flags = 0, dot = [0, 1] } = entry
  return bytesOf(
    [op | flags],
    dot === null ? [] : bytesOf(varint(dot[0]), varint(dot[1])),
    entry.delta ?? [0],
    entry.table ?? ((flags & SAME_TABLE) === 0 ? [0] : []),
    entry.id ?? sized('r'),
    entry.context ?? [0],
    op === 2 ? [] : (entry.fields ?? fieldsOf([1, text('x')])),
  )
}

/** Fields as pairs of name slot and value bytes. */
export function fieldsOf(...pairs: readonly (readonly [slot: number, value: Bytes])[]): Uint8Array {
  return bytesOf(varint(pairs.length), concat(pairs.map(([slot, value]) => bytesOf(varint(slot), value))))
}

/** A change whose only field is this. */
export function valueEntry(seq: number, value: Bytes): Uint8Array {
  return craftEntry({ dot: [0, seq], fields: fieldsOf([1, value]) })
}

export function voidEntry(seq: number | null, code = 0, flags = 0): Uint8Array {
  return bytesOf([4 | flags], seq === null ? [] : bytesOf([0], varint(seq)), [code])
}

export function contextOf(...pairs: readonly (readonly [slot: number, seq: number])[]): Uint8Array {
  return bytesOf(varint(pairs.length), concat(pairs.map(([slot, seq]) => bytesOf(varint(slot), varint(seq)))))
}
