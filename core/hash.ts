/**
 * A 64-bit hash of bytes, in two 32-bit lanes: fast, not cryptographic.
 *
 * Source: the mixing steps of MurmurHash3's finalizer (Appleby, public domain), applied per 4 bytes with two seeds.
 * Used to notice copies and differences, never to keep an attacker out: where content must be the same, bytes are compared.
 */

export interface Hash64 {
  readonly high: number
  readonly low: number
}

export function hashBytes(bytes: Uint8Array, start = 0, end: number = bytes.length): Hash64 {
  let high = 0x9e3779b9 ^ (end - start)
  let low = 0x85ebca6b ^ (end - start)
  let at = start
  for (; at + 4 <= end; at += 4) {
    const word =
      (bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24)
    high = Math.imul(rotate(high ^ Math.imul(word, 0xcc9e2d51), 15), 5) + 0xe6546b64
    low = Math.imul(rotate(low ^ Math.imul(word, 0x1b873593), 13), 9) + 0x38b34ae5
  }
  let tail = 0
  for (let shift = 0; at < end; at++, shift += 8) tail |= (bytes[at] as number) << shift
  high ^= Math.imul(tail, 0xcc9e2d51)
  low ^= Math.imul(tail, 0x1b873593)
  return { high: avalanche(high ^ low), low: avalanche(low + Math.imul(high, 0x2545f491)) }
}

function rotate(value: number, by: number): number {
  return (value << by) | (value >>> (32 - by))
}

function avalanche(value: number): number {
  let mixed = value ^ (value >>> 16)
  mixed = Math.imul(mixed, 0x85ebca6b)
  mixed ^= mixed >>> 13
  mixed = Math.imul(mixed, 0xc2b2ae35)
  return (mixed ^ (mixed >>> 16)) >>> 0
}

/** A sum that does not depend on the order of what is added. */
export function addHashes(left: Hash64, right: Hash64): Hash64 {
  const low = left.low + right.low
  return { high: (left.high + right.high + (low > 0xffffffff ? 1 : 0)) >>> 0, low: low >>> 0 }
}

export const ZERO_HASH: Hash64 = { high: 0, low: 0 }

/** 16 hexadecimal digits. */
export function hashToText(hash: Hash64): string {
  return hash.high.toString(16).padStart(8, '0') + hash.low.toString(16).padStart(8, '0')
}

export function textToHash(text: string): Hash64 {
  return { high: Number.parseInt(text.slice(0, 8), 16) >>> 0, low: Number.parseInt(text.slice(8), 16) >>> 0 }
}
