/**
 * Vector clocks: replica id → highest seq covered.
 *
 * Source: Fidge and Mattern (1988); the dotted use in Almeida et al., "Scalable and Accurate Causality Tracking for
 * Eventually Consistent Stores" (2014). Two shapes of the same thing live here: `VectorClock`, the immutable public
 * class keyed by replica id, and `SparseClock`, the flat array of (replica index, seq) pairs that rows and contexts use,
 * because one row is written by few replicas and compared very often.
 *
 * Invariants:
 * C1  A missing entry reads as 0; `{a: 0}` and `{}` are the same clock.
 * C2  Equal clocks are `equal`, never `concurrent`.
 * C3  Merging takes the larger entry of each replica; it never counts anything as an event of its own.
 * C4  A clock is never pruned by size.
 */
import { TidemarkError } from './errors.ts'
import { parseReplicaId, type ReplicaId } from './names.ts'

/** The name of one change. `seq` counts 1, 2, 3 … per replica and tenant, without gaps. */
export interface Dot {
  readonly replica: ReplicaId
  readonly seq: number
}

export type ClockOrder = 'equal' | 'before' | 'after' | 'concurrent'

export class VectorClock {
  readonly #seqs: ReadonlyMap<ReplicaId, number>

  /** Throws `bad-id` for a key that is no replica id, `bad-value` for a seq that is no count. */
  constructor(entries: Iterable<readonly [string, number]> = []) {
    const seqs = new Map<ReplicaId, number>()
    for (const [replica, seq] of entries) {
      if (!Number.isSafeInteger(seq) || seq < 0) {
        throw new TidemarkError('bad-value', `a clock entry must be a whole number from 0, not ${seq}`)
      }
      if (seq > 0) seqs.set(parseReplicaId(replica), seq)
    }
    this.#seqs = seqs
  }

  static from(entries: Readonly<Record<string, number>>): VectorClock {
    return new VectorClock(Object.entries(entries))
  }

  /** The seq covered of a replica; 0 when there is none. */
  get(replica: string): number {
    return this.#seqs.get(replica as ReplicaId) ?? 0
  }

  get size(): number {
    return this.#seqs.size
  }

  entries(): IterableIterator<[ReplicaId, number]> {
    return this.#seqs.entries()
  }

  covers(dot: { readonly replica: string; readonly seq: number }): boolean {
    return this.get(dot.replica) >= dot.seq
  }

  compare(other: VectorClock): ClockOrder {
    const less = this.#exceededBy(other)
    const more = other.#exceededBy(this)
    if (less && more) return 'concurrent'
    if (less) return 'before'
    return more ? 'after' : 'equal'
  }

  happensBefore(other: VectorClock): boolean {
    return this.compare(other) === 'before'
  }

  concurrentWith(other: VectorClock): boolean {
    return this.compare(other) === 'concurrent'
  }

  equals(other: VectorClock): boolean {
    return this.compare(other) === 'equal'
  }

  merge(other: VectorClock): VectorClock {
    const merged = new Map(this.#seqs)
    for (const [replica, seq] of other.#seqs) merged.set(replica, Math.max(seq, merged.get(replica) ?? 0))
    return new VectorClock(merged)
  }

  /** The clock after one more write of `replica`. Only a writer calls this, and only for itself. */
  increment(replica: ReplicaId): VectorClock {
    return new VectorClock(new Map(this.#seqs).set(replica, this.get(replica) + 1))
  }

  /** Entries in the order of replica ids. */
  toJSON(): Record<string, number> {
    return Object.fromEntries([...this.#seqs].sort(([a], [b]) => (a < b ? -1 : 1)))
  }

  toString(): string {
    return JSON.stringify(this)
  }

  #exceededBy(other: VectorClock): boolean {
    for (const [replica, seq] of other.#seqs) if (seq > this.get(replica)) return true
    return false
  }
}

// ── The flat form ───────────────────────────────────────────────────────────────────────────────────────────────────

/** [replica index, seq, replica index, seq, …], sorted by replica index, seqs ≥ 1. Indexes are local to one store. */
export type SparseClock = readonly number[]

export const EMPTY_CLOCK: SparseClock = []

export function clockGet(clock: SparseClock, replica: number): number {
  for (let at = 0; at < clock.length; at += 2) {
    if (clock[at] === replica) return clock[at + 1] as number
  }
  return 0
}

export function clockCovers(clock: SparseClock, replica: number, seq: number): boolean {
  return clockGet(clock, replica) >= seq
}

/** The clock raised to cover one dot. Answers with the same array when it already did. */
export function clockWith(clock: SparseClock, replica: number, seq: number): SparseClock {
  if (clock.length === 0) return [replica, seq]
  let at = 0
  while (at < clock.length && (clock[at] as number) < replica) at += 2
  if (clock[at] === replica) {
    if ((clock[at + 1] as number) >= seq) return clock
    const raised = clock.slice()
    raised[at + 1] = seq
    return raised
  }
  const wider = clock.slice(0, at)
  wider.push(replica, seq)
  for (let rest = at; rest < clock.length; rest++) wider.push(clock[rest] as number)
  return wider
}

export function clockMerge(left: SparseClock, right: SparseClock): SparseClock {
  if (clockIncludes(left, right)) return left
  if (clockIncludes(right, left)) return right
  const merged: number[] = []
  let at = 0
  let theirs = 0
  while (at < left.length || theirs < right.length) {
    const mine = left[at] ?? Number.POSITIVE_INFINITY
    const other = right[theirs] ?? Number.POSITIVE_INFINITY
    const seq = mine <= other ? (left[at + 1] as number) : 0
    const otherSeq = other <= mine ? (right[theirs + 1] as number) : 0
    merged.push(Math.min(mine, other), Math.max(seq, otherSeq))
    if (mine <= other) at += 2
    if (other <= mine) theirs += 2
  }
  return merged
}

/** True when `clock` covers everything that `other` covers. */
export function clockIncludes(clock: SparseClock, other: SparseClock): boolean {
  if (clock === other) return true
  let at = 0
  for (let theirs = 0; theirs < other.length; theirs += 2) {
    const replica = other[theirs] as number
    while (at < clock.length && (clock[at] as number) < replica) at += 2
    if (clock[at] !== replica || (clock[at + 1] as number) < (other[theirs + 1] as number)) return false
  }
  return true
}
