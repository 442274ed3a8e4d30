/**
 * Names of tables and fields that a push brings: a server learns them from what it admits, and from nothing else (NN1).
 */

import { expect, test } from 'vitest'
import {
  clientRole,
  type Gate,
  Hub,
  isTidemarkError,
  Ledger,
  Link,
  openReplica,
  parseLimits,
  parseTenantName,
  type Replica,
  type TableDefinition,
  type Transport,
  table,
} from '../../core/index.ts'
import { serverRole } from '../../core/server-door.ts'
import { createMemoryDisk, openMemoryStore } from '../../core/stores/memory.ts'

type Row = { readonly id: string; readonly [field: string]: string }
type Client = Replica<Record<string, TableDefinition<Row>>>

const TENANT = 'acme'
const now = (): number => 1_700_000_000_000

function openClient(...names: readonly string[]): Promise<Client> {
  const tables = Object.fromEntries(names.map((name) => [name, table<Row>()]))
  return openReplica({ tenant: TENANT, store: openMemoryStore(), tables, now })
}

/** A server, and the same server opened anew on what its disk holds now. */
async function openServer(limits = parseLimits()): Promise<{ readonly hub: Hub; readonly reopen: () => Promise<Hub> }> {
  const disk = createMemoryDisk()
  const open = async (): Promise<Hub> =>
    new Hub(await Ledger.open({ tenant: parseTenantName(TENANT), store: disk.open(), limits, authority: 2 }))
  return { hub: await open(), reopen: open }
}

/** Refuses every change of a row whose id begins with `no`. */
const GATE: Gate = {
  mayRead: () => true,
  mayWrite: () => true,
  judge: ({ id }) => (id.startsWith('no') ? 'forbidden' : undefined),
}

/** Syncs with a server; answers with the code of what ended the session. */
async function sync(client: Client, hub: Hub, gate: Gate = GATE): Promise<string> {
  const ends: { client?: Link; server?: Link } = {}
  const to = (end: 'client' | 'server'): Transport => ({
    send: (frame) => queueMicrotask(() => ends[end]?.receive(frame)),
    close: () => queueMicrotask(() => ends[end]?.end()),
  })
  const { tables } = client
  ends.client = new Link({ hub: client.hub, role: clientRole, transport: to('server'), tables, now })
  const serverEnd = { hub, role: serverRole({ gate }), tables: new Map(), now } as const
  ends.server = new Link({ ...serverEnd, transport: to('client') })
  ends.client.start()
  try {
    await ends.client.settled()
    return 'settled'
  } catch (error) {
    return isTidemarkError(error) ? error.code : String(error)
  } finally {
    ends.client.end()
  }
}

function namesOf({ ledger }: Hub): string[] {
  const { names } = ledger.state
  return Array.from({ length: names.size }, (_, index) => names.textOf(index)).sort()
}

test('a change that is refused teaches no names, neither now nor with the next commit', async () => {
  const { hub, reopen } = await openServer()
  const client = await openClient('notes', 'secrets')
  await client.table('secrets').insert({ id: 'no-1', hidden: 'x' })
  expect(await sync(client, hub)).toBe('settled')
  expect(await client.rejected()).toHaveLength(1)
  expect(namesOf(hub)).toEqual([])
  await client.table('notes').insert({ id: 'n1', text: 'x' })
  expect(await sync(client, hub)).toBe('settled')
  expect(namesOf(hub)).toEqual(['notes', 'text'])
  expect(namesOf(await reopen())).toEqual(['notes', 'text'])
})

test('of a push with both kinds, what is admitted teaches its names, and reads back as it was written', async () => {
  const { hub, reopen } = await openServer()
  const client = await openClient('notes', 'secrets', 'tasks')
  await client.table('secrets').insert({ id: 'no-1', zulu: 'x', text: 'x' })
  await client.table('tasks').insert({ id: 't1', zulu: '1', alpha: '2', text: '3' })
  await client.transact((transaction) => {
    transaction.table('tasks').insert({ id: 't2', mike: '4' })
    transaction.table('notes').insert({ id: 'no-2', never: 'x' })
  })
  await client.transact((transaction) => {
    transaction.table('tasks').update('t1', { alpha: '5', oscar: '6' })
    transaction.table('notes').insert({ id: 'n1', text: '7' })
    transaction.table('notes').update('n1', { oscar: '8' })
  })
  expect(await sync(client, hub)).toBe('settled')
  expect((await client.rejected()).map(({ change, code }) => [change.id, code])).toEqual([
    ['no-1', 'forbidden'],
    ['t2', 'forbidden'],
    ['no-2', 'forbidden'],
  ])
  const learned = ['alpha', 'notes', 'oscar', 'tasks', 'text', 'zulu']
  expect(namesOf(hub)).toEqual(learned)
  const again = await reopen()
  expect(namesOf(again)).toEqual(learned)
  const reader = await openClient('notes', 'secrets', 'tasks')
  expect(await sync(reader, again)).toBe('settled')
  expect(await reader.table('tasks').get('t1')).toEqual({ id: 't1', zulu: '1', alpha: '5', oscar: '6', text: '3' })
  expect(await reader.table('notes').get('n1')).toEqual({ id: 'n1', text: '7', oscar: '8' })
  expect(await reader.digest()).toEqual(await client.digest())
})

test('a refused change with new names that is pushed again is known by its content', async () => {
  const { hub } = await openServer()
  const client = await openClient('secrets')
  await client.table('secrets').insert({ id: 'no-1', hidden: 'x' })
  // The answer is lost: the server has refused, and its writer pushes again.
  const lost = new Promise<void>((resolve) => {
    const stop = hub.ledger.onCommit(() => {
      if (hub.ledger.state.meta.voids === 0) return
      stop()
      resolve()
    })
  })
  const ends: { client?: Link; server?: Link } = {}
  const { tables } = client
  const up: Transport = { send: (frame) => queueMicrotask(() => ends.server?.receive(frame)), close: () => {} }
  ends.client = new Link({ hub: client.hub, role: clientRole, transport: up, tables, now })
  let frames = 0
  const down: Transport = {
    send: (frame) => queueMicrotask(() => frames++ === 0 && ends.client?.receive(frame)),
    close: () => {},
  }
  ends.server = new Link({
    hub,
    role: serverRole({ gate: GATE }),
    tables: new Map(),
    now,
    transport: down,
  })
  ends.client.start()
  await lost
  ends.client.end()
  expect(client.pending).toBe(1)
  expect(await sync(client, hub)).toBe('settled')
  expect(await client.rejected()).toHaveLength(1)
  expect(namesOf(hub)).toEqual([])
})

test('names beyond what a tenant may have are learned by nobody, and those within stay free', async () => {
  const { hub, reopen } = await openServer(parseLimits({ namesPerTenantMax: 4 }))
  const greedy = await openClient('notes')
  await greedy.table('notes').insert({ id: 'n1', a: '1', b: '2', c: '3', d: '4' })
  expect(await sync(greedy, hub)).toBe('too-large')
  expect(namesOf(hub)).toEqual([])
  const modest = await openClient('notes')
  await modest.table('notes').insert({ id: 'n2', text: '1' })
  expect(await sync(modest, hub)).toBe('settled')
  expect(namesOf(await reopen())).toEqual(['notes', 'text'])
})
