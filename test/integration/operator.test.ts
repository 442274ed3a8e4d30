/**
 * What an operator is told: who uses what, who is about to hit a limit, who is refused and why, who lags, who floods; of tenants
 * that are closed as well. Each is shown by the page of metrics and by the usage that `tidemark usage` prints.
 */
import { describe, expect, test } from 'vitest'
import type { Store } from '../../core/index.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import { usagesToText, usageToText } from '../../sync-server/commands/usage-text.ts'
import type { SyncServer } from '../../sync-server/index.ts'
import type { QuotaName } from '../../tenant/index.ts'
import { sign } from './sign.ts'
import { createFolder, linkTo, openNotes, settleAll, statusOf, until, writeNotes } from './stage.ts'
import { openTokenServer, openWithToken } from './tokens.ts'

type Usage = Parameters<typeof usageToText>[0]

const TOKEN = 'the-token-of-the-operator-has-32-bytes-or-more'
const QUOTAS: Readonly<Record<QuotaName, number>> = {
  ...{ rows: 20, storedBytes: 2 ** 20, replicas: 20, connections: 3, liveReplicasPerSubject: 2 },
  ...{ changesPerSecond: 10_000, bytesPerSecond: 2 ** 20, snapshotBuilds: 1 },
}

async function openSmall(quotas: Partial<Record<QuotaName, number>> = {}): Promise<SyncServer> {
  const plans = { small: { features: ['sync'], quotas: { ...QUOTAS, ...quotas } } }
  const server = await openTokenServer({
    plans,
    idleMs: 100,
    admin: { port: 0, token: TOKEN },
    dataDir: createFolder(),
  })
  await server.manager.setPlan('acme', 'small')
  return server
}

async function usageOf(server: SyncServer, tenant = 'acme'): Promise<Usage> {
  const headers = { authorization: `Bearer ${TOKEN}` }
  return (await fetch(`${server.adminUrl}/tenants/${tenant}/usage`, { headers })).json() as Promise<Usage>
}

async function seriesOf(server: SyncServer, name: string): Promise<string[]> {
  const page = await server.metrics()
  return page.split('\n').filter((line) => line.startsWith(`tidemark_${name}{`))
}

describe('an operator sees', () => {
  test('who waits for room, of what, and the way out', async () => {
    const server = await openSmall()
    const { replica, link } = await openWithToken(server.url)
    for (let row = 0; row < 21; row++) await replica.table('notes').insert({ id: `n${row}`, title: 'x', done: false })
    await statusOf(link, ({ pause }) => pause?.resource === 'rows')
    await until(async () => (await usageOf(server)).pausedWriters === 1, 'the writer waits')
    expect(
      usagesToText([await usageOf(server)])
        .split('\n')
        .slice(2),
    ).toEqual([
      '! acme has used 20 of 20 rows: its users delete, or a larger plan (tidemark tenants plan acme PLAN)',
      '! acme has writers that wait for room (1): what they write needs more than is left',
    ])
    expect(await seriesOf(server, 'paused_writers')).toEqual(['tidemark_paused_writers{tenant="acme"} 1'])
    await server.manager.setPlan('acme', 'unlimited')
    await until(() => replica.pending === 0, 'there is room')
    expect((await usageOf(server)).pausedWriters).toBe(0)
  })

  test('that deletes give rows back and no bytes', async () => {
    const server = await openSmall()
    const { replica, link } = await openWithToken(server.url)
    await writeNotes(replica, 10)
    await settleAll(link)
    const before = await usageOf(server)
    const ids: string[] = []
    for await (const { id } of replica.table('notes').scan()) ids.push(id)
    for (const id of ids) await replica.table('notes').delete(id)
    await settleAll(link)
    const after = await usageOf(server)
    expect([before.stored?.rows.used, after.stored?.rows.used]).toEqual([10, 0])
    expect(after.bytes?.log).toBeGreaterThan(before.bytes?.log ?? 0)
    expect(after.stored?.storedBytes.used).toBe((after.bytes?.log ?? 0) + (after.bytes?.rows ?? 0))
  })

  test('who is not let in, for which quota, and nothing of tenants that are not there', async () => {
    const server = await openSmall({ connections: 2, liveReplicasPerSubject: 1 })
    await openWithToken(server.url, { sub: 'ann' }).then(({ link }) => settleAll(link))
    const refused = async (claims: Parameters<typeof sign>[0]): Promise<unknown> => {
      const link = linkTo(await openNotes({ tenant: claims?.tenant ?? 'acme' }), server.url, {
        token: await sign(claims),
      })
      const { lastError } = await statusOf(link, (status) => status.lastError !== undefined)
      await link.close()
      return lastError?.code
    }
    expect(await refused({ sub: 'ann' })).toBe('quota-exceeded')
    await openWithToken(server.url, { sub: 'bob' }).then(({ link }) => settleAll(link))
    expect(await refused({ sub: 'cyd' })).toBe('quota-exceeded')
    expect(await refused({ sub: 'ann', tenant: 'nowhere' })).toBe('forbidden')
    const series = await seriesOf(server, 'refused_connections_total')
    expect(series.map((line) => line.replace(/ \d+$/, '')).toSorted()).toEqual([
      'tidemark_refused_connections_total{code="forbidden"}',
      'tidemark_refused_connections_total{code="quota-exceeded",tenant="acme",resource="connections"}',
      'tidemark_refused_connections_total{code="quota-exceeded",tenant="acme",resource="liveReplicasPerSubject"}',
    ])
    const text = usageToText(await usageOf(server))
    expect(text).toMatch(/^connections +quota-exceeded connections +\d+ +too many at once for its plan; a larger plan/m)
    expect(text).toMatch(/^connections +quota-exceeded liveReplicasPerSubject +\d+ +more devices of one person/m)
  })

  test('who lags although it is gone, and how a tenant stands that is closed, but none that was erased', async () => {
    const server = await openSmall({ rows: 1_000 })
    const gone = await openWithToken(server.url, { sub: 'bob' })
    const { replica, link } = await openWithToken(server.url, { sub: 'ann' })
    await settleAll(link, gone.link)
    await gone.link.close()
    await writeNotes(replica, 30)
    await settleAll(link)
    await until(async () => (await usageOf(server)).furthestBehind?.entries === 30, 'it is 30 entries behind')
    expect(await usageOf(server)).toMatchObject({ furthestBehind: { replica: gone.replica.id } })
    const lag = 'tidemark_tenant_lag{tenant="acme"} 30'
    await until(async () => (await seriesOf(server, 'tenant_lag')).includes(lag), 'the page tells it')
    await link.close()
    await until(() => server.manager.open.length === 0, 'nobody is there, and the tenant was closed')
    expect(await seriesOf(server, 'tenant_lag')).toContain(lag)
    expect(await seriesOf(server, 'stored_rows')).toContain('tidemark_stored_rows{tenant="acme"} 30')
    expect(await seriesOf(server, 'quota_share')).toContain('tidemark_quota_share{tenant="acme",resource="rows"} 0.03')
    await server.manager.setPlan('acme', 'unlimited')
    expect(await seriesOf(server, 'quota_share')).toEqual([])
    await server.manager.erase('acme')
    expect(await seriesOf(server, 'stored_rows')).toEqual([])
  })

  test('the page, also while the registry cannot be read', async () => {
    const store = openMemoryStore()
    let isBroken = false
    const registry: Store = {
      head: () => store.head(),
      getMany: async (keys) => (isBroken ? Promise.reject(new Error('the disk is gone')) : store.getMany(keys)),
      range: (range) => store.range(range),
      commit: (commit) => store.commit(commit),
      close: () => store.close(),
    }
    const server = await openTokenServer({ openRegistry: () => registry, idleMs: 100 })
    const { replica, link } = await openWithToken(server.url)
    await writeNotes(replica, 5)
    await settleAll(link)
    await link.close()
    await until(() => server.manager.open.length === 0, 'nobody is there, and the tenant was closed')
    isBroken = true
    expect(await seriesOf(server, 'stored_rows')).toEqual(['tidemark_stored_rows{tenant="acme"} 5'])
    isBroken = false
  })

  test('who floods: it waits for its time, and is named', async () => {
    const server = await openSmall({ changesPerSecond: 1, rows: 100_000 })
    const { replica, link } = await openWithToken(server.url)
    await writeNotes(replica, 1_050)
    await until(() => replica.pending === 0, 'a burst is taken')
    await replica.table('notes').insert({ id: 'more', title: 'more', done: false })
    await until(async () => ((await usageOf(server)).traffic?.heldFrames ?? 0) > 0, 'frames wait')
    const text = usageToText(await usageOf(server))
    expect(text).toMatch(/^! acme sends as fast as its plan lets it, \d+ changes and .* a second of 1 and 1\.0 MiB/m)
    expect((await seriesOf(server, 'held_frames_total'))[0]).toMatch(
      /^tidemark_held_frames_total\{tenant="acme"\} [1-9]/,
    )
    await server.manager.setPlan('acme', 'unlimited')
    await settleAll(link)
  })

  test('rows in conflict as they are now, not as they came about', async () => {
    const server = await openSmall()
    const [ann, bob] = [
      await openWithToken(server.url, { sub: 'ann' }),
      await openWithToken(server.url, { sub: 'bob' }),
    ]
    await ann.replica.table('notes').insert({ id: 'n1', title: 'one', done: false })
    await settleAll(ann.link, bob.link)
    await Promise.all([ann.link.close(), bob.link.close()])
    for (const { replica } of [ann, bob]) await replica.table('notes').update('n1', { title: replica.id })
    for (const [sub, { replica }] of Object.entries({ ann, bob })) {
      await settleAll(linkTo(replica, server.url, { token: await sign({ sub }) }))
    }
    expect(await usageOf(server)).toMatchObject({ conflictedRows: 1 })
    expect(await seriesOf(server, 'conflicted_rows')).toContain('tidemark_conflicted_rows{tenant="acme"} 1')
    await bob.replica.table('notes').update('n1', { title: 'settled' })
    await until(async () => (await usageOf(server)).conflictedRows === 0, 'nothing is in conflict any more')
  })
})
