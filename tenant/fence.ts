/**
 * The fence: stops writers of a store that is given up, in every process that still has it open.
 *
 * A store has a seal, a text of its own. Whoever opened it under one seal stops when it has another: the fence is raised
 * (the tenant moves), the store was removed, or another one was made in its place. Changing the seal is a commit like
 * any other, so the head of every other writer is out of date from then on; and with each new head the seal is looked at.
 *
 * Knows: one key, outside of what core uses. Must never know: what else the store holds.
 *
 * Invariants:
 * TF1  After the seal has changed, no commit of a writer behind the fence succeeds, in any process.
 * TF2  A writer that was stopped once stays stopped.
 * TF3  Nothing is read from a store after its seal has changed: a reader would take what was removed for deleted.
 * TF4  A fence that is raised after it was found needless is not lowered.
 */
import {
  createReplicaId,
  type Store,
  type StoreCommit,
  type StoreCommitResult,
  type StoreEntry,
  TidemarkError,
} from '../core/index.ts'

/** Keys of core begin with a letter; keys that begin with 0 are this room's. */
export const RESERVED_END: Uint8Array = new Uint8Array([1])
const SEAL_KEY: Uint8Array = new Uint8Array([0, 115])
const FENCE_UP = 'given up'
const ATTEMPTS_MAX = 64
const encoder = new TextEncoder()
const decoder = new TextDecoder()

/** The store for a writer who has to stop at the fence. Throws `unavailable` when it is up already. */
export async function openBehindFence(store: Store, onStop: (error: TidemarkError) => void): Promise<Store> {
  const seal = await readSeal(store)
  if (seal === FENCE_UP) throw givenUp()
  return new FencedStore(store, seal, onStop)
}

class FencedStore implements Store {
  readonly #store: Store
  readonly #seal: string | undefined
  readonly #onStop: (error: TidemarkError) => void
  readonly #underWay = new Set<Promise<StoreCommitResult>>()
  #stop: TidemarkError | undefined
  #closing: Promise<void> | undefined

  constructor(store: Store, seal: string | undefined, onStop: (error: TidemarkError) => void) {
    this.#store = store
    this.#seal = seal
    this.#onStop = onStop
  }

  /** A head that is followed by a look at the seal is older than any change of it. */
  async head(): Promise<number> {
    this.#expectGoing()
    const head = await this.#store.head()
    await this.#expectSeal()
    return head
  }

  async getMany(keys: readonly Uint8Array[]): ReturnType<Store['getMany']> {
    this.#expectGoing()
    const values = await this.#store.getMany([...keys, SEAL_KEY])
    this.#expectSame(values[keys.length])
    return values.slice(0, keys.length)
  }

  async range(range: Parameters<Store['range']>[0]): ReturnType<Store['range']> {
    this.#expectGoing()
    const entries = await this.#store.range(range)
    await this.#expectSeal()
    return entries
  }

  async commit(commit: StoreCommit): Promise<StoreCommitResult> {
    this.#expectGoing()
    const committing = this.#commit(commit)
    this.#underWay.add(committing)
    try {
      return await committing
    } finally {
      this.#underWay.delete(committing)
    }
  }

  async #commit(commit: StoreCommit): Promise<StoreCommitResult> {
    const result = await this.#store.commit(commit)
    if (result.type === 'head-moved') await this.#expectSeal()
    return result
  }

  /** The store waits for its commits by itself; the look at the seal behind them has to be waited for here. */
  close(): Promise<void> {
    this.#closing ??= Promise.allSettled(this.#underWay).then(() => this.#store.close())
    return this.#closing
  }

  async #expectSeal(): Promise<void> {
    const [bytes] = await this.#store.getMany([SEAL_KEY])
    this.#expectSame(bytes)
  }

  #expectSame(seal: Uint8Array | undefined): void {
    if (sealText(seal) === this.#seal) return
    if (this.#stop === undefined) {
      this.#stop = givenUp()
      this.#onStop(this.#stop)
    }
    throw this.#stop
  }

  #expectGoing(): void {
    if (this.#closing !== undefined) throw new TidemarkError('store-closed', 'the store is closed')
    if (this.#stop !== undefined) throw this.#stop
  }
}

/** Stops every writer, until the fence is lowered. */
export function raiseFence(store: Store): Promise<void> {
  return commitAnyhow(store, { puts: [{ key: SEAL_KEY, value: encoder.encode(FENCE_UP) }], deletes: [] })
}

/** Lowers a fence unless it is needed, which is asked after the head was read (TF4). Does nothing when it is not up. */
export async function lowerFence(store: Store, isNeeded: () => Promise<boolean>): Promise<void> {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    const expectedHead = await store.head()
    if ((await readSeal(store)) !== FENCE_UP || (await isNeeded())) return
    const result = await store.commit({ expectedHead, puts: [createSeal()], deletes: [] })
    if (result.type === 'committed') return
  }
  throw busy()
}

/** Gives a store a seal of its own: from here on it is a place where a tenant lives. */
export function sealStore(store: Store): Promise<void> {
  return commitAnyhow(store, { puts: [createSeal()], deletes: [] })
}

/** The store for one who fills it, and who stops as soon as somebody else does (TF1). Closing it closes the store. */
export async function takeStore(store: Store): Promise<Store> {
  await sealStore(store)
  return openBehindFence(store, () => {})
}

function createSeal(): StoreEntry {
  return { key: SEAL_KEY, value: encoder.encode(createReplicaId()) }
}

/** Writes whatever the head is; used where no other writer's intent can be hurt. */
export async function commitAnyhow(
  store: Pick<Store, 'head' | 'commit'>,
  commit: Omit<StoreCommit, 'expectedHead'>,
): Promise<void> {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    const result = await store.commit({ ...commit, expectedHead: await store.head() })
    if (result.type === 'committed') return
  }
  throw busy()
}

function busy(): TidemarkError {
  return new TidemarkError('store-busy', 'other processes kept writing to this store', { retryable: true })
}

async function readSeal(store: Store): Promise<string | undefined> {
  const [bytes] = await store.getMany([SEAL_KEY])
  return sealText(bytes)
}

function sealText(bytes: Uint8Array | undefined): string | undefined {
  return bytes === undefined ? undefined : decoder.decode(bytes)
}

function givenUp(): TidemarkError {
  return new TidemarkError('unavailable', 'the tenant does not live in this store any more', {
    retryable: true,
    remedy: 'Connect again in a moment',
  })
}
