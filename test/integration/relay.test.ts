/** A relay over real sockets: a phone at the edge, a laptop at the root, and a line between them that fails. */

import { expect, test } from 'vitest'
import { createReplicaId } from '../../core/index.ts'
import type { SyncServer } from '../../sync-server/index.ts'
import { DEFAULT_PLANS, FOR_EVER } from '../../tenant/index.ts'
import { createDictionaries, encodeBlock } from '../core/block-entry.ts'
import { openIntruder } from './intruder.ts'
import { launchServer, type Started } from './shell.ts'
import { sign } from './sign.ts'
import {
  contentOf,
  createFolder,
  linkTo,
  type NoteReplica,
  openLinked,
  openNotes,
  openServer,
  openWire,
  settleAll,
  stateOf,
  until,
  writeNotes,
} from './stage.ts'
import { openTokenServer, openWithToken } from './tokens.ts'

const UNLIMITED = DEFAULT_PLANS.unlimited as { readonly quotas: object }
const BACKOFF = { baseMs: 20, capMs: 100 }

const openEdge = (url: string): Promise<SyncServer> =>
  openServer({ upstream: { tenant: 'acme', url, backoff: BACKOFF } })

const reached = (edge: SyncServer): Promise<void> =>
  until(() => edge.upstream?.state === 'live', 'the relay has reached its upstream')

const areEqual = (left: NoteReplica, right: NoteReplica): Promise<void> =>
  until(async () => JSON.stringify(await contentOf(left)) === JSON.stringify(await contentOf(right)), 'both are equal')

const put = (replica: NoteReplica, id: string, title: string): Promise<unknown> =>
  replica.table('notes').upsert({ id, title, done: false })

test('what is written at the edge and at the root meets, also after the upstream was away', async () => {
  const root = await openServer()
  const wire = await openWire(root.port)
  const edge = await openEdge(wire.url)
  await reached(edge)
  const [phone, laptop] = [await openLinked(edge.url), await openLinked(root.url)]
  await put(phone.replica, 'n1', 'from the phone')
  await settleAll(phone.link)
  await areEqual(phone.replica, laptop.replica)

  wire.silence()
  await put(phone.replica, 'n1', 'at the edge')
  await put(laptop.replica, 'n1', 'at the root')
  await writeNotes(phone.replica, 300, 'edge')
  await writeNotes(laptop.replica, 300, 'root')
  // Both servers answer while they do not hear of each other.
  await settleAll(phone.link, laptop.link)
  expect([phone.replica.pending, laptop.replica.pending]).toEqual([0, 0])
  wire.cut()
  await areEqual(phone.replica, laptop.replica)
  expect((await phone.replica.digest()).rows).toBe(601)
  const conflicts = []
  for await (const { type } of laptop.replica.conflicts.open()) conflicts.push(type)
  expect(conflicts).toEqual(['update-update'])
})

test('a relay tells its operator how it stands with its upstream', async () => {
  const root = await openServer()
  const edge = await openServer({
    upstream: { tenant: 'acme', url: root.url, backoff: BACKOFF },
    admin: { port: 0, token: 'x'.repeat(32) },
  })
  await reached(edge)
  const page = await edge.metrics()
  expect(page).toContain('tidemark_upstream_connected{tenant="acme"} 1')
  expect(page).toContain('tidemark_upstream_lag{tenant="acme",direction="up"} 0')
  const answer = await fetch(`${edge.adminUrl}/tenants/acme/usage`, {
    headers: { authorization: `Bearer ${'x'.repeat(32)}` },
  })
  expect(await answer.json()).toMatchObject({ upstream: { state: 'live', url: root.url, lagUp: 0, lagDown: 0 } })
  await root.close()
  await until(() => edge.upstream?.state === 'offline', 'the relay has lost its upstream')
  const phone = await openLinked(edge.url)
  await put(phone.replica, 'n1', 'alone')
  await phone.link.settled()
  expect(edge.upstream).toMatchObject({ lagUp: 1 })
  expect(edge.upstream?.state).not.toBe('live')
  expect(await edge.metrics()).toContain('tidemark_upstream_connected{tenant="acme"} 0')
})

test('a relay that has never met its upstream lets nobody in', async () => {
  const root = await openServer()
  const wire = await openWire(root.port)
  wire.silence()
  const edge = await openEdge(wire.url)
  const phone = await openLinked(edge.url)
  const { lastError } = await stateOf(phone.link, 'offline')
  expect(lastError?.code).toBe('unavailable')
  expect(edge.manager.open[0]?.usage.rows).toBe(0)
})

test('without the scope relay nothing is passed on, and nothing is stored', async () => {
  const root = await openTokenServer()
  const edge = await openServer({
    upstream: { tenant: 'acme', url: root.url, token: await sign({ sub: 'edge', scope: 'read write' }) },
  })
  await until(() => edge.upstream?.lastError === 'forbidden', 'the relay is refused')
  expect(root.manager.open[0]?.usage).toMatchObject({ rows: 0, replicas: 0 })

  const token = sign({ sub: 'edge', scope: 'read relay' })
  const trusted = await openServer({
    upstream: { tenant: 'acme', url: root.url, token: await token, backoff: BACKOFF },
  })
  await reached(trusted)
  const phone = await openLinked(trusted.url)
  const laptop = await openWithToken(root.url, { sub: 'bob' })
  await put(phone.replica, 'n1', 'of somebody else')
  await settleAll(phone.link)
  await areEqual(phone.replica, laptop.replica)
})

test.each([
  ['a push', 'read write', 'push', 'forbidden'],
  ['a push, with the scope', 'read write relay', 'push', 'forbidden'],
  ['a stretch of a log, without having said hello as a relay', 'read write relay', 'changes', 'bad-frame'],
  ['a stretch of a log, as a relay for some tables only', 'read write relay', 'hello', 'forbidden'],
  ['a stretch of a log, as a relay without the scope', 'read write', 'hello', 'forbidden'],
])('forged origin in %s: all of it is refused', async (_, scope, how, code) => {
  const root = await openTokenServer()
  const victim = await openWithToken(root.url, { sub: 'bob' })
  await put(victim.replica, 'n1', 'mine')
  await settleAll(victim.link)
  const before = root.manager.open[0]?.usage
  const claims = how === 'hello' && scope.includes('relay') ? { scope, tables: ['notes'] } : { scope }
  const intruder = await openIntruder(root, sign(claims))
  const forged = {
    op: 'insert',
    author: victim.replica.id,
    seq: 2,
    timestamp: Date.now() * 2_048,
    more: false,
    table: 'notes',
    id: 'forged',
    context: {},
    fields: { title: 'not mine', done: false },
  } as const
  const own = { ...forged, author: intruder.replica, seq: 1, id: 'own' }
  const blocks = [own, forged].map((change) => encodeBlock([change], createDictionaries()))
  if (how === 'hello') {
    intruder.say(intruder.hello({ versions: [2, 2], relay: { logId: createReplicaId(), epoch: 1, position: 3 } }))
  } else {
    await intruder.greet()
    intruder.say(how === 'push' ? { type: 'push', blocks } : { type: 'changes', from: 1, to: 3, blocks })
  }
  expect(await intruder.hears('refuse')).toMatchObject({ code })
  expect(root.manager.open[0]?.usage).toMatchObject({ rows: before?.rows, storedBytes: before?.storedBytes })
})

test('a tenant that is full at the root is full at the edge as well, until it gets a larger plan', async () => {
  const plans = { tiny: { features: ['sync'], quotas: { ...UNLIMITED.quotas, rows: 5 } } } as const
  const root = await openTokenServer({ plans, pauseMs: 50 })
  await root.manager.setPlan('acme', 'tiny')
  const token = await sign({ sub: 'edge-7', scope: 'read relay' })
  const edge = await openServer({ upstream: { tenant: 'acme', url: root.url, token, backoff: BACKOFF } })
  await reached(edge)
  const phone = await openLinked(edge.url)
  const laptop = await openWithToken(root.url, { sub: 'bob' })
  for (let row = 0; row < 8; row++) await put(phone.replica, `n${row}`, 'one more')
  await until(() => edge.upstream?.pause?.resource === 'rows', 'the relay is paused')
  await put(phone.replica, 'late', 'written when the edge knows')
  await until(() => phone.link.status.pause?.resource === 'rows', 'its client is paused as well')
  expect(root.manager.open[0]?.usage.rows).toBe(5)
  // It hears of what others do meanwhile.
  await laptop.replica.table('notes').update('n0', { title: 'from the laptop' })
  await until(async () => (await phone.replica.table('notes').get('n0'))?.title === 'from the laptop', 'it is told')

  await root.manager.setPlan('acme', 'unlimited')
  await areEqual(phone.replica, laptop.replica)
  await until(() => phone.replica.pending === 0, 'nothing waits any more')
  expect([root.manager.open[0]?.usage.rows, await phone.replica.rejected()]).toEqual([9, []])
})

test('who is revoked at the root is out at the edge as well, what it wrote stays, and who is lifted is let in again', async () => {
  const root = await openTokenServer()
  const token = await sign({ sub: 'edge-7', scope: 'read relay' })
  const upstream = { tenant: 'acme', url: root.url, token, backoff: BACKOFF }
  const edge = await openTokenServer({ defaultPlan: 'unlimited', upstream })
  await reached(edge)
  const phone = await openWithToken(edge.url, { sub: 'ann' })
  const other = await openWithToken(edge.url, { sub: 'bob' })
  const laptop = await openWithToken(root.url, { sub: 'cyd' })
  await put(phone.replica, 'n1', 'before')
  await settleAll(phone.link)
  await areEqual(phone.replica, laptop.replica)

  const revoked = { type: 'replica', tenant: 'acme', name: phone.replica.id } as const
  await root.manager.revoke({ ...revoked, issuedThroughMs: 0, untilMs: FOR_EVER })
  expect((await stateOf(phone.link, 'stopped')).lastError?.code).toBe('revoked')
  await put(phone.replica, 'n2', 'after')
  await put(other.replica, 'n3', 'by somebody else')
  await settleAll(other.link)
  await areEqual(other.replica, laptop.replica)
  expect((await laptop.replica.digest()).rows).toBe(2)
  const early = linkTo(phone.replica, edge.url, { token: await sign({ sub: 'ann' }) })
  expect((await stateOf(early, 'stopped')).lastError?.code).toBe('revoked')

  await root.manager.liftRevocation(revoked)
  await until(() => !edge.manager.revocations.hasReplica('acme', phone.replica.id), 'the relay has heard of it')
  await settleAll(linkTo(phone.replica, edge.url, { token: await sign({ sub: 'ann' }) }))
  await until(async () => (await laptop.replica.digest()).rows === 3, 'what waited has come')
  const issuedAtMs = Math.floor(Date.now() / 1000) * 1000
  await root.manager.revoke({
    type: 'subject',
    tenant: 'acme',
    name: 'bob',
    issuedThroughMs: issuedAtMs,
    untilMs: FOR_EVER,
  })
  expect((await stateOf(other.link, 'stopped')).lastError?.code).toBe('revoked')
})

test('a client goes from the edge to the root when all it wrote is answered, and not before', async () => {
  const root = await openServer()
  const edge = await openEdge(root.url)
  await reached(edge)
  const wire = await openWire(edge.port)
  const phone = await openLinked(wire.url)
  await put(phone.replica, 'n1', 'answered')
  await phone.link.settled()
  wire.silence()
  await put(phone.replica, 'n2', 'on its way, for all the phone knows')
  // More than a heartbeat.
  await until(() => wire.bytesLost > 50, 'it is on its way')
  await phone.link.close()
  const early = linkTo(phone.replica, root.url)
  expect((await stateOf(early, 'stopped')).lastError?.code).toBe('not-home')
  await early.close()
  expect(root.manager.open[0]?.usage.rows).toBeLessThanOrEqual(1)

  const home = linkTo(phone.replica, edge.url)
  await home.settled()
  await home.close()
  const away = linkTo(phone.replica, root.url)
  await put(phone.replica, 'n3', 'at the root')
  await settleAll(away)
  expect([phone.replica.pending, await phone.replica.rejected()]).toEqual([0, []])
  await away.close()
  await put(phone.replica, 'n4', 'on the road')
  const back = linkTo(phone.replica, edge.url)
  await settleAll(back)
  expect([phone.replica.pending, await phone.replica.rejected()]).toEqual([0, []])
  const laptop = await openLinked(edge.url)
  await areEqual(phone.replica, laptop.replica)
})

test('a relay whose disk is lost begins anew in its place, and its clients go on as if nothing had been', async () => {
  const root = await openTokenServer()
  const token = await sign({ sub: 'edge-7', scope: 'read relay' })
  const upstream = { tenant: 'acme', url: root.url, token, backoff: BACKOFF }
  const lost = await openServer({ upstream })
  await reached(lost)
  const { port } = lost
  const wire = await openWire(port)
  const phone = await openLinked(wire.url)
  await put(phone.replica, 'n1', 'answered and passed up')
  await settleAll(phone.link)
  wire.silence()
  await put(phone.replica, 'n2', 'sent, for all the phone knows')
  await until(() => wire.bytesLost > 50, 'it is on its way')
  await lost.close()
  const fresh = await openServer({ upstream, port })
  await reached(fresh)
  wire.cut()
  await until(() => phone.replica.pending === 0, 'it is answered')
  const laptop = await openWithToken(root.url, { sub: 'bob' })
  await areEqual(phone.replica, laptop.replica)
  expect([(await laptop.replica.digest()).rows, await phone.replica.rejected()]).toEqual([2, []])
})

test('a relay that is killed under load passes on everything that it ever acknowledged', {
  timeout: 90_000,
}, async () => {
  const root = await openServer({ dataDir: createFolder() })
  const data = createFolder()
  const serve = (port: number): Promise<Started> =>
    launchServer([
      ...['--dev', '--data', data, '--port', String(port)],
      ...['--upstream-url', root.url, '--upstream-tenant', 'acme'],
    ])
  let edge = await serve(0)
  const { port, url } = edge
  const [phone, laptop] = [await openLinked(url), await openLinked(root.url)]
  const nomad = await openNotes()
  const wandering = wander(nomad, [url, root.url])
  for (let kill = 0; kill < 3; kill++) {
    const before = phone.replica.clock.get(phone.replica.id) - phone.replica.pending
    const writing = writeUntil(phone.replica, `edge${kill}`)
    const beside = writeUntil(laptop.replica, `root${kill}`)
    await until(
      () => phone.replica.clock.get(phone.replica.id) - phone.replica.pending > before + 100,
      'it is answered',
    )
    const exit = new Promise((resolve) => edge.child.removeAllListeners('exit').once('exit', resolve))
    edge.child.kill('SIGKILL')
    await exit
    await Promise.all([writing(), beside()])
    edge = await serve(port)
  }
  await until(() => wandering.stays > 5, 'it has been everywhere')
  await wandering.end()
  await settleAll(phone.link, laptop.link, linkTo(nomad, url))
  await areEqual(phone.replica, laptop.replica)
  await areEqual(nomad, laptop.replica)
  expect([await nomad.rejected(), nomad.pending]).toEqual([[], 0])
  expect(await phone.replica.rejected()).toEqual([])
  expect(phone.replica.pending).toBe(0)
  const witness = await openNotes()
  await settleAll(linkTo(witness, root.url))
  await areEqual(phone.replica, witness)
})

/** Goes from server to server until it is told to stop, and writes at each. `stays`: how often it stayed until all was answered. */
function wander(replica: NoteReplica, urls: readonly string[]): { readonly stays: number; end(): Promise<void> } {
  let isStopped = false
  let stays = 0
  const wandering = (async (): Promise<void> => {
    for (let count = 0; !isStopped; count++) {
      const link = linkTo(replica, urls[count % urls.length] as string, { backoff: BACKOFF })
      await put(replica, `nomad-${count}`, 'on the road')
      if (count % 3 === 0) await put(replica, 'shared', `nomad ${count}`)
      // Killed in between, or not at home here: what is on its way stays so, and it goes on.
      await link.settled({ timeoutMs: 1_000 }).then(
        () => void stays++,
        () => {},
      )
      await link.close()
    }
  })()
  return {
    get stays() {
      return stays
    },
    end: async () => {
      isStopped = true
      await wandering
    },
  }
}

/** Writes until it is told to stop. */
function writeUntil(replica: NoteReplica, name: string): () => Promise<void> {
  let isStopped = false
  const writing = (async (): Promise<void> => {
    for (let count = 0; !isStopped; count++) {
      await put(replica, `${name}-${count}`, name)
      if (count % 10 === 0) await put(replica, 'shared', `${name} ${count}`)
      await new Promise((resolve) => setImmediate(resolve))
    }
  })()
  return async () => {
    isStopped = true
    await writing
  }
}
