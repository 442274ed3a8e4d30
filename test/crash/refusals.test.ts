/** Refusals whose answer was lost with the connection: the writer hears of every one of them when it comes back. */
import { expect, test } from 'vitest'
import type { Store } from '../../core/store.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import { type Client, FORBIDDEN_PREFIX, Line, openClient, openServer } from './cast.ts'

async function writeForbidden(client: Client, count: number): Promise<void> {
  for (let first = 0; first < count; first += 1_000) {
    await client.transact((transaction) => {
      for (let at = first; at < Math.min(count, first + 1_000); at++) {
        transaction.table('notes').insert({ id: `${FORBIDDEN_PREFIX}${at}`, text: '', mark: `${at}` })
      }
    })
  }
}

// A welcome lists 4,096 of them at most.
test.each([1, 4_095, 4_096, 4_097, 9_000])(
  'all of %i refusals are heard of after their answer was lost',
  async (count) => {
    const hub = await openServer(openMemoryStore())
    const client = await openClient(openMemoryStore())
    const line = new Line(client, hub)
    await writeForbidden(client, count)
    line.framesLeft = 1
    await line.settle().catch(() => {})
    expect(client.pending).toBe(count)
    line.framesLeft = Number.POSITIVE_INFINITY
    await line.settle()
    await line.settle()
    expect(client.pending).toBe(0)
    expect(await client.rejected()).toHaveLength(count)
    expect((await client.digest()).rows).toBe(0)
  },
)

/** A store that counts the entries it gave out. */
function createCountedStore(): { readonly store: Store; readonly entriesRead: () => number } {
  const inner = openMemoryStore()
  let entries = 0
  const store: Store = {
    head: () => inner.head(),
    getMany: (keys) => {
      entries += keys.length
      return inner.getMany(keys)
    },
    range: async (range) => {
      const found = await inner.range(range)
      entries += found.length
      return found
    },
    commit: (commit) => inner.commit(commit),
    close: () => inner.close(),
  }
  return { store, entriesRead: () => entries }
}

test('what an answer reads grows with the refusals in it, not with their square', async () => {
  const reads: number[] = []
  for (const count of [500, 2_000]) {
    const hub = await openServer(openMemoryStore())
    const { store, entriesRead } = createCountedStore()
    const client = await openClient(store)
    const line = new Line(client, hub)
    // The list of rejected changes is not empty when the answer comes.
    await writeForbidden(client, count)
    await line.settle()
    await writeForbidden(client, count)
    await line.settle()
    expect(await client.rejected()).toHaveLength(2 * count)
    reads.push(entriesRead())
  }
  const [few = 0, many = 0] = reads
  expect(many).toBeLessThan(few * 6)
})
