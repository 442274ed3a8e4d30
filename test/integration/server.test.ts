/** The server as part of a program: what it can be told, how it is asked for its health, and how it ends. */

import { createServer } from 'node:http'
import { connect as connectTcp } from 'node:net'
import { describe, expect, test } from 'vitest'
import { DEFAULT_LIMITS, type Store, TidemarkError } from '../../core/index.ts'
import { createMemoryDisk, openMemoryStore } from '../../core/stores/memory.ts'
import { createSyncServer, type ServerOptions } from '../../sync-server/index.ts'
import { isLoopbackHost, isLoopbackUrl } from '../../sync-server/loopback.ts'
import {
  openLinked,
  openRawSocket,
  openServer,
  settleAll,
  silent,
  statusOf,
  tcpOf,
  until,
  writeNotes,
} from './stage.ts'

const openStore = openMemoryStore
const authenticate = () => ({ tenant: 'acme', subject: 'ada', scopes: ['read'] as const })

const AUTH = { issuer: 'https://id.example', audience: 'tidemark', algorithms: ['HS256'] }

describe('a server is not opened', () => {
  test.each<[string, ServerOptions, string]>([
    ['without stores', { dev: true }, 'dataDir'],
    ['with two kinds of stores', { dev: true, openStore, dataDir: 'x' }, 'dataDir'],
    ['without a way to tell who connects', { openStore, openRegistry: openStore }, 'dev: true'],
    ['with two of them', { openStore, dev: true, authenticate }, 'not two'],
    ['that forgets who was revoked', { openStore, authenticate }, 'openRegistry'],
    ['with a default plan that is none', { openStore, dev: true, defaultPlan: 'gold' }, 'gold'],
    ['with a plan that leaves a quota open', { openStore, dev: true, plans: { gold: { features: [] } } }, 'plans.gold'],
    ['with a secret that is short', { dataDir: 'x', auth: { ...AUTH, secret: 'changeme' } }, 'auth.secret'],
    ['with a secret and public keys', { dataDir: 'x', auth: { ...AUTH, secret: 'x', jwksFile: 'y' } }, 'exactly one'],
    ['without any key', { dataDir: 'x', auth: AUTH }, 'exactly one'],
    ['for everybody on all interfaces', { openStore, dev: true, host: '0.0.0.0' }, '`auth`'],
    ['for everybody on all interfaces of IPv6', { openStore, dev: true, host: '::' }, '`auth`'],
    ['for everybody on a name that may lead anywhere', { openStore, dev: true, host: 'example.com' }, '127.0.0.1'],
    ['on a port that is none', { openStore, dev: true, port: 65_536 }, '65535'],
    ['with a limit above its ceiling', { openStore, dev: true, limits: { helloMs: 1e9 } }, 'helloMs'],
    ['with no time to drain', { openStore, dev: true, drainMs: 0 }, 'drainMs'],
    [
      'with a heart that does not beat',
      { openStore, dev: true, heartbeat: { intervalMs: -1 } },
      'heartbeat.intervalMs',
    ],
  ])('%s', async (_what, options, hint) => {
    const opening = createSyncServer({ port: 0, ...options, logger: silent() })
    await expect(opening).rejects.toMatchObject({ code: 'bad-option', message: expect.stringContaining(hint) })
  })

  test('on a port that is taken, and says which', async () => {
    const other = createServer()
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
    const address = other.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    const opening = createSyncServer({ dev: true, openStore, port, logger: silent() })
    await expect(opening).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining(`port ${port}`),
      details: { code: 'EADDRINUSE' },
    })
    other.close()
  })
})

test.each(['127.0.0.1', '::1', 'localhost'])('a development server listens on %s', async (host) => {
  const server = await openServer({ host })
  const { link } = await openLinked(server.url)
  await settleAll(link)
  expect(server.url).toContain(String(server.port))
})

describe('loopback', () => {
  test.each([
    ['127.0.0.1', true],
    ['127.8.9.1', true],
    ['::1', true],
    ['[::1]', true],
    ['::ffff:127.0.0.1', true],
    ['LocalHost', true],
    ['0.0.0.0', false],
    ['::', false],
    ['127.0.0.1.evil.example', false],
    ['localhost.evil.example', false],
    ['192.168.1.2', false],
    ['', false],
  ])('%s is loopback: %s', (host, expected) => {
    expect(isLoopbackHost(host)).toBe(expected)
  })

  test.each([
    ['http://localhost:5173', true],
    ['localhost:7300', true],
    ['[::1]:7300', true],
    ['127.0.0.1', true],
    ['https://evil.example', false],
    ['http://localhost@evil.example', false],
    ['null', false],
    ['', false],
  ])('%s is a url of loopback: %s', (url, expected) => {
    expect(isLoopbackUrl(url)).toBe(expected)
  })
})

describe('over plain HTTP', () => {
  test('it answers whether it is up, whether it is ready, and nothing else', async () => {
    const server = await openServer()
    const ask = async (path: string): Promise<readonly [number, unknown]> => {
      const answer = await fetch(`${server.url}${path}`)
      return [answer.status, await answer.json()]
    }
    expect(await ask('/healthz')).toEqual([200, { status: 'up' }])
    expect(await ask('/readyz?verbose')).toEqual([200, { status: 'ready' }])
    expect(await ask('/')).toEqual([404, { status: 'not-found' }])
    expect(await ask('/healthz/../../etc/passwd')).toEqual([404, { status: 'not-found' }])
    expect((await fetch(`${server.url}/socket.io/socket.io.js`)).status).toBe(400)
  })

  test('it survives requests that are none', async () => {
    const server = await openServer()
    for (const text of [
      'GET // HTTP/1.1\r\nhost: localhost\r\n\r\n',
      'GET /socket.io/?EIO=4&transport=__proto__ HTTP/1.1\r\nhost: localhost\r\n\r\n',
      '\0\0\0\r\n\r\n',
    ]) {
      await new Promise<void>((resolve) => {
        const socket = connectTcp(server.port, '127.0.0.1', () => socket.write(text))
        socket.once('data', () => socket.destroy())
        socket.once('close', () => resolve())
      })
    }
    expect((await fetch(`${server.url}/healthz`)).status).toBe(200)
  })
})

describe('a tenant', () => {
  test('is opened once for all who come at the same time, and closed some time after the last has gone', async () => {
    const opened: string[] = []
    let isClosed = false
    const disk = createMemoryDisk()
    const server = await openServer({
      idleMs: 50,
      openStore: (tenant) => {
        opened.push(tenant)
        const store = disk.open()
        const close = async (): Promise<void> => {
          isClosed = true
          await store.close()
        }
        return { ...bound(store), close }
      },
    })
    const all = await Promise.all(Array.from({ length: 8 }, () => openLinked(server.url)))
    await settleAll(...all.map(({ link }) => link))
    // Once to found it, once to use it.
    expect(opened).toEqual(['acme', 'acme'])
    expect(server.tenants).toMatchObject([{ tenant: 'acme', connections: 8 }])
    await Promise.all(all.map(({ link }) => link.close()))
    await until(() => server.tenants.length === 0, 'the idle tenant is closed')
    expect(isClosed).toBe(true)
  })

  test('sees nothing of another one', async () => {
    const server = await openServer()
    const a = await openLinked(server.url, { tenant: 'acme' })
    const b = await openLinked(server.url, { tenant: 'globex' })
    await writeNotes(a.replica, 10)
    await settleAll(a.link, b.link)
    expect((await b.replica.digest()).rows).toBe(0)
  })

  test('whose store fails sends everybody away, and is opened anew for those who come back', async () => {
    let isFailing = false
    let opened = 0
    const stores = openMemoryStore()
    const server = await openServer({
      openStore: () => {
        opened++
        return {
          ...bound(stores),
          commit: async (commit) => {
            if (isFailing) throw new TidemarkError('store-failed', 'the disk is gone')
            return stores.commit(commit)
          },
          close: async () => {},
        }
      },
    })
    const [a, b] = [await openLinked(server.url), await openLinked(server.url)]
    await settleAll(a.link, b.link)
    isFailing = true
    const away = [a, b].map(({ link }) => statusOf(link, ({ state }) => state === 'offline'))
    await a.replica.table('notes').insert({ id: 'n1', title: 'kept until there is a disk again', done: false })
    await Promise.all(away)
    expect((await fetch(`${server.url}/readyz`)).status).toBe(503)
    isFailing = false
    await settleAll(a.link, b.link)
    // Founded, opened, and opened anew.
    expect(opened).toBe(3)
    expect((await b.replica.table('notes').get('n1'))?.title).toBe('kept until there is a disk again')
  })
})

describe('close', () => {
  test('tells every client to come back later, and leaves nothing open', async () => {
    const server = await openServer()
    const [a, b] = [await openLinked(server.url), await openLinked(server.url)]
    const socket = await openRawSocket(server.url)
    await settleAll(a.link, b.link)
    const closed = Promise.all([server.close(), server.close()])
    const { lastError } = await statusOf(a.link, ({ state }) => state === 'offline')
    expect(lastError).toMatchObject({ code: 'unavailable', retryable: true, message: 'the server is shutting down' })
    await closed
    expect(server.tenants).toEqual([])
    expect(socket.connected).toBe(false)
    await expect(fetch(`${server.url}/healthz`)).rejects.toThrow()
  })

  test('does not wait longer than it was told for a client that does not go', async () => {
    const server = await openServer({ drainMs: 300 })
    const socket = await openRawSocket(server.url)
    tcpOf(socket).pause()
    const kept = connectTcp(server.port, '127.0.0.1')
    await new Promise((resolve) => kept.once('connect', resolve))
    kept.on('error', () => {})
    const startedAt = performance.now()
    await server.close()
    expect(performance.now() - startedAt).toBeLessThan(2_000)
  })
})

test('a store that hangs does not keep the server from closing, which says so', async () => {
  const stores = createMemoryDisk()
  const disk = stores.open()
  let [isHanging, hanging] = [false, 0]
  const commit: Store['commit'] = (batch) => {
    if (!isHanging) return disk.commit(batch)
    hanging++
    return new Promise(() => {})
  }
  const openStore = (): Store => ({ ...bound(stores.open()), commit })
  const server = await createSyncServer({ dev: true, port: 0, openStore, drainMs: 200, logger: silent() })
  const { replica, link } = await openLinked(server.url)
  await settleAll(link)
  isHanging = true
  await replica.table('notes').insert({ id: 'n1', title: 'never acknowledged', done: false })
  await until(() => hanging > 0, 'the commit is under way')
  await expect(server.close()).rejects.toMatchObject({ code: 'timeout' })
  expect(replica.pending).toBe(1)
})

test('limits that the server lowers are what its sockets get', async () => {
  const server = await openServer({ limits: { helloMs: 200 } })
  const socket = await openRawSocket(server.url)
  const openedAt = performance.now()
  await new Promise((resolve) => socket.once('disconnect', resolve))
  expect(performance.now() - openedAt).toBeLessThan(DEFAULT_LIMITS.helloMs)
})

function bound(store: Store): Store {
  return {
    head: () => store.head(),
    getMany: (keys) => store.getMany(keys),
    range: (range) => store.range(range),
    commit: (commit) => store.commit(commit),
    close: () => store.close(),
  }
}
