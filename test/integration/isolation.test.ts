/** The same suite for each isolation mode, on a real server with real disks: tenants that never meet, restarts, moves, erasure. */
import { describe, expect, test } from 'vitest'
import { parseTenantName } from '../../core/index.ts'
import type { SyncServer } from '../../sync-server/index.ts'
import { ISOLATION_MODES, type IsolationMode } from '../../tenant/index.ts'
import { sign } from './sign.ts'
import { contentOf, createFolder, type NoteReplica, settleAll, stateOf, until } from './stage.ts'
import { openTokenServer, openWithToken, type TokenLinked } from './tokens.ts'

const NAMES = ['a', 'aa', 'a-', 'ab', 'b', `a${'a'.repeat(62)}`]
const ROWS = 25

async function titlesOf(replica: NoteReplica): Promise<ReadonlySet<string>> {
  const titles = new Set<string>()
  for await (const { title } of replica.table('notes').scan()) titles.add(title)
  return titles
}

const canaryOf = (tenant: string): string => `canary<${tenant}>`

async function fill({ replica }: TokenLinked, tenant: string): Promise<void> {
  for (let row = 0; row < ROWS; row++) {
    await replica.table('notes').insert({ id: `${row}`, title: canaryOf(tenant), done: false })
  }
}

/** What a replica that was never here is given. */
async function expectAtHome(server: SyncServer, tenant: string, rows = ROWS, nowMs = Date.now()): Promise<void> {
  const token = await sign({ tenant, sub: 'reader' }, { nowMs })
  const { replica, link } = await openWithToken(server.url, { tenant }, { connect: { token } })
  await settleAll(link)
  expect([...(await titlesOf(replica))]).toEqual(rows === 0 ? [] : [canaryOf(tenant)])
  expect((await replica.digest()).rows).toBe(rows)
  await link.close()
}

describe.each(ISOLATION_MODES)('tenants of the mode %s', (isolation) => {
  const open = (dataDir: string) => openTokenServer({ dataDir, isolation, defaultPlan: 'pro' })

  test('hold their own rows and nobody else’s, written at once, and again after a restart', async () => {
    const dataDir = createFolder()
    const server = await open(dataDir)
    const all = await Promise.all(NAMES.map((tenant) => openWithToken(server.url, { tenant })))
    await Promise.all(all.map((each, n) => fill(each, NAMES[n] ?? '')))
    await Promise.all(all.map(({ link }) => link.settled()))
    for (const tenant of NAMES) await expectAtHome(server, tenant)
    expect((await server.manager.list()).map(({ mode }) => mode)).toEqual(NAMES.map(() => isolation))
    await server.close()
    const again = await open(dataDir)
    for (const tenant of NAMES) await expectAtHome(again, tenant)
  })

  test('are erased without a trace, while the others go on', async () => {
    const server = await open(createFolder())
    const all = await Promise.all(NAMES.map((tenant) => openWithToken(server.url, { tenant })))
    await Promise.all(all.map((each, n) => fill(each, NAMES[n] ?? '')))
    await Promise.all(all.map(({ link }) => link.settled()))
    const [erased, ...others] = NAMES as [string, ...string[]]
    const [gone, ...going] = all as [TokenLinked, ...TokenLinked[]]
    await server.manager.erase(erased)
    expect(await stateOf(gone.link, 'stopped')).toMatchObject({ lastError: { code: 'forbidden' } })
    for (const { replica, link } of going) {
      await replica.table('notes').update('0', { done: true })
      await link.settled()
    }
    for (const tenant of others) await expectAtHome(server, tenant)
    // The name is free again, and empty, for whoever gets a token from now on.
    await expectAtHome(server, erased, 0, Date.now() + 2_000)
  })

  test('that are suspended are shut for everybody, and as they were when they are resumed', async () => {
    const server = await open(createFolder())
    const one = await openWithToken(server.url, { tenant: 'a' })
    await fill(one, 'a')
    await one.link.settled()
    await server.manager.suspend('a', 'unpaid')
    expect(await stateOf(one.link, 'stopped')).toMatchObject({ lastError: { code: 'forbidden' } })
    const refused = await openWithToken(server.url, { tenant: 'a' })
    expect(await stateOf(refused.link, 'stopped')).toMatchObject({ lastError: { code: 'forbidden' } })
    await server.manager.resume('a')
    await expectAtHome(server, 'a')
  })

  test('keep to their quotas and count what they have', async () => {
    const server = await open(createFolder())
    const one = await openWithToken(server.url, { tenant: 'a' })
    await fill(one, 'a')
    await one.link.settled()
    const usage = { ...server.manager.open[0]?.usage }
    expect(usage).toMatchObject({ rows: ROWS, replicas: 1 })
    await one.link.close()
    const lease = await server.manager.lease(parseTenantName('a'))
    expect({ ...lease.tenant.usage }).toEqual(usage)
    lease.release()
  })
})

const MOVES: readonly (readonly [from: IsolationMode, to: IsolationMode])[] = ISOLATION_MODES.flatMap((from) =>
  ISOLATION_MODES.filter((to) => to !== from).map((to) => [from, to] as const),
)

describe.each(MOVES)('a tenant that is moved from %s to %s', (from, to) => {
  test('while a client writes loses nothing, keeps its log, and can be moved back', async () => {
    const dataDir = createFolder()
    const server = await openTokenServer({ dataDir, isolation: from, defaultPlan: 'pro' })
    const [writer, reader] = [
      await openWithToken(server.url, { tenant: 'a' }),
      await openWithToken(server.url, { tenant: 'a', sub: 'bob' }, { connect: { token: () => sign({ tenant: 'a' }) } }),
    ]
    const neighbour = await openWithToken(server.url, { tenant: 'b' })
    await fill(neighbour, 'b')
    await settleAll(writer.link, reader.link)
    let isWriting = true
    let written = 0
    const writing = (async () => {
      while (isWriting) {
        await writer.replica.table('notes').insert({ id: `n${written++}`, title: canaryOf('a'), done: false })
        await new Promise((resolve) => setImmediate(resolve))
      }
    })()
    await until(() => written > 200, 'it writes')
    const before = await server.manager.get('a')
    const moved = await server.manager.move('a', to)
    expect(moved).toMatchObject({ mode: to, logId: before?.logId, move: { phase: 'kept' } })
    await until(() => written > 400, 'it goes on')
    await server.manager.rollBackMove('a')
    expect(await server.manager.get('a')).toMatchObject({ mode: from, logId: before?.logId })
    await server.manager.move('a', to)
    await server.manager.finishMove('a')
    isWriting = false
    await writing
    await settleAll(writer.link, reader.link, neighbour.link)
    expect(await contentOf(reader.replica)).toEqual(await contentOf(writer.replica))
    expect((await writer.replica.digest()).rows).toBe(written)
    await expectAtHome(server, 'a', written)
    await expectAtHome(server, 'b')
    await server.close()
    const again = await openTokenServer({ dataDir, isolation: from, defaultPlan: 'pro' })
    await expectAtHome(again, 'a', written)
    expect(await again.manager.get('a')).toMatchObject({ mode: to, move: undefined })
  })
})
