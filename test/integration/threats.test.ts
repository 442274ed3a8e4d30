/**
 * The rules for whoever is not trusted, each against a real port, from the side of somebody who tries to break it. What
 * is tried elsewhere: bytes that are no frames in hostile.test.ts and `npm run fuzz`, floods in threshold.test.ts, expiry
 * and revocation in renewal.test.ts, custom policies in test/conflicts.
 */
import { readdirSync } from 'node:fs'
import { Writable } from 'node:stream'
import { SignJWT } from 'jose'
import { pino } from 'pino'
import { describe, expect, test } from 'vitest'
import { createReplicaId } from '../../core/index.ts'
import type { Resume } from '../../core/message.ts'
import type { SyncServer } from '../../sync-server/index.ts'
import { openIntruder } from './intruder.ts'
import { AUTH, SECRET, sign } from './sign.ts'
import { createFolder, openRawSocket, settleAll, until, writeNotes } from './stage.ts'
import { openTokenServer, openWithToken } from './tokens.ts'

const usageOf = (server: SyncServer, tenant = 'acme') => {
  const usage = server.manager.open.find(({ name }) => name === tenant)?.usage
  return usage === undefined ? undefined : { ...usage }
}

describe('reading another tenant', () => {
  test.each(['globex', 'nowhere', 'ACME', ''])(
    'by naming %j in hello is forbidden, and tells nothing',
    async (tenant) => {
      const server = await openTokenServer()
      const intruder = await openIntruder(server)
      intruder.say(intruder.hello({ tenant }))
      const { code, message } = await intruder.hears('refuse')
      expect([code, message]).toEqual(['forbidden', 'this session may not read or write what it asked for'])
      await intruder.gone
    },
  )

  test('with a cursor or a place in a snapshot of its log is a foreign cursor, as for a log that never was', async () => {
    const server = await openTokenServer()
    const victim = await openWithToken(server.url, { tenant: 'globex' })
    await writeNotes(victim.replica, 2_000, 'secret')
    await victim.link.settled()
    const [{ hub } = expect.fail('globex is open')] = server.manager.open
    const { logId, epoch } = hub.ledger.state.meta
    const places = (id: string): Resume[] => [
      { type: 'cursor', logId: id, epoch, position: 1 },
      { type: 'snapshot', logId: id, epoch, position: 1, table: 'notes', id: 'a' },
    ]
    const answers = new Set<string>()
    for (const resume of [...places(logId), ...places(createReplicaId())]) {
      const intruder = await openIntruder(server)
      intruder.say(intruder.hello({ resume }))
      const { type, code, message } = await intruder.hears('refuse')
      answers.add(JSON.stringify([type, code, message]))
      expect(intruder.heard.length).toBe(1)
    }
    expect([...answers]).toHaveLength(1)
    expect([...answers][0]).toContain('foreign-cursor')
  })

  test('by comparing hashes finds only what is its own', async () => {
    const server = await openTokenServer()
    const victim = await openWithToken(server.url, { tenant: 'globex' })
    await writeNotes(victim.replica, 10, 'secret')
    await victim.link.settled()
    const intruder = await openIntruder(server)
    await intruder.greet()
    const whole = { table: 'notes', after: undefined, through: undefined }
    intruder.say({ type: 'compare', token: 1, ...whole, hash: '0000000000000000' })
    const { parts, chunk } = await intruder.hears('compared')
    expect(parts.reduce((sum, { rows }) => sum + rows, 0)).toBe(0)
    expect(Buffer.from(chunk ?? []).toString('latin1')).not.toContain('secret')
  })
})

describe('a change', () => {
  test('of another replica is forbidden, and nothing of its push is stored', async () => {
    const server = await openTokenServer()
    const honest = await openWithToken(server.url, { sub: 'bob' })
    await honest.replica.table('notes').insert({ id: 'n1', title: 'honest', done: false })
    await honest.link.settled()
    const before = usageOf(server)
    const intruder = await openIntruder(server)
    await intruder.greet()
    intruder.push({ seq: 1 }, { author: honest.replica.id, seq: 2 })
    expect(await intruder.hears('refuse')).toMatchObject({ code: 'forbidden' })
    await intruder.gone
    expect(usageOf(server)).toEqual({ ...before, replicas: 2 })
    await honest.replica.table('notes').insert({ id: 'n2', title: 'goes on', done: false })
    await settleAll(honest.link)
  })

  test.each([2, 3, 1_000, Number.MAX_SAFE_INTEGER - 1])('with seq %i before the first one is a gap', async (seq) => {
    const server = await openTokenServer()
    const intruder = await openIntruder(server)
    await intruder.greet()
    intruder.push({ seq })
    expect(await intruder.hears('refuse')).toMatchObject({ code: 'gap', retryable: true })
    expect(usageOf(server)).toMatchObject({ rows: 0 })
  })

  test('that is held already is acknowledged again, and stored once', async () => {
    const server = await openTokenServer()
    const intruder = await openIntruder(server)
    await intruder.greet()
    const change = { seq: 1, timestamp: Date.now() * 2_048 }
    intruder.push(change)
    await intruder.hears('ack')
    const before = usageOf(server)
    intruder.push(change)
    await until(() => intruder.heard.filter(({ type }) => type === 'ack').length === 2, 'it is acknowledged again')
    expect(usageOf(server)).toEqual(before)
  })

  test('under a dot that is held with other content is a dot conflict, and others are not affected', async () => {
    const server = await openTokenServer()
    const intruder = await openIntruder(server)
    await intruder.greet()
    intruder.push({ seq: 1, timestamp: 1 })
    await intruder.hears('ack')
    intruder.push({ seq: 1, timestamp: 2 })
    expect(await intruder.hears('refuse')).toMatchObject({ code: 'dot-conflict', retryable: false })
    const honest = await openWithToken(server.url)
    await honest.replica.table('notes').insert({ id: 'n1', title: 'honest', done: false })
    await honest.link.settled()
    expect(usageOf(server)).toMatchObject({ rows: 2 })
  })

  const refused: readonly (readonly [what: string, code: string, change: object])[] = [
    ['that builds on what nobody has written', 'unknown-context', { context: { [createReplicaId()]: 1 } }],
    ['from an hour ahead', 'clock-skew', { timestamp: (Date.now() + 3_600_000) * 2_048 }],
    ['from the end of time', 'clock-skew', { timestamp: Number.MAX_SAFE_INTEGER }],
    ['that is too large for a change', 'too-large', { fields: { title: 'x'.repeat(300 * 1_024) } }],
  ]
  test.each(refused)('%s is refused as %s, and what follows it is not', async (_what, code, change) => {
    const server = await openTokenServer()
    const other = await openWithToken(server.url, { sub: 'bob' })
    const intruder = await openIntruder(server)
    await intruder.greet()
    intruder.push({ seq: 1, ...change }, { seq: 2 })
    expect(await intruder.hears('ack')).toMatchObject({ throughSeq: 2, refusals: [[1, code]] })
    // Nobody's clock was dragged along: what an honest replica writes now is taken.
    await settleAll(other.link)
    await other.replica.table('notes').insert({ id: 'n1', title: 'honest', done: false })
    await settleAll(other.link)
    expect(await other.replica.rejected()).toEqual([])
    expect((await other.replica.digest()).rows).toBe(2)
  })

  test.each(['__proto__', 'constructor', 'prototype', 'a-b', '', 'x'.repeat(64)])(
    'of a table or with a field named %j is not taken, and leaves no name behind',
    async (name) => {
      const server = await openTokenServer()
      for (const change of [{ table: name }, { fields: JSON.parse(`{"${name}":1}`) }]) {
        const intruder = await openIntruder(server)
        await intruder.greet()
        intruder.push({ seq: 1, ...change })
        expect(['bad-frame', 'bad-name']).toContain((await intruder.hears('refuse')).code)
      }
      expect(usageOf(server)).toMatchObject({ rows: 0 })
      const [{ hub } = expect.fail('acme is open')] = server.manager.open
      expect(hub.ledger.state.names.find(name)).toBe(-1)
    },
  )
})

test.each([[{ scope: 'read' }], [{ scope: 'relay' }], [{ scope: 'read write', tables: ['orders'] }]])(
  'a table is defined by those who may write to it, which %j may not',
  async (claims) => {
    const server = await openTokenServer()
    const intruder = await openIntruder(server, sign(claims))
    await intruder.greet({ tables: [['notes', 'row poisoned:1']] })
    const honest = await openWithToken(server.url, { sub: 'bob' })
    await honest.link.settled()
    const late = await openIntruder(server)
    late.say(late.hello({ tables: [['notes', 'row poisoned:1']] }))
    expect(await late.hears('refuse')).toMatchObject({ code: 'schema-mismatch' })
  },
)

describe('a token', () => {
  const now = Math.floor(Date.now() / 1_000)
  const claims = { iss: AUTH.issuer, aud: AUTH.audience, iat: now, exp: now + 600, tenant: 'acme', sub: 'ada' }
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const unsigned = `${part({ alg: 'none', typ: 'JWT' })}.${part({ ...claims, scope: 'read write' })}`
  const wrong: readonly (readonly [what: string, token: () => unknown])[] = [
    ['without a signature', () => `${unsigned}.`],
    ['with the algorithm none and a signature', () => `${unsigned}.x`],
    ['signed with another secret', () => sign({}, { secret: SECRET.map((byte) => byte ^ 1) })],
    [
      'signed with an algorithm that is not pinned',
      () => sign({}, { header: { alg: 'HS512' }, secret: new Uint8Array(64) }),
    ],
    ['of another issuer', () => sign({}, { raw: { iss: 'https://evil.example' } })],
    ['for another audience', () => sign({}, { raw: { aud: 'other' } })],
    ['of another type', () => sign({}, { header: { typ: 'dpop+jwt' } })],
    ['that is not valid yet', () => sign({}, { raw: { nbf: now + 600 } })],
    ['that never expires', () => sign({}, { raw: { exp: undefined } })],
    ['that is valid for a year', () => sign({ lifetimeMs: 365 * 86_400_000 })],
    ['without a subject', () => sign({}, { raw: { sub: undefined } })],
    [
      'with a critical header',
      () => new SignJWT(claims).setProtectedHeader({ alg: 'HS256', typ: 'JWT', crit: ['b64'], b64: true }).sign(SECRET),
    ],
    ['that is a list', () => ['a', 'b', 'c']],
    ['that is an object', () => ({ toString: 'x' })],
    ['that is empty', () => ''],
    ['that is not there', () => undefined],
  ]
  test.each(wrong)('%s is not taken, and the answer does not say why', async (_what, token) => {
    const server = await openTokenServer()
    const refused = openRawSocket(server.url, { token: await token(), tenant: 'acme' })
    await expect(refused).rejects.toMatchObject({
      message: 'the token is not valid here',
      data: { code: 'unauthenticated', retryable: false },
    })
    expect(server.tenants).toEqual([])
  })

  test('in the URL counts for nothing', async () => {
    const server = await openTokenServer()
    const token = await sign()
    const refused = openRawSocket(`${server.url}/?token=${token}&auth=${token}`, {})
    await expect(refused).rejects.toMatchObject({ data: { code: 'unauthenticated' } })
  })

  test.each(['../../etc/passwd', 'a/b', 'A', '.', '..', 'a'.repeat(64), 'nul\0', 'é'])(
    'of a tenant %j is refused, and makes no file',
    async (tenant) => {
      const dataDir = createFolder()
      const server = await openTokenServer({ dataDir, defaultPlan: 'free' })
      const before = readdirSync(dataDir)
      const refused = openRawSocket(server.url, { token: await sign({ tenant }) })
      await expect(refused).rejects.toMatchObject({
        data: { code: expect.stringMatching(/bad-tenant|unauthenticated/) },
      })
      expect(readdirSync(dataDir)).toEqual(before)
    },
  )
})

describe('a quota', () => {
  const unlimited = { replicas: 'unlimited', connections: 'unlimited', liveReplicasPerSubject: 'unlimited' }
  const rates = { changesPerSecond: 'unlimited', bytesPerSecond: 'unlimited', snapshotBuilds: 'unlimited' }

  test('is not outrun by sockets that race', async () => {
    const small = { features: ['sync'], quotas: { ...unlimited, ...rates, storedBytes: 'unlimited', rows: 50 } }
    const server = await openTokenServer({ plans: { small }, defaultPlan: 'small', pauseMs: 60_000 })
    const racers = await Promise.all(Array.from({ length: 6 }, () => openIntruder(server)))
    await Promise.all(racers.map((racer) => racer.greet()))
    for (let seq = 1; seq <= 20; seq++) {
      for (const racer of racers) racer.push({ seq, id: `${racer.replica}-${seq}` })
    }
    for (const racer of racers) racer.say({ type: 'mark', token: 1 })
    await Promise.all(racers.map((racer) => racer.hears('marked')))
    expect(usageOf(server)).toMatchObject({ rows: 50 })
  })

  test('of bytes lets deletes go on into the reserve', async () => {
    const small = { features: ['sync'], quotas: { ...unlimited, ...rates, rows: 'unlimited', storedBytes: 40_000 } }
    const server = await openTokenServer({ plans: { small }, defaultPlan: 'small', pauseMs: 60_000 })
    const intruder = await openIntruder(server)
    await intruder.greet()
    for (let seq = 1; seq <= 200; seq++) intruder.push({ seq, fields: { title: 'x'.repeat(500) } })
    const { throughSeq, pause } = await intruder.hears('ack').then(async () => {
      await until(() => intruder.heard.some((frame) => frame.type === 'ack' && frame.pause !== undefined), 'it is full')
      return (
        intruder.heard.flatMap((frame) => (frame.type === 'ack' && frame.pause !== undefined ? [frame] : []))[0] ??
        expect.fail()
      )
    })
    expect(pause).toMatchObject({ resource: 'storedBytes', limit: 40_000 })
    expect(usageOf(server)?.storedBytes).toBeLessThanOrEqual(40_000)
    const acks = intruder.heard.length
    intruder.push({ seq: throughSeq + 1, op: 'delete', id: 'row-1', context: { [intruder.replica]: 1 }, fields: {} })
    await until(
      () => intruder.heard.slice(acks).some((frame) => frame.type === 'ack' && frame.throughSeq > throughSeq),
      'it is deleted',
    )
    expect(usageOf(server)?.storedBytes).toBeLessThanOrEqual(44_000)
  })
})

test('hostile names are quoted in the log, and neither values nor tokens are in it', async () => {
  const lines: string[] = []
  const sink = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      lines.push(String(chunk))
      done()
    },
  })
  const server = await openTokenServer({
    logger: pino({ level: 'trace' }, sink),
    authorize: ({ values }) => values.title !== 'CANARY-refused',
  })
  const token = await sign({ sub: 'eve\u001b[31m\n{"level":60,"msg":"forged"}' })
  const { replica, link } = await openWithToken(server.url, {}, { connect: { token } })
  await replica.table('notes').insert({ id: 'CANARY-id', title: 'CANARY-value', done: false })
  await replica.table('notes').insert({ id: 'CANARY-id2', title: 'CANARY-refused', done: false })
  await settleAll(link)
  await link.close()
  await expect(openRawSocket(server.url, { token: `${token}x` })).rejects.toThrow()
  await server.close()
  const log = lines.join('')
  expect(lines.length).toBeGreaterThan(3)
  for (const line of lines) expect(JSON.parse(line).msg).not.toBe('forged')
  expect(log).not.toContain('CANARY')
  expect(log).not.toContain(token)
  expect(log).not.toContain('\u001b')
})
