/**
 * Slabs: many small arrays that live long, side by side in few large ones. Allocating each on its own costs more than
 * filling it, and most of what it takes would be the array's own bookkeeping.
 *
 * A slab is small enough that one array that lives long keeps little else alive.
 */
const SLAB_BYTES = 4 * 1024

export class Slab {
  bytes: Uint8Array = new Uint8Array(SLAB_BYTES)
  #end = 0

  /** Makes room for at most `bound` bytes. Answers with their start in `bytes`, where the caller writes them. */
  reserve(bound: number): number {
    if (this.#end + bound > this.bytes.length) {
      this.bytes = new Uint8Array(Math.max(SLAB_BYTES, bound))
      this.#end = 0
    }
    return this.#end
  }

  /** What was written from the start that `reserve` gave up to `end`. */
  take(end: number): Uint8Array {
    const start = this.#end
    this.#end = end
    return this.bytes.subarray(start, end)
  }
}
