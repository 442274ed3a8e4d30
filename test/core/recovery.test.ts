/**
 * A server that goes on from a backup: what it lost comes back from its writers, and what it had said stands.
 */

import { expect, it } from 'vitest'
import { TakeAnswer } from '../../core/answer.ts'
import type { VoidCode } from '../../core/block.ts'
import type { Gate } from '../../core/gate.ts'
import { Hub } from '../../core/hub.ts'
import { clientRole, digestRows, isTidemarkError, openReplica, type Replica, type Store } from '../../core/index.ts'
import { META_KEY } from '../../core/keys.ts'
import { Ledger } from '../../core/ledger.ts'
import { parseLimits } from '../../core/limits.ts'
import { Link } from '../../core/link.ts'
import { parseTenantName, type ReplicaId } from '../../core/names.ts'
import { asArray, packRecord, unpackRecord } from '../../core/packing.ts'
import { beginEpoch, endRecovery, isRecovering } from '../../core/recovery.ts'
import { serverRole } from '../../core/server-door.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import { table } from '../../core/table.ts'

interface Note {
  readonly id: string
  readonly text: string
}

const TABLES = { notes: table<Note>() }
const START_MS = 1_700_000_000_000

type Client = Replica<typeof TABLES>

let nowMs = START_MS
const now = (): number => nowMs++

const openClient = (): Promise<Client> => openReplica({ tenant: 'acme', store: openMemoryStore(), tables: TABLES, now })

async function openServer(store: Store): Promise<Hub> {
  return new Hub(await Ledger.open({ tenant: parseTenantName('acme'), store, limits: parseLimits(), authority: 2 }))
}

async function copyOf(store: Store): Promise<Store> {
  const everything = { from: new Uint8Array(0), to: new Uint8Array(600).fill(255), limit: 1e6 }
  const copy = openMemoryStore()
  await copy.commit({ expectedHead: 0, puts: await store.range(everything), deletes: [] })
  return copy
}

const PUSH_FRAME = 4

/**
 * A connection; a writer that is told to try again at once does. `refuse`: the server's opinion of a row, by its id. `held`:
 * where pushes wait to be delivered.
 */
function connect(
  client: Client,
  hub: Hub,
  refuse: (id: string) => VoidCode | undefined = () => undefined,
  held?: (() => void)[],
): Link {
  const gate: Gate = { mayRead: () => true, mayWrite: () => true, judge: ({ id }) => refuse(id) }
  const shared = { now, transport: { close: () => {} } }
  const server: Link = new Link({
    ...shared,
    hub,
    role: serverRole({ gate }),
    tables: new Map(),
    transport: {
      send: (frame) => queueMicrotask(() => link.receive(frame)),
      close: () => queueMicrotask(() => link.end()),
    },
  })
  const link: Link = new Link({
    ...shared,
    hub: client.hub,
    role: clientRole,
    tables: client.tables,
    transport: {
      send: (frame) => {
        const deliver = (): void => server.receive(frame)
        if (held !== undefined && frame[1] === PUSH_FRAME) held.push(deliver)
        else queueMicrotask(deliver)
      },
      close: () => queueMicrotask(() => server.end()),
    },
    onChange: () => {
      if (link.pause?.retryAfterMs === 0) queueMicrotask(() => link.resume())
    },
  })
  link.start()
  return link
}

async function sync(client: Client, hub: Hub, refuse?: (id: string) => VoidCode | undefined): Promise<void> {
  const link = connect(client, hub, refuse)
  await link.settled()
  link.end()
}

async function failureOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'nothing',
    (error: unknown) => (isTidemarkError(error) ? error.code : String(error)),
  )
}

/** Turns of the event loop until something holds; what takes more than these hangs. */
async function until(holds: () => boolean): Promise<void> {
  for (let turn = 0; turn < 1_000 && !holds(); turn++) await new Promise((resolve) => setImmediate(resolve))
  expect(holds()).toBe(true)
}

async function expectEqual(hub: Hub, ...clients: readonly Client[]): Promise<void> {
  const digest = await digestRows(hub.ledger)
  for (const client of clients) {
    expect(client.clock.compare(hub.ledger.durableClock())).toBe('equal')
    expect(await client.digest()).toEqual(digest)
  }
}

/** Two clients and their server, which has a backup from before the last change of each; `second` builds on `first`'s. */
async function play(): Promise<{ first: Client; second: Client; hub: Hub; backup: Store }> {
  const store = openMemoryStore()
  const old = await openServer(store)
  const [first, second] = [await openClient(), await openClient()]
  await first.table('notes').insert({ id: 'n1', text: 'before' })
  await sync(first, old)
  await sync(second, old)
  const backup = await copyOf(store)
  await first.table('notes').update('n1', { text: 'after' })
  await sync(first, old)
  await sync(second, old)
  await second.table('notes').update('n1', { text: 'after that' })
  await sync(second, old)
  await sync(first, old)
  await expectEqual(old, first, second)
  return { first, second, hub: await openServer(await copyOf(backup)), backup }
}

it('a server that goes on from a backup gets what it lost from those who wrote it, and all are equal again', async () => {
  const { first, second, hub } = await play()
  await hub.ledger.submit(beginEpoch(now()))
  const waiting = connect(second, hub)
  await until(() => waiting.pause !== undefined)
  expect(waiting.pause).toMatchObject({ resource: 'lost-changes', limit: 2, used: 1 })
  expect(await failureOf(waiting.settled())).toBe('server-restored')
  expect(hub.ledger.state.meta.voids).toBe(0)
  await sync(first, hub)
  await until(() => hub.ledger.durableSeqOf(hub.ledger.state.replicas.find(second.id)) === 1)
  await until(() => waiting.pause === undefined)
  await waiting.settled()
  await sync(first, hub)
  await expectEqual(hub, first, second)
  expect(await second.table('notes').get('n1')).toEqual({ id: 'n1', text: 'after that' })
  expect(await first.rejected()).toEqual([])
})

it('a writer goes on whose change comes in one commit with what it waits for', async () => {
  const { first, second, hub } = await play()
  await hub.ledger.submit(beginEpoch(now()))
  const held: (() => void)[] = []
  const links = [second, first].map((client) => connect(client, hub, undefined, held))
  await until(() => held.length === 2)
  for (const deliver of held.splice(0)) deliver()
  await until(() => held.length > 0)
  for (const deliver of held.splice(0)) deliver()
  await until(() => hub.ledger.durableSeqOf(hub.ledger.state.replicas.find(second.id)) === 1)
  for (const link of links) await link.settled()
  await expectEqual(hub, first, second)
})

it('V1: sessions end with their epoch, and cursors of it are foreign', async () => {
  const { first, second, hub } = await play()
  for (const each of [first, second, first]) await sync(each, hub)
  const link = connect(first, hub)
  await link.settled()
  const before = hub.ledger.state.meta.epoch
  await hub.ledger.submit(beginEpoch(now()))
  await until(() => link.state === 'closed')
  expect(link.error).toMatchObject({ code: 'unavailable', retryable: true })
  expect(hub.ledger.state.meta.epoch).toBeGreaterThan(before)
  await second.table('notes').insert({ id: 'n2', text: 'in the new epoch' })
  for (const each of [second, first]) await sync(each, hub)
  await expectEqual(hub, first, second)
})

it('V2: two stores that go on from one backup write under ids of their own', async () => {
  const { hub, backup } = await play()
  const twin = await openServer(await copyOf(backup))
  const ids: ReplicaId[] = [hub.ledger.state.meta.replicaId]
  for (const each of [hub, twin, hub]) {
    await each.ledger.submit(beginEpoch(now()))
    expect(each.ledger.state.meta).toMatchObject({ ownSeq: 0, ackedSeq: 0 })
    ids.push(each.ledger.state.meta.replicaId)
  }
  expect(new Set(ids).size).toBe(4)
  const { epoch, replicaId } = hub.ledger.state.meta
  expect((await openServer(hub.ledger.store)).ledger.state.meta).toMatchObject({ epoch, replicaId })
})

it('V4: a hello that shows a loss makes the server wait, and touches nobody else', async () => {
  const { first, second, hub, backup } = await play()
  const { epoch, replicaId } = hub.ledger.state.meta
  await sync(first, hub)
  expect(hub.ledger.state.meta).toMatchObject({ epoch, replicaId })
  expect(isRecovering(hub.ledger.state, nowMs)).toBe(true)
  const { recoveringUntilMs } = hub.ledger.state.meta
  nowMs += 1_000
  await sync(second, hub)
  await sync(first, hub)
  await expectEqual(hub, first, second)
  expect(hub.ledger.state.meta.recoveringUntilMs).toBe(recoveringUntilMs)

  const untold = await openServer(await copyOf(backup))
  await sync(await openClient(), untold)
  expect(isRecovering(untold.ledger.state, nowMs)).toBe(false)
})

it('what a server had refused stays refused, with the same reason, whatever it would say now', async () => {
  const store = openMemoryStore()
  const old = await openServer(store)
  const [first, second] = [await openClient(), await openClient()]
  await sync(first, old)
  const backup = await copyOf(store)
  await first.table('notes').insert({ id: 'bad', text: 'one' })
  await first.table('notes').insert({ id: 'good', text: 'two' })
  const refuse = (id: string): VoidCode | undefined => (id === 'bad' ? 'invalid-row' : undefined)
  await sync(first, old, refuse)
  await sync(second, old)
  const hub = await openServer(backup)
  await hub.ledger.submit(beginEpoch(now()))
  await first.table('notes').update('good', { text: 'three' })
  await sync(first, hub)
  await sync(second, hub)
  await expectEqual(hub, first, second)
  expect(hub.ledger.state.meta).toMatchObject({ voids: 1, changes: 2 })
  expect((await first.rejected()).map(({ code }) => code)).toEqual(['invalid-row'])
})

it('V3: what was accepted once waits and is not refused, though the server would refuse it now', async () => {
  const { first, second, hub } = await play()
  await hub.ledger.submit(beginEpoch(now()))
  for (const isOver of [false, true]) {
    if (isOver) await hub.ledger.submit(endRecovery())
    const link = connect(first, hub, () => 'forbidden')
    await until(() => link.pause !== undefined)
    expect(link.pause).toMatchObject({ resource: 'lost-changes' })
    link.end()
  }
  expect(hub.ledger.state.meta.voids).toBe(0)
  await sync(first, hub)
  await sync(second, hub)
  await sync(first, hub)
  await expectEqual(hub, first, second)
})

it('when a recovery is over, what builds on a lost change is refused, and its row shows what was agreed', async () => {
  const store = openMemoryStore()
  const old = await openServer(store)
  const [first, second] = [await openClient(), await openClient()]
  await first.table('notes').insert({ id: 'n1', text: 'before' })
  for (const each of [first, second]) await sync(each, old)
  const backup = await copyOf(store)
  await first.table('notes').update('n1', { text: 'lost' })
  for (const each of [first, second]) await sync(each, old)
  await second.table('notes').update('n1', { text: 'on top' })
  const hub = await openServer(backup)
  await hub.ledger.submit(beginEpoch(now()))
  const waiting = connect(second, hub)
  await until(() => waiting.pause !== undefined)
  expect(await second.rejected()).toEqual([])
  await hub.ledger.submit(endRecovery())
  waiting.resume()
  await until(() => hub.ledger.state.meta.voids === 1)
  await waiting.settled()
  expect((await second.rejected()).map(({ code }) => code)).toEqual(['unknown-context'])
  expect(await second.table('notes').get('n1')).toEqual({ id: 'n1', text: 'lost' })
  await sync(first, hub)
  await waiting.settled()
  await expectEqual(hub, first, second)
})

it('A5: a server that takes back what it had accepted ends the session, and the row stays', async () => {
  const { first } = await play()
  const { ackedSeq } = first.ledger.state.meta
  const answer = new TakeAnswer(ackedSeq, [{ seq: ackedSeq, code: 'unknown-context' }])
  expect(await failureOf(first.ledger.submit(answer))).toBe('server-restored')
  expect(await first.table('notes').get('n1')).toEqual({ id: 'n1', text: 'after that' })
  expect(await first.rejected()).toEqual([])
})

it('a store that was written before there were epochs to begin opens as one that recovers from nothing', async () => {
  const store = openMemoryStore()
  const { ledger } = await openServer(store)
  const [bytes] = await store.getMany([META_KEY])
  const record = asArray(unpackRecord(bytes ?? new Uint8Array(0)))
  await store.commit({
    expectedHead: await store.head(),
    puts: [{ key: META_KEY, value: packRecord(record.slice(0, 21)) }],
    deletes: [],
  })
  await ledger.close()
  expect((await openServer(store)).ledger.state.meta).toMatchObject({ epoch: 1, recoveringUntilMs: 0 })
})
