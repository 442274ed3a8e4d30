/**
 * Dictionaries: long names as small numbers, local to one store.
 *
 * Replica ids and table and field names appear in every row; rows and clocks hold their index instead. Indexes never
 * leave the store except beside the names they stand for.
 * Invariant D1: an index, once committed, means the same text for ever.
 */
import { invariant } from './errors.ts'

export class Dictionary {
  readonly #texts: string[] = []
  readonly #indexes = new Map<string, number>()

  get size(): number {
    return this.#texts.length
  }

  /** The index of a text, or −1. */
  find(text: string): number {
    return this.#indexes.get(text) ?? -1
  }

  /** The index of a text, added at the end when it is new. */
  intern(text: string): number {
    const known = this.#indexes.get(text)
    if (known !== undefined) return known
    const index = this.#texts.length
    this.#texts.push(text)
    this.#indexes.set(text, index)
    return index
  }

  textOf(index: number): string {
    const text = this.#texts[index]
    invariant(text !== undefined, `dictionary index ${index} is known`)
    return text
  }

  /** Forgets everything from `size` on: what a failed commit had added. */
  truncate(size: number): void {
    for (const text of this.#texts.splice(size)) this.#indexes.delete(text)
  }
}
