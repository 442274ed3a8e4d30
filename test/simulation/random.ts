/**
 * Randomness from a seed: streams that do not disturb each other.
 *
 * Source: sfc32 of PractRand (Chris Doty-Humphrey), seeded by hashing the stream's name.
 * Invariant: `fork` depends on the names alone, never on what was drawn before. So an event that is taken out of a
 * schedule changes nothing in the streams of the others.
 */

export class Random {
  readonly #name: string
  #a: number
  #b: number
  #c: number
  #count = 1

  constructor(name: string) {
    this.#name = name
    this.#a = hashText(name, 0x9e3779b9)
    this.#b = hashText(name, 0x243f6a88)
    this.#c = hashText(name, 0xb7e15162)
    for (let round = 0; round < 12; round++) this.bits()
  }

  /** The stream of this name beneath this one. */
  fork(name: string): Random {
    return new Random(`${this.#name}/${name}`)
  }

  /** 32 bits. */
  bits(): number {
    const sum = (this.#a + this.#b + this.#count) | 0
    this.#count = (this.#count + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum
    return sum >>> 0
  }

  /** In [0, 1). */
  next(): number {
    return this.bits() / 0x100000000
  }

  /** A whole number from 0 up to, not including, `end`. */
  below(end: number): number {
    return Math.floor(this.next() * end)
  }

  /** A whole number from `least` to `most`, both included. */
  between(least: number, most: number): number {
    return least + this.below(most - least + 1)
  }

  chance(probability: number): boolean {
    return this.next() < probability
  }

  pick<Item>(items: readonly Item[]): Item {
    if (items.length === 0) throw new RangeError('nothing to pick from')
    return items[this.below(items.length)] as Item
  }

  /** One of the keys, each as likely as its weight says. */
  weighted<Key extends string>(weights: Readonly<Record<Key, number>>): Key {
    const entries = Object.entries(weights) as [Key, number][]
    let left = this.next() * entries.reduce((sum, [, weight]) => sum + weight, 0)
    for (const [key, weight] of entries) {
      left -= weight
      if (left < 0) return key
    }
    return this.pick(entries)[0]
  }

  /** Mostly short, sometimes long: what delays look like. */
  exponential(mean: number): number {
    return -mean * Math.log(1 - this.next())
  }

  /** A version 4 UUID. */
  uuid(): string {
    const hex = [...Array(4)].map(() => this.bits().toString(16).padStart(8, '0')).join('')
    const variant = ((Number.parseInt(hex.charAt(16), 16) & 3) | 8).toString(16)
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20, 32)}`
  }
}

/** FNV-1a, finished with the mix of MurmurHash3. */
export function hashText(text: string, seed = 0x811c9dc5): number {
  let hash = seed | 0
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}
