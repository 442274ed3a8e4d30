/**
 * Stores inside one store: the contract of a store holds for each, and no two meet.
 *
 * Knows: the outer store's bytes, to see who wrote where. Must never know: how commits are gathered.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { TidemarkError } from '../../core/errors.ts'
import type { Store, StoreCommit } from '../../core/store.ts'
import { createMemoryDisk, openMemoryStore } from '../../core/stores/memory.ts'
import { SharedStores } from '../../tenant/shared-stores.ts'
import { storeContract } from '../contract/store-contract.ts'

const ALL = { from: new Uint8Array(0), to: new Uint8Array(700).fill(255), limit: 1_000_000 }

storeContract('a tenant’s store in a shared store', async () => {
  const stores = new SharedStores(openMemoryStore())
  const neighbours = await crowd(stores)
  return {
    open: () => stores.open('acme'),
    cleanup: async () => {
      await expectUntouched(neighbours)
      await stores.close()
    },
  }
})

storeContract('a tenant’s store that several processes share', async () => {
  const disk = createMemoryDisk()
  const processes = [new SharedStores(disk.open()), new SharedStores(disk.open())]
  const noise = makeNoise(await (processes[1] as SharedStores).open('noise'))
  let opened = 0
  return {
    open: () => (processes[opened++ % 2] as SharedStores).open('acme'),
    cleanup: async () => {
      await noise.stop()
      await Promise.all(processes.map((stores) => stores.close()))
    },
  }
})

describe('the stores of tenants in one store', () => {
  test('TS1: tenants whose names begin alike never see each other', async () => {
    const stores = new SharedStores(openMemoryStore())
    const names = ['a', 'aa', 'a0', 'a-', 'a_', 'b', `a${'a'.repeat(62)}`]
    const opened = await Promise.all(names.map((name) => stores.open(name)))
    for (const [index, store] of opened.entries()) await put(store, [0, 97, 255], index)
    for (const [index, store] of opened.entries()) {
      const found = await store.range(ALL)
      expect(found.map(({ key, value }) => [[...key], [...value]])).toEqual([[[0, 97, 255], [index]]])
      expect(await store.head()).toBe(1)
    }
  })

  test('TS2: commits of different tenants never move each other’s head', async () => {
    const disk = createMemoryDisk()
    const processes = [new SharedStores(disk.open()), new SharedStores(disk.open())]
    const writers = ['a', 'b', 'c', 'd'].flatMap((name) => processes.map((stores) => ({ name, stores })))
    const opened = await Promise.all(writers.map(({ name, stores }) => stores.open(name)))
    await Promise.all(opened.map((store) => add(store, 25)))
    for (const store of opened) {
      expect((await store.getMany([new Uint8Array([1])]))[0]).toEqual(new Uint8Array([50]))
      expect(await store.head()).toBe(50)
    }
  })

  test('TS2: any interleaving of commits leaves each tenant with what it alone would have', async () => {
    const step = fc.record({
      tenant: fc.constantFrom('a', 'b', 'c'),
      process: fc.nat({ max: 1 }),
      key: fc.uint8Array({ maxLength: 2, max: 2 }),
      isStale: fc.boolean(),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const disk = createMemoryDisk()
        const processes = [new SharedStores(disk.open()), new SharedStores(disk.open())]
        const alone = new Map<string, Store>()
        for (const name of ['a', 'b', 'c']) alone.set(name, openMemoryStore())
        for (const { tenant, process, key, isStale } of steps) {
          const model = alone.get(tenant) as Store
          const store = await (processes[process] as SharedStores).open(tenant)
          const head = await model.head()
          const commit = {
            expectedHead: isStale ? head + 1 : head,
            puts: [{ key, value: new Uint8Array([head]) }],
            deletes: [],
          }
          expect(await store.commit(commit)).toEqual(await model.commit(commit))
          if (head % 3 === 0) await store.close()
        }
        for (const [name, model] of alone) {
          const store = await (processes[0] as SharedStores).open(name)
          expect(await store.range(ALL)).toEqual(await model.range(ALL))
          expect(await store.head()).toBe(await model.head())
        }
      }),
    )
  })

  test('commits that wait together share one commit of the outer store', async () => {
    const outer = openMemoryStore()
    const stores = new SharedStores(outer)
    const opened = await Promise.all(['a', 'b', 'c', 'd'].map((name) => stores.open(name)))
    await Promise.all(opened.map((store) => put(store, [1], 1)))
    expect(await outer.head()).toBe(1)
  })

  test('TS4: a commit that the outer store refuses disturbs nobody else', async () => {
    const outer = openMemoryStore()
    const picky: Store = {
      ...bound(outer),
      commit: async (commit) => {
        if (commit.puts.some(({ value }) => value[0] === 66)) throw new TidemarkError('too-large', 'no')
        return outer.commit(commit)
      },
    }
    const stores = new SharedStores(picky)
    const opened = await Promise.all(['a', 'b', 'c'].map((name) => stores.open(name)))
    const results = await Promise.allSettled(opened.map((store, index) => put(store, [1], index === 1 ? 66 : 1)))
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    expect(await Promise.all(opened.map((store) => store.head()))).toEqual([1, 0, 1])
  })

  test('a commit that fails is told to all it was made for, and the next one works', async () => {
    const outer = openMemoryStore()
    let isBroken = true
    const frail: Store = {
      ...bound(outer),
      commit: async (commit) => {
        if (isBroken) throw new TidemarkError('store-full', 'the disk is full')
        return outer.commit(commit)
      },
    }
    const stores = new SharedStores(frail)
    const opened = await Promise.all(['a', 'b'].map((name) => stores.open(name)))
    const results = await Promise.allSettled(opened.map((store) => put(store, [1], 1)))
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
    isBroken = false
    await Promise.all(opened.map((store) => put(store, [1], 1)))
    expect(await outer.head()).toBe(1)
  })

  test('what is removed is gone with its head, and nothing else is', async () => {
    const outer = openMemoryStore()
    const stores = new SharedStores(outer)
    const [doomed, other] = await Promise.all([stores.open('ab'), stores.open('a')])
    await doomed.commit({
      expectedHead: 0,
      puts: Array.from({ length: 2_500 }, (_, index) => ({
        key: new Uint8Array([index >> 8, index]),
        value: new Uint8Array(1),
      })),
      deletes: [],
    })
    await put(other, [1], 1)
    await doomed.close()
    await stores.remove('ab')
    expect((await outer.range(ALL)).length).toBe(2)
    expect(await (await stores.open('ab')).head()).toBe(0)
    expect((await other.range(ALL)).length).toBe(1)
    await stores.remove('never-was')
  })

  test.each(['', 'a'.repeat(256)])('refuses a name that has no prefix: %j', async (name) => {
    await expect(new SharedStores(openMemoryStore()).open(name)).rejects.toMatchObject({ code: 'bad-tenant' })
  })
})

async function put(store: Store, key: readonly number[], byte: number): Promise<void> {
  const puts = [{ key: new Uint8Array(key), value: new Uint8Array([byte]) }]
  const result = await store.commit({ expectedHead: await store.head(), puts, deletes: [] })
  expect(result.type).toBe('committed')
}

async function add(store: Store, times: number): Promise<void> {
  const key = new Uint8Array([1])
  for (let done = 0; done < times; ) {
    const expectedHead = await store.head()
    const [value = new Uint8Array(1)] = await store.getMany([key])
    const puts = [{ key, value: new Uint8Array([(value[0] as number) + 1]) }]
    if ((await store.commit({ expectedHead, puts, deletes: [] })).type === 'committed') done++
  }
}

/** Neighbours on both sides, with keys that a careless range would reach. */
async function crowd(stores: SharedStores): Promise<readonly Store[]> {
  const neighbours = await Promise.all(['acm', 'acmd', 'acmf', 'acme0', 'b'].map((name) => stores.open(name)))
  for (const store of neighbours) for (const byte of [0, 1, 255]) await put(store, [byte], 7)
  return neighbours
}

async function expectUntouched(neighbours: readonly Store[]): Promise<void> {
  for (const store of neighbours) {
    expect((await store.range(ALL)).map(({ key, value }) => [...key, ...value])).toEqual([
      [0, 7],
      [1, 7],
      [255, 7],
    ])
  }
}

/** A tenant of another process that keeps writing: the outer head never stands still. */
function makeNoise(store: Store): { stop(): Promise<void> } {
  let isStopped = false
  const writing = (async () => {
    while (!isStopped) {
      await put(store, [1], 1)
      await new Promise((resolve) => setTimeout(resolve))
    }
  })()
  return {
    stop: async () => {
      isStopped = true
      await writing
    },
  }
}

function bound(store: Store): Store {
  return {
    head: () => store.head(),
    getMany: (keys) => store.getMany(keys),
    range: (range) => store.range(range),
    commit: (commit: StoreCommit) => store.commit(commit),
    close: () => store.close(),
  }
}
