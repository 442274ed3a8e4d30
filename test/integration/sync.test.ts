/** Sync over real sockets: what two replicas and a server have to agree on, whatever lies between them. */

import { cpSync, mkdirSync, rmSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { table } from '../../core/index.ts'
import { openLmdbStore } from '../../core/stores/lmdb.ts'
import {
  contentOf,
  createFolder,
  linkTo,
  type Note,
  openLinked,
  openNotes,
  openServer,
  openWire,
  settleAll,
  stateOf,
  statusOf,
  writeNotes,
} from './stage.ts'

const serverKinds = [
  ['in memory', () => ({})],
  ['on LMDB', () => ({ dataDir: createFolder() })],
] as const

describe.each(serverKinds)('with a server %s', (_kind, storage) => {
  test('two clients sync both ways and end equal, in rows and in clocks', async () => {
    const server = await openServer(storage())
    const [a, b] = [await openLinked(server.url), await openLinked(server.url)]
    await a.replica.table('notes').insert({ id: 'n1', title: 'from A', done: false })
    await b.replica.table('notes').insert({ id: 'n2', title: 'from B', done: true })
    await settleAll(a.link, b.link)
    expect(await a.replica.table('notes').get('n2')).toEqual({ id: 'n2', title: 'from B', done: true })
    expect(await b.replica.table('notes').get('n1')).toEqual({ id: 'n1', title: 'from A', done: false })
    expect(await contentOf(a.replica)).toEqual(await contentOf(b.replica))
    expect(a.replica.clock.compare(b.replica.clock)).toBe('equal')
  })

  test('a change of one client is shown on another that is live, without anybody asking', async () => {
    const server = await openServer(storage())
    const [a, b] = [await openLinked(server.url), await openLinked(server.url)]
    await settleAll(a.link, b.link)
    const shown = new Promise((resolve) => b.replica.subscribe({ table: 'notes' }, resolve))
    await a.replica.table('notes').insert({ id: 'n1', title: 'news', done: false })
    expect(await shown).toMatchObject({ type: 'insert', origin: 'remote', row: { title: 'news' } })
  })

  test('edits made offline on both sides meet when both come back', async () => {
    const server = await openServer(storage())
    const [a, b] = [await openLinked(server.url), await openLinked(server.url)]
    await a.replica.table('notes').insert({ id: 'n1', title: 'first', done: false })
    await settleAll(a.link, b.link)
    await a.link.close()
    await b.link.close()
    await a.replica.table('notes').update('n1', { title: 'A was here' })
    await b.replica.table('notes').update('n1', { done: true })
    await writeNotes(a.replica, 500, 'offline A')
    await writeNotes(b.replica, 500, 'offline B')
    expect(a.replica.pending).toBe(501)
    await settleAll(linkTo(a.replica, server.url), linkTo(b.replica, server.url))
    expect(await b.replica.table('notes').get('n1')).toEqual({ id: 'n1', title: 'A was here', done: true })
    expect(a.replica.pending).toBe(0)
    expect(await contentOf(a.replica)).toEqual(await contentOf(b.replica))
  })
})

test.each([
  [['polling'] as const],
  [['websocket'] as const],
  [['polling', 'websocket'] as const],
  [['websocket', 'polling'] as const],
])('it works over %j', async (transports) => {
  const server = await openServer()
  const [a, b] = [await openNotes(), await openNotes()]
  const links = [linkTo(a, server.url, { transports }), linkTo(b, server.url, { transports })]
  await writeNotes(a, 3_000, 'much')
  await b.table('notes').insert({ id: 'n1', title: 'little', done: false })
  await settleAll(...links)
  expect(await contentOf(a)).toEqual(await contentOf(b))
})

test('a row near the limit of a frame passes, also where a poll carries it as Base64', async () => {
  const server = await openServer()
  const [a, b] = [await openNotes(), await openNotes()]
  await a.table('notes').insert({ id: 'big', title: 'x'.repeat(200 * 1024), done: false })
  await a.transact((transaction) => {
    for (let n = 0; n < 4; n++) {
      transaction.table('notes').insert({ id: `big-${n}`, title: 'y'.repeat(240 * 1024), done: false })
    }
  })
  await settleAll(
    linkTo(a, server.url, { transports: ['polling'] }),
    linkTo(b, server.url, { transports: ['polling'] }),
  )
  expect(await contentOf(a)).toEqual(await contentOf(b))
})

test('it works with compression, which makes what is sent smaller', async () => {
  const bytes: number[] = []
  for (const compression of [false, true]) {
    const server = await openServer({ compression })
    const wire = await openWire(server.port)
    const [a, b] = [await openLinked(server.url), await openLinked(wire.url)]
    await writeNotes(a.replica, 2_000, 'words that repeat, words that repeat')
    await settleAll(a.link, b.link)
    expect(await contentOf(a.replica)).toEqual(await contentOf(b.replica))
    bytes.push(wire.bytesDown)
  }
  const [plain = 0, compressed = 0] = bytes
  expect(compressed).toBeLessThan(plain / 2)
})

test('a snapshot for a new replica goes on after a cut where it was, and the log follows it', async () => {
  const server = await openServer()
  const wire = await openWire(server.port)
  const a = await openLinked(server.url)
  const [rows, title] = [4_000, 'a row that is long enough to make a snapshot of many chunks. '.repeat(25)]
  await writeNotes(a.replica, rows, title)
  await settleAll(a.link)

  const b = await openNotes({ store: await openLmdbStore(createFolder()) })
  wire.cutAfter(3_500_000)
  const link = linkTo(b, wire.url)
  await statusOf(link, ({ state, lastError }) => state === 'offline' && lastError !== undefined)
  const received = wire.bytesDown
  await a.replica.table('notes').insert({ id: 'meanwhile', title: 'written during the snapshot', done: false })
  await settleAll(a.link, link)
  expect(await contentOf(b)).toEqual(await contentOf(a.replica))
  // What was under way, a credit window at most, is sent again; what was durable is not.
  expect(wire.bytesDown - received).toBeLessThan(rows * title.length - 2_000_000)
})

test('a change that the server refuses blocks nothing, and its row shows the agreed state again', async () => {
  const server = await openServer({ authorize: ({ values }) => values.title !== 'forbidden' })
  const b = await openLinked(server.url)
  await b.replica.table('notes').insert({ id: 'n1', title: 'agreed', done: false })
  await settleAll(b.link)

  const a = await openLinked(server.url)
  await settleAll(a.link)
  await a.replica.table('notes').update('n1', { title: 'forbidden' })
  await settleAll(a.link)
  expect((await a.replica.table('notes').get('n1'))?.title).toBe('agreed')
  expect(await a.replica.rejected()).toMatchObject([{ code: 'forbidden', change: { id: 'n1' }, reissuedAs: undefined }])

  await b.replica.table('notes').insert({ id: 'n2', title: 'downloads go on', done: false })
  await settleAll(a.link, b.link)
  expect(a.replica.pending).toBe(0)
  expect(await contentOf(a.replica)).toEqual(await contentOf(b.replica))
})

test('what was refused because a clock ran ahead by years is issued again by the clock of the server, once', async () => {
  const server = await openServer()
  let offsetMs = 20 * 365 * 86_400_000
  const [a, b] = [await openLinked(server.url, { now: () => Date.now() + offsetMs }), await openLinked(server.url)]
  await a.replica.table('notes').insert({ id: 'n1', title: 'from the future', done: false })
  await settleAll(a.link, b.link)
  await a.link.close()
  offsetMs = 0
  const beforeMs = Date.now()
  a.link = linkTo(a.replica, server.url)
  await a.replica.table('notes').update('n1', { done: true })
  await settleAll(a.link, b.link)
  expect(await b.replica.table('notes').get('n1')).toMatchObject({ title: 'from the future', done: true })
  expect(await contentOf(a.replica)).toEqual(await contentOf(b.replica))
  const [rejected, ...others] = await a.replica.rejected()
  expect(rejected).toMatchObject({ code: 'clock-skew', reissuedAs: { replica: a.replica.id, seq: 2 } })
  expect(others).toEqual([])
  const [inserted, updated] = await b.replica.history('notes', 'n1')
  expect(inserted?.time).toBeLessThanOrEqual(beforeMs)
  expect(updated?.time).toBeGreaterThanOrEqual(beforeMs)
  expect(updated?.time).toBeLessThanOrEqual(Date.now())
})

test('a status tells how far the clock of the server is away', async () => {
  const server = await openServer({ now: () => Date.now() + 60_000 })
  const { link } = await openLinked(server.url)
  const { serverOffsetMs } = await stateOf(link, 'live')
  expect(serverOffsetMs).toBeGreaterThan(59_000)
  expect(serverOffsetMs).toBeLessThan(61_000)
})

describe('a link stops, and says why,', () => {
  test('when the replica defines a table otherwise than the others', async () => {
    const server = await openServer()
    const a = await openLinked(server.url)
    await settleAll(a.link)
    const b = await openLinked(server.url, { notes: table<Note>({ granularity: 'row' }) })
    await expect(b.link.settled()).rejects.toMatchObject({ code: 'schema-mismatch' })
    expect(b.link.status).toMatchObject({ state: 'stopped', lastError: { code: 'schema-mismatch' } })
    expect(a.link.status.state).toBe('live')
  })

  test('when its token is for another tenant', async () => {
    const server = await openServer({ authenticate: () => ({ tenant: 'globex', subject: 'ada', scopes: ['read'] }) })
    const { link } = await openLinked(server.url)
    expect(await stateOf(link, 'stopped')).toMatchObject({ lastError: { code: 'forbidden' } })
  })

  test('when the replica is closed under it', async () => {
    const server = await openServer()
    const { replica, link } = await openLinked(server.url)
    await settleAll(link)
    const other = await openLinked(server.url)
    await replica.close()
    await other.replica.table('notes').insert({ id: 'n1', title: 'arrives', done: false })
    expect(await stateOf(link, 'stopped')).toMatchObject({ lastError: { code: 'closed' } })
  })
})

test('a store that was copied goes on under a new id, and nothing that either copy wrote is lost', async () => {
  const server = await openServer()
  const folder = createFolder()
  const original = await openLmdbStore(`${folder}/original`)
  const a = await openLinked(server.url, { store: original })
  await a.replica.table('notes').insert({ id: 'n1', title: 'before the copy', done: false })
  await settleAll(a.link)
  await a.link.close()
  cpSync(`${folder}/original`, `${folder}/whole`, { recursive: true })
  await expect(openLmdbStore(`${folder}/whole`)).rejects.toMatchObject({ code: 'replica-cloned' })
  // A tool that copies what it knows by name.
  mkdirSync(`${folder}/copy`)
  cpSync(`${folder}/original/data.mdb`, `${folder}/copy/data.mdb`)
  await expect(openLmdbStore(`${folder}/copy`)).rejects.toMatchObject({ code: 'replica-cloned' })
  // As on another machine, which knows of no original.
  rmSync(`${folder}/original/.home`)

  const b = await openNotes({ store: await openLmdbStore(`${folder}/copy`) })
  expect(b.id).toBe(a.replica.id)
  await a.replica.table('notes').insert({ id: 'n2', title: 'by the original', done: false })
  await b.table('notes').insert({ id: 'n3', title: 'by the copy', done: false })
  const links = [linkTo(a.replica, server.url)]
  await settleAll(...links)
  links.push(linkTo(b, server.url))
  await settleAll(...links)
  expect(b.id).not.toBe(a.replica.id)
  expect((await a.replica.table('notes').get('n3'))?.title).toBe('by the copy')
  expect(await contentOf(a.replica)).toEqual(await contentOf(b))
})

test('of two programs on one replica the older one waits, and takes over again when the newer one goes', async () => {
  const server = await openServer()
  const replica = await openNotes()
  const patient = { backoff: { baseMs: 20, capMs: 1_000 }, random: () => 0.5 }
  const first = linkTo(replica, server.url, patient)
  await settleAll(first)
  const second = linkTo(replica, server.url, patient)
  const { lastError, reason } = await stateOf(first, 'offline')
  expect(lastError).toMatchObject({ code: 'replica-fenced' })
  expect(reason).toContain('newer session')
  await replica.table('notes').insert({ id: 'n1', title: 'through the second', done: false })
  await second.settled()
  await second.close()
  await stateOf(first, 'live')
  await replica.table('notes').insert({ id: 'n2', title: 'through the first', done: false })
  await settleAll(first)
  expect(replica.pending).toBe(0)
})
