/**
 * A chain of relays on real ports: a root, a relay below it, and one below that. What the root decides reaches the last
 * client, also what it takes back while a link of the chain is missing.
 */
import { expect, test } from 'vitest'
import type { SyncServer } from '../../sync-server/index.ts'
import { DEFAULT_PLANS, FOR_EVER } from '../../tenant/index.ts'
import { sign } from './sign.ts'
import { contentOf, createFolder, linkTo, type NoteReplica, settleAll, stateOf, until } from './stage.ts'
import { createClock, openTokenServer, openWithToken } from './tokens.ts'

const UNLIMITED = DEFAULT_PLANS.unlimited as { readonly quotas: object }
const BACKOFF = { baseMs: 20, capMs: 100 }
const BOUNDLESS = { issuedThroughMs: 0, untilMs: FOR_EVER }

async function openRelay(below: SyncServer, subject: string, dataDir = createFolder()): Promise<SyncServer> {
  const token = await sign({ sub: subject, scope: 'read relay' })
  const upstream = { tenant: 'acme', url: below.url, token, backoff: BACKOFF }
  const relay = await openTokenServer({ defaultPlan: 'unlimited', dataDir, upstream, pauseMs: 50 })
  await until(() => relay.upstream?.state === 'live', 'the relay has reached its upstream')
  return relay
}

const put = (replica: NoteReplica, id: string): Promise<unknown> =>
  replica.table('notes').upsert({ id, title: `note ${id}`, done: false })

const areEqual = (left: NoteReplica, right: NoteReplica): Promise<void> =>
  until(async () => JSON.stringify(await contentOf(left)) === JSON.stringify(await contentOf(right)), 'both are equal')

test('who is revoked at the root is out at the end of the chain, and back when that is lifted while a relay is down', async () => {
  const root = await openTokenServer()
  const folder = createFolder()
  const middle = await openRelay(root, 'edge-1', folder)
  const last = await openRelay(middle, 'edge-2')
  const phone = await openWithToken(last.url, { sub: 'ann' })
  const other = await openWithToken(last.url, { sub: 'bob' })
  await settleAll(phone.link, other.link)
  const revokedAt = async (server: SyncServer, replica: NoteReplica): Promise<void> =>
    server.manager.revoke({ type: 'replica', tenant: 'acme', name: replica.id, ...BOUNDLESS })

  await revokedAt(root, phone.replica)
  expect((await stateOf(phone.link, 'stopped')).lastError?.code).toBe('revoked')
  await revokedAt(middle, other.replica)
  expect((await stateOf(other.link, 'stopped')).lastError?.code).toBe('revoked')

  await middle.close()
  await root.manager.liftRevocation({ type: 'replica', tenant: 'acme', name: phone.replica.id })
  await put(phone.replica, 'n1')
  const { port } = new URL(middle.url)
  const token = await sign({ sub: 'edge-1', scope: 'read relay' })
  const upstream = { tenant: 'acme', url: root.url, token, backoff: BACKOFF }
  const again = await openTokenServer({ defaultPlan: 'unlimited', dataDir: folder, upstream, port: Number(port) })
  expect(again.manager.revocations.list('acme')).toHaveLength(2)
  await until(() => !last.manager.revocations.hasReplica('acme', phone.replica.id), 'the last relay has heard of it')
  await settleAll(linkTo(phone.replica, last.url, { token: await sign({ sub: 'ann' }) }))
  // What was revoked at the relay itself is its own operator's business.
  expect(again.manager.revocations.list('acme')).toMatchObject([{ name: other.replica.id }])
  const refused = linkTo(other.replica, last.url, { token: await sign({ sub: 'bob' }) })
  expect((await stateOf(refused, 'stopped')).lastError?.code).toBe('revoked')
  const laptop = await openWithToken(root.url, { sub: 'cyd' })
  await areEqual(laptop.replica, phone.replica)
})

test('a relay that is revoked at the root is out with its own upstream, and those below it go on among themselves', async () => {
  const root = await openTokenServer()
  const middle = await openRelay(root, 'edge-1')
  const last = await openRelay(middle, 'edge-2')
  const [phone, tablet] = [
    await openWithToken(last.url, { sub: 'ann' }),
    await openWithToken(middle.url, { sub: 'bob' }),
  ]
  const untilMs = FOR_EVER
  await root.manager.revoke({ type: 'subject', tenant: 'acme', name: 'edge-1', issuedThroughMs: Date.now(), untilMs })
  await until(() => middle.upstream?.lastError === 'revoked', 'the relay is out')
  await put(phone.replica, 'n1')
  await settleAll(phone.link)
  await areEqual(phone.replica, tablet.replica)
  expect(root.manager.open[0]?.usage.rows ?? 0).toBe(0)
})

test('a tenant that is full at the root is full at the end of the chain, until somebody makes room at the root', async () => {
  const plans = { tiny: { features: ['sync'], quotas: { ...UNLIMITED.quotas, rows: 5 } } } as const
  const root = await openTokenServer({ plans, pauseMs: 50 })
  await root.manager.setPlan('acme', 'tiny')
  const middle = await openRelay(root, 'edge-1')
  const last = await openRelay(middle, 'edge-2')
  const phone = await openWithToken(last.url, { sub: 'ann' })
  const laptop = await openWithToken(root.url, { sub: 'cyd' })
  for (let row = 0; row < 5; row++) await put(phone.replica, `n${row}`)
  await until(() => root.manager.open[0]?.usage.rows === 5, 'the root is full')
  await put(phone.replica, 'n5')
  await until(() => middle.upstream?.pause?.resource === 'rows', 'the relay below the root is paused')
  await put(phone.replica, 'n6')
  await until(() => last.upstream?.pause?.resource === 'rows', 'the last relay is paused')
  await put(phone.replica, 'n7')
  await until(() => phone.link.status.pause?.resource === 'rows', 'and its client')
  expect(root.manager.open[0]?.usage.rows).toBe(5)
  await settleAll(laptop.link)
  for (const id of ['n0', 'n1', 'n2']) await laptop.replica.table('notes').delete(id)
  await areEqual(laptop.replica, phone.replica)
  expect([await phone.replica.rejected(), (await laptop.replica.digest()).rows]).toEqual([[], 8])
  expect(root.manager.open[0]?.usage.rows).toBe(5)
})

test('deletes make room at the root behind what there was no room for, all the way from the end of the chain', async () => {
  const plans = { tiny: { features: ['sync'], quotas: { ...UNLIMITED.quotas, rows: 5 } } } as const
  const root = await openTokenServer({ plans, pauseMs: 50 })
  await root.manager.setPlan('acme', 'tiny')
  const middle = await openRelay(root, 'edge-1')
  const last = await openRelay(middle, 'edge-2')
  const [phone, tablet] = [await openWithToken(last.url, { sub: 'ann' }), await openWithToken(last.url, { sub: 'bob' })]
  for (let row = 0; row < 5; row++) await put(phone.replica, `n${row}`)
  await settleAll(phone.link, tablet.link)
  await until(() => root.manager.open[0]?.usage.rows === 5, 'the root is full')
  await put(phone.replica, 'n5')
  await until(() => middle.upstream?.pause?.resource === 'rows', 'the relay below the root is paused')
  await put(phone.replica, 'n6')
  await until(() => last.upstream?.pause?.resource === 'rows', 'the last relay is paused')
  for (const id of ['n0', 'n1', 'n2']) await tablet.replica.table('notes').delete(id)
  const laptop = await openWithToken(root.url, { sub: 'cyd' })
  await areEqual(laptop.replica, tablet.replica)
  await areEqual(laptop.replica, phone.replica)
  await until(() => root.manager.open[0]?.usage.rows === 4, 'what waited is there, and what was deleted is not')
})

test('a relay whose token ran out passes on what was written meanwhile once it has another, all the way', async () => {
  const clock = createClock()
  const root = await openTokenServer({ now: clock.now })
  let tokens = 0
  let isRenewed = false
  const token = async (): Promise<string> => {
    tokens++
    return sign({ sub: 'edge-1', scope: 'read relay', lifetimeMs: isRenewed ? 7_200_000 : 600_000 })
  }
  const upstream = { tenant: 'acme', url: root.url, token, backoff: BACKOFF }
  const middle = await openTokenServer({ defaultPlan: 'unlimited', upstream })
  await until(() => middle.upstream?.state === 'live', 'the relay has reached its upstream')
  const last = await openRelay(middle, 'edge-2')
  const phone = await openWithToken(last.url, { sub: 'ann' })
  await settleAll(phone.link)

  clock.moveOn(620_000)
  await until(() => middle.upstream?.state !== 'live', 'its token has run out at the root')
  await put(phone.replica, 'n1')
  await settleAll(phone.link)
  await until(() => middle.upstream?.lagUp === 1, 'the relay holds what it cannot pass on')
  isRenewed = true
  const asked = tokens
  await until(() => middle.upstream?.state === 'live', 'the relay has another token')
  expect(tokens).toBeGreaterThan(asked)
  await until(() => root.manager.open[0]?.usage.rows === 1, 'what waited has come')
})
