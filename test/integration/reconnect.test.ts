/** Links that lose their server: they come back by themselves, say what they are doing, and leave nothing behind. */

import { createServer } from 'node:net'
import { describe, expect, test, vi } from 'vitest'
import { isTidemarkError, TidemarkError } from '../../core/index.ts'
import { createMemoryStores } from '../../core/stores/memory.ts'
import { delayMsAfter, parseBackoff } from '../../sync-client/backoff.ts'
import { connect } from '../../sync-client/index.ts'
import { type Waking, watchWaking } from '../../sync-client/waking.ts'
import { createSyncServer } from '../../sync-server/index.ts'
import { freePort } from '../free-port.ts'
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
  silent,
  stateOf,
  statusOf,
  until,
  writeNotes,
} from './stage.ts'

/** Keeps writing until told to stop; answers with how many rows it wrote. */
function keepWriting(replica: NoteReplica, name: string): { stop: () => Promise<number> } {
  let isStopped = false
  const run = async (): Promise<number> => {
    let count = 0
    for (; !isStopped; count++) {
      await replica.table('notes').insert({ id: `${name}-${count}`, title: name, done: false })
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
    return count
  }
  const done = run()
  return {
    stop: () => {
      isStopped = true
      return done
    },
  }
}

test('a server that is down at the start is waited for', async () => {
  const port = await freePort()
  const { replica, link } = await openLinked(`http://127.0.0.1:${port}`)
  await replica.table('notes').insert({ id: 'n1', title: 'written before there was a server', done: false })
  const offline = await statusOf(link, ({ attempts, state }) => attempts >= 2 && state === 'offline')
  expect(offline).toMatchObject({ pending: 1, lastError: { code: 'offline', retryable: true } })
  expect(offline.nextAttemptAt).toBeGreaterThan(Date.now() - 1_000)
  expect(offline.reason).toContain('cannot be reached')
  await openServer({ port })
  await link.settled()
  expect(link.status).toMatchObject({ state: 'live', pending: 0, reason: undefined, lastError: undefined })
})

test('a server that restarts on its store in the middle of traffic loses nothing', async () => {
  const dataDir = createFolder()
  const options = { dev: true, dataDir, logger: silent(), drainMs: 1_000 }
  let server = await createSyncServer({ ...options, port: 0 })
  const { port, url } = server
  const [a, b] = [await openLinked(url), await openLinked(url)]
  await settleAll(a.link, b.link)
  const writers = [keepWriting(a.replica, 'a'), keepWriting(b.replica, 'b')]
  for (let restart = 0; restart < 3; restart++) {
    const { position } = server.tenants[0] ?? { position: 0 }
    await until(() => (server.tenants[0]?.position ?? 0) > position + 20, 'changes arrive at the server')
    await server.close()
    server = await createSyncServer({ ...options, port })
    await Promise.all([stateOf(a.link, 'live'), stateOf(b.link, 'live')])
  }
  const counts = await Promise.all(writers.map((writer) => writer.stop()))
  await settleAll(a.link, b.link)
  expect((await a.replica.digest()).rows).toBe((counts[0] ?? 0) + (counts[1] ?? 0))
  expect(await contentOf(a.replica)).toEqual(await contentOf(b.replica))
  await server.close()
})

test('a link that went silent is noticed within the bound of its heartbeat', async () => {
  const heartbeat = { intervalMs: 150, timeoutMs: 150 }
  const server = await openServer({ heartbeat })
  const wire = await openWire(server.port)
  const { replica, link } = await openLinked(wire.url)
  await settleAll(link)
  wire.silence()
  const silentAt = performance.now()
  await replica.table('notes').insert({ id: 'n1', title: 'into the silence', done: false })
  const { lastError } = await statusOf(link, ({ state }) => state !== 'live')
  expect(performance.now() - silentAt).toBeLessThan(1_000)
  expect(lastError).toMatchObject({ code: 'offline' })
  // The server gives the half-open side up as well.
  await until(() => server.tenants[0]?.connections === 0, 'the server lets go of the silent connection')
  expect(link.status.pending).toBe(1)
  wire.cut()
  await link.settled()
  expect(link.status.pending).toBe(0)
})

test('a server that accepts and never answers is given up after the time for a handshake', async () => {
  const mute = createServer((socket) => socket.resume())
  await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve))
  const address = mute.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const link = linkTo(await openNotes(), `http://127.0.0.1:${port}`, { handshakeMs: 200 })
  const { lastError } = await statusOf(link, ({ state }) => state === 'offline')
  expect(isTidemarkError(lastError)).toBe(true)
  await link.close()
  await new Promise((resolve) => mute.close(resolve))
})

test('a network that swallows WebSockets is got through by polling', async () => {
  const server = await openServer()
  const wire = await openWire(server.port)
  wire.swallowWebSockets()
  const replica = await openNotes()
  await writeNotes(replica, 100)
  const link = linkTo(replica, wire.url, { handshakeMs: 1_000 })
  await settleAll(link)
  expect(link.status).toMatchObject({ state: 'live', pending: 0 })
})

test('a server whose store cannot be opened is tried again until it can, and is never taken for empty', async () => {
  const stores = createMemoryStores()
  let isBroken = false
  const openStore = (tenant: string) => {
    if (isBroken) throw new Error('the disk is gone')
    return stores(tenant)
  }
  const server = await openServer({ openStore, idleMs: 1 })
  const a = await openLinked(server.url)
  await writeNotes(a.replica, 10)
  await settleAll(a.link)
  await a.link.close()
  await until(() => server.tenants.length === 0, 'the idle tenant is closed')
  isBroken = true
  const b = await openLinked(server.url)
  const { lastError } = await statusOf(b.link, ({ attempts }) => attempts >= 3)
  expect(lastError).toMatchObject({ code: 'unavailable', retryable: true })
  expect(lastError?.message).not.toContain('disk')
  expect((await fetch(`${server.url}/readyz`)).status).toBe(503)
  isBroken = false
  await b.link.settled()
  expect((await b.replica.digest()).rows).toBe(10)
})

test('what makes the machine wake up, or the network come back, makes an offline link try at once', async () => {
  const port = await freePort()
  const listeners = new Map<string, () => void>()
  vi.stubGlobal('addEventListener', (type: string, listener: () => void) => listeners.set(type, listener))
  vi.stubGlobal('removeEventListener', (type: string) => listeners.delete(type))
  try {
    const replica = await openNotes()
    const hour = 3_600_000
    const options = { backoff: { baseMs: hour, capMs: hour }, random: () => 0.99 }
    const link = linkTo(replica, `http://127.0.0.1:${port}`, options)
    const { nextAttemptAt } = await stateOf(link, 'offline')
    expect(nextAttemptAt).toBeGreaterThan(Date.now() + hour / 2)
    await openServer({ port })
    listeners.get('online')?.()
    await stateOf(link, 'live')
    await link.close()
    expect(listeners.has('online')).toBe(false)
  } finally {
    vi.unstubAllGlobals()
  }
})

test('a machine that has slept connects anew at once, without waiting for a heartbeat', async () => {
  const server = await openServer()
  const { link } = await openLinked(server.url)
  await settleAll(link)
  const reasons: (string | undefined)[] = []
  link.onStatus(({ reason }) => reasons.push(reason))
  const now = Date.now
  const clock = vi.spyOn(Date, 'now').mockImplementation(() => now() + 3_600_000)
  try {
    await statusOf(link, ({ state, attempts }) => state === 'live' && attempts === 2)
    expect(reasons).toContain('the machine slept')
  } finally {
    clock.mockRestore()
  }
})

describe('waking', () => {
  test.each<[string, number, number, readonly Waking[]]>([
    ['a machine that slept, its monotonic clock stopped', 60_000, 2_000, ['slept']],
    ['a machine that was merely busy', 60_000, 60_000, []],
    ['an ordinary tick', 2_000, 2_000, []],
    ['a clock that is slewed', 2_300, 2_000, []],
    ['a clock that was set back', -60_000, 2_000, []],
  ])('is told from %s', (_what, wallStep, monotonicStep, expected) => {
    vi.useFakeTimers()
    try {
      const wakings: Waking[] = []
      let [wall, monotonic] = [1_000_000, 0]
      const clocks = { wallMs: () => wall, monotonicMs: () => monotonic }
      const stop = watchWaking((waking) => wakings.push(waking), clocks)
      wall += wallStep
      monotonic += monotonicStep
      vi.advanceTimersByTime(2_000)
      vi.advanceTimersByTime(2_000)
      expect(wakings).toEqual(expected)
      stop()
      expect(vi.getTimerCount()).toBe(0)
    } finally {
      vi.useRealTimers()
    }
  })
})

describe('backoff', () => {
  test('spreads over the whole of a growing span, up to its cap', () => {
    const backoff = parseBackoff({ baseMs: 100, capMs: 1_000 })
    expect([0, 1, 2, 3, 4, 50].map((failures) => delayMsAfter(failures, backoff, () => 1))).toEqual([
      100, 200, 400, 800, 1_000, 1_000,
    ])
    expect(delayMsAfter(3, backoff, () => 0)).toBe(0)
    expect(delayMsAfter(3, backoff, () => 0.5)).toBe(400)
  })

  test.each([{ baseMs: 0 }, { capMs: -1 }, { baseMs: Number.NaN }])('refuses %j', (backoff) => {
    expect(() => parseBackoff(backoff)).toThrow(TidemarkError)
  })
})

test('a session that is cut right after its handshake counts as a failure, so that the next wait is longer', async () => {
  const server = await openServer()
  const wire = await openWire(server.port)
  const { link } = await openLinked(wire.url)
  link.onStatus(({ state, attempts }) => {
    if (state === 'live' && attempts < 4) wire.cut()
  })
  const { attempts } = await statusOf(link, (status) => status.state === 'live' && status.attempts >= 4)
  expect(attempts).toBe(4)
})

describe('settled', () => {
  test('waits through a reconnect', async () => {
    const server = await openServer()
    const wire = await openWire(server.port)
    const { replica, link } = await openLinked(wire.url)
    await settleAll(link)
    await writeNotes(replica, 2_000)
    const settled = link.settled()
    wire.cut()
    await settled
    expect(replica.pending).toBe(0)
  })

  test('gives up after its time, and says what the link was doing', async () => {
    const { link } = await openLinked(`http://127.0.0.1:${await freePort()}`)
    await expect(link.settled({ timeoutMs: 100 })).rejects.toMatchObject({ code: 'timeout', retryable: true })
  })

  test('rejects when the link is closed, before and after', async () => {
    const { link } = await openLinked(`http://127.0.0.1:${await freePort()}`)
    const settled = expect(link.settled()).rejects.toMatchObject({ code: 'closed' })
    await link.close()
    await settled
    await expect(link.settled()).rejects.toMatchObject({ code: 'closed' })
  })
})

describe('a link', () => {
  test('is closed once, stays closed, and keeps nothing open', async () => {
    const server = await openServer()
    const { link } = await openLinked(server.url)
    await settleAll(link)
    const told: string[] = []
    link.onStatus(({ state }) => told.push(state))
    await Promise.all([link.close(), link.close()])
    expect(told).toEqual(['stopped'])
    expect(link.status).toMatchObject({ state: 'stopped', reason: 'it was closed', nextAttemptAt: undefined })
    await until(() => server.tenants[0]?.connections === 0, 'the server sees it go')
  })

  test('can be closed in every state, at once', async () => {
    const server = await openServer()
    for (let turn = 0; turn < 20; turn++) {
      const { link } = await openLinked(server.url)
      for (let wait = 0; wait < turn; wait++) await new Promise((resolve) => setImmediate(resolve))
      await link.close()
    }
    await until(() => (server.tenants[0]?.connections ?? 0) === 0, 'the server sees all of them go')
  })

  test('that is closed while it fetches a token connects to nothing', async () => {
    const tokens: string[] = []
    const server = await openServer({
      authenticate: ({ auth }) => {
        tokens.push(String(auth.token))
        return { tenant: 'acme', subject: 'ada', scopes: ['read', 'write'] }
      },
    })
    let giveToken: (token: string) => void = () => {}
    const token = (): Promise<string> =>
      new Promise((resolve) => {
        giveToken = resolve
      })
    const link = linkTo(await openNotes(), server.url, { token })
    await link.close()
    giveToken('too late')
    const other = linkTo(await openNotes(), server.url, { token: 'in time' })
    await settleAll(other)
    expect(tokens).toEqual(['in time'])
  })

  test('fetches a token before each attempt, and survives that this fails', async () => {
    const given: unknown[] = []
    const authenticate = ({ auth }: { readonly auth: Readonly<Record<string, unknown>> }) => {
      given.push(auth.token)
      if (auth.token === 'third') return { tenant: 'acme', subject: 'ada', scopes: ['read', 'write'] as const }
      throw new TidemarkError('unavailable', 'not yet', { retryable: true })
    }
    const server = await openServer({ authenticate })
    const tokens = ['first', new Error('the identity provider is down'), 'third']
    const token = async (): Promise<string> => {
      const next = tokens.shift() ?? 'third'
      if (typeof next !== 'string') throw next
      return next
    }
    const link = linkTo(await openNotes(), server.url, { token })
    await stateOf(link, 'live')
    expect(given).toEqual(['first', 'third'])
  })

  test('is not disturbed by a listener that throws', async () => {
    const failures: unknown[] = []
    const collect = (error: unknown): void => void failures.push(error)
    const others = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException')
    process.on('uncaughtException', collect)
    try {
      const server = await openServer()
      const { link } = await openLinked(server.url)
      link.onStatus(() => {
        throw new Error('a bug of the app')
      })
      await settleAll(link)
      await link.close()
      expect(failures.length).toBeGreaterThan(0)
    } finally {
      process.off('uncaughtException', collect)
      for (const listener of others) process.on('uncaughtException', listener)
    }
  })

  test.each([
    ['ftp://sync.example.com', {}],
    ['not a url', {}],
    ['https://sync.example.com/?token=secret', {}],
    ['https://user:secret@sync.example.com', {}],
    ['https://sync.example.com', { transports: [] }],
    ['https://sync.example.com', { handshakeMs: 0 }],
  ])('is refused for %s with %j, without a word of what was in the url', async (url, options) => {
    const replica = await openNotes()
    try {
      connect(replica, { url, ...options })
      expect.unreachable()
    } catch (error) {
      expect(error).toMatchObject({ code: 'bad-option' })
      expect(String(error)).not.toContain('secret')
    }
  })
})
