/** Mistakes that others have made between a client, a server and its tenants, by their numbers. Each was seen in a real system. */
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { createMemoryStores } from '../../core/stores/memory.ts'
import { createSyncServer } from '../../sync-server/index.ts'
import { openIntruder } from './intruder.ts'
import { AUTH, sign } from './sign.ts'
import {
  contentOf,
  createFolder,
  linkTo,
  openLinked,
  openNotes,
  openServer,
  openWire,
  settleAll,
  silent,
  stateOf,
  statusOf,
  until,
  writeNotes,
} from './stage.ts'
import { openTokenServer, openWithToken } from './tokens.ts'

const OPEN = {
  rows: 'unlimited',
  storedBytes: 'unlimited',
  replicas: 'unlimited',
  connections: 'unlimited',
  liveReplicasPerSubject: 'unlimited',
  changesPerSecond: 'unlimited',
  bytesPerSecond: 'unlimited',
  snapshotBuilds: 'unlimited',
}

describe('23', () => {
  test('an upload that cannot go on does not stop downloads', async () => {
    const plans = { full: { features: ['sync'], quotas: { ...OPEN, rows: 1 } } }
    const server = await openTokenServer({ plans, defaultPlan: 'full', pauseMs: 60_000 })
    const [writer, other] = [await openWithToken(server.url), await openWithToken(server.url, { sub: 'bob' })]
    await other.replica.table('notes').insert({ id: 'n0', title: 'first', done: false })
    await settleAll(other.link, writer.link)
    await writeNotes(writer.replica, 500)
    await statusOf(writer.link, ({ pause }) => pause !== undefined)
    for (let n = 0; n < 20; n++) await other.replica.table('notes').update('n0', { title: `news ${n}` })
    await other.link.settled()
    await until(async () => (await writer.replica.table('notes').get('n0'))?.title === 'news 19', 'the news arrive')
    expect(writer.replica.pending).toBe(500)
  })

  test('one bad change does not block those behind it', async () => {
    const server = await openTokenServer({ authorize: ({ id }) => id !== 'bad' })
    const [a, b] = [await openWithToken(server.url), await openWithToken(server.url, { sub: 'bob' })]
    for (const id of ['before', 'bad', 'after']) {
      await a.replica.table('notes').insert({ id, title: 'a note', done: false })
    }
    await settleAll(a.link, b.link)
    expect(await a.replica.rejected()).toMatchObject([{ code: 'forbidden' }])
    expect((await b.replica.digest()).rows).toBe(2)
    expect(await contentOf(a.replica)).toEqual(await contentOf(b.replica))
  })
})

describe('24', () => {
  test('a row too large for the wire is refused where it is written, and the link stays', async () => {
    const server = await openServer()
    const { replica, link } = await openLinked(server.url)
    await settleAll(link)
    const huge = replica.table('notes').insert({ id: 'n1', title: 'x'.repeat(2 ** 20), done: false })
    await expect(huge).rejects.toMatchObject({ code: 'too-large' })
    await replica.table('notes').insert({ id: 'n2', title: 'fits', done: false })
    await settleAll(link)
    expect(link.status).toMatchObject({ state: 'live', pending: 0, attempts: 1 })
  })

  test('a row that only this server finds too large is refused once, and not sent for ever', async () => {
    const server = await openServer({ limits: { changeBytesMax: 2_048 } })
    const { replica, link } = await openLinked(server.url)
    await replica.table('notes').insert({ id: 'n1', title: 'x'.repeat(100_000), done: false })
    await replica.table('notes').insert({ id: 'n2', title: 'fits', done: false })
    await settleAll(link)
    expect(await replica.rejected()).toMatchObject([{ code: 'too-large' }])
    expect(link.status).toMatchObject({ state: 'live', pending: 0, attempts: 1 })
  })
})

test('25: what was sent on a connection that broke is sent again: one lost message is no silence', async () => {
  const server = await openServer()
  const wire = await openWire(server.port)
  const replica = await openNotes()
  const link = linkTo(replica, wire.url)
  await settleAll(link)
  for (let turn = 0; turn < 5; turn++) {
    // What is written now is sent, and swallowed by the network.
    wire.silence()
    await replica.table('notes').insert({ id: `n${turn}`, title: 'lost on the way', done: false })
    await new Promise((resolve) => setImmediate(resolve))
    wire.cut()
    await link.settled()
  }
  const { replica: other, link: otherLink } = await openLinked(server.url)
  await settleAll(otherLink)
  expect((await other.digest()).rows).toBe(5)
})

describe('26: a tenant that cannot be loaded is unavailable, never empty, and nothing is written over it', () => {
  const folderOf = (dataDir: string): string => {
    const [name = ''] = readdirSync(dataDir).filter((each) => /^[0-9a-f]{32}$/.test(each))
    return join(dataDir, name)
  }
  const fill = async (dataDir: string): Promise<void> => {
    const server = await openTokenServer({ dataDir, defaultPlan: 'pro' })
    const { replica, link } = await openWithToken(server.url)
    await writeNotes(replica, 300)
    await link.settled()
    await link.close()
    await server.close()
  }

  const damages: readonly (readonly [what: string, damage: (folder: string) => void])[] = [
    [
      'whose disk is not mounted',
      (folder) => {
        rmSync(folder, { recursive: true })
        mkdirSync(folder)
      },
    ],
    ['whose directory is gone', (folder) => rmSync(folder, { recursive: true })],
    ['whose file was cut to nothing', (folder) => truncateSync(join(folder, 'data.mdb'), 0)],
  ]
  test.each(damages)('%s', async (_what, damage) => {
    const dataDir = createFolder()
    await fill(dataDir)
    damage(folderOf(dataDir) || dataDir)
    const server = await openTokenServer({ dataDir, defaultPlan: 'pro' })
    const { replica, link } = await openWithToken(server.url)
    await replica.table('notes').insert({ id: 'n1', title: 'kept here', done: false })
    const { lastError } = await statusOf(link, ({ attempts }) => attempts >= 3)
    expect(lastError).toMatchObject({ code: 'unavailable', retryable: true })
    expect(String(lastError)).not.toContain(dataDir)
    expect(replica.pending).toBe(1)
    expect((await fetch(`${server.url}/readyz`)).status).toBe(503)
    expect(await server.manager.get('acme')).toMatchObject({ state: 'active' })
    expect(server.tenants).toEqual([])
  })

  test('that holds the log of another tenant', async () => {
    const stores = createMemoryStores()
    const registry = createMemoryStores()
    let isMixedUp = false
    const options = {
      openStore: (tenant: string) => stores(isMixedUp ? 'globex' : tenant),
      openRegistry: () => registry('registry'),
      idleMs: 1,
    }
    const server = await openTokenServer(options)
    const a = await openWithToken(server.url)
    await writeNotes(a.replica, 10)
    await a.link.settled()
    await a.link.close()
    await until(() => server.tenants.length === 0, 'the idle tenant is closed')
    isMixedUp = true
    const b = await openWithToken(server.url)
    expect((await statusOf(b.link, ({ attempts }) => attempts >= 2)).lastError).toMatchObject({ code: 'unavailable' })
    isMixedUp = false
    await settleAll(b.link)
    expect((await b.replica.digest()).rows).toBe(10)
  })
})

test('27: a plan that was deleted allows nothing, whoever had it', async () => {
  const [stores, registry] = [createMemoryStores(), createMemoryStores()]
  const options = { openStore: stores, openRegistry: () => registry('registry') }
  const plans = { gold: { features: ['sync'], quotas: OPEN } }
  const first = await openTokenServer({ ...options, plans, defaultPlan: 'gold' })
  const a = await openWithToken(first.url)
  await settleAll(a.link)
  await a.link.close()
  await first.close()
  const second = await openTokenServer({ ...options, defaultPlan: 'pro' })
  const b = await openWithToken(second.url)
  expect(await stateOf(b.link, 'stopped')).toMatchObject({ lastError: { code: 'forbidden' } })
})

describe('28', () => {
  test('tenants that are served at the same moment are never taken for each other', async () => {
    const server = await openTokenServer({ defaultPlan: 'pro' })
    const names = Array.from({ length: 12 }, (_, n) => `tenant-${n}`)
    const all = await Promise.all(names.map((tenant) => openWithToken(server.url, { tenant })))
    await Promise.all(
      all.map(async ({ replica }, n) => {
        for (let row = 0; row < 20; row++) {
          await replica.table('notes').insert({ id: `${row}`, title: `canary of ${names[n]}`, done: false })
        }
      }),
    )
    const readers = await Promise.all(names.map((tenant) => openWithToken(server.url, { tenant, sub: 'bob' })))
    await settleAll(...all.map(({ link }) => link), ...readers.map(({ link }) => link))
    for (const [n, { replica }] of readers.entries()) {
      const titles = new Set<string>()
      for await (const { title } of replica.table('notes').scan()) titles.add(title)
      expect([...titles]).toEqual([`canary of ${names[n]}`])
    }
  })

  test('a read scope is not enough to push, however the push is said', async () => {
    const server = await openTokenServer()
    for (const scope of ['read', 'read relay admin']) {
      const intruder = await openIntruder(server, sign({ scope }))
      await intruder.greet()
      intruder.push({ seq: 1 }, { seq: 2 })
      expect(await intruder.hears('refuse')).toMatchObject({ code: 'forbidden' })
    }
    expect(server.manager.open[0]?.usage).toMatchObject({ rows: 0 })
  })

  test('there is no default secret, and no weak one', async () => {
    const { secret: _, ...keyless } = AUTH
    for (const auth of [
      keyless,
      { ...AUTH, secret: '' },
      { ...AUTH, secret: 'secret' },
      { ...AUTH, secret: 'x'.repeat(64) },
    ]) {
      const opening = createSyncServer({ dataDir: 'never-made', port: 0, auth, logger: silent() })
      await expect(opening).rejects.toMatchObject({ code: 'bad-option' })
    }
  })
})

test('29: what a server keeps of replicas that come and go is bounded by what they have stored', async () => {
  const dataDir = createFolder()
  const server = await openTokenServer({ dataDir, defaultPlan: 'pro', idleMs: 1 })
  for (let turn = 0; turn < 10; turn++) {
    const { replica, link } = await openWithToken(server.url)
    await replica.table('notes').upsert({ id: 'n1', title: `turn ${turn}`, done: false })
    await link.settled()
    await link.close()
  }
  await until(() => server.tenants.length === 0, 'the tenant is closed')
  expect(server.manager.open).toEqual([])
  const [folder = ''] = readdirSync(dataDir).filter((name) => /^[0-9a-f]{32}$/.test(name))
  expect(statSync(join(dataDir, folder, 'data.mdb')).size).toBeLessThan(1 << 20)
  expect(readFileSync(join(dataDir, folder, 'data.mdb')).includes('turn 9')).toBe(true)
})
