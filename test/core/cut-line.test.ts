/**
 * Lines that are cut after so many bytes, again and again: whatever has come whole, counts. So a line that carries the
 * handshake and one frame more brings everything, in as many sessions as there are frames.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Hub, openReplica, type Replica, type Store, TidemarkError } from '../../core/index.ts'
import { createMemoryDisk, openMemoryStore } from '../../core/stores/memory.ts'
import { HandClock, meetServer, openHub, TENANT } from '../conflicts/group.ts'
import { notesBy } from '../conflicts/note.ts'
import { cutSession, type LineBytes, type SessionTrace } from './cut-line.ts'

const TABLES = notesBy()
const WHOLE: LineBytes = { up: Number.POSITIVE_INFINITY, down: Number.POSITIVE_INFINITY }
const { now } = new HandClock()

type Member = Replica<typeof TABLES>

function openClient(): Promise<Member> {
  return openReplica({ tenant: TENANT, store: openMemoryStore(), tables: TABLES, now })
}

/** Rows of about 100 KB, of which two or three fill a frame. */
async function writeLarge(member: Member, rows: number): Promise<void> {
  for (let row = 0; row < rows; row++)
    await member.table('notes').insert({ id: `large${row}`, title: `${row}`.repeat(50_000) })
}

/** So many that who is new gets a snapshot. */
async function writeSmall(member: Member): Promise<void> {
  for (let first = 0; first < 1_002; first += 501) {
    await member.transact((transaction) => {
      for (let row = first; row < first + 501; row++)
        transaction.table('notes').insert({ id: `small${row}`, title: 'small' })
    })
  }
}

async function openServer(fill: (member: Member) => Promise<void>): Promise<{ hub: Hub; writer: Member }> {
  const [hub, writer] = [await openHub(openMemoryStore()), await openClient()]
  await fill(writer)
  await meetServer(hub, writer, now)
  return { hub, writer }
}

/** What a session needs before its first frame that counts, and for the largest of those. */
function leastBytes(lengths: readonly number[], opening: number): number {
  const sum = lengths.slice(0, opening).reduce((all, length) => all + length, 0)
  return sum + Math.max(...lengths.slice(opening))
}

async function sessionsUntil(isDone: () => boolean, session: () => Promise<unknown>, most: number): Promise<number> {
  let count = 0
  for (; !isDone() && count <= most; count++) await session()
  return count
}

/** A store whose process ends after so many commits. */
function mortal(store: Store, commits: number): Store {
  let left = commits
  return {
    head: () => store.head(),
    getMany: (keys) => store.getMany(keys),
    range: (range) => store.range(range),
    commit: async (commit) => {
      if (left-- <= 0) throw new TidemarkError('store-closed', 'the process has ended')
      return store.commit(commit)
    },
    close: () => store.close(),
  }
}

/** Lines that carry at least so much. */
const lines = (least: number): fc.Arbitrary<number> =>
  fc.oneof(fc.constant(least), fc.integer({ min: least, max: least * 4 }))

test('a line that carries 24 KiB brings what was written in pieces of 8 KiB', async () => {
  const writeMany = async (member: Member): Promise<void> => {
    for (let page = 0; page < 100; page++) {
      await member.transact((transaction) => {
        for (let row = 0; row < 40; row++)
          transaction.table('notes').insert({ id: `p${page}r${row}`, title: 'x'.repeat(180) })
      })
    }
  }
  const line = { up: 24 * 1_024, down: 24 * 1_024 }
  const [hub, writer, reader] = [await openHub(openMemoryStore()), await openClient(), await openClient()]
  await writeMany(writer)
  const isPushed = (): boolean => hub.ledger.durableClock().equals(writer.clock)
  expect(await sessionsUntil(isPushed, () => cutSession(hub, writer, now, line), 100)).toBeLessThan(100)
  const isRead = (): boolean => reader.clock.equals(writer.clock)
  expect(await sessionsUntil(isRead, () => cutSession(hub, reader, now, line), 100)).toBeLessThan(100)
  expect((await reader.digest()).hash).toBe((await writer.digest()).hash)
})

describe('a line that is cut after the handshake and one frame more', () => {
  test('brings the log in as many sessions as it has frames', async () => {
    const { hub, writer } = await openServer((member) => writeLarge(member, 16))
    const trace = await cutSession(hub, await openClient(), now, WHOLE)
    const frames = trace.down.length - 1
    expect(frames).toBeGreaterThan(4)
    await fc.assert(
      fc.asyncProperty(lines(leastBytes(trace.down, 1)), async (down) => {
        const reader = await openClient()
        const isDone = (): boolean => reader.clock.equals(writer.clock)
        const session = (): Promise<SessionTrace> => cutSession(hub, reader, now, { ...WHOLE, down })
        expect(await sessionsUntil(isDone, session, frames)).toBeLessThanOrEqual(frames)
        expect((await reader.digest()).hash).toBe((await writer.digest()).hash)
      }),
      { numRuns: 10 },
    )
  })

  test('brings a snapshot in as many sessions as it has frames', async () => {
    const { hub, writer } = await openServer(async (member) => {
      await writeSmall(member)
      await writeLarge(member, 16)
    })
    const trace = await cutSession(hub, await openClient(), now, WHOLE)
    const frames = trace.down.length - 2
    expect(frames).toBeGreaterThan(4)
    await fc.assert(
      fc.asyncProperty(lines(leastBytes(trace.down, 2)), async (down) => {
        const reader = await openClient()
        const isDone = (): boolean => reader.clock.equals(writer.clock)
        const session = (): Promise<SessionTrace> => cutSession(hub, reader, now, { ...WHOLE, down })
        expect(await sessionsUntil(isDone, session, frames)).toBeLessThanOrEqual(frames)
        expect((await reader.digest()).hash).toBe((await writer.digest()).hash)
      }),
      { numRuns: 10 },
    )
  })

  test('brings a snapshot also to a process that lives for one commit', async () => {
    const { hub, writer } = await openServer(async (member) => {
      await writeSmall(member)
      await writeLarge(member, 16)
    })
    const disk = createMemoryDisk()
    const first = await openReplica({ tenant: TENANT, store: disk.open(), tables: TABLES, now })
    const { down } = await cutSession(hub, first, now, { ...WHOLE, down: 1_000 })
    expect(down.length).toBeGreaterThan(0)
    let reader = first
    const isDone = (): boolean => reader.clock.equals(writer.clock)
    const session = async (): Promise<void> => {
      reader = await openReplica({ tenant: TENANT, store: mortal(disk.open(), 1), tables: TABLES, now })
      await cutSession(hub, reader, now, WHOLE)
    }
    expect(await sessionsUntil(isDone, session, 30)).toBeLessThan(30)
    expect((await reader.digest()).hash).toBe((await writer.digest()).hash)
  })

  test('takes what was written to the server in as many sessions as there are pushes', async () => {
    const measured = await openClient()
    await writeLarge(measured, 16)
    const trace = await cutSession(await openHub(openMemoryStore()), measured, now, WHOLE)
    const pushes = trace.up.filter((length) => length > 1_000)
    expect(pushes.length).toBeGreaterThan(4)
    await fc.assert(
      fc.asyncProperty(lines(leastBytes(trace.up, 1)), async (up) => {
        const [hub, writer] = [await openHub(openMemoryStore()), await openClient()]
        await writeLarge(writer, 16)
        const isDone = (): boolean => hub.ledger.durableClock().equals(writer.clock)
        const session = (): Promise<SessionTrace> => cutSession(hub, writer, now, { ...WHOLE, up })
        expect(await sessionsUntil(isDone, session, pushes.length)).toBeLessThanOrEqual(pushes.length)
      }),
      { numRuns: 10 },
    )
  })
})

test('a snapshot that is gone on with brings the clock of its own server, not of one that was given up before it', async () => {
  const fill = async (member: Member): Promise<void> => {
    await writeSmall(member)
    await writeLarge(member, 8)
  }
  const [given, kept] = [await openServer(fill), await openServer(fill)]
  const reader = await openClient()
  const beginFrom = async (hub: Hub): Promise<void> => {
    const { down } = await cutSession(hub, await openClient(), now, WHOLE)
    const begun = down.slice(0, 4).reduce((sum, length) => sum + length, 0)
    expect((await cutSession(hub, reader, now, { ...WHOLE, down: begun })).isCut).toBe(true)
  }
  await beginFrom(given.hub)
  await beginFrom(kept.hub)
  await cutSession(kept.hub, reader, now, WHOLE)
  expect(reader.clock.get(kept.writer.id)).toBe(kept.writer.clock.get(kept.writer.id))
  expect(reader.clock.get(given.writer.id)).toBe(0)
})

test('what was refused because a clock ran ahead is issued again, also by whoever hears of that in the next welcome', async () => {
  const aheadMs = 20 * 365 * 86_400_000
  const openAhead = (): Promise<Member> =>
    openReplica({ tenant: TENANT, store: openMemoryStore(), tables: TABLES, now: () => now() + aheadMs })
  const write = (member: Member): Promise<unknown> =>
    member.table('notes').insert({ id: 'note', title: 'from the future' })
  const [hub, writer, reader] = [await openHub(openMemoryStore()), await openAhead(), await openClient()]
  await write(writer)
  const [welcome = 0] = (await cutSession(await openHub(openMemoryStore()), await openAhead(), now, WHOLE)).down
  await cutSession(hub, writer, now, { ...WHOLE, down: welcome })
  expect(hub.ledger.durableClock().get(writer.id)).toBe(1)
  expect(await writer.rejected()).toEqual([])
  await cutSession(hub, writer, now, WHOLE)
  await cutSession(hub, reader, now, WHOLE)
  expect(await reader.table('notes').get('note')).toEqual({ id: 'note', title: 'from the future' })
  expect((await writer.rejected()).map(({ code, reissuedAs }) => [code, reissuedAs?.seq])).toEqual([['clock-skew', 2]])
})
