/** Who is let in, what they may do, and what a tenant has room for: tokens, scopes, plans and quotas on the real port. */
import { describe, expect, test } from 'vitest'
import { parseTenantName } from '../../core/index.ts'
import { createMemoryStores } from '../../core/stores/memory.ts'
import type { UsageEvent } from '../../tenant/index.ts'
import { sign } from './sign.ts'
import {
  contentOf,
  openLinked,
  openRawSocket,
  openServer,
  settleAll,
  stateOf,
  statusOf,
  until,
  writeNotes,
} from './stage.ts'
import { openTokenServer, openWithToken } from './tokens.ts'

const UNLIMITED = {
  rows: 'unlimited',
  storedBytes: 'unlimited',
  replicas: 'unlimited',
  connections: 'unlimited',
  liveReplicasPerSubject: 'unlimited',
  changesPerSecond: 'unlimited',
  bytesPerSecond: 'unlimited',
  snapshotBuilds: 'unlimited',
}

function plan(quotas: object, features: readonly string[] = ['sync']): object {
  return { features, quotas: { ...UNLIMITED, ...quotas } }
}

describe('a token', () => {
  test('lets two replicas of its tenant sync, and keeps those of another one apart', async () => {
    const server = await openTokenServer()
    const [a, b] = [await openWithToken(server.url), await openWithToken(server.url, { sub: 'bob' })]
    const other = await openWithToken(server.url, { tenant: 'globex' })
    await writeNotes(a.replica, 20)
    await settleAll(a.link, b.link, other.link)
    expect((await b.replica.digest()).rows).toBe(20)
    expect((await other.replica.digest()).rows).toBe(0)
  })

  test('of a tenant that nobody registered is refused, and nothing is made for it', async () => {
    const server = await openTokenServer()
    const { link } = await openWithToken(server.url, { tenant: 'unknown' })
    expect(await stateOf(link, 'stopped')).toMatchObject({ lastError: { code: 'forbidden' } })
    expect(await server.manager.get('unknown')).toBeUndefined()
  })

  test('of a new tenant registers it where the server was given a plan for such', async () => {
    const server = await openTokenServer({ defaultPlan: 'free' })
    const { link } = await openWithToken(server.url, { tenant: 'fresh' })
    await settleAll(link)
    expect(await server.manager.get('fresh')).toMatchObject({ plan: 'free', state: 'active', mode: 'dedicated' })
  })

  test('says which tenant it is: one that the client names beside it counts for nothing', async () => {
    const server = await openTokenServer()
    await openRawSocket(server.url, { token: await sign({ tenant: 'globex' }), tenant: 'acme' })
    expect(server.tenants.map(({ tenant }) => tenant)).toEqual(['globex'])
  })
})

describe('a scope', () => {
  test('to read gets everything and can push nothing', async () => {
    const server = await openTokenServer()
    const writer = await openWithToken(server.url)
    await writeNotes(writer.replica, 5)
    await settleAll(writer.link)
    const reader = await openWithToken(server.url, { sub: 'eve', scope: 'read' })
    await settleAll(reader.link)
    expect((await reader.replica.digest()).rows).toBe(5)
    await reader.replica.table('notes').insert({ id: 'x', title: 'not allowed', done: false })
    expect(await stateOf(reader.link, 'stopped')).toMatchObject({ lastError: { code: 'forbidden' }, pending: 1 })
    await settleAll(writer.link)
    expect(await writer.replica.table('notes').get('x')).toBeUndefined()
  })

  test('to write pushes and is sent nothing', async () => {
    const server = await openTokenServer()
    const other = await openWithToken(server.url)
    await writeNotes(other.replica, 5)
    await settleAll(other.link)
    const sensor = await openWithToken(server.url, { sub: 'sensor', scope: 'write' })
    await sensor.replica.table('notes').insert({ id: 'reading', title: '21 °C', done: false })
    await settleAll(sensor.link, other.link)
    expect((await other.replica.table('notes').get('reading'))?.title).toBe('21 °C')
    expect((await sensor.replica.digest()).rows).toBe(1)
  })

  test('for a few tables to write reads all the others', async () => {
    const server = await openTokenServer()
    const other = await openWithToken(server.url)
    await writeNotes(other.replica, 5)
    await settleAll(other.link)
    const { replica, link } = await openWithToken(server.url, { sub: 'kiosk', writeTables: ['orders'] })
    await settleAll(link)
    expect((await replica.digest()).rows).toBe(5)
    await replica.table('notes').insert({ id: 'mine', title: 'not its table', done: false })
    await settleAll(link)
    expect(await replica.rejected()).toMatchObject([{ code: 'forbidden' }])
  })

  test('for other tables refuses the change and not what follows it', async () => {
    const server = await openTokenServer()
    const { replica, link } = await openWithToken(server.url, { scope: 'write', tables: ['orders'] })
    await replica.table('notes').insert({ id: 'n1', title: 'not its table', done: false })
    await settleAll(link)
    expect(await replica.rejected()).toMatchObject([{ code: 'forbidden' }])
    expect(await replica.table('notes').get('n1')).toBeUndefined()
  })
})

test('a rule of the app decides about each change, and one that throws refuses', async () => {
  const server = await openTokenServer({
    authorize: ({ values }, { subject }, row) => {
      if (values.title === 'boom') throw new Error('a bug of the app')
      return row === undefined || row.title !== 'locked' || subject === 'owner'
    },
  })
  const owner = await openWithToken(server.url, { sub: 'owner' })
  const guest = await openWithToken(server.url, { sub: 'guest' })
  await owner.replica.table('notes').insert({ id: 'n1', title: 'locked', done: false })
  await settleAll(owner.link, guest.link)
  await guest.replica.table('notes').update('n1', { title: 'taken over' })
  await guest.replica.table('notes').insert({ id: 'n2', title: 'boom', done: false })
  await guest.replica.table('notes').insert({ id: 'n3', title: 'mine', done: false })
  await settleAll(guest.link, owner.link)
  expect((await guest.replica.table('notes').get('n1'))?.title).toBe('locked')
  expect((await owner.replica.digest()).rows).toBe(2)
  await owner.replica.table('notes').update('n1', { title: 'open' })
  await settleAll(owner.link, guest.link)
  expect((await guest.replica.table('notes').get('n1'))?.title).toBe('open')
})

describe('a plan', () => {
  test('27: that was deleted, or does not include sync, lets nobody in', async () => {
    const server = await openTokenServer({ plans: { closed: plan({}, []) } })
    await server.manager.setPlan('globex', 'closed')
    const { link } = await openWithToken(server.url, { tenant: 'globex' })
    expect(await stateOf(link, 'stopped')).toMatchObject({ lastError: { code: 'forbidden' } })
  })

  test('that is taken away ends the sessions of its tenant', async () => {
    const server = await openTokenServer({ plans: { closed: plan({}, []) } })
    const { link } = await openWithToken(server.url)
    await settleAll(link)
    await server.manager.setPlan('acme', 'closed')
    expect(await stateOf(link, 'stopped')).toMatchObject({ lastError: { code: 'forbidden' } })
  })

  test('says how many may be connected at once; who is too many comes back when there is a seat', async () => {
    const server = await openTokenServer({ plans: { two: plan({ connections: 2 }) }, defaultPlan: 'two' })
    const [a, b] = [await openWithToken(server.url), await openWithToken(server.url)]
    await settleAll(a.link, b.link)
    const c = await openWithToken(server.url)
    const { lastError, nextAttemptAt } = await stateOf(c.link, 'offline')
    expect(lastError).toMatchObject({ code: 'quota-exceeded', details: { resource: 'connections', limit: 2, used: 2 } })
    expect((nextAttemptAt ?? 0) - Date.now()).toBeGreaterThan(4_000)
  })

  test('says how many replicas of one subject may be', async () => {
    const server = await openTokenServer({ plans: { one: plan({ liveReplicasPerSubject: 1 }) }, defaultPlan: 'one' })
    const [a, bob] = [await openWithToken(server.url), await openWithToken(server.url, { sub: 'bob' })]
    await settleAll(a.link, bob.link)
    const again = await openWithToken(server.url)
    expect((await stateOf(again.link, 'offline')).lastError).toMatchObject({ code: 'quota-exceeded' })
  })
})

describe('a quota', () => {
  test('that is used up pauses the writer, takes no dot of it, and goes on by itself when there is room', async () => {
    const events: UsageEvent[] = []
    const server = await openTokenServer({
      plans: { small: plan({ rows: 10 }), large: plan({ rows: 100 }) },
      defaultPlan: 'small',
      pauseMs: 300,
      onUsage: (_tenant, event) => events.push(event),
    })
    const a = await openWithToken(server.url)
    const b = await openWithToken(server.url, { sub: 'bob' })
    for (let n = 0; n < 9; n++) await a.replica.table('notes').insert({ id: `n${n}`, title: 'a note', done: false })
    await settleAll(a.link)
    expect(events).toMatchObject([{ type: 'near', resource: 'rows', limit: 10 }])
    for (let n = 9; n < 12; n++) await a.replica.table('notes').insert({ id: `n${n}`, title: 'a note', done: false })
    const { pause, state } = await statusOf(a.link, (status) => status.pause !== undefined)
    expect(pause).toMatchObject({ resource: 'rows', limit: 10, used: 10 })
    expect(state).toBe('live')
    await expect(a.link.settled()).rejects.toMatchObject({ code: 'quota-exceeded', details: { resource: 'rows' } })
    await b.link.settled()
    expect((await b.replica.digest()).rows).toBe(10)
    expect(a.replica.pending).toBe(2)
    expect(events.map(({ type, resource }) => `${type} ${resource}`)).toEqual(['near rows', 'full rows'])

    await b.replica.table('notes').update('n0', { title: 'downloads go on' })
    await b.link.settled()
    await until(async () => (await a.replica.table('notes').get('n0'))?.title === 'downloads go on', 'it arrives')
    expect(a.replica.pending).toBe(2)

    await server.manager.setPlan('acme', 'large')
    await statusOf(a.link, (status) => status.pending === 0 && status.pause === undefined)
    await settleAll(a.link, b.link)
    expect((await b.replica.digest()).rows).toBe(12)
    expect(await contentOf(b.replica)).toEqual(await contentOf(a.replica))
  })

  test('that is used up lets others delete, and that makes room', async () => {
    const server = await openTokenServer({ plans: { small: plan({ rows: 5 }) }, defaultPlan: 'small', pauseMs: 300 })
    const [a, b] = [await openWithToken(server.url), await openWithToken(server.url, { sub: 'bob' })]
    await writeNotes(a.replica, 5)
    await settleAll(a.link, b.link)
    await a.replica.table('notes').insert({ id: 'more', title: 'one too many', done: false })
    await statusOf(a.link, ({ pause }) => pause !== undefined)
    await b.replica.table('notes').delete('a note-000000')
    await b.link.settled()
    await statusOf(a.link, ({ pending }) => pending === 0)
    await settleAll(a.link, b.link)
    expect((await b.replica.table('notes').get('more'))?.title).toBe('one too many')
    expect(server.manager.open[0]?.usage.rows).toBe(5)
  })

  test('of replicas is what a new one is refused for, and an old one is not', async () => {
    const server = await openTokenServer({ plans: { one: plan({ replicas: 1 }) }, defaultPlan: 'one' })
    const a = await openWithToken(server.url)
    await settleAll(a.link)
    const b = await openWithToken(server.url, { sub: 'bob' })
    expect((await stateOf(b.link, 'offline')).lastError).toMatchObject({ code: 'quota-exceeded' })
    await a.replica.table('notes').insert({ id: 'n1', title: 'still welcome', done: false })
    await settleAll(a.link)
  })

  test('counts exactly, and the same after a restart', async () => {
    const [stores, registry] = [createMemoryStores(), createMemoryStores()]
    const options = { openStore: stores, openRegistry: () => registry('registry'), defaultPlan: 'pro' }
    const first = await openTokenServer(options)
    const a = await openWithToken(first.url)
    await writeNotes(a.replica, 250)
    await settleAll(a.link)
    const before = { ...first.manager.open[0]?.usage }
    expect(before).toMatchObject({ rows: 250, replicas: 1 })
    await a.link.close()
    await first.close()
    const second = await openTokenServer(options)
    const lease = await second.manager.lease(parseTenantName('acme'))
    expect({ ...lease.tenant.usage }).toEqual(before)
    lease.release()
  })
})

test('a development server registers whoever comes, without limits', async () => {
  const server = await openServer()
  const many = await Promise.all(Array.from({ length: 120 }, () => openLinked(server.url, { tenant: 'anything' })))
  await Promise.all(many.map(({ link }) => link.settled()))
  expect(await server.manager.get('anything')).toMatchObject({ plan: 'unlimited', state: 'active' })
})
