/** Every verb × every reason to refuse: the same refusal, whatever was asked for, and in about the same time. */
import { describe, expect, test } from 'vitest'
import { encodeFrame } from '../../core/frame.ts'
import { createReplicaId } from '../../core/index.ts'
import type { Frame } from '../../core/message.ts'
import type { SyncServer } from '../../sync-server/index.ts'
import { type Intruder, openIntruder } from './intruder.ts'
import { type Claims, sign } from './sign.ts'
import { createFolder, openRawSocket, until, writeNotes } from './stage.ts'
import { createClock, openTokenServer, openWithToken } from './tokens.ts'

const MINUTE_MS = 60_000
const ROW_HASH = '0000000000000000'

/** What a client can say once it was welcomed, and `hello` instead of that. */
const VERBS: Readonly<Record<string, Frame | 'hello' | 'token'>> = {
  hello: 'hello',
  push: { type: 'push', blocks: [] },
  mark: { type: 'mark', token: 1 },
  credit: { type: 'credit', bytes: 1_000 },
  compare: { type: 'compare', token: 1, table: 'notes', after: undefined, through: undefined, hash: ROW_HASH },
  compared: { type: 'compared', token: 1, isSame: true, parts: [], chunk: undefined },
  marked: { type: 'marked', token: 1, position: 1 },
  refuse: { type: 'refuse', code: 'unavailable', message: 'x', retryable: true },
  token: 'token',
}
const NAMES = Object.keys(VERBS)

/** An intruder that is ready for a verb. */
async function prepare(server: SyncServer, verb: string, claims: Claims = {}): Promise<Intruder> {
  const intruder = await openIntruder(server, sign(claims))
  if (verb !== 'hello') await intruder.greet()
  return intruder
}

async function perform(intruder: Intruder, verb: string, token: Promise<string>): Promise<void> {
  const what = VERBS[verb] ?? expect.fail(verb)
  if (what === 'token') intruder.bringToken({ token: await token })
  else intruder.say(what === 'hello' ? intruder.hello() : what)
}

/** What ended a session, and how often anything else was said after `from`. */
async function endOf(intruder: Intruder, from: number): Promise<unknown> {
  await intruder.gone
  return intruder.heard.slice(from).map((frame) => (frame.type === 'refuse' ? [frame.code, frame.message] : frame.type))
}

describe('whatever a session asks for', () => {
  test.each(NAMES)('after its token has expired, %s is answered by the same end', async (verb) => {
    const clock = createClock()
    const server = await openTokenServer({ now: clock.now })
    const intruder = await prepare(server, verb, { lifetimeMs: MINUTE_MS })
    const from = intruder.heard.length
    clock.moveOn(MINUTE_MS + 5_001)
    await perform(intruder, verb, sign({}, { nowMs: clock.now() }))
    expect(await endOf(intruder, from)).toEqual([
      ['auth-expired', 'the token has expired. Ask for a new one, and connect anew'],
    ])
  })

  test.each(NAMES)('after its token was revoked, %s is answered by the same end', async (verb) => {
    const server = await openTokenServer()
    const intruder = await prepare(server, verb, { jti: 'lost' })
    const from = intruder.heard.length
    const untilMs = Date.now() + 60 * MINUTE_MS
    await server.manager.revoke({ type: 'token', tenant: 'acme', name: 'lost', issuedThroughMs: 0, untilMs })
    await perform(intruder, verb, sign())
    expect(await endOf(intruder, from)).toEqual([
      ['revoked', 'the token or replica was revoked. Sign in again; a revoked replica begins with an empty store'],
    ])
  })

  test.each(NAMES)('after its tenant was suspended, %s is answered by the same end', async (verb) => {
    const server = await openTokenServer()
    const intruder = await prepare(server, verb)
    const from = intruder.heard.length
    const suspending = server.manager.suspend('acme', 'unpaid')
    await perform(intruder, verb, sign())
    await suspending
    expect(await endOf(intruder, from)).toEqual([
      ['forbidden', 'the tenant is suspended: unpaid. Talk to whoever runs the server'],
    ])
  })

  test.each(NAMES.filter((name) => name !== 'token'))(
    'malformed, %s is warned of twice and then ends',
    async (verb) => {
      const server = await openTokenServer()
      const intruder = await prepare(server, verb)
      const from = intruder.heard.length
      const what = VERBS[verb] ?? expect.fail()
      const whole = encodeFrame(what === 'hello' || what === 'token' ? intruder.hello() : what)
      // One element less than there should be, and one byte.
      for (let strike = 0; strike < 3; strike++) intruder.say(whole.subarray(0, whole.length - 1))
      const end = (await endOf(intruder, from)) as [string, string][]
      expect(end.map(([code]) => code)).toEqual(['warning', 'warning', 'bad-frame'])
    },
  )

  const scopes: readonly (readonly [scope: string, verb: string, code: string])[] = [
    ['read', 'push', 'forbidden'],
    ['relay', 'push', 'forbidden'],
    ['admin', 'push', 'forbidden'],
    ['write', 'compare', 'forbidden'],
    ['relay', 'compare', 'forbidden'],
    ['admin', 'compare', 'forbidden'],
  ]
  test.each(scopes)('with the scope %s, %s is %s', async (scope, verb, code) => {
    const server = await openTokenServer()
    const intruder = await openIntruder(server, sign({ scope }))
    await intruder.greet()
    if (verb === 'push') intruder.push({ seq: 1 })
    else await perform(intruder, verb, sign())
    const refused = await intruder.hears('refuse')
    expect(refused).toMatchObject({ code, retryable: false })
    expect(refused.message).toBe(`this session may not ${verb === 'push' ? 'write' : 'read'}`)
    await intruder.gone
    expect(server.manager.open[0]?.usage.rows).toBe(0)
  })

  test.each(['write', 'relay', 'admin'])(
    'with the scope %s nothing is sent to it, by no way of asking',
    async (scope) => {
      const server = await openTokenServer()
      const honest = await openWithToken(server.url, { sub: 'bob' })
      await writeNotes(honest.replica, 1_200, 'secret')
      await honest.link.settled()
      const { logId, epoch } = server.manager.open[0]?.hub.ledger.state.meta ?? expect.fail()
      for (const resume of [
        { type: 'clock', clock: [] } as const,
        { type: 'cursor', logId, epoch, position: 1 } as const,
        { type: 'snapshot', logId, epoch, position: 1, table: 'notes', id: 'a' } as const,
      ]) {
        const intruder = await openIntruder(server, sign({ scope }))
        await intruder.greet({ resume })
        intruder.say({ type: 'credit', bytes: 1_000_000 }, { type: 'mark', token: 7 })
        await intruder.hears('marked')
        expect(intruder.heard.map(({ type }) => type)).toEqual(['welcome', 'marked'])
      }
    },
  )
})

describe('a stranger cannot tell', () => {
  test('a tenant that is there from one that is not, by what is said or by how long it takes', async () => {
    const server = await openTokenServer({ dataDir: createFolder() })
    await server.manager.register({ name: 'gone', plan: 'unlimited', mode: 'dedicated' })
    await server.manager.erase('gone')
    const answers = new Map<string, unknown[]>()
    const times = new Map<string, number[]>()
    for (let turn = 0; turn < 15; turn++) {
      for (const tenant of ['nowhere', 'gone', `new-${turn}`]) {
        const kind = tenant.startsWith('new') ? 'new' : tenant
        const token = await sign({ tenant })
        const startedAt = performance.now()
        const answer = await openRawSocket(server.url, { token }).catch(({ message, data }) => [message, data])
        times.set(kind, [...(times.get(kind) ?? []), performance.now() - startedAt])
        answers.set(JSON.stringify(answer), [])
      }
    }
    expect([...answers.keys()]).toEqual([
      JSON.stringify(['this server does not serve that tenant', { code: 'forbidden', retryable: false }]),
    ])
    const medians = [...times.values()].map((each) => each.sort((a, b) => a - b)[7] ?? 0)
    expect(Math.max(...medians)).toBeLessThan(3 * Math.min(...medians) + 10)
  })

  test('whose new token it is that is not taken: of a tenant that is there, or one that is not', async () => {
    const server = await openTokenServer()
    const answers = new Set<string>()
    for (const tenant of ['globex', 'nowhere']) {
      const intruder = await openIntruder(server)
      intruder.bringToken({ token: await sign({ tenant }) })
      await until(() => intruder.told.length > 0, 'it is told')
      answers.add(JSON.stringify(intruder.told))
    }
    expect(answers.size).toBe(1)
  })

  test('whose replica it names: one of another tenant is as unknown as one that never was', async () => {
    const server = await openTokenServer()
    const victim = await openWithToken(server.url, { tenant: 'globex' })
    await victim.replica.table('notes').insert({ id: 'n1', title: 'secret', done: false })
    await victim.link.settled()
    const answers = new Set<string>()
    for (const replica of [victim.replica.id, createReplicaId()]) {
      const intruder = await openIntruder(server, sign(), replica)
      const { yourSeq, fingerprint, refusals } = await intruder.greet()
      answers.add(JSON.stringify([yourSeq, [...fingerprint], refusals]))
    }
    expect([...answers]).toEqual([JSON.stringify([0, [], []])])
    // Under its own name in another tenant it has fenced nobody.
    expect(victim.link.status.state).toBe('live')
  })
})
