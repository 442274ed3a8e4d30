/**
 * A disk whose flush never ends: nothing is acknowledged, shown, sent or passed on before it does.
 */

import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { decodeFrame } from '../../core/frame.ts'
import { clientRole, Link, type Transport } from '../../core/index.ts'
import { DEFAULT_LIMITS } from '../../core/limits.ts'
import type { Frame } from '../../core/message.ts'
import { serverRole } from '../../core/server-door.ts'
import type { Store, StoreCommitResult } from '../../core/store.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import { type Client, openClient, openServer } from './cast.ts'

/** A store whose commits can be made to wait: they are taken, and neither applied nor answered. */
function createStuckStore(): { readonly store: Store; stick: () => void; free: () => void } {
  const inner = openMemoryStore()
  let isStuck = false
  let waiting: (() => void)[] = []
  const store: Store = {
    head: () => inner.head(),
    getMany: (keys) => inner.getMany(keys),
    range: (range) => inner.range(range),
    close: () => inner.close(),
    commit: (commit): Promise<StoreCommitResult> => {
      if (!isStuck) return inner.commit(commit)
      return new Promise((resolve, reject) => {
        waiting.push(() => inner.commit(commit).then(resolve, reject))
      })
    },
  }
  const free = (): void => {
    isStuck = false
    for (const release of waiting) release()
    waiting = []
  }
  return {
    store,
    free,
    stick: () => {
      isStuck = true
    },
  }
}

/** Longer than anything here takes that does not wait for a disk. */
async function aWhile(): Promise<void> {
  for (let turn = 0; turn < 200; turn++) await nextTurn()
}

/** Types of the frames that went each way. */
function connect(
  client: Client,
  hub: Awaited<ReturnType<typeof openServer>>,
): { up: string[]; down: string[]; link: Link } {
  const [up, down]: [string[], string[]] = [[], []]
  const typeOf = (frame: Uint8Array): Frame['type'] => decodeFrame(frame, DEFAULT_LIMITS).type
  const ends: { server?: Link; client?: Link } = {}
  const transport = (types: string[], to: 'server' | 'client'): Transport => ({
    send: (frame) => {
      types.push(typeOf(frame))
      queueMicrotask(() => ends[to]?.receive(frame))
    },
    close: () => queueMicrotask(() => ends[to]?.end()),
  })
  const { now, tables } = client
  const toServer = transport(up, 'server')
  ends.client = new Link({ hub: client.hub, role: clientRole, transport: toServer, tables, now })
  const toClient = transport(down, 'client')
  ends.server = new Link({ hub, role: serverRole(), transport: toClient, tables: new Map(), now })
  ends.client.start()
  return { up, down, link: ends.client }
}

test('a write on a disk that never flushes is neither acknowledged nor shown nor sent', async () => {
  const disk = createStuckStore()
  const client = await openClient(disk.store)
  const hub = await openServer(openMemoryStore())
  const { up, link } = connect(client, hub)
  await link.settled()
  up.length = 0

  disk.stick()
  const events: string[] = []
  client.subscribe({}, ({ id }) => events.push(id))
  let outcome = 'waits'
  const written = client
    .table('notes')
    .insert({ id: 'n', text: 'x', mark: 'm' })
    .then(() => {
      outcome = 'acknowledged'
    })
  await aWhile()
  expect(outcome).toBe('waits')
  expect(events).toEqual([])
  expect(up).toEqual([])
  expect(client.pending).toBe(0)
  expect(client.clock.size).toBe(0)

  // The same test must be able to see all of that once the flush has ended.
  disk.free()
  await written
  await link.settled()
  expect(outcome).toBe('acknowledged')
  expect(events).toEqual(['n'])
  expect(up).toContain('push')
  expect(client.clock.size).toBe(1)
})

test('regression 10: a server whose disk never flushes acknowledges no push, and passes nothing on', async () => {
  const disk = createStuckStore()
  const hub = await openServer(disk.store)
  const [writer, reader] = [await openClient(openMemoryStore()), await openClient(openMemoryStore())]
  const [toWriter, toReader] = [connect(writer, hub), connect(reader, hub)]
  await Promise.all([toWriter.link.settled(), toReader.link.settled()])
  toWriter.down.length = 0
  toReader.down.length = 0

  disk.stick()
  await writer.table('notes').insert({ id: 'n', text: 'x', mark: 'm' })
  await aWhile()
  expect(toWriter.up).toContain('push')
  expect(toWriter.down).toEqual([])
  expect(toReader.down).toEqual([])
  expect(writer.pending).toBe(1)
  expect(hub.ledger.durableClock().size).toBe(0)

  disk.free()
  await toWriter.link.settled()
  await toReader.link.settled()
  expect(toWriter.down).toContain('ack')
  expect(toReader.down).toContain('changes')
  expect(writer.pending).toBe(0)
})

test('regression 11: a client whose disk never flushes grants no credit and moves no cursor for what it was sent', async () => {
  const disk = createStuckStore()
  const hub = await openServer(openMemoryStore())
  const [writer, reader] = [await openClient(openMemoryStore()), await openClient(disk.store)]
  const [toWriter, toReader] = [connect(writer, hub), connect(reader, hub)]
  await Promise.all([toWriter.link.settled(), toReader.link.settled()])
  toReader.up.length = 0

  disk.stick()
  await writer.table('notes').insert({ id: 'n', text: 'x'.repeat(200_000), mark: 'm' })
  await toWriter.link.settled()
  await aWhile()
  expect(toReader.down).toContain('changes')
  expect(toReader.up).toEqual([])
  expect(toReader.link.behind).toBeGreaterThan(0)
  expect(reader.clock.size).toBe(0)

  disk.free()
  await toReader.link.settled()
  expect(toReader.link.behind).toBe(0)
  expect(await reader.table('notes').get('n')).toMatchObject({ mark: 'm' })
})
