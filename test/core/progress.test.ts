/**
 * Progress: a line that is cut again and again, soon after each welcome, brings everything all the same.
 */

import { describe, expect, test } from 'vitest'
import { readCursor } from '../../core/handshake.ts'
import { clientRole, type Hub, Link, openReplica, type Replica, type TidemarkError } from '../../core/index.ts'
import { serverRole } from '../../core/server-door.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import { HandClock, meetServer, openHub, TENANT } from '../conflicts/group.ts'
import { notesBy } from '../conflicts/note.ts'

const TABLES = notesBy()
const ROWS = 6_000

async function openClient(now: () => number): Promise<Replica<typeof TABLES>> {
  return openReplica({ tenant: TENANT, store: openMemoryStore(), tables: TABLES, now })
}

async function writeRows(replica: Replica<typeof TABLES>): Promise<void> {
  const title = 'x'.repeat(400)
  for (let at = 0; at < ROWS; at += 500) {
    await replica.transact((transaction) => {
      for (let id = at; id < at + 500; id++) transaction.table('notes').insert({ id: `n${id}`, title })
    })
  }
}

/** One session in which the server says `frames` things, each in a turn of its own, before the line is cut. */
async function cutSession(hub: Hub, replica: Replica<typeof TABLES>, now: () => number, frames: number): Promise<void> {
  const { tables } = replica
  await new Promise<void>((resolve) => {
    let isCut = false
    let left = frames
    const cut = (error?: TidemarkError): void => {
      if (isCut) return
      isCut = true
      expect(error).toBeUndefined()
      setImmediate(() => {
        client.end()
        server.end()
        resolve()
      })
    }
    const client: Link = new Link({
      ...{ hub: replica.hub, role: clientRole, tables, now },
      transport: {
        send: (frame) => setImmediate(() => !isCut && server.receive(frame)),
        close: cut,
      },
    })
    const server: Link = new Link({
      ...{ hub, role: serverRole(), tables: new Map(), now },
      transport: {
        send: (frame) => {
          if (left-- <= 0) return cut()
          setImmediate(() => client.receive(frame))
        },
        close: cut,
      },
    })
    client.start()
    client.settled().then(
      () => cut(),
      () => {},
    )
  })
  // What has arrived is dealt with before the next session.
  await replica.ledger.catchUp()
}

async function sessionsUntil(isDone: () => Promise<boolean>, session: () => Promise<void>): Promise<number> {
  for (let count = 0; count < 200; count++) {
    if (await isDone()) return count
    await session()
  }
  return Number.POSITIVE_INFINITY
}

describe('sessions that are cut a few frames after each welcome', () => {
  test('bring the log to its end', async () => {
    const { now } = new HandClock()
    const [writer, reader] = [await openClient(now), await openClient(now)]
    const hub = await openHub(openMemoryStore())
    await writer.table('notes').insert({ id: 'first', title: 'from here on by the log' })
    for (const replica of [writer, reader]) await meetServer(hub, replica, now)
    await writeRows(writer)
    await meetServer(hub, writer, now)
    const isDone = async (): Promise<boolean> => reader.clock.equals(writer.clock)
    expect(await sessionsUntil(isDone, () => cutSession(hub, reader, now, 3))).toBeLessThan(60)
    expect((await reader.digest()).hash).toBe((await writer.digest()).hash)
  })

  test('bring everything to the server', async () => {
    const { now } = new HandClock()
    const writer = await openClient(now)
    const hub = await openHub(openMemoryStore())
    await writeRows(writer)
    const isDone = async (): Promise<boolean> => writer.ledger.pending === 0
    expect(await sessionsUntil(isDone, () => cutSession(hub, writer, now, 3))).toBeLessThan(60)
  })

  test('get past what the replica wrote itself', async () => {
    const { now } = new HandClock()
    const writer = await openClient(now)
    const hub = await openHub(openMemoryStore())
    await writeRows(writer)
    await meetServer(hub, writer, now)
    const isDone = async (): Promise<boolean> => ((await readCursor(writer.ledger))?.position ?? 0) > ROWS / 2
    expect(await sessionsUntil(isDone, () => cutSession(hub, writer, now, 3))).toBeLessThan(60)
  })
})
