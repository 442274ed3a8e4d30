/**
 * The past that a store shares with its copies: how many of its unanswered changes a server already holds under its id.
 *
 * A store that was copied or restored goes on under a new id, and issues again what nobody has answered. What the server holds
 * of that would be there twice. Where the two began to differ is between the last answer and the first seq whose fingerprints
 * differ: hellos that claim to have written less find it by halves, each in a session of its own, and take the answers up to it.
 *
 * Knows: seqs. Must never know: sessions, stores.
 *
 * A void that a writer has withdrawn has no fingerprint; another seq tells in its place.
 *
 * Invariant U4: while it is being found out, no session of the store begins, because what the server has of its seqs is not ours.
 */
import { TidemarkError } from './errors.ts'
import type { ReplicaId } from './names.ts'

export class SharedPast {
  /** The first seq that is known to differ, of the replica id that it was. */
  #differing: { readonly replica: ReplicaId; readonly seq: number } | undefined

  /** Seqs whose content nobody can compare. */
  readonly #untold = new Set<number>()

  /** What the next hello says that was written; undefined while it may tell the truth. */
  claimOf(replica: ReplicaId, ackedSeq: number): number | undefined {
    if (this.#differing?.replica !== replica) return undefined
    const { seq } = this.#differing
    const middle = Math.max(ackedSeq, Math.floor((ackedSeq + seq) / 2))
    let claim = middle
    while (this.#untold.has(claim)) claim++
    if (claim >= seq) for (claim = middle; claim > ackedSeq && this.#untold.has(claim); ) claim--
    return claim
  }

  /** What the peer has at a seq cannot be told. */
  skip(seq: number): void {
    this.#untold.add(seq)
  }

  /** The peer has something else at a seq. Answers with whether there is more to find out. */
  differs(replica: ReplicaId, ackedSeq: number, seq: number): boolean {
    if (this.#differing?.replica !== replica) this.#untold.clear()
    this.#differing = { replica, seq }
    return this.goesOn(ackedSeq)
  }

  /** All up to `ackedSeq` is answered: whether there is something between that and what differs. */
  goesOn(ackedSeq: number): boolean {
    const replica = this.#differing?.replica
    if (replica !== undefined && (this.claimOf(replica, ackedSeq) ?? 0) > ackedSeq) return true
    this.#differing = undefined
    return false
  }

  /** The peer has lost what it had. */
  forget(): void {
    this.#differing = undefined
  }
}

/** Why a session ends before it begins. */
export function findingOut(): TidemarkError {
  return new TidemarkError(
    'unavailable',
    'the store was copied or restored: the next hello finds out how much is shared',
    {
      retryable: true,
    },
  )
}
