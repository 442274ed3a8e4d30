/**
 * Commits whose content follows from their number, so that anybody can tell from a store whether one is whole.
 *
 * Knows: what batch n puts, and that it takes the place of batch n - 5. Must never know: who writes or reads them.
 */
import type { StoreCommit, StoreEntry } from '../../core/store.ts'

const BATCHES_KEPT = 5
const ENTRIES_PER_BATCH = 40

/** The commit that makes the head `number`. */
export function batchCommit(number: number): StoreCommit {
  const deletes = batchOf(number - BATCHES_KEPT).map(({ key }) => key)
  return { expectedHead: number - 1, puts: batchOf(number), deletes }
}

/** What a store holds when its head is `head`, as `describeEntry` puts it. */
export function describeBatches(head: number): string[] {
  const kept = Array.from({ length: Math.min(head, BATCHES_KEPT) }, (_, index) => head - index).reverse()
  return Array.from({ length: ENTRIES_PER_BATCH }, (_, place) =>
    kept.map((number) => `${place} ${number} whole`),
  ).flat()
}

export function describeEntry({ key, value }: StoreEntry): string {
  const [place = 0, high = 0, middle = 0, low = 0] = key
  const number = high * 65536 + middle * 256 + low
  const words = new Uint32Array(value.slice().buffer)
  const isWhole = words.length === wordsAt(place) && words.every((word) => word === number)
  return `${place} ${number} ${isWhole ? 'whole' : 'broken'}`
}

function batchOf(number: number): StoreEntry[] {
  return Array.from({ length: ENTRIES_PER_BATCH }, (_, place) => ({
    key: new Uint8Array([place, number >> 16, number >> 8, number]),
    value: new Uint8Array(new Uint32Array(wordsAt(place)).fill(number).buffer),
  }))
}

/** Every tenth value is too large for a page. */
function wordsAt(place: number): number {
  return place % 10 === 0 ? 3000 : 3
}
