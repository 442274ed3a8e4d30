/**
 * The store port: an ordered key-value store with atomic compare-and-commit. One store holds one tenant of one replica.
 *
 * Knows: bytes, their order, and a head number that counts commits. Must never know: rows, changes, clocks.
 *
 * Invariants (the conformance suite in `tidemark/testing` checks each):
 * S1  Keys are ordered as unsigned bytes, shorter first when one is a prefix of the other.
 * S2  A commit is applied whole or not at all, also across a crash of the process or the machine.
 * S3  A commit resolves only when it is flushed to stable storage. What was acknowledged survives a kill.
 * S4  A commit whose `expectedHead` is not the current head changes nothing and answers `head-moved`.
 * S5  Reads see exactly the commits that have resolved (or are about to); never a part of one.
 * S6  Commits of one handle take effect in the order of their calls.
 * S7  `close` is idempotent, waits for the commits under way, and releases every handle.
 */

export interface StoreEntry {
  readonly key: Uint8Array
  readonly value: Uint8Array
}

export interface StoreRange {
  /** First key, inclusive. */
  readonly from: Uint8Array
  /** End of the range, exclusive. */
  readonly to: Uint8Array
  /** True: from the end of the range towards its start. */
  readonly reverse?: boolean
  /** Most entries to answer with. */
  readonly limit: number
  /** Stop after the entry that takes the answer past this many bytes of keys and values (at least one entry is given). */
  readonly bytesMax?: number
}

export interface StoreCommit {
  /** The head that the writer built this commit on; 0 for a store that never saw a commit. */
  readonly expectedHead: number
  readonly puts: readonly StoreEntry[]
  /** Keys to remove; removing an absent key is no error. Deletes are applied before puts. */
  readonly deletes: readonly Uint8Array[]
}

export type StoreCommitResult =
  | { readonly type: 'committed'; readonly head: number }
  | { readonly type: 'head-moved'; readonly head: number }

/**
 * What an adapter implements. The store may keep the arrays that it is given and hands out: neither side changes
 * the bytes of a key or value afterwards.
 *
 * Failures are `TidemarkError`s: `store-full`, `store-failed`, `store-closed`, `store-busy`.
 */
export interface Store {
  /** How many commits this store has seen. */
  head(): Promise<number>
  /** The values of `keys`, in their order; `undefined` where there is none. */
  getMany(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]>
  range(range: StoreRange): Promise<readonly StoreEntry[]>
  commit(commit: StoreCommit): Promise<StoreCommitResult>
  close(): Promise<void>
}
