/**
 * Mistakes that others have made about cursors, acknowledgements and identities, each tried here on whole replicas.
 * docs/regressions.md lists all of them.
 */
import { describe, expect, test } from 'vitest'
import { type Hub, TidemarkError } from '../../core/index.ts'
import { ReplicaLog } from '../../core/replica-log.ts'
import type { Store, StoreCommit } from '../../core/store.ts'
import { createMemoryDisk, openMemoryStore } from '../../core/stores/memory.ts'
import { type Client, FORBIDDEN_PREFIX, Line, openClient, openServer } from './cast.ts'

const note = (client: Client, id: string, text = 'x'): Promise<unknown> =>
  client.table('notes').upsert({ id, text, mark: id })

async function writeBulk(client: Client, name: string, count: number): Promise<void> {
  for (let first = 0; first < count; first += 500) {
    await client.transact((transaction) => {
      for (let at = first; at < Math.min(count, first + 500); at++) {
        transaction.table('bulk').insert({ id: `${name}-${at}`, text: 'x'.repeat(500), mark: name })
      }
    })
  }
}

/** Positions and dots of a log, in its order. */
async function logOf(source: Client | Hub): Promise<{ readonly positions: number[]; readonly dots: string[] }> {
  const changes = await new ReplicaLog(source.ledger).query({ limit: Number.MAX_SAFE_INTEGER })
  return {
    positions: changes.map(({ position }) => position),
    dots: changes.map(({ dot }) => `${dot.replica}:${dot.seq}`),
  }
}

function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index + 1)
}

async function expectEqual(hub: Hub, ...clients: readonly Client[]): Promise<void> {
  const newcomer = await openClient(openMemoryStore())
  const line = new Line(newcomer, hub)
  await line.settle()
  line.hangUp()
  const expected = await newcomer.digest()
  for (const client of clients) expect(await client.digest()).toEqual(expected)
}

test('regression 9: both directions have a cursor of their own, and both go on beyond one page', async () => {
  const hub = await openServer(openMemoryStore())
  const [a, b] = [await openClient(openMemoryStore()), await openClient(openMemoryStore())]
  const [toA, toB] = [new Line(a, hub), new Line(b, hub)]
  // Both know the server, so that it sends its log and no snapshot.
  await toA.settle()
  await toB.settle()
  await writeBulk(a, 'a', 1_500)
  await writeBulk(b, 'b', 1_500)
  await Promise.all([toA.settle(), toB.settle()])
  await Promise.all([toA.settle(), toB.settle()])
  expect([a.pending, b.pending]).toEqual([0, 0])
  expect((await logOf(hub)).positions).toEqual(upTo(3_000))
  expect(new Set((await logOf(a)).dots).size).toBe(3_000)
  await expectEqual(hub, a, b)
})

test('regression 12: a reader that is cut off over and over gets each entry once, whatever their timestamps', async () => {
  const hub = await openServer(openMemoryStore())
  const reader = await openClient(openMemoryStore())
  const line = new Line(reader, hub)
  // Something to have a cursor for; without one it would get a snapshot.
  const first = await openClient(openMemoryStore())
  await note(first, 'n1')
  await new Line(first, hub).settle()
  await line.settle()
  line.hangUp()
  for (let writer = 0; writer < 4; writer++) {
    const client = await openClient(openMemoryStore())
    await writeBulk(client, `w${writer}`, 700)
    await new Line(client, hub).settle()
  }
  let cuts = 0
  for (let isDone = false; !isDone; cuts++) {
    line.framesLeft = 2 + cuts
    isDone = await line.settle().then(
      () => true,
      () => false,
    )
    if (cuts > 50) throw new Error('it gets no further')
  }
  expect(cuts).toBeGreaterThan(2)
  expect((await logOf(reader)).dots).toEqual((await logOf(hub)).dots)
})

test('regression 13: a seq whose write failed is given out again, so that nobody waits for a hole', async () => {
  const inner = openMemoryStore()
  let failures = 0
  const store: Store = {
    head: () => inner.head(),
    getMany: (keys) => inner.getMany(keys),
    range: (range) => inner.range(range),
    close: () => inner.close(),
    commit: async (commit: StoreCommit) => {
      if (failures-- > 0) throw new TidemarkError('store-full', 'the disk is full')
      return inner.commit(commit)
    },
  }
  const client = await openClient(store)
  await note(client, 'n1')
  failures = 1
  await expect(note(client, 'n2')).rejects.toMatchObject({ code: 'store-full' })
  await note(client, 'n3')
  expect(client.clock.get(client.id)).toBe(2)
  const hub = await openServer(openMemoryStore())
  await new Line(client, hub).settle()
  expect((await logOf(hub)).positions).toEqual([1, 2])
  expect(await client.table('notes').get('n2')).toBeUndefined()
})

test('regression 14: two programs on one store use every dot once', async () => {
  const disk = createMemoryDisk()
  const tabs = [await openClient(disk.open()), await openClient(disk.open())]
  const [first] = tabs
  await Promise.all(tabs.flatMap((tab, at) => upTo(50).map((number) => note(tab, `n${number}`, `tab ${at}`))))
  expect(tabs.map(({ id }) => id)).toEqual([first?.id, first?.id])
  const hub = await openServer(openMemoryStore())
  await new Line(await openClient(disk.open()), hub).settle()
  expect((await logOf(hub)).dots).toEqual(upTo(100).map((seq) => `${first?.id}:${seq}`))
})

test('regression 15: a cursor of another log is never taken for a place in this one', async () => {
  const client = await openClient(openMemoryStore())
  const before = await openServer(openMemoryStore())
  await note(client, 'n1')
  const line = new Line(client, before)
  await line.settle()
  line.hangUp()
  // Another server, whose log is longer than the cursor and holds other things.
  const hub = await openServer(openMemoryStore())
  const other = await openClient(openMemoryStore())
  for (const number of upTo(5)) await note(other, `o${number}`)
  await new Line(other, hub).settle()
  await new Line(client, hub).settle()
  for (const number of upTo(5)) expect(await client.table('notes').get(`o${number}`)).toBeDefined()
  const toOther = new Line(other, hub)
  await toOther.settle()
  expect(await other.table('notes').get('n1')).toBeDefined()
  await expectEqual(hub, client, other)
})

describe('regression 17: a snapshot while others write', () => {
  test.each(upTo(12))(
    'that is cut off after %i frames, and then goes on, loses and doubles nothing',
    async (frames) => {
      const hub = await openServer(openMemoryStore())
      const writer = await openClient(openMemoryStore())
      const toWriter = new Line(writer, hub)
      await writeBulk(writer, 'w', 1_200)
      await writer.table('tallies').insert({ id: 't', n: 0, mark: 'm' })
      await toWriter.settle()
      const newcomer = await openClient(openMemoryStore())
      const line = new Line(newcomer, hub)
      line.framesLeft = frames
      const joining = line.settle().catch(() => {})
      await writer.table('bulk').delete('w-0')
      await writer.table('bulk').insert({ id: 'w-00', text: 'first in order', mark: 'late' })
      await writer.table('bulk').update('w-999', { text: 'last in order' })
      await toWriter.settle()
      await joining
      line.framesLeft = Number.POSITIVE_INFINITY
      await line.settle()
      expect(await newcomer.digest()).toEqual(await writer.digest())
      expect(await newcomer.table('bulk').get('w-0')).toBeUndefined()
    },
  )
})

async function copyOf(store: Store): Promise<Store> {
  const content = await store.range({ from: new Uint8Array(0), to: new Uint8Array([0xff]), limit: 1_000_000 })
  const copy = openMemoryStore()
  await copy.commit({ expectedHead: 0, puts: content, deletes: [] })
  return copy
}

test('regression 22: a replica that was restored or copied keeps every write that it makes afterwards', async () => {
  const hub = await openServer(openMemoryStore())
  const store = openMemoryStore()
  const client = await openClient(store)
  const line = new Line(client, hub)
  await note(client, 'n1')
  await line.settle()
  const [backup, twin] = [await copyOf(store), await copyOf(store)]
  await note(client, 'n2', 'after the backup')
  await line.settle()
  line.hangUp()
  for (const [name, old] of [
    ['restored', backup],
    ['copied', twin],
  ] as const) {
    const again = await openClient(old)
    const renewals: string[] = []
    await note(again, `${name}-1`)
    const lineOfOld = new Line(again, hub, renewals)
    await lineOfOld.settle()
    await note(again, `${name}-2`)
    await lineOfOld.settle()
    expect(renewals).toHaveLength(1)
    lineOfOld.hangUp()
  }
  await line.settle()
  for (const id of ['n1', 'n2', 'restored-1', 'restored-2', 'copied-1', 'copied-2']) {
    expect(await client.table('notes').get(id), id).toBeDefined()
  }
  await expectEqual(hub, client)
})

test('regression 23: a change that is refused blocks nothing behind it, and no download', async () => {
  const hub = await openServer(openMemoryStore())
  const [writer, other] = [await openClient(openMemoryStore()), await openClient(openMemoryStore())]
  await note(other, 'from-other')
  await new Line(other, hub).settle()
  await note(writer, `${FORBIDDEN_PREFIX}1`)
  await note(writer, 'behind it')
  await new Line(writer, hub).settle()
  expect(writer.pending).toBe(0)
  expect(await writer.rejected()).toHaveLength(1)
  expect(await writer.table('notes').get('from-other')).toBeDefined()
  await expectEqual(hub, writer)
})

describe('regression 25: whatever frame is lost, in either direction, is made up for by the next session', () => {
  test.each(upTo(8))('%i frames get through', async (frames) => {
    for (const direction of ['up', 'down'] as const) {
      const hub = await openServer(openMemoryStore())
      const [writer, other] = [await openClient(openMemoryStore()), await openClient(openMemoryStore())]
      await note(other, 'theirs')
      await new Line(other, hub).settle()
      const line = new Line(writer, hub)
      if (direction === 'up') line.framesUpLeft = frames
      else line.framesLeft = frames
      await note(writer, 'ours')
      await line.settle().catch(() => {})
      await note(writer, 'ours as well')
      await line.settle().catch(() => {})
      line.framesLeft = Number.POSITIVE_INFINITY
      line.framesUpLeft = Number.POSITIVE_INFINITY
      await line.settle()
      expect(writer.pending).toBe(0)
      expect((await logOf(hub)).positions).toEqual([1, 2, 3])
      await expectEqual(hub, writer)
    }
  })
})
