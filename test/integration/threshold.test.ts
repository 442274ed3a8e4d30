/** Before anybody is known, and how fast whoever is known may go: sockets, addresses, rates, and one tenant beside another. */
import { connect as connectTcp, type Socket } from 'node:net'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { StoreCommit } from '../../core/index.ts'
import { createMemoryStores } from '../../core/stores/memory.ts'
import { sign } from './sign.ts'
import { openLinked, openRawSocket, openServer, settleAll, stateOf, until, writeNotes } from './stage.ts'
import { openTokenServer, openWithToken } from './tokens.ts'

const SHORT = { limits: { helloMs: 300 } }

function openTcp(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connectTcp(port, '127.0.0.1')
    socket.once('connect', () => resolve(socket))
    socket.once('error', reject)
    socket.on('error', () => {})
  })
}

function closed(socket: Socket): Promise<void> {
  socket.resume()
  return new Promise((resolve) => (socket.destroyed ? resolve() : socket.once('close', () => resolve())))
}

describe('a TCP connection', () => {
  test('that says nothing is cut off', async () => {
    const server = await openServer(SHORT)
    await closed(await openTcp(server.port))
  })

  test('whose headers drip in is cut off', async () => {
    const server = await openServer(SHORT)
    const socket = await openTcp(server.port)
    socket.write('GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nhost: localhost\r\n')
    const drip = setInterval(() => socket.write('x-more: 1\r\n'), 50)
    await closed(socket)
    clearInterval(drip)
  })

  test('that becomes a WebSocket and asks for nothing is cut off', async () => {
    const server = await openServer(SHORT)
    const socket = await openTcp(server.port)
    const headers = ['host: localhost', 'upgrade: websocket', 'connection: upgrade', 'sec-websocket-version: 13']
    const key = 'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=='
    const request = ['GET /socket.io/?EIO=4&transport=websocket HTTP/1.1', ...headers, key, '', ''].join('\r\n')
    const answered = new Promise((resolve) => socket.once('data', resolve))
    socket.write(request)
    expect(String(await answered)).toContain('101 Switching Protocols')
    await closed(socket)
  })

  test('too many from one address is closed at once, until another one goes', async () => {
    const server = await openServer({ socketsPerAddressMax: 3 })
    const sockets = [await openTcp(server.port), await openTcp(server.port), await openTcp(server.port)]
    await closed(await openTcp(server.port))
    expect(sockets.every((socket) => !socket.destroyed)).toBe(true)
    sockets[0]?.destroy()
    await closed(sockets[0] as Socket)
    await until(async () => {
      const socket = await openTcp(server.port)
      const answer = new Promise<string>((resolve) => {
        socket.once('data', (bytes) => resolve(String(bytes)))
        socket.once('close', () => resolve(''))
      })
      socket.write('GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n')
      return (await answer).includes('200 OK')
    }, 'there is room again')
    for (const socket of sockets) socket.destroy()
  })

  test('is one of many where a trusted proxy speaks for many', async () => {
    const server = await openServer({ socketsPerAddressMax: 1, trustedProxies: ['127.0.0.1'] })
    const sockets = await Promise.all(Array.from({ length: 10 }, () => openTcp(server.port)))
    expect((await fetch(`${server.url}/healthz`)).status).toBe(200)
    for (const socket of sockets) socket.destroy()
  })
})

describe('a token', () => {
  test('of more than 8 KiB is refused before anybody looks at its signature', async () => {
    const server = await openTokenServer()
    const token = await sign({}, { raw: { more: 'x'.repeat(7_000) } })
    expect(token.length).toBeGreaterThan(8_192)
    await expect(openRawSocket(server.url, { token })).rejects.toMatchObject({ data: { code: 'unauthenticated' } })
  })

  test('of more than a packet of text ends the connection without a word', async () => {
    const server = await openTokenServer()
    const link = (await openWithToken(server.url, {}, { connect: { token: 'x'.repeat(20_000) } })).link
    expect((await stateOf(link, 'offline')).lastError).toMatchObject({ code: 'offline' })
  })
})

describe('a message of somebody who is not let in', () => {
  const bytes = 1_000_000

  test('is refused by its first bytes on a WebSocket, also on one that follows polls', async () => {
    const server = await openTokenServer()
    for (const sid of ['', await openPolls(server.url)]) {
      const socket = connectTcp(server.port, '127.0.0.1')
      onTestFinished(() => void socket.destroy())
      const closed = new Promise((resolve) => socket.once('close', resolve))
      socket.write(
        `GET /socket.io/?EIO=4&transport=websocket${sid} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n` +
          'Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
      )
      await new Promise((resolve) => socket.once('data', resolve))
      const header = Buffer.alloc(14)
      header.set([0x82, 0xff])
      header.writeBigUInt64BE(BigInt(bytes), 2)
      const startedAt = performance.now()
      socket.write(header)
      socket.resume()
      await closed
      // Long before anybody who says nothing is cut off.
      expect(performance.now() - startedAt).toBeLessThan(3_000)
    }
  })

  test('is refused in a poll as soon as too much of it has come', async () => {
    const server = await openTokenServer()
    const sid = await openPolls(server.url)
    const socket = connectTcp(server.port, '127.0.0.1')
    onTestFinished(() => void socket.destroy())
    socket.write(
      `POST /socket.io/?EIO=4&transport=polling${sid} HTTP/1.1\r\nHost: localhost\r\n` +
        `Content-Type: text/plain\r\nContent-Length: ${bytes}\r\n\r\n`,
    )
    socket.write('4'.repeat(40_000))
    const answer = await new Promise((resolve) => socket.once('data', (data) => resolve(String(data))))
    expect(answer).toMatch(/^HTTP\/1\.1 413 /)
  })

  test('may be a frame once it is let in, over every transport and after each upgrade', async () => {
    for (const compression of [false, true]) {
      const server = await openTokenServer({ compression })
      for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
        const { replica, link } = await openWithToken(server.url, {}, { connect: { socketOptions: { transports } } })
        for (let n = 0; n < 4; n++) {
          await replica.table('notes').upsert({ id: `n${n}`, title: 'x'.repeat(200_000), done: false })
          await settleAll(link)
        }
      }
    }
  })
})

/** A transport that polls and has said nothing: its id, as requests carry it. */
async function openPolls(url: string): Promise<string> {
  const body = await (await fetch(`${url}/socket.io/?EIO=4&transport=polling`)).text()
  return `&sid=${/"sid":"([^"]+)"/.exec(body)?.[1]}`
}

describe('a rate', () => {
  test('of an address that connects too often says when to come back, and a link heeds it', async () => {
    const traffic = { connectionsPerAddress: { perSecond: 1, burst: 2 } }
    const server = await openTokenServer({ traffic })
    for (let n = 0; n < 2; n++) await openRawSocket(server.url, { token: await sign() })
    const { link } = await openWithToken(server.url)
    const { lastError, nextAttemptAt } = await stateOf(link, 'offline')
    expect(lastError).toMatchObject({ code: 'rate-limited', details: { retryAfterMs: expect.any(Number) } })
    expect((nextAttemptAt ?? 0) - Date.now()).toBeGreaterThan(500)
    await settleAll(link)
  })

  test('of an address bounds the transports that nobody follows with a word, and not those that are there', async () => {
    const server = await openTokenServer({ traffic: { connectionsPerAddress: { perSecond: 0.001, burst: 5 } } })
    const { link, replica } = await openWithToken(
      server.url,
      {},
      { connect: { socketOptions: { transports: ['polling'] } } },
    )
    await settleAll(link)
    const statuses: number[] = []
    for (let n = 0; n < 30; n++) {
      statuses.push((await fetch(`${server.url}/socket.io/?EIO=4&transport=polling`)).status)
    }
    expect(statuses).toEqual([...new Array(19).fill(200), ...new Array(11).fill(403)])
    await expect(openRawSocket(server.url, { token: 'a.b.c' })).rejects.toMatchObject({ message: 'websocket error' })
    expect((await fetch(`${server.url}/healthz`)).status).toBe(200)
    await replica.table('notes').insert({ id: 'n1', title: 'not held back', done: false })
    await settleAll(link)
  })

  test('counts guesses of tokens like any other attempt', async () => {
    const server = await openTokenServer({ traffic: { connectionsPerAddress: { perSecond: 0.001, burst: 5 } } })
    const codes: unknown[] = []
    for (let n = 0; n < 8; n++) {
      await openRawSocket(server.url, { token: 'a.b.c' }).catch(({ data }) => codes.push(data.code))
    }
    expect(codes).toEqual([...new Array(5).fill('unauthenticated'), ...new Array(3).fill('rate-limited')])
  })

  test('of a subject slows its frames, and loses and reorders none', async () => {
    const traffic = { framesPerSubject: { perSecond: 20, burst: 5 } }
    const server = await openTokenServer({ traffic })
    const [slow, reader] = [await openWithToken(server.url), await openWithToken(server.url, { sub: 'bob' })]
    await Promise.all([slow.link.settled(), reader.link.settled()])
    const startedAt = performance.now()
    for (let n = 0; n < 30; n++) {
      await slow.replica.table('notes').insert({ id: `n${n}`, title: 'one by one', done: false })
      await new Promise((resolve) => setImmediate(resolve))
    }
    await slow.link.settled()
    await reader.link.settled()
    expect((await reader.replica.digest()).rows).toBe(30)
    expect(performance.now() - startedAt).toBeGreaterThan(100)
  })

  const quotas = {
    rows: 'unlimited',
    storedBytes: 'unlimited',
    replicas: 'unlimited',
    connections: 'unlimited',
    liveReplicasPerSubject: 'unlimited',
    bytesPerSecond: 'unlimited',
    snapshotBuilds: 'unlimited',
  }

  test('of a tenant holds its changes back, and nobody else’s', async () => {
    const slow = { features: ['sync'], quotas: { ...quotas, changesPerSecond: 1_000 } }
    const server = await openTokenServer({ plans: { slow } })
    await server.manager.setPlan('acme', 'slow')
    const [busy, other] = [await openWithToken(server.url), await openWithToken(server.url, { tenant: 'globex' })]
    await Promise.all([busy.link.settled(), other.link.settled()])
    const startedAt = performance.now()
    await writeNotes(busy.replica, 3_000)
    await other.replica.table('notes').insert({ id: 'n1', title: 'not held back', done: false })
    await other.link.settled()
    expect(busy.replica.pending).toBeGreaterThan(0)
    await busy.link.settled()
    expect(performance.now() - startedAt).toBeGreaterThan(1_000)
    expect(server.manager.open.find(({ name }) => name === 'acme')?.usage.rows).toBe(3_000)
  })

  test('of nothing at all ends the session', async () => {
    const none = { features: ['sync'], quotas: { ...quotas, changesPerSecond: 0 } }
    const server = await openTokenServer({ plans: { none }, defaultPlan: 'none' })
    const { link } = await openWithToken(server.url)
    expect(await stateOf(link, 'stopped')).toMatchObject({ lastError: { code: 'rate-limited' } })
  })
})

test('a tenant that floods takes small commits while another one is connected', async () => {
  const sizes: number[] = []
  const stores = createMemoryStores()
  const openStore = (tenant: string) => {
    const store = stores(tenant)
    const commit = (batch: StoreCommit) => {
      if (tenant === 'flood') sizes.push(batch.puts.length)
      return store.commit(batch)
    }
    return { ...bound(store), commit }
  }
  const server = await openServer({ openStore })
  const flood = async (): Promise<number> => {
    sizes.length = 0
    const all = await Promise.all(Array.from({ length: 6 }, () => openLinked(server.url, { tenant: 'flood' })))
    await settleAll(...all.map(({ link }) => link))
    await Promise.all(all.map(({ replica }, n) => writeNotes(replica, 2_000, `flood-${n}-`)))
    await settleAll(...all.map(({ link }) => link))
    await Promise.all(all.map(({ link }) => link.close()))
    return Math.max(...sizes)
  }
  const quiet = await openLinked(server.url, { tenant: 'quiet' })
  await quiet.link.settled()
  const beside = await flood()
  // One frame of changes, each a row, and what goes with them.
  expect(beside).toBeLessThan(1_200)
})

function bound(store: ReturnType<ReturnType<typeof createMemoryStores>>) {
  return {
    head: () => store.head(),
    getMany: store.getMany.bind(store),
    range: store.range.bind(store),
    close: () => store.close(),
  }
}
