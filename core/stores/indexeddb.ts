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
 * I4  There is one version, and every handle gives way when somebody wants to delete the database or make a newer one.
 *     So nobody is blocked. The first change of `VERSION` has to handle `blocked`.
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
 * Throws `store-foreign` when the name belongs to something else, `store-full` and `store-failed` when it cannot be used.
 */
export function openIndexedDbStore(name: string, options: IndexedDbOptions = {}): Promise<Store> {
  const { indexedDB = globalThis.indexedDB, IDBKeyRange = globalThis.IDBKeyRange } = options
  return new Promise((resolve, reject) => {
    if (indexedDB === undefined || IDBKeyRange === undefined) {
      throw new TidemarkError('store-failed', 'there is no IndexedDB here', { remedy: 'Use another store' })
    }
    let request: IDBOpenDBRequest
    try {
      request = indexedDB.open(name, VERSION)
    } catch (error) {
      // A page without an origin may not.
      return reject(failure(`cannot open the store ${name}`, error))
    }
    request.onupgradeneeded = () => request.result.createObjectStore(ENTRIES)
    request.onerror = () => reject(openFailure(name, request.error))
    request.onsuccess = () => {
      const database = request.result
      if (database.objectStoreNames.contains(ENTRIES)) {
        return resolve(new IndexedDbStore(database, { indexedDB, IDBKeyRange }))
      }
      database.close()
      reject(openFailure(name, new DOMException('it has other object stores', 'VersionError')))
    }
  })
}

class IndexedDbStore implements Store {
  readonly #database: IDBDatabase
  readonly #platform: Required<IndexedDbOptions>
  #lastCommit: Promise<unknown> = Promise.resolve()
  #closing: Promise<void> | undefined

  constructor(database: IDBDatabase, platform: Required<IndexedDbOptions>) {
    this.#database = database
    this.#platform = platform
    // I4; and the browser may take the database away, with all the data of the site.
    database.onversionchange = () => void this.close()
    database.onclose = () => void this.close()
  }

  head(): Promise<number> {
    return this.#transact('readonly', (entries, answer) => readHead(entries, answer))
  }

  getMany(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    return this.#transact('readonly', (entries, answer) => {
      const requests = keys.map((key) => entries.get(toBuffer(key)))
      const last = requests.at(-1)
      if (last === undefined) return answer([])
      // The requests of a transaction are answered in their order.
      last.onsuccess = () => answer(requests.map((request) => request.result && new Uint8Array(request.result)))
    })
  }

  range(range: StoreRange): Promise<readonly StoreEntry[]> {
    return this.#transact('readonly', (entries, answer) => {
      const [from, to] = [toBuffer(range.from), toBuffer(range.to)]
      if (range.limit < 1 || this.#platform.indexedDB.cmp(from, to) >= 0) return answer([])
      const found = new Found(range)
      if (range.reverse === true)
        readDown(entries, this.#platform.IDBKeyRange.bound(from, to, false, true), found, answer)
      else this.#readUp(entries, from, found, answer)
    })
  }

  commit(commit: StoreCommit): Promise<StoreCommitResult> {
    const committed = this.#transact<StoreCommitResult>('readwrite', (entries, answer) => {
      readHead(entries, (head) => {
        if (head !== commit.expectedHead) return answer({ type: 'head-moved', head })
        for (const key of commit.deletes) entries.delete(toBuffer(key))
        for (const { key, value } of commit.puts) entries.put(toBuffer(value), toBuffer(key))
        entries.put(head + 1, HEAD_KEY)
        answer({ type: 'committed', head: head + 1 })
      })
    })
    this.#lastCommit = committed.catch(() => undefined)
    return committed
  }

  close(): Promise<void> {
    this.#closing ??= this.#lastCommit.then(() => this.#database.close())
    return this.#closing
  }

  /** Resolves with what `run` has answered when the transaction is complete. What throws in a handler aborts it. */
  #transact<Answer>(
    mode: IDBTransactionMode,
    run: (entries: IDBObjectStore, answer: Take<Answer>) => void,
  ): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this.#closing !== undefined) return reject(closedError())
      let transaction: IDBTransaction
      try {
        transaction = this.#database.transaction(ENTRIES, mode, { durability: 'strict' })
      } catch (error) {
        // The browser has closed the connection under us.
        const isClosed = error instanceof DOMException && error.name === 'InvalidStateError'
        return reject(isClosed ? closedError() : failure('cannot use the store', error))
      }
      transaction.onabort = () => reject(failure('cannot use the store', transaction.error))
      run(transaction.objectStore(ENTRIES), (answer) => {
        transaction.oncomplete = () => resolve(answer)
      })
    })
  }

  /** Reads in batches, with far fewer events than a cursor; all in one transaction, so from one state. */
  #readUp(entries: IDBObjectStore, from: ArrayBuffer, found: Found, answer: Take<StoreEntry[]>): void {
    const to = toBuffer(found.range.to)
    const readBatch = (after: ArrayBuffer | undefined, batchEntries: number): void => {
      const bounds = this.#platform.IDBKeyRange.bound(after ?? from, to, after !== undefined, true)
      const count = Math.min(batchEntries, found.range.limit - found.entries.length)
      const keys = entries.getAllKeys(bounds, count)
      const values = entries.getAll(bounds, count)
      values.onsuccess = () => {
        const isMore = keys.result.every((key, place) => found.add(key as ArrayBuffer, values.result[place]))
        if (!isMore || keys.result.length < count) return answer(found.entries)
        readBatch(keys.result.at(-1) as ArrayBuffer, batchEntries * 2)
      }
    }
    readBatch(undefined, BATCH_ENTRIES_MIN)
  }
}

type Take<Answer> = (answer: Answer) => void

function readDown(entries: IDBObjectStore, bounds: IDBKeyRange, found: Found, answer: Take<StoreEntry[]>): void {
  const request = entries.openCursor(bounds, 'prev')
  request.onsuccess = () => {
    const cursor = request.result
    if (cursor !== null && found.add(cursor.key as ArrayBuffer, cursor.value)) cursor.continue()
    else answer(found.entries)
  }
}

function readHead(entries: IDBObjectStore, take: Take<number>): void {
  const request = entries.get(HEAD_KEY)
  request.onsuccess = () => take(request.result ?? 0)
}

/** The answer to a range as it grows. */
class Found {
  readonly range: StoreRange
  readonly entries: StoreEntry[] = []
  #bytes = 0

  constructor(range: StoreRange) {
    this.range = range
  }

  /** True when the range asks for more. */
  add(key: ArrayBuffer, value: ArrayBuffer): boolean {
    this.entries.push({ key: new Uint8Array(key), value: new Uint8Array(value) })
    this.#bytes += key.byteLength + value.byteLength
    return this.entries.length < this.range.limit && this.#bytes <= (this.range.bytesMax ?? Number.POSITIVE_INFINITY)
  }
}

/** Just these bytes: of a view, IndexedDB would keep the whole buffer. */
function toBuffer(bytes: Uint8Array): ArrayBuffer {
  const { buffer } = bytes.byteLength === bytes.buffer.byteLength ? bytes : new Uint8Array(bytes)
  return buffer as ArrayBuffer
}

function closedError(): TidemarkError {
  return new TidemarkError('store-closed', 'the store is closed')
}

function openFailure(name: string, cause: DOMException | null): TidemarkError {
  if (cause?.name !== 'VersionError') return failure(`cannot open the store ${name}`, cause)
  const remedy = 'Give the store a name of its own, or load the newest version of the app'
  return new TidemarkError('store-foreign', `the database ${name} is not a store of this version`, { remedy, cause })
}

function failure(what: string, cause: unknown): TidemarkError {
  const reason = cause instanceof Error ? cause : new Error('the browser gave it up')
  if (reason.name === 'QuotaExceededError') {
    const remedy = 'Free space on this device, or ask for persistent storage; the commit changed nothing'
    return new TidemarkError('store-full', `${what}: there is no space left`, { remedy, retryable: true, cause })
  }
  const remedy = 'Close the store and open it again'
  return new TidemarkError('store-failed', `${what}: ${reason.message}`, { remedy, cause })
}
