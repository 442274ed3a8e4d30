/**
 * Stores that tell how long their commits take, from the call to the flush.
 *
 * Invariant OS1: what is told changes nothing: a commit resolves or rejects as the store has it.
 */
import type { Store, StoreCommit, StoreCommitResult, StoreEntry, StoreRange } from '../core/index.ts'
import type { StoreFactory } from '../tenant/index.ts'

export type CommitOutcome = StoreCommitResult['type'] | 'failed'

/** Told that a commit of the store of this name begins; answers with what is told how it ended. */
export type ObserveCommit = (name: string) => (outcome: CommitOutcome) => void

export function observeStores(factory: StoreFactory, observe: ObserveCommit): StoreFactory {
  return {
    open: async (name) => new ObservedStore(await factory.open(name), () => observe(name)),
    remove: (name) => factory.remove(name),
  }
}

class ObservedStore implements Store {
  readonly #store: Store
  readonly #begin: () => (outcome: CommitOutcome) => void

  constructor(store: Store, begin: () => (outcome: CommitOutcome) => void) {
    this.#store = store
    this.#begin = begin
  }

  head(): Promise<number> {
    return this.#store.head()
  }

  getMany(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    return this.#store.getMany(keys)
  }

  range(range: StoreRange): Promise<readonly StoreEntry[]> {
    return this.#store.range(range)
  }

  async commit(commit: StoreCommit): Promise<StoreCommitResult> {
    const end = this.#begin()
    try {
      const result = await this.#store.commit(commit)
      end(result.type)
      return result
    } catch (error) {
      end('failed')
      throw error
    }
  }

  close(): Promise<void> {
    return this.#store.close()
  }
}
