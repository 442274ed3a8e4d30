/** The life of a token on a connection: it runs out, is renewed, or is revoked, while replicas write. */
import { describe, expect, test } from 'vitest'
import { AUTH_EVENT, FRAME_EVENT } from '../../core/index.ts'
import type { SyncServer } from '../../sync-server/index.ts'
import { type Claims, type Signing, sign } from './sign.ts'
import { createFolder, disconnected, openRawSocket, settleAll, stateOf, statusOf, until } from './stage.ts'
import { createClock, openTokenServer, openWithToken } from './tokens.ts'

const MINUTE_MS = 60_000
/** The grace is 5 s; the server looks twice a second at who sends nothing. */
const GONE_MS = 5_001

type Said = Readonly<Record<string, unknown>>

/** A socket without a session, and everything that it is told about its token. */
async function openTold(server: SyncServer, token: string) {
  const socket = await openRawSocket(server.url, { token })
  const told: Said[] = []
  socket.on(AUTH_EVENT, (said: Said) => told.push(said))
  return { socket, told }
}

describe('a token that is about to expire', () => {
  test('is replaced on the same connection, again and again, while changes flow', async () => {
    const clock = createClock()
    const server = await openTokenServer({ now: clock.now })
    let given = 0
    const token = () => {
      given++
      return sign({ lifetimeMs: 2 * MINUTE_MS }, { nowMs: clock.now() })
    }
    const { replica, link } = await openWithToken(server.url, {}, { connect: { token } })
    await settleAll(link)
    const states = new Set<string>()
    link.onStatus(({ state }) => states.add(state))
    for (let turn = 1; turn <= 3; turn++) {
      clock.moveOn(1.5 * MINUTE_MS)
      await until(() => given > turn, 'another token is fetched')
      await replica.table('notes').insert({ id: `n${turn}`, title: 'written meanwhile', done: false })
      await settleAll(link)
      // A token is taken once a second at most.
      await new Promise((resolve) => setTimeout(resolve, 1_100))
    }
    expect([...states].filter((state) => state !== 'live')).toEqual([])
    expect(server.tenants).toMatchObject([{ connections: 1, position: 3 }])
  })

  test('is warned of 60 s before, once', async () => {
    const clock = createClock()
    const server = await openTokenServer({ now: clock.now })
    const { told } = await openTold(server, await sign({ lifetimeMs: 10 * MINUTE_MS }))
    clock.moveOn(8.9 * MINUTE_MS)
    expect(told).toEqual([])
    clock.moveOn(0.11 * MINUTE_MS)
    await until(() => told.length > 0, 'it is warned')
    expect(told).toMatchObject([{ expiresAtMs: expect.any(Number) }])
  })

  test('takes its session with it 5 s after its time, and nothing is processed or sent from then on', async () => {
    const clock = createClock()
    const server = await openTokenServer({ now: clock.now })
    const writer = await openWithToken(server.url, { lifetimeMs: 2 * MINUTE_MS })
    const other = await openWithToken(server.url, { sub: 'bob' })
    await settleAll(writer.link, other.link)
    clock.moveOn(2 * MINUTE_MS + GONE_MS)
    // No timer has looked yet: the very next frame is refused, and so is the next that would go to it.
    await writer.replica.table('notes').insert({ id: 'late', title: 'too late', done: false })
    await other.replica.table('notes').insert({ id: 'news', title: 'not for it', done: false })
    expect(await stateOf(writer.link, 'stopped')).toMatchObject({ lastError: { code: 'auth-expired' }, pending: 1 })
    await settleAll(other.link)
    expect(await other.replica.table('notes').get('late')).toBeUndefined()
    expect(await writer.replica.table('notes').get('news')).toBeUndefined()
  })

  test('ends a session that is silent as well', async () => {
    const clock = createClock()
    const server = await openTokenServer({ now: clock.now })
    const { socket } = await openTold(server, await sign({ lifetimeMs: 2 * MINUTE_MS }))
    clock.moveOn(2 * MINUTE_MS + GONE_MS)
    await disconnected(socket)
  })

  test('and was not replaced in time makes its replica come back with another one', async () => {
    const clock = createClock()
    const server = await openTokenServer({ now: clock.now })
    const token = () => sign({ lifetimeMs: 2 * MINUTE_MS }, { nowMs: clock.now() })
    const { replica, link } = await openWithToken(server.url, {}, { connect: { token } })
    await settleAll(link)
    clock.moveOn(60 * MINUTE_MS)
    await replica.table('notes').insert({ id: 'n1', title: 'kept until there is a token', done: false })
    await statusOf(link, ({ state, pending }) => state === 'live' && pending === 0)
  })
})

describe('a new token', () => {
  const wrong: [what: string, code: string, claims: Claims, signing: Signing][] = [
    ['of another tenant', 'forbidden', { tenant: 'globex' }, {}],
    ['of another subject', 'forbidden', { sub: 'eve' }, {}],
    ['that is forged', 'unauthenticated', {}, { secret: new Uint8Array(32).map((_, index) => index) }],
    ['of another type', 'unauthenticated', {}, { header: { typ: 'at+jwt' } }],
    ['without a scope', 'unauthenticated', { scope: 'openid' }, {}],
    ['that has expired', 'auth-expired', {}, { nowMs: Date.now() - 3 * 3_600_000 }],
  ]
  test.each(wrong)(
    '%s is not taken: %s, and the session runs out as it would have',
    async (_what, code, claims, signing) => {
      const clock = createClock()
      const server = await openTokenServer({ now: clock.now })
      const { socket, told } = await openTold(server, await sign({ lifetimeMs: 2 * MINUTE_MS }))
      socket.emit(AUTH_EVENT, { token: await sign(claims, signing) })
      await until(() => told.length > 0, 'it is told')
      expect(told).toMatchObject([{ code, retryable: false }])
      expect(socket.connected).toBe(true)
      clock.moveOn(2 * MINUTE_MS + GONE_MS)
      await disconnected(socket)
    },
  )

  test('that comes after the end renews nothing', async () => {
    const clock = createClock()
    const server = await openTokenServer({ now: clock.now })
    const { socket } = await openTold(server, await sign({ lifetimeMs: 2 * MINUTE_MS }))
    clock.moveOn(2 * MINUTE_MS + GONE_MS)
    socket.emit(AUTH_EVENT, { token: await sign({}, { nowMs: clock.now() }) })
    await disconnected(socket)
  })

  test('says what the session may do from then on', async () => {
    const clock = createClock()
    const server = await openTokenServer({ now: clock.now })
    const scopes = ['read write', 'read']
    const token = () => sign({ scope: scopes.shift() ?? 'read', lifetimeMs: 2 * MINUTE_MS }, { nowMs: clock.now() })
    const { replica, link } = await openWithToken(server.url, {}, { connect: { token } })
    await replica.table('notes').insert({ id: 'n1', title: 'allowed', done: false })
    await settleAll(link)
    clock.moveOn(1.5 * MINUTE_MS)
    await until(() => scopes.length === 0, 'another token is fetched')
    const { socket, told } = await openTold(server, await sign({}, { nowMs: clock.now() }))
    socket.emit(AUTH_EVENT, {})
    await until(() => told.length > 0, 'the server has dealt with what came before')
    await replica.table('notes').insert({ id: 'n2', title: 'not any more', done: false })
    expect(await stateOf(link, 'stopped')).toMatchObject({ lastError: { code: 'forbidden' }, pending: 1 })
  })

  test('is looked at once a second', async () => {
    const server = await openTokenServer()
    const { socket, told } = await openTold(server, await sign())
    for (let n = 0; n < 3; n++) socket.emit(AUTH_EVENT, { token: await sign() })
    await until(() => told.length === 2, 'the second and third are refused')
    expect(told).toMatchObject(new Array(2).fill({ code: 'rate-limited', retryable: true }))
  })

  test('that comes over and over ends the session, instead of filling it with answers that nobody reads', async () => {
    const server = await openTokenServer()
    const { socket, told } = await openTold(server, await sign())
    const gone = disconnected(socket)
    for (let n = 0; n < 10_000; n++) socket.emit(AUTH_EVENT, { token: 'x' })
    await gone
    expect(told.length).toBeLessThan(20)
    await until(() => server.tenants[0]?.connections === 0, 'its seat is free')
  })

  test.each([[{}], [{ token: 7 }], [{ token: 'x'.repeat(9_000) }], [{ token: null, tenant: 'globex' }]])(
    'that is none (%j) is refused, and disturbs nobody',
    async (auth) => {
      const server = await openTokenServer()
      const { socket, told } = await openTold(server, await sign())
      socket.emit(AUTH_EVENT, auth)
      await until(() => told.length > 0, 'it is told')
      expect(told).toMatchObject([{ code: 'unauthenticated' }])
      expect(socket.connected).toBe(true)
    },
  )
})

describe('a revocation', () => {
  const untilMs = Date.now() + 60 * MINUTE_MS

  test('of a token ends its session in the middle; accepted changes stay, others are not taken', async () => {
    const server = await openTokenServer()
    const [lost, kept] = [
      await openWithToken(server.url, { jti: 'lost' }),
      await openWithToken(server.url, { jti: 'kept' }),
    ]
    await lost.replica.table('notes').insert({ id: 'n1', title: 'accepted', done: false })
    await settleAll(lost.link, kept.link)
    await server.manager.revoke({ type: 'token', tenant: 'acme', name: 'lost', issuedThroughMs: 0, untilMs })
    await lost.replica.table('notes').insert({ id: 'n2', title: 'not any more', done: false })
    expect(await stateOf(lost.link, 'stopped')).toMatchObject({ lastError: { code: 'revoked' }, pending: 1 })
    await settleAll(kept.link)
    expect((await kept.replica.digest()).rows).toBe(1)
  })

  test('of a subject ends all its sessions, silent ones too, and lets in whoever signs in again', async () => {
    const server = await openTokenServer()
    const { socket } = await openTold(server, await sign({}, { nowMs: Date.now() - MINUTE_MS }))
    const bob = await openWithToken(server.url, { sub: 'bob' })
    await settleAll(bob.link)
    const issuedThroughMs = Date.now() - 1_000
    await server.manager.revoke({ type: 'subject', tenant: 'acme', name: 'ada', issuedThroughMs, untilMs })
    await disconnected(socket)
    expect(bob.link.status.state).toBe('live')
    const old = await sign({}, { nowMs: Date.now() - MINUTE_MS })
    await expect(openRawSocket(server.url, { token: old })).rejects.toMatchObject({ data: { code: 'revoked' } })
    const again = await openWithToken(server.url, {}, { connect: { token: await sign() } })
    await settleAll(again.link)
  })

  test('by another process takes effect within 5 s, and outlives both', async () => {
    const dataDir = createFolder()
    const here = await openTokenServer({ dataDir })
    const elsewhere = await openTokenServer({ dataDir, defaultPlan: 'unlimited' })
    const { socket } = await openTold(here, await sign({ jti: 'lost' }))
    const startedAt = performance.now()
    await elsewhere.manager.revoke({ type: 'token', tenant: 'acme', name: 'lost', issuedThroughMs: 0, untilMs })
    await disconnected(socket)
    expect(performance.now() - startedAt).toBeLessThan(5_000)
    await Promise.all([here.close(), elsewhere.close()])
    const restarted = await openTokenServer({ dataDir, defaultPlan: 'unlimited' })
    const refused = openRawSocket(restarted.url, { token: await sign({ jti: 'lost' }) })
    await expect(refused).rejects.toMatchObject({ data: { code: 'revoked' } })
  })
})

test('a session that was ended is sent the reason and nothing else', async () => {
  const clock = createClock()
  const server = await openTokenServer({ now: clock.now })
  const { socket } = await openTold(server, await sign({ lifetimeMs: 2 * MINUTE_MS }))
  const frames: Uint8Array[] = []
  socket.on(FRAME_EVENT, (frame: Uint8Array) => frames.push(frame))
  clock.moveOn(2 * MINUTE_MS + GONE_MS)
  for (let n = 0; n < 10; n++) socket.emit(FRAME_EVENT, new Uint8Array([0x91, 0x0d]))
  await disconnected(socket)
  expect(frames.length).toBe(1)
  expect(Buffer.from(frames[0] ?? []).toString('latin1')).toContain('auth-expired')
})
