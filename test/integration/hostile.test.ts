/** Sockets that mean no good: what they send ends them and nobody else, and what they do not read stays bounded. */

import { randomBytes } from 'node:crypto'
import { request } from 'node:http'
import { type Socket as ClientSocket, io } from 'socket.io-client'
import { describe, expect, onTestFinished, test } from 'vitest'
import { decodeFrame, encodeFrame } from '../../core/frame.ts'
import { createReplicaId, DEFAULT_LIMITS, FRAME_EVENT, packetParser, TidemarkError } from '../../core/index.ts'
import type { Frame } from '../../core/message.ts'
import {
  disconnected,
  openLinked,
  openRawSocket,
  openServer,
  openWire,
  settleAll,
  stateOf,
  tcpOf,
  until,
  writeNotes,
} from './stage.ts'

/** What the server says on a socket. */
function heardOn(socket: ClientSocket): Frame[] {
  const frames: Frame[] = []
  socket.on(FRAME_EVENT, (bytes: Uint8Array) => frames.push(decodeFrame(bytes, DEFAULT_LIMITS)))
  return frames
}

function hello(): Uint8Array {
  return encodeFrame({
    type: 'hello',
    versions: [1, 1],
    tenant: 'acme',
    replica: createReplicaId(),
    isMesh: false,
    ownSeq: 0,
    ackedSeq: 0,
    fingerprint: new Uint8Array(0),
    resume: { type: 'clock', clock: [] },
    tables: [],
  })
}

test('a socket that never says hello is closed in time', async () => {
  const server = await openServer({ limits: { helloMs: 300 } })
  const socket = await openRawSocket(server.url)
  const frames = heardOn(socket)
  const openedAt = performance.now()
  await disconnected(socket)
  expect(performance.now() - openedAt).toBeLessThan(2_000)
  expect(frames).toMatchObject([{ type: 'refuse', code: 'timeout', retryable: true }])
})

test('a transport that never asks to be let in is closed in time', async () => {
  const server = await openServer({ limits: { helloMs: 300 } })
  const url = `${server.url}/socket.io/?EIO=4&transport=polling`
  const { sid } = JSON.parse((await (await fetch(url)).text()).slice(1)) as { readonly sid: string }
  await until(async () => (await fetch(`${url}&sid=${sid}`)).status === 400, 'its session is unknown')
})

test('a socket that does not answer the goodbye is cut off', async () => {
  const server = await openServer()
  const wire = await openWire(server.port)
  const socket = await openRawSocket(wire.url)
  tcpOf(socket).pause()
  for (let strike = 0; strike < 3; strike++) socket.emit(FRAME_EVENT, randomBytes(50))
  await until(() => wire.connections === 0, 'the server has ended the connection')
})

test('a transport that asks to be let in many times over is given one seat, or none', async () => {
  let seats = 0
  let admitted = 0
  const server = await openServer({
    authenticate: async () => {
      admitted++
      await new Promise((resolve) => setImmediate(resolve))
      seats = Math.max(seats, server.tenants[0]?.connections ?? 0)
      return { tenant: 'acme', subject: 'ann', scopes: ['read', 'write'] }
    },
  })
  const { socket } = openUnconnected(server.url)
  socket.io.on('open', () => {
    for (let count = 0; count < 50; count++) socket.io.engine.write('0{}')
  })
  socket.connect()
  await new Promise((resolve) => socket.io.on('close', resolve))
  await until(() => (server.tenants[0]?.connections ?? 0) === 0, 'the seat is given back')
  expect([seats <= 1, admitted]).toEqual([true, 1])
})

/** A socket that has not asked for anything yet. */
function openUnconnected(url: string): { readonly socket: ClientSocket } {
  const socket = io(url, { parser: packetParser, transports: ['websocket'], autoConnect: false, reconnection: false })
  onTestFinished(() => void socket.disconnect())
  return { socket }
}

test('three frames of garbage close a socket, and disturb nobody else', async () => {
  const server = await openServer()
  const [a, b] = [await openLinked(server.url), await openLinked(server.url)]
  await settleAll(a.link, b.link)
  const socket = await openRawSocket(server.url)
  const frames = heardOn(socket)
  const closed = disconnected(socket)
  for (let strike = 0; strike < 3; strike++) socket.emit(FRAME_EVENT, randomBytes(50))
  await closed
  expect(frames.map((frame) => frame.type === 'refuse' && frame.code)).toEqual(['warning', 'warning', 'bad-frame'])
  await a.replica.table('notes').insert({ id: 'n1', title: 'undisturbed', done: false })
  await settleAll(a.link, b.link)
  expect(b.link.status).toMatchObject({ state: 'live', attempts: 1 })
})

test.each([
  ['text of an unknown packet', '9'],
  ['an event that is none of ours', '2["drop table",1]'],
  ['another namespace', '0/admin,{}'],
  ['a second connect', '0{"tenant":"globex"}'],
  ['text beyond its limit', `0{"x":"${'y'.repeat(20_000)}"}`],
  ['JSON nested very deep', `0${'{"a":'.repeat(2_000)}1${'}'.repeat(2_000)}`],
])('%s closes the socket', async (_what, text) => {
  const server = await openServer()
  const socket = await openRawSocket(server.url)
  const closed = disconnected(socket)
  socket.io.engine.write(text)
  await closed
  expect((await fetch(`${server.url}/healthz`)).status).toBe(200)
})

test('a message beyond the limit of a frame closes the socket', async () => {
  const server = await openServer()
  const socket = await openRawSocket(server.url)
  const closed = disconnected(socket)
  socket.emit(FRAME_EVENT, new Uint8Array(3 * DEFAULT_LIMITS.frameBytesMax))
  await closed
})

test('fuzzed bytes on the real port leave the server up', async () => {
  const server = await openServer()
  const { link } = await openLinked(server.url)
  await settleAll(link)
  const valid = hello()
  for (let turn = 0; turn < 60; turn++) {
    const socket = await openRawSocket(server.url)
    const closed = disconnected(socket)
    if (turn % 3 === 0) socket.emit(FRAME_EVENT, valid)
    for (let strike = 0; strike < 3; strike++) {
      const frame = valid.slice(0, 1 + Math.floor(Math.random() * valid.length))
      for (let flip = 0; flip < 3; flip++) frame[Math.floor(Math.random() * frame.length)] = Math.random() * 256
      socket.emit(FRAME_EVENT, frame)
    }
    for (let strike = 0; strike < 3; strike++) socket.emit(FRAME_EVENT, randomBytes(1 + Math.random() * 200))
    await closed
  }
  await settleAll(link)
  expect(link.status).toMatchObject({ state: 'live', attempts: 1 })
})

test('sockets that never read are closed, and what waits for them is bounded', async () => {
  const server = await openServer({ heartbeat: { intervalMs: 300, timeoutMs: 300 } })
  const a = await openLinked(server.url)
  await writeNotes(a.replica, 4_000, 'much to read '.repeat(100))
  await settleAll(a.link)
  const before = process.memoryUsage().rss
  const sockets = await Promise.all(Array.from({ length: 20 }, () => openRawSocket(server.url)))
  for (const socket of sockets) {
    tcpOf(socket).pause()
    socket.emit(FRAME_EVENT, hello())
  }
  await until(() => server.tenants[0]?.connections === 1, 'all but the one that reads are gone')
  expect(process.memoryUsage().rss - before).toBeLessThan(sockets.length * DEFAULT_LIMITS.bufferedBytesMax)
})

test('a socket that asks for ever more and reads nothing is cut off before 4 MiB wait for it', async () => {
  const server = await openServer({ limits: { bufferedBytesMax: 256 * 1024 } })
  const a = await openLinked(server.url)
  await writeNotes(a.replica, 4_000, 'much to read '.repeat(100))
  await settleAll(a.link)
  const socket = await openRawSocket(server.url)
  socket.emit(FRAME_EVENT, hello())
  await new Promise((resolve) => socket.once(FRAME_EVENT, resolve))
  tcpOf(socket).pause()
  // Credit for what was never read.
  const flood = setInterval(() => {
    for (let n = 0; n < 50; n++) socket.emit(FRAME_EVENT, encodeFrame({ type: 'credit', bytes: 1 << 20 }))
  }, 5)
  await until(() => server.tenants[0]?.connections === 1, 'it is cut off')
  clearInterval(flood)
})

test('a client that has stopped polling is closed when it has taken nothing for too long', async () => {
  const server = await openServer({ limits: { stalledMs: 400 } })
  const a = await openLinked(server.url)
  await writeNotes(a.replica, 2_000, 'much to poll '.repeat(50))
  await settleAll(a.link)
  const url = `${server.url}/socket.io/?EIO=4&transport=polling`
  const { sid } = JSON.parse((await (await fetch(url)).text()).slice(1)) as { readonly sid: string }
  const post = (body: string): Promise<Response> => fetch(`${url}&sid=${sid}`, { method: 'POST', body })
  await post('40{"tenant":"acme"}')
  await (await fetch(`${url}&sid=${sid}`)).text()
  await post(`b${Buffer.from(hello()).toString('base64')}`)
  await until(() => server.tenants[0]?.connections === 2, 'it is connected')
  await until(() => server.tenants[0]?.connections === 1, 'it is cut off')
})

describe('a connection is refused with the code of the reason', () => {
  test.each([
    ['bad-tenant', { tenant: '../../etc' }],
    ['bad-tenant', { tenant: { name: 'acme' } }],
    ['unauthenticated', { token: 'x' }],
    ['unauthenticated', {}],
  ])('%s for %j', async (code, auth) => {
    const server = await openServer()
    await expect(openRawSocket(server.url, auth)).rejects.toMatchObject({ data: { code, retryable: false } })
    expect(server.tenants).toEqual([])
  })

  test('and a failure of our own tells nothing of why', async () => {
    const authenticate = () => Promise.reject(new Error('password of the database: hunter2'))
    const server = await openServer({ authenticate })
    const { link } = await openLinked(server.url)
    const { lastError } = await stateOf(link, 'offline')
    expect(lastError).toMatchObject({ code: 'unavailable', retryable: true })
    expect(String(lastError)).not.toContain('hunter2')
  })

  test('and a refusal that is final stops the link', async () => {
    const authenticate = () => {
      throw new TidemarkError('unauthenticated', 'the token is not valid')
    }
    const server = await openServer({ authenticate })
    const { link } = await openLinked(server.url)
    expect(await stateOf(link, 'stopped')).toMatchObject({ lastError: { code: 'unauthenticated' } })
  })
})

describe('pages of other sites', () => {
  function statusWith(port: number, headers: Readonly<Record<string, string>>): Promise<number | undefined> {
    return new Promise((resolve, reject) => {
      const asked = request(
        { host: '127.0.0.1', port, path: '/socket.io/?EIO=4&transport=polling', headers },
        (answer) => {
          answer.resume()
          resolve(answer.statusCode)
        },
      )
      asked.once('error', reject)
      asked.end()
    })
  }

  test.each([
    ['no origin', {}, 200],
    ['a page of this machine', { origin: 'http://localhost:5173' }, 200],
    ['a page of another site', { origin: 'https://evil.example' }, 403],
    [
      'a page of another site whose name leads here',
      { origin: 'http://evil.example:7300', host: 'evil.example:7300' },
      403,
    ],
    ['a name that leads here', { host: 'evil.example' }, 403],
    ['an opaque origin', { origin: 'null' }, 403],
  ])('a development server answers %s accordingly', async (_what, headers, status) => {
    const server = await openServer()
    expect(await statusWith(server.port, headers)).toBe(status)
  })

  test('connect to a server only from the origins it lists', async () => {
    const authenticate = () => ({ tenant: 'acme', subject: 'ada', scopes: ['read', 'write'] as const })
    const server = await openServer({ authenticate, origins: ['https://app.example.com'] })
    expect(await statusWith(server.port, { origin: 'https://app.example.com' })).toBe(200)
    expect(await statusWith(server.port, { origin: 'https://evil.example' })).toBe(403)
    expect(await statusWith(server.port, {})).toBe(200)
  })
})
