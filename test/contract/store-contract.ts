/**
 * The conformance suite of the store port. An adapter that passes it keeps S1–S7 of core/store.ts; each test says which.
 *
 * Knows: the port, and a model of it that is too simple to be wrong. Must never know: which adapter it is about.
 *
 * What a suite inside one process cannot see, adapters prove on their own: that a kill loses nothing (S2, S3), and that
 * two processes exclude each other (S4).
 */
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type ErrorCode, TidemarkError } from '../../core/errors.ts'
import type { Store, StoreCommit, StoreEntry, StoreRange } from '../../core/store.ts'

/** A place that was empty when it was made. All handles opened on it share its data. */
export interface StorePlace {
  open(): Promise<Store>
  /** Removes the data. All handles are closed before it is called. */
  cleanup(): Promise<void>
}

/** Runs the suite against the places that `createPlace` makes, one for each test. */
export function storeContract(name: string, createPlace: () => Promise<StorePlace>): void {
  describe(`${name} keeps the contract of a store`, () => {
    let place: StorePlace
    let handles: Store[]

    beforeEach(async () => {
      place = await createPlace()
      handles = []
    })

    afterEach(async () => {
      await Promise.all(handles.map((handle) => handle.close()))
      await place.cleanup()
    })

    const open: Open = async () => {
      const handle = await place.open()
      handles.push(handle)
      return handle
    }

    describe('order', () => orderContract(open))
    describe('commits', () => commitContract(open))
    describe('several handles', () => sharingContract(open))
    describe('sizes', () => sizeContract(open))
    describe('close', () => closeContract(open))
    describe('any history', () => historyContract(open))
  })
}

type Open = () => Promise<Store>

const ALL_FROM = new Uint8Array(0)
const ALL_TO = new Uint8Array(700).fill(255)
const ALL: StoreRange = { from: ALL_FROM, to: ALL_TO, limit: 1_000_000 }

// ── The rules one by one ────────────────────────────────────────────────────────────────────────────────────────────

function orderContract(open: Open): void {
  const sorted = [[], [0], [0, 0], [0, 255], [1], [97], [97, 0], [97, 98], [127], [128], [200, 1], [255], [255, 255]]

  test('S1: a range gives keys in the order of unsigned bytes, a prefix before what it begins', async () => {
    const store = await open()
    const mixed = [7, 2, 11, 0, 9, 4, 12, 1, 6, 10, 3, 8, 5].map((place) => sorted[place] as number[])
    await expectCommitted(store, 0, { puts: mixed.map((key) => entry(key, key)) })
    expect(keysOf(await store.range(ALL))).toEqual(sorted)
    expect(keysOf(await store.range({ ...ALL, reverse: true }))).toEqual(sorted.toReversed())
  })

  test('S1: a range includes its start and excludes its end, in both directions', async () => {
    const store = await open()
    await expectCommitted(store, 0, { puts: [1, 2, 3, 4].map((key) => entry([key])) })
    const middle = { from: bytes(2), to: bytes(4), limit: 10 }
    expect(keysOf(await store.range(middle))).toEqual([[2], [3]])
    expect(keysOf(await store.range({ ...middle, reverse: true }))).toEqual([[3], [2]])
    expect(keysOf(await store.range({ from: bytes(2, 0), to: bytes(3, 0), limit: 10 }))).toEqual([[3]])
  })

  test.each([false, true])('S1: a range that ends before it starts is empty (reverse: %s)', async (reverse) => {
    const store = await open()
    await expectCommitted(store, 0, { puts: [entry([1]), entry([2])] })
    expect(await store.range({ from: bytes(2), to: bytes(1), limit: 10, reverse })).toEqual([])
    expect(await store.range({ from: bytes(1), to: bytes(1), limit: 10, reverse })).toEqual([])
    expect(await store.range({ from: bytes(), to: bytes(), limit: 10, reverse })).toEqual([])
    expect(await store.range({ from: bytes(1), to: bytes(2), limit: 0, reverse })).toEqual([])
  })

  test.each([false, true])(
    'a range stops at its limit, and after the entry that passes bytesMax (reverse: %s)',
    async (reverse) => {
      const store = await open()
      const keys = Array.from({ length: 100 }, (_, index) => index)
      await expectCommitted(store, 0, { puts: keys.map((key) => entry([key], new Array(9).fill(key))) })
      const count = async (limit: number, bytesMax: number): Promise<number> =>
        (await store.range({ ...ALL, limit, bytesMax, reverse })).length
      expect(await count(1, 1_000_000)).toBe(1)
      expect(await count(99, 1_000_000)).toBe(99)
      expect(await count(101, 1_000_000)).toBe(100)
      expect(await count(100, 0)).toBe(1)
      expect(await count(100, 9)).toBe(1)
      expect(await count(100, 10)).toBe(2)
      expect(await count(100, 399)).toBe(40)
      expect(await count(30, 399)).toBe(30)
    },
  )

  test('getMany answers in the order of its keys, with undefined where there is nothing', async () => {
    const store = await open()
    await expectCommitted(store, 0, { puts: [entry([1], [10]), entry([2], [20]), entry([3], [])] })
    const values = await store.getMany([bytes(3), bytes(9), bytes(1), bytes(1), bytes(), bytes(2)])
    expect(values.map((value) => value && [...value])).toEqual([[], undefined, [10], [10], undefined, [20]])
    expect(await store.getMany([])).toEqual([])
  })
}

function commitContract(open: Open): void {
  test('a new store has head 0, and every commit counts, an empty one too', async () => {
    const store = await open()
    expect(await store.head()).toBe(0)
    await expectCommitted(store, 0, {})
    await expectCommitted(store, 1, { puts: [entry([1])] })
    await expectCommitted(store, 2, { deletes: [bytes(1)] })
    expect(await store.head()).toBe(3)
    expect(await store.range(ALL)).toEqual([])
  })

  test('deletes come before puts, and deleting an absent key is no error', async () => {
    const store = await open()
    await expectCommitted(store, 0, { puts: [entry([1], [1]), entry([2], [1])] })
    await expectCommitted(store, 1, { puts: [entry([1], [2])], deletes: [bytes(1), bytes(2), bytes(3)] })
    expect(pairsOf(await store.range(ALL))).toEqual([[[1], [2]]])
  })

  test.each([0, 1, 3, 1000])(
    'S4: a commit that expects head %i of a store at 2 changes nothing and learns the head',
    async (expectedHead) => {
      const store = await open()
      await expectCommitted(store, 0, { puts: [entry([1], [1])] })
      await expectCommitted(store, 1, { puts: [entry([2], [1])] })
      const result = await store.commit({ expectedHead, puts: [entry([1], [2]), entry([3])], deletes: [bytes(2)] })
      expect(result).toEqual({ type: 'head-moved', head: 2 })
      expect(pairsOf(await store.range(ALL))).toEqual([
        [[1], [1]],
        [[2], [1]],
      ])
      expect(await store.head()).toBe(2)
    },
  )

  test('S6: commits that nobody waited for take effect in the order of their calls', async () => {
    const store = await open()
    const results = Array.from({ length: 200 }, (_, index) =>
      store.commit({
        expectedHead: index,
        puts: [entry([1], [index]), entry([2, index])],
        deletes: [bytes(2, index - 1)],
      }),
    )
    const heads = (await Promise.all(results)).map((result) => (result.type === 'committed' ? result.head : result))
    expect(heads).toEqual(Array.from({ length: 200 }, (_, index) => index + 1))
    expect(pairsOf(await store.range(ALL))).toEqual([
      [[1], [199]],
      [[2, 199], []],
    ])
  })

  test('S4, S6: of commits on the same head that nobody waited for, the first one wins', async () => {
    const store = await open()
    const results = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        store.commit({ expectedHead: 0, puts: [entry([1], [index])], deletes: [] }),
      ),
    )
    expect(results.map((result) => result.type)).toEqual(['committed', ...new Array(19).fill('head-moved')])
    expect(results.every((result) => result.head === 1)).toBe(true)
    expect(pairsOf(await store.range(ALL))).toEqual([[[1], [0]]])
  })

  test('S5: a read sees each commit that has resolved', async () => {
    const store = await open()
    for (let head = 0; head < 50; head++) {
      await expectCommitted(store, head, { puts: [entry([1], [head])] })
      expect((await store.getMany([bytes(1)]))[0]).toEqual(bytes(head))
      expect(pairsOf(await store.range({ ...ALL, limit: 1 }))).toEqual([[[1], [head]]])
      expect(await store.head()).toBe(head + 1)
    }
  })

  test('S5: what a read has given out keeps its bytes when the store goes on', async () => {
    const store = await open()
    await expectCommitted(store, 0, { puts: [entry([1], [1]), entry([2], new Array(5000).fill(1)), large(3, 1)] })
    const before = [...(await store.range(ALL)), ...(await store.range({ ...ALL, reverse: true }))]
    const values = await store.getMany([bytes(1), bytes(2), bytes(3)])
    for (let head = 1; head < 20; head++) {
      await expectCommitted(store, head, { puts: [1, 2, 3].map((key) => large(key, 2)) })
      await store.range(ALL)
      await store.getMany([bytes(1), bytes(2), bytes(3)])
    }
    for (const value of [...before.map((found) => found.value), ...values]) {
      expect(value?.every((byte) => byte === 1)).toBe(true)
    }
    expect(keysOf(before)).toEqual([[1], [2], [3], [3], [2], [1]])
  })

  test('keys and values are plain arrays of bytes, whatever kind of array they came from', async () => {
    const store = await open()
    const whole = new Uint8Array([0, 0, 7, 8, 9, 0])
    const view = whole.subarray(2, 5)
    await expectCommitted(store, 0, { puts: [{ key: view, value: view }] })
    const [found] = await store.range(ALL)
    const [value] = await store.getMany([new Uint8Array(view)])
    for (const array of [found?.key, found?.value, value]) {
      expect(array?.constructor).toBe(Uint8Array)
      expect([...(array ?? [])]).toEqual([7, 8, 9])
    }
    expect(found?.value.slice(1).buffer).not.toBe(found?.value.buffer)
  })
}

function sharingContract(open: Open): void {
  test('S3: what was acknowledged is there when the store is opened again', async () => {
    const first = await open()
    await expectCommitted(first, 0, { puts: [entry([1], [1]), entry([2], [2])] })
    await expectCommitted(first, 1, { puts: [entry([3], [3])], deletes: [bytes(1)] })
    await first.close()
    const second = await open()
    expect(await second.head()).toBe(2)
    expect(keysOf(await second.range(ALL))).toEqual([[2], [3]])
    await expectCommitted(second, 2, { puts: [entry([4])] })
  })

  test('S5: a handle sees at once what another has committed', async () => {
    const [writer, reader] = [await open(), await open()]
    for (let head = 0; head < 50; head++) {
      const found = reader.range(ALL)
      await expectCommitted(writer, head, { puts: [entry([1], [head])] })
      expect(await reader.head()).toBe(head + 1)
      expect((await reader.getMany([bytes(1)]))[0]).toEqual(bytes(head))
      expect(pairsOf(await reader.range(ALL))).toEqual([[[1], [head]]])
      expect((await found).length).toBeLessThanOrEqual(1)
    }
  })

  test('S4: handles that race for the head never lose a commit', async () => {
    const racers = [await open(), await open(), await open()]
    await Promise.all(racers.map((store) => increment(store, bytes(1), 20)))
    const store = racers[0] as Store
    expect((await store.getMany([bytes(1)]))[0]).toEqual(bytes(60))
    expect(await store.head()).toBe(60)
  })

  test('S2, S5: no read sees a part of a commit', async () => {
    const [writer, reader] = [await open(), await open()]
    const keys = Array.from({ length: 300 }, (_, index) => bytes(1, index >> 8, index))
    let isWriting = true
    const writing = (async () => {
      for (let head = 0; head < 30; head++) {
        await expectCommitted(writer, head, { puts: keys.map((key) => ({ key, value: bytes(head) })) })
      }
      isWriting = false
    })()
    const generations = new Set<string>()
    while (isWriting) {
      const [many, range] = await Promise.all([reader.getMany(keys), reader.range(ALL)])
      generations.add([...new Set(many.map((value) => value?.[0]))].join())
      generations.add([...new Set(range.map((found) => found.value[0]))].join())
      // Some stores answer without ever letting the writer have a turn.
      await new Promise((resolve) => setTimeout(resolve))
    }
    await writing
    expect([...generations].filter((values) => values.includes(','))).toEqual([])
  })
}

function sizeContract(open: Open): void {
  test('S1: an empty key and an empty value are a key and a value', async () => {
    const store = await open()
    await expectCommitted(store, 0, { puts: [entry([], []), entry([0], []), entry([0, 0], [1]), entry([1], [])] })
    expect(pairsOf(await store.range(ALL))).toEqual([
      [[], []],
      [[0], []],
      [[0, 0], [1]],
      [[1], []],
    ])
    expect(keysOf(await store.range({ from: bytes(), to: bytes(0), limit: 9 }))).toEqual([[]])
    expect(keysOf(await store.range({ from: bytes(0), to: bytes(0, 0), limit: 9, reverse: true }))).toEqual([[0]])
    await expectCommitted(store, 1, { deletes: [bytes(), bytes(0, 0)] })
    expect(keysOf(await store.range(ALL))).toEqual([[0], [1]])
    expect(await store.getMany([bytes(), bytes(0)])).toEqual([undefined, bytes()])
  })

  test('S1: a value may begin with any byte, at any length', async () => {
    const store = await open()
    const values = [1, 30, 5_000].flatMap((length) =>
      Array.from({ length: 256 }, (_, first) => new Uint8Array(length).fill(7).fill(first, 0, 1)),
    )
    await expectCommitted(store, 0, {
      puts: values.map((value, index) => ({ key: bytes(9, index >> 8, index & 255), value })),
    })
    const found = await store.range(ALL)
    const read = await store.getMany(values.map((_, index) => bytes(9, index >> 8, index & 255)))
    for (const [index, value] of values.entries()) {
      expect(isEqual(found[index]?.value as Uint8Array, value)).toBe(true)
      expect(isEqual(read[index] as Uint8Array, value)).toBe(true)
    }
  })

  test('S1: keys of 600 bytes that differ in the last one are different keys, in order', async () => {
    const store = await open()
    const keys = Array.from({ length: 256 }, (_, last) => new Uint8Array(600).fill(7).fill(last, 599))
    await expectCommitted(store, 0, { puts: keys.toReversed().map((key) => ({ key, value: key })) })
    const found = await store.range(ALL)
    expect(found.map(({ key }) => key[599])).toEqual(keys.map((key) => key[599]))
    expect(found.every(({ key, value }) => isEqual(key, value) && key.length === 600)).toBe(true)
  })

  test('S2: a commit may hold values of a mebibyte, and thousands of keys', async () => {
    const store = await open()
    const values = [1, 2, 3, 4].map((byte) => new Uint8Array(1 << 20).map((_, index) => (index * byte) & 255))
    const small = Array.from({ length: 5000 }, (_, index) =>
      entry([9, (index * 31) >> 8, (index * 31) & 255], [index & 255]),
    )
    await expectCommitted(store, 0, {
      puts: [...values.map((value, index) => ({ key: bytes(index), value })), ...small],
    })
    const found = await store.range({ ...ALL, limit: 4 })
    expect(found.map(({ value }, index) => isEqual(value, values[index] as Uint8Array))).toEqual([
      true,
      true,
      true,
      true,
    ])
    const read = await store.getMany([bytes(0), bytes(3)])
    expect(isEqual(read[1] as Uint8Array, values[3] as Uint8Array)).toBe(true)
    expect((await store.range(ALL)).length).toBe(5004)
    expect((await store.range({ ...ALL, bytesMax: 1 << 20 })).length).toBe(1)
    expect((await store.range({ ...ALL, bytesMax: (1 << 20) + 2 })).length).toBe(2)
  })
}

function closeContract(open: Open): void {
  test('S7: close waits for the commits under way, and they are kept', async () => {
    const store = await open()
    const commits = [0, 1, 2].map((head) => store.commit({ expectedHead: head, puts: [entry([head])], deletes: [] }))
    const refused = store.commit({ expectedHead: 99, puts: [], deletes: [] })
    let settled = 0
    for (const commit of [...commits, refused]) void commit.finally(() => settled++)
    await store.close()
    expect(settled).toBe(4)
    expect((await Promise.all(commits)).map(({ head }) => head)).toEqual([1, 2, 3])
    expect(await refused).toEqual({ type: 'head-moved', head: 3 })
    expect(keysOf(await (await open()).range(ALL))).toEqual([[0], [1], [2]])
  })

  test('S7: close may be called again, also while it is under way', async () => {
    const store = await open()
    await Promise.all([store.close(), store.close()])
    await store.close()
  })

  test('S7: a closed handle refuses everything with store-closed, also while it is closing', async () => {
    const store = await open()
    await expectCommitted(store, 0, { puts: [entry([1])] })
    const closing = store.close()
    const calls = (): Promise<unknown>[] => [
      store.head(),
      store.getMany([bytes(1)]),
      store.range(ALL),
      store.commit({ expectedHead: 1, puts: [entry([2])], deletes: [] }),
    ]
    const early = calls().map(codeOf)
    await closing
    const late = calls().map(codeOf)
    expect(await Promise.all([...early, ...late])).toEqual(new Array(8).fill('store-closed'))
    expect(await (await open()).head()).toBe(1)
  })

  test('S7: closing one handle leaves the others alone', async () => {
    const [one, other] = [await open(), await open()]
    await expectCommitted(one, 0, { puts: [entry([1])] })
    await one.close()
    await expectCommitted(other, 1, { puts: [entry([2])] })
    expect(keysOf(await other.range(ALL))).toEqual([[1], [2]])
  })
}

// ── Any history against the model ───────────────────────────────────────────────────────────────────────────────────

/** Few bytes, so that keys meet, and share beginnings. */
const keyArbitrary = fc.oneof(
  fc.uint8Array({ maxLength: 3, max: 3 }),
  fc.array(fc.constantFrom(0, 1, 127, 128, 255), { maxLength: 6 }).map((values) => new Uint8Array(values)),
  fc.uint8Array({ maxLength: 4 }).map((end) => new Uint8Array([...new Array(20).fill(114), ...end])),
)
const commitArbitrary = fc.record({
  puts: fc.uniqueArray(fc.record({ key: keyArbitrary, value: fc.uint8Array({ maxLength: 40 }) }), {
    selector: ({ key }) => key.join(),
    maxLength: 60,
  }),
  deletes: fc.array(keyArbitrary, { maxLength: 20 }),
})
const rangeArbitrary = fc.record(
  {
    from: keyArbitrary,
    to: fc.oneof(keyArbitrary, fc.constant(ALL_TO)),
    limit: fc.oneof(fc.integer({ min: 1, max: 5 }), fc.constant(1000)),
    reverse: fc.boolean(),
    bytesMax: fc.integer({ min: 0, max: 300 }),
  },
  { requiredKeys: ['from', 'to', 'limit'] },
)
const historyArbitrary = fc.array(fc.tuple(commitArbitrary, fc.array(rangeArbitrary, { maxLength: 4 })), {
  maxLength: 12,
})

function historyContract(open: Open): void {
  test('S1, S5: after any commits, every range and getMany answer like a sorted list', async () => {
    const store = await open()
    let head = 0
    await fc.assert(
      fc.asyncProperty(historyArbitrary, async (history) => {
        let model: readonly StoreEntry[] = []
        await expectCommitted(store, head++, { deletes: (await store.range(ALL)).map(({ key }) => key) })
        for (const [commit, ranges] of history) {
          await expectCommitted(store, head++, commit)
          model = modelCommit(model, commit)
          for (const range of [ALL, ...ranges]) {
            expect(pairsOf(await store.range(range))).toEqual(pairsOf(modelRange(model, range)))
          }
          const keys = [...commit.deletes, ...commit.puts.map(({ key }) => key)]
          expect((await store.getMany(keys)).map(textOf)).toEqual(keys.map((key) => textOf(modelGet(model, key))))
        }
      }),
      { numRuns: 40 },
    )
  })

  test('S1, S5: thousands of keys that come and go in any order stay a sorted list', async () => {
    const store = await open()
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 0xffff }), async (seed) => {
        // A walk through all 16-bit numbers: an odd step visits each once.
        const place = (index: number): number => (Math.imul(index, seed | 1) ^ seed) & 0xffff
        const keyAt = (index: number): Uint8Array => bytes(114, 0, 0, 1, place(index) >> 8, place(index))
        const present = new Set<number>()
        const step = 1000
        for (let round = 0; round < 12; round++) {
          const puts = Array.from({ length: step }, (_, index) => round * step + index)
          const gone = round < 3 ? [] : puts.map((index) => index - (round % 2 === 0 ? 3 : 2) * step)
          await expectCommitted(store, await store.head(), {
            puts: puts.map((index) => ({ key: keyAt(index), value: bytes(index) })),
            deletes: gone.map(keyAt),
          })
          for (const index of gone) present.delete(place(index))
          for (const index of puts) present.add(place(index))
          const expected = [...present].sort((a, b) => a - b)
          const found = await store.range(ALL)
          expect(found.map(({ key }) => (key[4] as number) * 256 + (key[5] as number))).toEqual(expected)
          const tail = await store.range({ ...ALL, limit: 10, reverse: true })
          expect(keysOf(tail)).toEqual(keysOf(found.slice(-10).toReversed()))
        }
        await expectCommitted(store, await store.head(), { deletes: (await store.range(ALL)).map(({ key }) => key) })
        expect(await store.range(ALL)).toEqual([])
      }),
      { numRuns: 3 },
    )
  })
}

function modelCommit(model: readonly StoreEntry[], { puts, deletes }: Omit<StoreCommit, 'expectedHead'>): StoreEntry[] {
  const touched = new Set([...deletes, ...puts.map(({ key }) => key)].map(textOf))
  return [...model.filter(({ key }) => !touched.has(textOf(key))), ...puts].sort((a, b) => compare(a.key, b.key))
}

function modelGet(model: readonly StoreEntry[], key: Uint8Array): Uint8Array | undefined {
  return model.find((candidate) => isEqual(candidate.key, key))?.value
}

function modelRange(model: readonly StoreEntry[], range: StoreRange): readonly StoreEntry[] {
  const inside = model.filter(({ key }) => compare(key, range.from) >= 0 && compare(key, range.to) < 0)
  const ordered = range.reverse === true ? inside.toReversed() : inside
  const answer: StoreEntry[] = []
  let size = 0
  for (const candidate of ordered.slice(0, range.limit)) {
    answer.push(candidate)
    size += candidate.key.length + candidate.value.length
    if (size > (range.bytesMax ?? Number.POSITIVE_INFINITY)) break
  }
  return answer
}

// ── Bytes and expectations ──────────────────────────────────────────────────────────────────────────────────────────

function bytes(...values: readonly number[]): Uint8Array {
  return new Uint8Array(values)
}

function entry(key: readonly number[], value: readonly number[] = []): StoreEntry {
  return { key: new Uint8Array(key), value: new Uint8Array(value) }
}

/** A value that is too large for any page. */
function large(key: number, byte: number): StoreEntry {
  return { key: bytes(key), value: new Uint8Array(100_000).fill(byte) }
}

function keysOf(entries: readonly StoreEntry[]): number[][] {
  return entries.map(({ key }) => [...key])
}

function pairsOf(entries: readonly StoreEntry[]): (readonly [number[], number[]])[] {
  return entries.map(({ key, value }) => [[...key], [...value]] as const)
}

function textOf(array: Uint8Array | undefined): string {
  return array === undefined ? 'nothing' : array.join()
}

function isEqual(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && left.every((byte, index) => byte === right[index])
}

function compare(left: Uint8Array, right: Uint8Array): number {
  const index = left.findIndex((byte, at) => byte !== right[at])
  if (index === -1 || index >= right.length) return left.length - right.length
  return (left[index] as number) - (right[index] as number)
}

async function expectCommitted(store: Store, expectedHead: number, changes: Partial<StoreCommit>): Promise<void> {
  const result = await store.commit({ puts: [], deletes: [], ...changes, expectedHead })
  expect(result).toEqual({ type: 'committed', head: expectedHead + 1 })
}

/** Adds one to the byte under `key`, `times` times, trying again whenever somebody else was first. */
async function increment(store: Store, key: Uint8Array, times: number): Promise<void> {
  for (let done = 0; done < times; ) {
    const expectedHead = await store.head()
    const [value = bytes(0)] = await store.getMany([key])
    const puts = [{ key, value: bytes((value[0] as number) + 1) }]
    const result = await store.commit({ expectedHead, puts, deletes: [] })
    if (result.type === 'committed') done++
  }
}

async function codeOf(call: Promise<unknown>): Promise<ErrorCode | 'no error' | 'another error'> {
  try {
    await call
    return 'no error'
  } catch (error) {
    return error instanceof TidemarkError ? error.code : 'another error'
  }
}
