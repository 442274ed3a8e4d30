/**
 * The store port on IndexedDB, for browsers: one database per store, shared by any number of tabs.
 *
 * Knows: IndexedDB. Must never know: what the bytes mean, or anything else of the page.
 *
 * I1  One object store holds everything. Entries have binary keys, which IndexedDB orders as S1 does. The head has a
 *     number for its key; no range of binary keys contains it.
 * I2  A commit is one read-write transaction that reads the head first. IndexedDB runs such transactions one after the
 *     other, in the order in which they were made, in all tabs together: that is S2, S4 and S6.
 * I3  Commits ask for strict durability and resolve with `complete`, which then follows the flush (S3).
 */
import { TidemarkError } from '../errors.ts'
import type { Store, StoreCommit, StoreCommitResult, StoreEntry, StoreRange } from '../store.ts'

export interface IndexedDbOptions {
  /** Default: those of the page. Tests and other runtimes bring their own. */
  readonly indexedDB?: IDBFactory
  readonly IDBKeyRange?: typeof globalThis.IDBKeyRange
}

const VERSION = 1
const ENTRIES = 'entries'
const HEAD_KEY = 0
/** First size of a batch of a range; it doubles, so that no more is read in vain than was asked for. */
const BATCH_ENTRIES_MIN = 16

/**
 * Opens the database `name`, which is created when it is absent.
 *
 * Throws `store-foreign` when the name belongs to something else, `store-busy` when another tab holds it back,
 * `store-full` and `store-failed` when it cannot be used.
 */
export function openIndexedDbStore(name: string, options: IndexedDbOptions = {}): Promise<Store> {
  const { indexedDB = globalThis.indexedDB, IDBKeyRange = globalThis.IDBKeyRange } = options
  return new Promise((resolve, reject) => {
    if (indexedDB === undefined || IDBKeyRange === undefined) {
      throw new TidemarkError('store-failed', 'there is no IndexedDB here', { remedy: 'Use another store' })
    }
    const request = indexedDB.open(name, VERSION)
    request.onupgradeneeded = () => request.result.createObjectStore(ENTRIES)
    request.onerror = () => reject(openFailure(name, request.error))
    request.onblocked = () => {
      request.onsuccess = () => request.result.close()
      const remedy = 'Close the other tabs of this page and try again'
      reject(new TidemarkError('store-busy', `another tab holds ${name} back`, { remedy, retryable: true }))
    }
    request.onsuccess = () => {
      const database = request.result
      if (database.objectStoreNames.contains(ENTRIES)) return resolve(new IndexedDbStore(database, IDBKeyRange))
      database.close()
      reject(foreignError(name))
    }
  })
}

class IndexedDbStore implements Store {
  readonly #database: IDBDatabase
  readonly #keyRange: typeof globalThis.IDBKeyRange
  #lastCommit: Promise<unknown> = Promise.resolve()
  #closing: Promise<void> | undefined

  constructor(database: IDBDatabase, keyRange: typeof globalThis.IDBKeyRange) {
    this.#database = database
    this.#keyRange = keyRange
    // Somebody deletes the database, or the browser took it away. Holding on would block them for ever.
    database.onversionchange = () => void this.close()
    database.onclose = () => void this.close()
  }

  head(): Promise<number> {
    return this.#read((entries, answer) => {
      const request = entries.get(HEAD_KEY)
      request.onsuccess = () => answer(headOf(request))
    })
  }

  getMany(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    return this.#read((entries, answer) => {
      const requests = keys.map((key) => entries.get(toBuffer(key)))
      const last = requests.at(-1)
      if (last === undefined) return answer([])
      // Requests of one transaction are answered in their order.
      last.onsuccess = () => answer(requests.map(({ result }) => (result === undefined ? result : new Uint8Array(result))))
    })
  }

  range(range: StoreRange): Promise<readonly StoreEntry[]> {
    return this.#read((entries, answer) => {
      if (range.limit < 1 || isEmpty(range)) return answer([])
      const found = new Found(range)
      if (range.reverse === true) this.#walkDown(entries, found, answer)
      else this.#readUp(entries, found, range.from, false, BATCH_ENTRIES_MIN, answer)
    })
  }

  commit(commit: StoreCommit): Promise<StoreCommitResult> {
    const committed = this.#transact<StoreCommitResult>('readwrite', (entries, answer) => {
      const request = entries.get(HEAD_KEY)
      request.onsuccess = () => {
        const head = headOf(request)
        if (head !== commit.expectedHead) return answer({ type: 'head-moved', head })
        for (const key of commit.deletes) entries.delete(toBuffer(key))
        for (const { key, value } of commit.puts) entries.put(toBuffer(value), toBuffer(key))
        entries.put(head + 1, HEAD_KEY)
        answer({ type: 'committed', head: head + 1 })
      }
    })
    this.#lastCommit = committed.catch(() => undefined)
    return committed
  }

  close(): Promise<void> {
    this.#closing ??= this.#lastCommit.then(() => this.#database.close())
    return this.#closing
  }
}
