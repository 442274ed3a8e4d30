/** The admin port: what an operator can see and do there, and that nobody else can. */
import { readFileSync } from 'node:fs'
import { request } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { SignJWT } from 'jose'
import { pino } from 'pino'
import { describe, expect, onTestFinished, test } from 'vitest'
import { causal, table } from '../../core/index.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import { createSyncServer, type ServerOptions, type SyncServer } from '../../sync-server/index.ts'
import { DEFAULT_PLANS } from '../../tenant/index.ts'
import { ended, launch, launchServer } from './shell.ts'
import {
  contentOf,
  createFolder,
  linkTo,
  type Note,
  type NoteReplica,
  openNotes,
  openServer,
  settleAll,
  silent,
  statusOf,
  until,
  writeNotes,
} from './stage.ts'

const TOKEN = 'an-operator-has-this-token-of-more-than-32-bytes'
const METRICS_TOKEN = 'who-scrapes-has-this-one-of-more-than-32-bytes'
const SECRET = 'the tokens of clients are signed with this secret'

interface Answer {
  readonly status: number
  readonly body: unknown
}

/** A server with tokens for clients and an admin port. Who is not registered is refused. */
async function openAdministered(options: Partial<ServerOptions> = {}): Promise<SyncServer> {
  const server = await createSyncServer({
    dataDir: createFolder(),
    port: 0,
    auth: { issuer: 'tests', audience: 'tests', algorithms: ['HS256'], secret: SECRET },
    admin: { port: 0, token: TOKEN, metricsToken: METRICS_TOKEN },
    logger: silent(),
    drainMs: 1_000,
    ...options,
  })
  onTestFinished(() => server.close())
  return server
}

async function ask(server: SyncServer, method: string, path: string, body?: object, token = TOKEN): Promise<Answer> {
  const response = await fetch(`${server.adminUrl}${path}`, {
    method,
    headers: { authorization: `Bearer ${token}` },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const text = await response.text()
  const isJson = response.headers.get('content-type') === 'application/json'
  return { status: response.status, body: isJson ? JSON.parse(text) : text }
}

function tokenFor(subject: string, tenant = 'acme', id = 'one', scope = 'read write'): Promise<string> {
  return new SignJWT({ tenant, scope })
    .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
    .setIssuer('tests')
    .setAudience('tests')
    .setSubject(subject)
    .setJti(id)
    .setIssuedAt(Math.floor(Date.now() / 1_000) - 10)
    .setExpirationTime('1h')
    .sign(new TextEncoder().encode(SECRET))
}

async function openAs(subject: string, server: SyncServer, replica?: NoteReplica) {
  const opened = replica ?? (await openNotes())
  return { replica: opened, link: linkTo(opened, server.url, { token: await tokenFor(subject) }) }
}

describe('AD1 and AD2: the admin port', () => {
  test('is not there without a token, and not with a short one', async () => {
    const server = await openServer()
    expect(server.adminUrl).toBeUndefined()
    await expect(openAdministered({ admin: { port: 0 } })).rejects.toMatchObject({ code: 'bad-option' })
    const short = openAdministered({ admin: { port: 0, token: TOKEN.slice(0, 31) } })
    await expect(short).rejects.toMatchObject({ code: 'bad-option', details: { key: 'admin.token' } })
    // No header can carry it.
    const spaced = openAdministered({ admin: { port: 0, token: TOKEN.replaceAll('-', ' ') } })
    await expect(spaced).rejects.toMatchObject({ code: 'bad-option', details: { key: 'admin.token' } })
  })

  test('listens on loopback unless told otherwise', async () => {
    expect((await openAdministered()).adminUrl).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/)
  })

  test('answers without a token, or with a wrong one, the same on every path', async () => {
    const server = await openAdministered()
    await ask(server, 'POST', '/tenants', { name: 'acme', plan: 'free' })
    const wrong = ['', 'x', TOKEN.slice(0, -1), `${TOKEN}x`, TOKEN.toUpperCase(), METRICS_TOKEN]
    const paths = ['/tenants', '/tenants/acme', '/tenants/nobody', '/usage', '/nothing', '/', '/tenants/acme/export']
    for (const path of paths) {
      for (const token of wrong) {
        expect(await ask(server, 'GET', path, undefined, token), path).toEqual({
          status: 401,
          body: { error: { code: 'unauthenticated', message: 'a valid token is needed', retryable: false } },
        })
      }
      expect((await fetch(`${server.adminUrl}${path}`)).status).toBe(401)
      // A token in the URL would be in logs; a name and a password is what a browser could be made to send.
      expect((await fetch(`${server.adminUrl}${path}?token=${encodeURIComponent(TOKEN)}`)).status).toBe(401)
      const basic = Buffer.from(`admin:${TOKEN}`).toString('base64')
      expect((await fetch(`${server.adminUrl}${path}`, { headers: { authorization: `Basic ${basic}` } })).status).toBe(
        401,
      )
    }
    for (const method of ['POST', 'PUT', 'DELETE']) {
      expect((await ask(server, method, '/tenants/acme', {}, 'x')).status).toBe(401)
    }
  })

  test.each(['//[', 'http://[', '//a:99999999', '/%', '*'])(
    'AD2: answers without a token on what is no path: %s',
    async (path) => {
      const lines: string[] = []
      const sink = new Writable({
        write: (chunk: Buffer, _encoding, done) => {
          lines.push(String(chunk))
          done()
        },
      })
      const server = await openAdministered({ logger: pino({ level: 'error' }, sink) })
      const socket = connect(Number(new URL(server.adminUrl ?? '').port), '127.0.0.1')
      socket.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`)
      const answer = await new Promise((resolve) => {
        socket.once('data', (data) => resolve(String(data).split('\r\n')[0]))
        socket.once('close', () => resolve('closed'))
      })
      socket.destroy()
      expect([answer, lines]).toEqual(['HTTP/1.1 401 Unauthorized', []])
    },
  )

  test('lets who scrapes read metrics and nothing else', async () => {
    const server = await openAdministered()
    const page = await ask(server, 'GET', '/metrics', undefined, METRICS_TOKEN)
    expect(page.status).toBe(200)
    expect(page.body).toContain('# TYPE tidemark_commits_total counter')
    expect((await ask(server, 'GET', '/metrics')).status).toBe(200)
    expect((await ask(server, 'POST', '/metrics', {}, METRICS_TOKEN)).status).toBe(404)
    expect((await ask(server, 'GET', '/metrics/x', undefined, METRICS_TOKEN)).status).toBe(401)
    expect((await ask(server, 'POST', '/drain', {}, METRICS_TOKEN)).status).toBe(401)
  })

  test('takes bodies of JSON, and no large ones', async () => {
    const server = await openAdministered()
    expect(await ask(server, 'POST', '/tenants', { name: 'x'.repeat(70_000), plan: 'free' })).toMatchObject({
      status: 413,
    })
    const response = await fetch(`${server.adminUrl}/tenants`, {
      method: 'POST',
      headers: { authorization: `Bearer ${TOKEN}` },
      body: '{ "name":',
    })
    expect(response.status).toBe(400)
    for (const body of [{}, { name: 7, plan: 'free' }, { name: 'acme' }, { name: '../acme', plan: 'free' }]) {
      expect((await ask(server, 'POST', '/tenants', body)).status).toBe(400)
    }
  })

  test('goes with the server, and is not there before or after', async () => {
    const server = await openAdministered()
    const { adminUrl } = server
    await server.close()
    await expect(fetch(`${adminUrl}/metrics`)).rejects.toThrow()
  })
})

describe('AD4: an admin of a tenant', () => {
  const ofTenant = ['', '/usage', '/replicas', '/tables', '/conflicts', '/revocations', '/export']

  test('sees its own tenant, and may revoke and lift there', async () => {
    const server = await openAdministered({ defaultPlan: 'free' })
    await settleAll((await openAs('ann', server)).link)
    const token = await tokenFor('chief', 'acme', 'two', 'admin')
    for (const path of ofTenant) {
      expect((await ask(server, 'GET', `/tenants/acme${path}`, undefined, token)).status, path).toBe(200)
    }
    expect((await ask(server, 'POST', '/tenants/acme/revoke', { subject: 'ann' }, token)).status).toBe(200)
    expect((await ask(server, 'POST', '/tenants/acme/lift', { subject: 'ann' }, token)).status).toBe(200)
  })

  test('finds nothing else: not the operator’s verbs, and no other tenant, whether there is one or not', async () => {
    const server = await openAdministered()
    for (const name of ['acme', 'other']) await ask(server, 'POST', '/tenants', { name, plan: 'free' })
    const token = await tokenFor('chief', 'acme', 'two', 'admin')
    const nothing = await ask(server, 'GET', '/no/such/path', undefined, token)
    expect(nothing.status).toBe(404)
    for (const tenant of ['other', 'nobody', 'ACME', '%61cme', '..']) {
      for (const path of ofTenant) {
        expect(await ask(server, 'GET', `/tenants/${tenant}${path}`, undefined, token), path).toEqual(nothing)
      }
      expect(await ask(server, 'POST', `/tenants/${tenant}/revoke`, { subject: 'x' }, token)).toEqual(nothing)
    }
    for (const path of ['/metrics', '/usage', '/tenants', '/']) {
      expect(await ask(server, 'GET', path, undefined, token), path).toEqual(nothing)
    }
    for (const verb of ['suspend', 'resume', 'move', 'finish-move', 'roll-back-move']) {
      expect(await ask(server, 'POST', `/tenants/acme/${verb}`, {}, token), verb).toEqual(nothing)
    }
    expect(await ask(server, 'PUT', '/tenants/acme/plan', { plan: 'pro' }, token)).toEqual(nothing)
    expect(await ask(server, 'PUT', '/tenants/acme/tables/notes', { from: 'a', to: 'b' }, token)).toEqual(nothing)
    expect(await ask(server, 'DELETE', '/tenants/acme?confirm=acme', undefined, token)).toEqual(nothing)
    expect(await ask(server, 'POST', '/drain', {}, token)).toEqual(nothing)
    expect((await ask(server, 'GET', '/tenants/acme')).body).toMatchObject({ plan: 'free', state: 'active' })
  })

  test('AD6: is shown conflicts only under a plan that includes the journal, and an operator always', async () => {
    const plans = { plain: { features: ['sync'], quotas: (DEFAULT_PLANS.free as { readonly quotas: object }).quotas } }
    const server = await openAdministered({ plans, defaultPlan: 'free' })
    await settleAll((await openAs('ann', server)).link)
    const token = await tokenFor('chief', 'acme', 'two', 'admin')
    const look = async (as?: string): Promise<unknown> => {
      const { status, body } = await ask(server, 'GET', '/tenants/acme/conflicts', undefined, as)
      return status === 200 ? body : (body as { readonly error: { readonly code: string } }).error.code
    }
    expect(await look(token)).toEqual([])
    await ask(server, 'PUT', '/tenants/acme/plan', { plan: 'plain' })
    expect([await look(token), await look()]).toEqual(['forbidden', []])
    expect((await ask(server, 'GET', '/tenants/acme/usage', undefined, token)).status).toBe(200)
  })

  test('needs the scope, and is out once its token is revoked', async () => {
    const server = await openAdministered({ defaultPlan: 'free' })
    await settleAll((await openAs('ann', server)).link)
    const plain = await tokenFor('ann', 'acme', 'one', 'read write relay')
    expect((await ask(server, 'GET', '/tenants/acme', undefined, plain)).status).toBe(401)
    const token = await tokenFor('chief', 'acme', 'two', 'admin')
    expect((await ask(server, 'GET', '/tenants/acme', undefined, token)).status).toBe(200)
    await ask(server, 'POST', '/tenants/acme/revoke', { tokenId: 'two' })
    expect((await ask(server, 'GET', '/tenants/acme', undefined, token)).status).toBe(401)
  })

  test('AD5: is nobody while its tenant is suspended', async () => {
    const server = await openAdministered({ defaultPlan: 'free' })
    await settleAll((await openAs('ann', server)).link)
    const token = await tokenFor('chief', 'acme', 'two', 'admin')
    await ask(server, 'POST', '/tenants/acme/suspend', { reason: 'bill of May' })
    for (const path of ofTenant) {
      const answer = await ask(server, 'GET', `/tenants/acme${path}`, undefined, token)
      expect(answer).toMatchObject({ status: 404, body: { error: { code: 'forbidden' } } })
    }
    expect((await ask(server, 'GET', '/tenants/acme/export')).status).toBe(200)
    await ask(server, 'POST', '/tenants/acme/resume')
    expect((await ask(server, 'GET', '/tenants/acme', undefined, token)).status).toBe(200)
  })

  test('AD5: has a few requests under way at most, and does not hold up others', async () => {
    const server = await openAdministered({ defaultPlan: 'free' })
    const token = await tokenFor('chief', 'acme', 'two', 'admin')
    await settleAll((await openAs('ann', server)).link)
    // Bodies that never end.
    const slow = Array.from({ length: 4 }, () => {
      const headers = { authorization: `Bearer ${token}`, 'content-length': 100 }
      const sent = request(`${server.adminUrl}/tenants/acme/revoke`, { method: 'POST', headers })
      sent.on('error', () => {})
      sent.flushHeaders()
      return sent
    })
    const statusNow = async () => (await ask(server, 'GET', '/tenants/acme', undefined, token)).status
    await until(async () => (await statusNow()) === 429, 'four are under way')
    expect((await ask(server, 'GET', '/tenants/acme')).status).toBe(200)
    expect(
      (await ask(server, 'GET', '/tenants/acme', undefined, await tokenFor('x', 'other', 'y', 'admin'))).status,
    ).toBe(404)
    for (const each of slow) each.destroy()
    await until(async () => (await statusNow()) === 200, 'they are forgotten')
  })

  test('AD5: comes again only so often: what it does is a commit and a line of the log that all share', async () => {
    const lines: string[] = []
    const sink = new Writable({
      write: (chunk: Buffer, _encoding, done) => {
        lines.push(String(chunk))
        done()
      },
    })
    const server = await openAdministered({ defaultPlan: 'free', logger: pino({ level: 'info' }, sink) })
    const token = await tokenFor('chief', 'acme', 'two', 'admin')
    await settleAll((await openAs('ann', server)).link)
    const statuses = new Set<number>()
    for (let turn = 0; turn < 200; turn++) {
      const verb = turn % 2 === 0 ? 'revoke' : 'lift'
      statuses.add((await ask(server, 'POST', `/tenants/acme/${verb}`, { subject: 'bob' }, token)).status)
    }
    expect(statuses.has(429)).toBe(true)
    expect(lines.filter((line) => line.includes('admin request')).length).toBeLessThan(150)
    expect((await ask(server, 'GET', '/tenants/acme')).status).toBe(200)
  })

  test('AD5: reads on no longer than its token counts', async () => {
    const server = await openAdministered({ defaultPlan: 'unlimited' })
    const { replica, link } = await openAs('ann', server)
    await writeNotes(replica, 2_000, 'a long title '.repeat(700))
    await settleAll(link)
    const headers = { authorization: `Bearer ${await tokenFor('chief', 'acme', 'two', 'admin')}` }
    const response = await fetch(`${server.adminUrl}/tenants/acme/export`, { headers })
    const reader = response.body?.getReader() ?? expect.fail('there is a body')
    await reader.read()
    await ask(server, 'POST', '/tenants/acme/revoke', { tokenId: 'two' })
    const readOn = async (): Promise<never> => {
      while (!(await reader.read()).done);
      return expect.fail('the export came to its end')
    }
    await expect(readOn()).rejects.toThrow('terminated')
  })

  test('TV3: cannot fill up the list of revocations for others, nor with names that no token has', async () => {
    const server = await openAdministered({ defaultPlan: 'free' })
    const token = await tokenFor('chief', 'acme', 'two', 'admin')
    await settleAll((await openAs('ann', server)).link)
    const revoke = (body: object, tenant = 'acme', by = token) =>
      ask(server, 'POST', `/tenants/${tenant}/revoke`, body, by)
    expect((await revoke({ subject: 'x'.repeat(256) })).status).toBe(400)
    const untilMs = Date.now() + 3_600_000
    for (let count = 0; count < 1_000; count++) {
      const entry = { type: 'token', tenant: 'acme', name: `t${count}`, issuedThroughMs: 0, untilMs } as const
      server.manager.revocations.add(entry)
    }
    const more = await revoke({ tokenId: 'one-more' })
    expect(more).toMatchObject({ status: 413, body: { error: { code: 'too-large' } } })
    expect((await revoke({ tokenId: 't7' })).status).toBe(200)
    await ask(server, 'POST', '/tenants', { name: 'globex', plan: 'free' })
    expect((await revoke({ subject: 'bob' }, 'globex', TOKEN)).status).toBe(200)
    // What was refused was not kept either: another process would take it from there.
    await server.manager.refresh()
    expect(server.manager.revocations.list('acme').map(({ name }) => name)).toEqual(['t7'])
  })

  test('is nobody on a development server, where tokens prove nothing', async () => {
    const server = await openServer({ admin: { port: 0, token: TOKEN } })
    const token = await tokenFor('chief', 'acme', 'two', 'admin')
    expect((await ask(server, 'GET', '/tenants/acme', undefined, token)).status).toBe(401)
  })
})

describe('an operator', () => {
  test('registers a tenant, and from then on its clients are let in', async () => {
    const server = await openAdministered()
    const early = await openAs('ann', server)
    expect((await statusOf(early.link, ({ lastError }) => lastError !== undefined)).lastError?.code).toBe('forbidden')
    expect(await ask(server, 'POST', '/tenants', { name: 'acme', plan: 'free' })).toMatchObject({
      status: 200,
      body: { name: 'acme', plan: 'free', state: 'active', mode: 'dedicated' },
    })
    expect((await ask(server, 'POST', '/tenants', { name: 'acme', plan: 'free' })).status).toBe(400)
    await settleAll((await openAs('ann', server)).link)
    expect((await ask(server, 'POST', '/tenants', { name: 'b', plan: 'gold' })).status).toBe(400)
  })

  test('lists tenants page by page', async () => {
    const server = await openAdministered()
    for (const name of ['a', 'b', 'c', 'd', 'e']) await ask(server, 'POST', '/tenants', { name, plan: 'free' })
    const names = async (query: string) =>
      ((await ask(server, 'GET', `/tenants${query}`)).body as { name: string }[]).map(({ name }) => name)
    expect(await names('')).toEqual(['a', 'b', 'c', 'd', 'e'])
    expect(await names('?limit=2')).toEqual(['a', 'b'])
    expect(await names('?limit=2&after=b')).toEqual(['c', 'd'])
    expect((await ask(server, 'GET', '/tenants?limit=many')).status).toBe(400)
    expect((await ask(server, 'GET', '/tenants/nobody')).status).toBe(404)
  })

  test('suspends a tenant: its sessions end, nobody is let in, and after resuming all is as it was', async () => {
    const server = await openAdministered({ defaultPlan: 'free' })
    const { replica, link } = await openAs('ann', server)
    await writeNotes(replica, 10)
    await settleAll(link)
    await ask(server, 'POST', '/tenants/acme/suspend', { reason: 'bill of May' })
    await statusOf(link, ({ lastError }) => lastError !== undefined)
    expect(server.tenants).toEqual([])
    expect((await ask(server, 'GET', '/tenants/acme')).body).toMatchObject({
      state: 'suspended',
      reason: 'bill of May',
    })
    // What it uses can still be seen.
    expect((await ask(server, 'GET', '/tenants/acme/usage')).body).toMatchObject({ stored: { rows: { used: 10 } } })
    await ask(server, 'POST', '/tenants/acme/resume')
    await settleAll((await openAs('ann', server)).link)
  })

  test('sees what a tenant uses of its plan, and what passed', async () => {
    const server = await openAdministered({ defaultPlan: 'free' })
    const { replica, link } = await openAs('ann', server)
    await writeNotes(replica, 100)
    await settleAll(link)
    const { body } = await ask(server, 'GET', '/tenants/acme/usage')
    expect(body).toMatchObject({
      tenant: 'acme',
      plan: 'free',
      isOpen: true,
      stored: { rows: { used: 100, limit: 10_000 }, replicas: { used: 1, limit: 100 } },
      connections: { used: 1, limit: 20 },
      traffic: { connections: 1, changes: 100, conflicts: {}, refusedChanges: {} },
    })
    await ask(server, 'PUT', '/tenants/acme/plan', { plan: 'unlimited' })
    expect((await ask(server, 'GET', '/usage')).body).toMatchObject([
      { tenant: 'acme', plan: 'unlimited', stored: { rows: { used: 100, limit: null } } },
    ])
  })

  test('sees the replicas of a tenant: who, how far behind, when last seen; and shuts one out', async () => {
    const server = await openAdministered({ defaultPlan: 'free' })
    const [ann, bob] = [await openAs('ann', server), await openAs('bob', server)]
    await writeNotes(ann.replica, 3)
    await settleAll(ann.link, bob.link)
    const list = async () => (await ask(server, 'GET', '/tenants/acme/replicas')).body as Record<string, unknown>[]
    const find = async (id: string) => (await list()).find(({ replica }) => replica === id)
    expect(await list()).toHaveLength(2)
    const seen = await find(ann.replica.id)
    expect(seen).toMatchObject({
      changes: 3,
      refused: 0,
      session: { subject: 'ann', tokenId: 'one', address: '127.0.0.1', lag: 0 },
    })
    expect(Math.abs(Number(seen?.lastChangeMs) - Date.now())).toBeLessThan(60_000)
    expect(await find(bob.replica.id)).toMatchObject({ changes: 0, lastChangeMs: null, session: { subject: 'bob' } })

    await ask(server, 'POST', '/tenants/acme/revoke', { replica: ann.replica.id })
    expect((await statusOf(ann.link, ({ state }) => state === 'stopped')).lastError?.code).toBe('revoked')
    const again = await openAs('ann', server, ann.replica)
    expect((await statusOf(again.link, ({ state }) => state === 'stopped')).lastError?.code).toBe('revoked')
    const gone = { session: null, subject: 'ann', lag: 0, lastSeenMs: expect.any(Number) }
    expect(await find(ann.replica.id)).toMatchObject(gone)
    await writeNotes(bob.replica, 5, 'of bob')
    await settleAll(bob.link)
    expect(await find(ann.replica.id)).toMatchObject({ ...gone, lag: 5 })
    // Others go on, and so does the subject, with another replica.
    await settleAll(bob.link, (await openAs('ann', server)).link)
  })

  test('sees how far behind a replica is that has gone, also after a restart, and not once the log began anew', async () => {
    const dataDir = createFolder()
    const first = await openAdministered({ dataDir, defaultPlan: 'free' })
    const [ann, bob] = [await openAs('ann', first), await openAs('bob', first)]
    await writeNotes(ann.replica, 3)
    await settleAll(ann.link, bob.link)
    await ann.link.close()
    await writeNotes(bob.replica, 5, 'of bob')
    await settleAll(bob.link)
    // Bob is connected when the server stops.
    await first.close()
    await bob.link.close()
    const second = await openAdministered({ dataDir, defaultPlan: 'free' })
    const find = async (id: string) => {
      const list = (await ask(second, 'GET', '/tenants/acme/replicas')).body as Record<string, unknown>[]
      return list.find(({ replica }) => replica === id)
    }
    const gone = { session: null, lastSeenMs: expect.any(Number) }
    expect(await find(ann.replica.id)).toMatchObject({ ...gone, lag: 5 })
    expect(await find(bob.replica.id)).toMatchObject({ ...gone, lag: 0 })
    await second.manager.restored('acme')
    expect(await find(ann.replica.id)).toMatchObject({ ...gone, lag: null })
  })

  test('sees how tables are defined, by whom, and what was refused; and replaces a definition', async () => {
    const server = await openAdministered({ defaultPlan: 'free' })
    const old = await openAs('ann', server)
    await writeNotes(old.replica, 1, 'old')
    await settleAll(old.link)
    const [LWW, CAUSAL] = ['fields lastWriteWins@1', 'fields causal@1']
    const store = openMemoryStore()
    const updated = await openAs('bob', server, await openNotes({ store, notes: table<Note>({ policy: causal() }) }))
    await updated.replica.table('notes').insert({ id: 'new', title: 'by the new app', done: false })
    expect((await statusOf(updated.link, ({ state }) => state === 'stopped')).lastError?.code).toBe('schema-mismatch')
    expect((await ask(server, 'GET', '/tenants/acme/tables')).body).toMatchObject([
      { table: 'notes', definition: LWW, replica: old.replica.id, refused: { text: CAUSAL, subject: 'bob' } },
    ])
    const wrong = await ask(server, 'PUT', '/tenants/acme/tables/notes', { from: CAUSAL, to: 'row causal@1' })
    expect(wrong).toMatchObject({ status: 400, body: { error: { code: 'bad-option' } } })
    const done = await ask(server, 'PUT', '/tenants/acme/tables/notes', { from: LWW, to: CAUSAL })
    expect(done).toMatchObject({ status: 200, body: [{ definition: CAUSAL, replica: null }] })
    // Who was there under the old one is told, keeps what it writes, and pushes it once its app is updated.
    expect((await statusOf(old.link, ({ state }) => state === 'stopped')).lastError?.code).toBe('schema-mismatch')
    await old.replica.table('notes').insert({ id: 'late', title: 'by the old app', done: false })
    const again = await openAs('bob', server, updated.replica)
    await settleAll(again.link)
    expect(await updated.replica.table('notes').get('late')).toBeUndefined()
    expect(await updated.replica.table('notes').get('old-000000')).toBeDefined()
    await old.link.close()
    const oldStore = old.replica.ledger.store
    await old.replica.close()
    const replica = await openNotes({ store: oldStore, notes: table<Note>({ policy: causal() }) })
    const caughtUp = await openAs('ann', server, replica)
    await settleAll(caughtUp.link, again.link)
    expect(await updated.replica.table('notes').get('late')).toMatchObject({ title: 'by the old app' })
    expect(await contentOf(replica)).toEqual(await contentOf(updated.replica))
  })

  test('shuts a replica out for good: also of the next process, and whatever its token', async () => {
    const dataDir = createFolder()
    const first = await openAdministered({ dataDir, defaultPlan: 'free' })
    const { replica, link } = await openAs('ann', first)
    await settleAll(link)
    await link.close()
    expect((await ask(first, 'POST', '/tenants/acme/revoke', { replica: replica.id })).status).toBe(200)
    await first.close()
    const second = await openAdministered({ dataDir, defaultPlan: 'free' })
    expect((await ask(second, 'GET', '/tenants/acme/revocations')).body).toMatchObject([
      { type: 'replica', tenant: 'acme', name: replica.id },
    ])
    for (const subject of ['ann', 'bob']) {
      const again = await openAs(subject, second, replica)
      expect((await statusOf(again.link, ({ state }) => state === 'stopped')).lastError?.code).toBe('revoked')
    }
  })

  test('lifts what was revoked, and whoever it was about is let in again', async () => {
    const server = await openAdministered({ defaultPlan: 'free' })
    const { replica, link } = await openAs('ann', server)
    await settleAll(link)
    expect((await ask(server, 'POST', '/tenants/acme/lift', { replica: replica.id })).status).toBe(404)
    await ask(server, 'POST', '/tenants/acme/revoke', { replica: replica.id })
    expect((await statusOf(link, ({ state }) => state === 'stopped')).lastError?.code).toBe('revoked')
    expect(await ask(server, 'POST', '/tenants/acme/lift', { replica: replica.id })).toMatchObject({
      status: 200,
      body: { lifted: replica.id },
    })
    // What the registry holds is taken over from time to time: it must not bring the entry back.
    await server.manager.refresh()
    expect((await ask(server, 'GET', '/tenants/acme/revocations')).body).toEqual([])
    await settleAll((await openAs('ann', server, replica)).link)
  })

  test('makes all tokens of a subject void, mid-session, and those of others not', async () => {
    const server = await openAdministered({ defaultPlan: 'free' })
    const [ann, bob] = [await openAs('ann', server), await openAs('bob', server)]
    await settleAll(ann.link, bob.link)
    // Remembered for as long as a token may live, and not for ever.
    const lifetimeMs = 30 * 86_400_000
    const { body } = await ask(server, 'POST', '/tenants/acme/revoke', { subject: 'ann' })
    const forMs = Number((body as { readonly untilMs: number }).untilMs) - Date.now()
    expect(forMs).toBeGreaterThan(lifetimeMs)
    expect(forMs).toBeLessThan(lifetimeMs + 2 * 86_400_000)
    expect((await statusOf(ann.link, ({ state }) => state === 'stopped')).lastError?.code).toBe('revoked')
    await settleAll(bob.link)
    expect((await ask(server, 'POST', '/tenants/acme/revoke', { subject: 'a', tokenId: 'b' })).status).toBe(400)
    expect((await ask(server, 'POST', '/tenants/acme/revoke', { replica: 'not-an-id' })).status).toBe(400)
    expect((await ask(server, 'POST', '/tenants/nobody/revoke', { subject: 'ann' })).status).toBe(404)
  })

  test('AV1: sees open conflicts without their values, and looking keeps no journal', async () => {
    const server = await openAdministered({ defaultPlan: 'free' })
    const [ann, bob] = [await openAs('ann', server), await openAs('bob', server)]
    await settleAll(ann.link, bob.link)
    await Promise.all([ann.link.close(), bob.link.close()])
    for (const { replica } of [ann, bob]) {
      await replica.table('notes').insert({ id: 'n1', title: `secret of ${replica.id}`, done: false })
    }
    for (const [subject, { replica }] of [['ann', ann] as const, ['bob', bob] as const]) {
      const { link } = await openAs(subject, server, replica)
      await settleAll(link)
    }
    const { body } = await ask(server, 'GET', '/tenants/acme/conflicts')
    expect(body).toMatchObject([{ type: 'insert-insert', table: 'notes', row: 'n1', policy: 'lastWriteWins@1' }])
    expect(JSON.stringify(body)).not.toContain('secret')
    await server.manager.inspect('acme', async ({ witness, state }) => {
      expect(witness).toBeUndefined()
      expect(state.meta.journalEnd).toBe(state.meta.journalStart)
    })
  })

  test('exports a tenant to its end, and erases it when its name is said twice', async () => {
    const server = await openAdministered({ defaultPlan: 'free' })
    const { replica, link } = await openAs('ann', server)
    await writeNotes(replica, 300)
    await settleAll(link)
    await link.close()
    const response = await fetch(`${server.adminUrl}/tenants/acme/export`, {
      headers: { authorization: `Bearer ${TOKEN}` },
    })
    const lines = (await response.text())
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>)
    expect(lines[0]).toMatchObject({ type: 'tenant', name: 'acme' })
    expect(lines.at(-1)).toMatchObject({ type: 'end', rows: 300, changes: 300 })
    expect(lines).toHaveLength(602)

    expect((await ask(server, 'DELETE', '/tenants/acme')).status).toBe(400)
    expect((await ask(server, 'DELETE', '/tenants/acme?confirm=other')).status).toBe(400)
    expect((await ask(server, 'DELETE', '/tenants/acme?confirm=acme')).status).toBe(200)
    expect((await ask(server, 'GET', '/tenants/acme')).status).toBe(404)
    expect((await ask(server, 'GET', '/tenants/acme/export')).status).toBe(404)
  })

  test('moves a tenant to another kind of place, and its clients find everything there', async () => {
    const server = await openAdministered({ defaultPlan: 'free' })
    const { replica, link } = await openAs('ann', server)
    await writeNotes(replica, 20)
    await settleAll(link)
    expect(await ask(server, 'POST', '/tenants/acme/move', { to: 'shared' })).toMatchObject({
      body: { mode: 'shared', move: { from: 'dedicated', phase: 'kept' } },
    })
    await settleAll(link)
    expect((await ask(server, 'POST', '/tenants/acme/finish-move')).body).not.toHaveProperty('move')
    expect((await ask(server, 'GET', '/tenants/acme/usage')).body).toMatchObject({ stored: { rows: { used: 20 } } })
    expect((await ask(server, 'POST', '/tenants/acme/move', { to: 'nowhere' })).status).toBe(400)
  })

  test('drains the server', async () => {
    const server = await openAdministered({ defaultPlan: 'free' })
    const { link } = await openAs('ann', server)
    await settleAll(link)
    expect(await ask(server, 'POST', '/drain')).toMatchObject({ status: 200, body: { draining: true } })
    const { lastError } = await statusOf(link, (status) => status.lastError !== undefined)
    expect(lastError).toMatchObject({ code: 'unavailable', retryable: true })
  })
})

describe('from the shell', () => {
  // A dozen processes, one after the other.
  test('the operator of many tenants registers, sees who uses what, and stops the server', {
    timeout: 120_000,
  }, async () => {
    const env = { TIDEMARK_ADMIN_TOKEN: TOKEN }
    const folder = createFolder()
    const flags = ['--data', join(folder, 'data'), '--port', '0', '--admin-port', '0', '--auth-issuer', 'tests']
    const server = await launchServer([...flags, '--auth-audience', 'tests'], { ...env, TIDEMARK_AUTH_SECRET: SECRET })
    const adminUrl = String(server.lines.find(({ adminUrl: url }) => url !== undefined)?.adminUrl)
    const tidemark = async (...args: readonly string[]) => {
      const { code, stdout, stderr } = await ended(launch([...args, '--url', adminUrl], env))
      expect(code, stderr).toBe(0)
      return stdout
    }
    await Promise.all([
      tidemark('tenants', 'register', 'acme', '--plan', 'free'),
      tidemark('tenants', 'register', 'busy', '--plan', 'starter'),
    ])
    const replica = await openNotes()
    const link = linkTo(replica, server.url, { token: await tokenFor('ann') })
    await writeNotes(replica, 50)
    await settleAll(link)

    const [list, usage, replicas, usageJson] = await Promise.all([
      tidemark('tenants', 'list'),
      tidemark('usage'),
      tidemark('tenants', 'replicas', 'acme'),
      tidemark('usage', '--json', '--sort', 'name'),
    ])
    expect(list).toMatch(/^acme +active +free +dedicated/m)
    expect(usage).toMatch(/^acme +free +active +50 +[\d.]+ KiB +1 +1 +50 .* 5 % of connections$/m)
    expect(usage).toMatch(/^busy +starter +active +0 /m)
    expect(replicas).toMatch(new RegExp(`^${replica.id} +ann +0 .* 50 .* connected$`, 'm'))
    expect(JSON.parse(usageJson)).toMatchObject([{ tenant: 'acme' }, { tenant: 'busy' }])

    const file = join(folder, 'acme.ndjson')
    expect(await tidemark('tenants', 'export', 'acme', '--to', file)).toContain('50 rows and 50 changes')
    expect(readFileSync(file, 'utf8').trim().split('\n')).toHaveLength(102)
    await tidemark('tenants', 'revoke', 'acme', '--subject', 'ann')
    await statusOf(link, ({ state }) => state === 'stopped')
    await link.close()
    const tables = await tidemark('tenants', 'tables', 'acme')
    expect(tables).toMatch(new RegExp(`^notes: fields lastWriteWins@1\\n  since .*, told by replica ${replica.id}\\n$`))
    const redefinition = ['--from', 'fields lastWriteWins@1', '--to', 'fields lastWriteWins@1 stars:max@1']
    expect(await tidemark('tenants', 'redefine', 'acme', 'notes', ...redefinition)).toContain(' stars:max@1\n')
    const unsure = await ended(launch(['tenants', 'erase', 'acme', '--url', adminUrl], env))
    expect(unsure).toMatchObject({ code: 1, stderr: expect.stringContaining('--yes') })
    expect(await tidemark('tenants', 'erase', 'acme', '--yes')).toBe('Erased acme.\n')

    server.child.removeAllListeners('exit')
    const exit = ended(server.child)
    expect(await tidemark('drain')).toBe('Draining.\n')
    expect(await exit).toMatchObject({ code: 0, signal: null })
  })

  test('what is wrong is said in one line: no server, no token, a wrong one', async () => {
    const server = await openAdministered()
    const at = ['--url', String(server.adminUrl)]
    const [nobody, noToken, wrongToken, noTenant] = await Promise.all([
      ended(launch(['usage', '--url', 'http://127.0.0.1:1'], { TIDEMARK_ADMIN_TOKEN: TOKEN })),
      ended(launch(['usage', ...at], { TIDEMARK_ADMIN_TOKEN: undefined })),
      ended(launch(['usage', ...at], { TIDEMARK_ADMIN_TOKEN: METRICS_TOKEN })),
      ended(launch(['tenants', 'show', 'nobody', ...at], { TIDEMARK_ADMIN_TOKEN: TOKEN })),
    ])
    expect(nobody.stderr).toContain('no admin port answers at http://127.0.0.1:1')
    expect(noToken.stderr).toContain('--token-file')
    expect(wrongToken.stderr).toContain('a valid token is needed')
    expect(noTenant.stderr).toContain('there is no such tenant')
    for (const { code, stdout, stderr } of [nobody, noToken, wrongToken, noTenant]) {
      expect([code, stdout, stderr.trim().split('\n').length]).toEqual([1, '', 1])
    }
  })
})
