/**
 * The IndexedDB store against the contract, and what only it can meet: other tabs, quotas, foreign databases.
 *
 * Knows: IndexedDB as fake-indexeddb does it, which has no disk and no quota. Must never know: the layout inside.
 */
import { IDBDatabase, IDBFactory, IDBKeyRange, IDBObjectStore } from 'fake-indexeddb'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Store } from '../../core/store.ts'
import { openIndexedDbStore } from '../../core/stores/indexeddb.ts'
import { storeContract } from './store-contract.ts'

// fake-indexeddb asks for `detached`, and where that is missing (Node 20) takes every empty key for a detached one.
if (!('detached' in ArrayBuffer.prototype)) {
  Object.defineProperty(ArrayBuffer.prototype, 'detached', { get: () => false, configurable: true })
}

storeContract('the IndexedDB store', async () => {
  const indexedDB = new IDBFactory()
  return { open: () => openIndexedDbStore('tenant', { indexedDB, IDBKeyRange }), cleanup: async () => {} }
})

describe('the IndexedDB store', () => {
  let indexedDB: IDBFactory
  let open: () => Promise<Store>

  beforeEach(() => {
    indexedDB = new IDBFactory()
    open = () => openIndexedDbStore('tenant', { indexedDB, IDBKeyRange })
  })
  afterEach(() => {
    vi.restoreAllMocks()
  })

  const put = { key: new Uint8Array([1]), value: new Uint8Array([1]) }

  test('S3: asks for strict durability', async () => {
    const store = await open()
    const transaction = vi.spyOn(IDBDatabase.prototype, 'transaction')
    await store.commit({ expectedHead: 0, puts: [put], deletes: [] })
    expect(transaction.mock.calls.map(([, mode, options]) => [mode, options])).toEqual([
      ['readwrite', { durability: 'strict' }],
    ])
    await store.close()
  })

  test('S2: a commit that finds no space left changes nothing, says store-full, and later ones work', async () => {
    const store = await open()
    const full = vi.spyOn(IDBObjectStore.prototype, 'put').mockImplementationOnce(function (this: IDBObjectStore) {
      // What fake-indexeddb does itself when an operation fails.
      ;(this.transaction as unknown as { _abort(name: string): void })._abort('QuotaExceededError')
      throw new DOMException('no space', 'QuotaExceededError')
    })
    await expect(store.commit({ expectedHead: 0, puts: [put], deletes: [] })).rejects.toMatchObject({
      code: 'store-full',
      retryable: true,
    })
    expect(full).toHaveBeenCalledOnce()
    expect(await store.head()).toBe(0)
    expect(await store.commit({ expectedHead: 0, puts: [put], deletes: [] })).toEqual({ type: 'committed', head: 1 })
    await store.close()
  })

  test('gives way when another tab deletes the database, and is closed then', async () => {
    const store = await open()
    const commit = store.commit({ expectedHead: 0, puts: [put], deletes: [] })
    await new Promise((resolve, reject) => {
      const request = indexedDB.deleteDatabase('tenant')
      request.onsuccess = resolve
      request.onerror = reject
    })
    expect((await commit).type).toBe('committed')
    await expect(store.head()).rejects.toMatchObject({ code: 'store-closed' })
    const next = await open()
    expect(await next.head()).toBe(0)
    await next.close()
  })

  test.each([
    ['of a newer version', 2, 'entries'],
    ['of something else', 1, 'todos'],
  ])('refuses a database %s with store-foreign', async (_, version, objectStore) => {
    const database = await new Promise<IDBDatabase>((resolve) => {
      const request = indexedDB.open('tenant', version)
      request.onupgradeneeded = () => request.result.createObjectStore(objectStore)
      request.onsuccess = () => resolve(request.result)
    })
    database.close()
    await expect(open()).rejects.toMatchObject({ code: 'store-foreign', remedy: expect.stringContaining('name') })
  })

  test('says so where there is no IndexedDB', async () => {
    await expect(openIndexedDbStore('tenant')).rejects.toMatchObject({ code: 'store-failed' })
  })
})
