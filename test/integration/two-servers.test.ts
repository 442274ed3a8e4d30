/** A tenant goes from one server to another: two real ones, over their admin ports, while clients write. */
import { once } from 'node:events'
import { SignJWT } from 'jose'
import { expect, onTestFinished, test } from 'vitest'
import { createSyncServer, type ServerOptions, type SyncServer } from '../../sync-server/index.ts'
import { launchServer, type Started } from './shell.ts'
import { createFolder, linkTo, openNotes, settleAll, silent, statusOf, writeNotes } from './stage.ts'

const TOKEN = 'an-operator-has-this-token-of-more-than-32-bytes'
const SECRET = 'the tokens of clients are signed with this secret'

async function open(options: Partial<ServerOptions> = {}): Promise<SyncServer> {
  const server = await createSyncServer({
    dataDir: createFolder(),
    port: 0,
    auth: { issuer: 'tests', audience: 'tests', algorithms: ['HS256'], secret: SECRET },
    admin: { port: 0, token: TOKEN },
    logger: silent(),
    drainMs: 1_000,
    ...options,
  })
  onTestFinished(() => server.close())
  return server
}

/** A server in a process of its own, on the same ports each time. */
async function launchOther(dataDir: string, ports: { admin: number; port: number }): Promise<Started> {
  const flags = ['--port', `${ports.port}`, '--admin-port', `${ports.admin}`, '--data', dataDir, '--no-pretty']
  const auth = ['--auth-issuer', 'tests', '--auth-audience', 'tests']
  return launchServer([...flags, ...auth], { TIDEMARK_ADMIN_TOKEN: TOKEN, TIDEMARK_AUTH_SECRET: SECRET })
}

function adminUrlOf({ lines }: Started): string {
  return String(lines.find(({ adminUrl }) => adminUrl !== undefined)?.adminUrl)
}

interface Answer {
  readonly status: number
  readonly body: Record<string, unknown>
}

async function ask(server: SyncServer, method: string, path: string, body?: object, token = TOKEN): Promise<Answer> {
  const response = await fetch(`${server.adminUrl}${path}`, {
    method,
    headers: { authorization: `Bearer ${token}` },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  return { status: response.status, body: (await response.json()) as Record<string, unknown> }
}

function tokenFor(subject: string, scope = 'read write'): Promise<string> {
  return new SignJWT({ tenant: 'acme', scope })
    .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
    .setIssuer('tests')
    .setAudience('tests')
    .setSubject(subject)
    .setIssuedAt(Math.floor(Date.now() / 1_000) - 10)
    .setExpirationTime('1h')
    .sign(new TextEncoder().encode(SECRET))
}

async function openAs(subject: string, server: SyncServer, onMoved?: (url: string) => string | undefined) {
  const replica = await openNotes()
  const token = await tokenFor(subject)
  return { replica, link: linkTo(replica, server.url, { token, ...(onMoved === undefined ? {} : { onMoved }) }) }
}

test('clients that write all the while follow it, and lose nothing', async () => {
  const [one, two] = [await open(), await open({ isolation: 'shared' })]
  await ask(one, 'POST', '/tenants', { name: 'acme', plan: 'pro' })
  const asked: string[] = []
  const follow = (url: string): string => {
    asked.push(url)
    return url
  }
  const [ann, bob] = [await openAs('ann', one, follow), await openAs('bob', one, follow)]
  await writeNotes(ann.replica, 3_000, 'of ann')
  await settleAll(ann.link, bob.link)
  let isMoved = false
  let written = 0
  const writing = (async () => {
    while (!isMoved) {
      await bob.replica.table('notes').insert({ id: `bob-${written++}`, title: 'on the way', done: false })
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
  })()
  const body = { server: two.adminUrl, token: TOKEN, address: two.url }
  const moved = await ask(one, 'POST', '/tenants/acme/move', body)
  expect(moved).toMatchObject({ status: 200, body: { departure: { phase: 'left', address: two.url } } })
  isMoved = true
  await writing
  await settleAll(ann.link, bob.link)
  expect(asked).toEqual([two.url, two.url])
  expect(one.tenants).toEqual([])
  expect(two.tenants).toMatchObject([{ tenant: 'acme', connections: 2 }])
  expect((await ann.replica.digest()).rows).toBe(3_000 + written)
  expect(await ann.replica.digest()).toEqual(await bob.replica.digest())
  // Nobody had to begin anew, and no identity was taken for a copy.
  expect((await ask(two, 'GET', '/tenants/acme/replicas')).body).toHaveLength(2)
  expect((await ask(one, 'POST', '/tenants/acme/finish-move')).body).toMatchObject({ departure: { phase: 'gone' } })
  // The token of the other server is nowhere in what is kept.
  expect(JSON.stringify(await one.manager.get('acme'))).not.toContain(TOKEN)
})

test('a client that was not told how to follow stops, and says where the tenant is', async () => {
  const [one, two] = [await open(), await open()]
  await ask(one, 'POST', '/tenants', { name: 'acme', plan: 'pro' })
  const { link } = await openAs('ann', one)
  const wrong = await openAs('bob', one, () => 'no address at all')
  await settleAll(link, wrong.link)
  await ask(one, 'POST', '/tenants/acme/move', { server: two.adminUrl, token: TOKEN, address: two.url })
  for (const stopped of [link, wrong.link]) {
    const { lastError } = await statusOf(stopped, ({ state }) => state === 'stopped')
    expect(lastError).toMatchObject({ code: 'moved', details: { url: two.url } })
  }
})

test('the other server is killed in the middle: clients go on here, and the move goes on where it stopped', async () => {
  const one = await open()
  await ask(one, 'POST', '/tenants', { name: 'acme', plan: 'pro' })
  const ann = await openAs('ann', one, (url) => url)
  for (let part = 0; part < 5; part++) await writeNotes(ann.replica, 2_000, `p${part}-`.padEnd(300, 'x'))
  await settleAll(ann.link)

  const dataDir = createFolder()
  const first = await launchOther(dataDir, { admin: 0, port: 0 })
  const admin = adminUrlOf(first)
  const body = { server: admin, token: TOKEN, address: first.url }
  const moving = ask(one, 'POST', '/tenants/acme/move', body)
  // It is on its way.
  const seen = async (): Promise<unknown> => {
    const headers = { authorization: `Bearer ${TOKEN}` }
    return (await fetch(`${admin}/tenants/acme`, { headers })).json()
  }
  await expect.poll(seen, { timeout: 10_000, interval: 5 }).toMatchObject({ state: 'arriving' })
  first.child.kill('SIGKILL')
  await once(first.child, 'close')
  const broken = await moving
  expect(broken.status, 'in the middle').toBe(503)

  await ann.replica.table('notes').insert({ id: 'meanwhile', title: 'written while it is down', done: false })
  await settleAll(ann.link)
  expect(one.tenants).toMatchObject([{ tenant: 'acme', connections: 1 }])

  const second = await launchOther(dataDir, { admin: Number(new URL(admin).port), port: first.port })
  expect(await ask(one, 'POST', '/tenants/acme/move', body)).toMatchObject({ body: { departure: { phase: 'left' } } })
  await settleAll(ann.link)
  const other = await openNotes()
  await settleAll(linkTo(other, second.url, { token: await tokenFor('bob') }))
  expect((await other.digest()).rows).toBe(10_001)
  expect(await other.digest()).toEqual(await ann.replica.digest())
})

test('a move is given up: what has arrived goes, and nothing here has changed', async () => {
  const [one, two] = [await open(), await open()]
  await ask(one, 'POST', '/tenants', { name: 'acme', plan: 'pro' })
  const ann = await openAs('ann', one)
  await writeNotes(ann.replica, 100)
  await settleAll(ann.link)
  // The other server does not know the plan: the move has begun, and gets no further.
  await ask(two, 'POST', '/tenants', { name: 'acme', plan: 'free' })
  const body = { server: two.adminUrl, token: TOKEN, address: two.url }
  expect((await ask(one, 'POST', '/tenants/acme/move', body)).status).toBe(400)
  expect((await ask(one, 'POST', '/tenants/acme/roll-back-move', body)).body).not.toHaveProperty('departure')
  await settleAll(ann.link)
  expect((await ask(two, 'GET', '/tenants/acme')).body).toMatchObject({ state: 'active', plan: 'free' })
  expect((await ask(one, 'POST', '/tenants/acme/roll-back-move', {})).status).toBe(400)
})

test('what another server may ask is the operator’s: no token of a client opens it, and no wrong one', async () => {
  const [one, two] = [await open(), await open()]
  await ask(one, 'POST', '/tenants', { name: 'acme', plan: 'pro' })
  const admin = await tokenFor('chief', 'admin read write relay')
  for (const path of ['', '/acme/store', '/acme/summary', '/acme/welcome', '/acme/cancel']) {
    expect((await ask(two, 'POST', `/arrivals${path}`, {}, 'x'.repeat(40))).status, path).toBe(401)
    expect((await ask(two, 'POST', `/arrivals${path}`, {}, admin)).status, path).toBe(404)
  }
  const body = { server: two.adminUrl, token: 'y'.repeat(40), address: two.url }
  expect((await ask(one, 'POST', '/tenants/acme/move', body)).status).toBe(400)
  expect((await ask(one, 'POST', '/tenants/acme/move', { ...body, server: 'nowhere' })).status).toBe(400)
  expect((await ask(one, 'POST', '/tenants/acme/move', { ...body, address: 'nowhere' })).status).toBe(400)
  // A tenant that is served here is no arrival: its store is nobody's to read or write.
  for (const question of [{ op: 'head' }, { op: 'range', from: '', to: '/w==', limit: 10, bytesMax: 10 }]) {
    expect((await ask(one, 'POST', '/arrivals/acme/store', question)).status).toBe(400)
  }
  expect((await ask(one, 'POST', '/arrivals/acme/cancel', {})).status).toBe(200)
  expect((await ask(one, 'GET', '/tenants/acme')).body).toMatchObject({ state: 'active' })
})
