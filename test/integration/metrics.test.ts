/** Metrics and traces: what they say is what happened, and what is hostile in it stays bounded and escaped. */
import { context, type Span, type SpanContext, SpanStatusCode, type Tracer, trace } from '@opentelemetry/api'
import { afterEach, describe, expect, test } from 'vitest'
import { custom, table } from '../../core/index.ts'
import type { SyncServer } from '../../sync-server/index.ts'
import { launchServer } from './shell.ts'
import {
  createFolder,
  linkTo,
  type Note,
  openLinked,
  openNotes,
  openServer,
  openWire,
  settleAll,
  stateOf,
  statusOf,
  until,
  writeNotes,
} from './stage.ts'

/** The values of a metric by its labels, as the page has them. */
async function valuesOf(server: SyncServer, name: string): Promise<Readonly<Record<string, number>>> {
  const values: Record<string, number> = {}
  for (const line of (await server.metrics()).split('\n')) {
    const [, metric, labels = '', value] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? []
    if (metric === `tidemark_${name}`) values[labels] = Number(value)
  }
  return values
}

describe('metrics', () => {
  test('count what passed: connections, frames, bytes, changes, commits, snapshots', async () => {
    const server = await openServer()
    const writer = await openLinked(server.url)
    await writeNotes(writer.replica, 1_200)
    await settleAll(writer.link)
    // A new replica of a tenant with so many changes gets a snapshot.
    const reader = await openLinked(server.url)
    await settleAll(reader.link)
    const tenant = 'tenant="acme"'
    expect(await valuesOf(server, 'connections_total')).toEqual({ [tenant]: 2 })
    expect(await valuesOf(server, 'changes_total')).toEqual({ [tenant]: 1_200 })
    expect(await valuesOf(server, 'snapshots_total')).toEqual({ [tenant]: 1 })
    expect(await valuesOf(server, 'sessions')).toEqual({ [tenant]: 2 })
    expect(await valuesOf(server, 'open_tenants')).toEqual({ '': 1 })
    expect(await valuesOf(server, 'sockets')).toEqual({ '': 2 })
    expect(await valuesOf(server, 'stored_rows')).toEqual({ [tenant]: 1_200 })
    expect(await valuesOf(server, 'stored_replicas')).toEqual({ [tenant]: 2 })
    const [bytesIn, bytesOut, stored] = await Promise.all(
      ['bytes_in_total', 'bytes_out_total', 'stored_bytes'].map(async (name) => (await valuesOf(server, name))[tenant]),
    )
    expect(bytesIn).toBeGreaterThan(1_200 * 10)
    expect(bytesOut).toBeGreaterThan(1_200 * 10)
    expect(stored).toBeGreaterThan(bytesIn ?? 0)
    const commits = (await valuesOf(server, 'commits_total'))[tenant]
    expect(commits).toBeGreaterThan(0)
    expect(await valuesOf(server, 'commit_seconds_count')).toEqual({ 'outcome="committed"': commits })
    await writer.link.close()
    await until(async () => (await valuesOf(server, 'sessions'))[tenant] === 1, 'a session that ended is not counted')
    expect(await valuesOf(server, 'connections_total')).toEqual({ [tenant]: 2 })
  })

  test('count conflicts by type and policy, each once', async () => {
    const server = await openServer()
    const [a, b] = [await openLinked(server.url), await openLinked(server.url)]
    for (const id of ['both', 'gone', 'apart']) {
      await a.replica.table('notes').insert({ id, title: 'first', done: false })
    }
    await settleAll(a.link, b.link)
    await Promise.all([a.link.close(), b.link.close()])
    await a.replica.table('notes').update('both', { title: 'a' })
    await b.replica.table('notes').update('both', { title: 'b' })
    await a.replica.table('notes').update('gone', { title: 'a' })
    await b.replica.table('notes').delete('gone')
    await a.replica.table('notes').update('apart', { title: 'a' })
    await b.replica.table('notes').update('apart', { done: true })
    await a.replica.table('notes').insert({ id: 'new', title: 'a', done: false })
    await b.replica.table('notes').insert({ id: 'new', title: 'b', done: false })
    for (const { replica } of [a, b, a]) {
      const link = linkTo(replica, server.url)
      await settleAll(link)
      await link.close()
    }
    await until(async () => Object.keys(await valuesOf(server, 'conflicts_total')).length === 4, 'all are counted')
    const labels = (type: string): string => `tenant="acme",type="${type}",policy="lastWriteWins@1"`
    const counted = await valuesOf(server, 'conflicts_total')
    expect(counted).toEqual({
      [labels('update-update')]: 1,
      [labels(labels('update-delete') in counted ? 'update-delete' : 'delete-update')]: 1,
      [labels('insert-insert')]: 1,
      [labels('merged')]: 1,
    })
  })

  test('CC2: call a policy that a client made up custom, whatever its name', async () => {
    const server = await openServer()
    const notes = table<Note>({ policy: custom('madeUpByAnApp', 1, ([first]) => first?.row ?? null) })
    const [a, b] = [await openLinked(server.url, { notes }), await openLinked(server.url, { notes })]
    await a.replica.table('notes').insert({ id: 'n', title: 'a', done: false })
    await b.replica.table('notes').insert({ id: 'n', title: 'b', done: false })
    await settleAll(a.link, b.link)
    await until(async () => Object.keys(await valuesOf(server, 'conflicts_total')).length > 0, 'it is counted')
    expect(await valuesOf(server, 'conflicts_total')).toEqual({
      'tenant="acme",type="insert-insert",policy="custom"': 1,
    })
  })

  test('count refusals by code: of changes, of sessions, of connections', async () => {
    const authenticate = ({ auth }: { readonly auth: Readonly<Record<string, unknown>> }) => ({
      tenant: String(auth.token),
      subject: 'ada',
      scopes: ['read', 'write'] as const,
    })
    const server = await openServer({ authenticate, defaultPlan: 'free' })
    const ahead = await openNotes({ now: () => Date.now() + 120_000 })
    await ahead.table('notes').insert({ id: 'n', title: 'from the future', done: false })
    await settleAll(linkTo(ahead, server.url, { token: 'acme' }))
    expect(await valuesOf(server, 'refused_changes_total')).toEqual({ 'tenant="acme",code="clock-skew"': 1 })
    // The token is for one tenant, the replica of another.
    await stateOf(linkTo(await openNotes({ tenant: 'other' }), server.url, { token: 'acme' }), 'stopped')
    expect(await valuesOf(server, 'failed_sessions_total')).toEqual({ 'tenant="acme",code="forbidden"': 1 })
    await stateOf(linkTo(await openNotes(), server.url, { token: '../acme' }), 'stopped')
    expect(await valuesOf(server, 'refused_connections_total')).toEqual({ 'code="bad-tenant"': 1 })
  })

  test('tell how much of its plan a tenant has used up, and nothing where the plan sets no limit', async () => {
    const quotas = { rows: 200, storedBytes: 2 ** 30, replicas: 'unlimited', connections: 4, liveReplicasPerSubject: 4 }
    const rates = { changesPerSecond: 1_000, bytesPerSecond: 2 ** 20, snapshotBuilds: 1 }
    const plans = { tiny: { features: ['sync'], quotas: { ...quotas, ...rates } } }
    const server = await openServer({ plans, defaultPlan: 'tiny' })
    const { replica, link } = await openLinked(server.url)
    await writeNotes(replica, 100)
    await settleAll(link)
    const shares = await valuesOf(server, 'quota_share')
    expect(shares).toMatchObject({
      'tenant="acme",resource="rows"': 0.5,
      'tenant="acme",resource="connections"': 0.25,
    })
    expect(shares['tenant="acme",resource="storedBytes"']).toBeLessThan(0.01)
    expect(Object.keys(shares)).toHaveLength(3)
  })

  test('tell how far each replica is behind, and how far its clock is ahead', async () => {
    const server = await openServer()
    const wire = await openWire(server.port)
    const stuck = await openLinked(wire.url)
    const writer = await openLinked(server.url, { now: () => Date.now() + 30_000 })
    await settleAll(stuck.link, writer.link)
    wire.silence()
    await writeNotes(writer.replica, 400, 'a note that takes room '.repeat(400))
    await settleAll(writer.link)
    const lag = await valuesOf(server, 'replica_lag')
    const labels = (id: string): string => `tenant="acme",replica="${id}"`
    expect(lag[labels(stuck.replica.id)]).toBeGreaterThan(100)
    expect(lag[labels(writer.replica.id)]).toBe(0)
    const ahead = await valuesOf(server, 'replica_clock_ahead_seconds')
    expect(Object.keys(ahead)).toEqual([labels(writer.replica.id)])
    expect(ahead[labels(writer.replica.id)]).toBeGreaterThan(25)
    expect(ahead[labels(writer.replica.id)]).toBeLessThanOrEqual(30)
  })

  test('show a stall of the event loop', async () => {
    const server = await openServer()
    await server.metrics()
    const until = performance.now() + 200
    // Two turns: the monitor's timer has to come late.
    await new Promise((resolve) => setTimeout(resolve, 30))
    while (performance.now() < until + 30);
    await new Promise((resolve) => setTimeout(resolve, 30))
    const delay = await valuesOf(server, 'event_loop_delay_seconds')
    expect(delay['quantile="1"']).toBeGreaterThan(0.1)
  })
})

// ── Traces ──────────────────────────────────────────────────────────────────────────────────────────────────────────

interface Recorded {
  readonly name: string
  readonly attributes: Readonly<Record<string, unknown>>
  readonly parent: string | undefined
  readonly id: string
  status: SpanStatusCode
  isEnded: boolean
}

/** As much of an SDK as it takes to keep spans. */
function recordSpans(): Recorded[] {
  const spans: Recorded[] = []
  const startSpan: Tracer['startSpan'] = (name, options, parent = context.active()) => {
    const spanContext: SpanContext = {
      traceId: '0'.repeat(31).concat('1'),
      spanId: (spans.length + 1).toString(16).padStart(16, '0'),
      traceFlags: 1,
    }
    const attributes: Record<string, unknown> = { ...options?.attributes }
    const recorded: Recorded = {
      name,
      attributes,
      parent: trace.getSpanContext(parent)?.spanId,
      id: spanContext.spanId,
      status: SpanStatusCode.UNSET,
      isEnded: false,
    }
    spans.push(recorded)
    const span: Partial<Span> = {
      spanContext: () => spanContext,
      isRecording: () => !recorded.isEnded,
      setAttribute: (key, value) => {
        attributes[key] = value
        return span as Span
      },
      setStatus: ({ code }) => {
        recorded.status = code
        return span as Span
      },
      end: () => {
        expect(recorded.isEnded).toBe(false)
        recorded.isEnded = true
      },
    }
    return span as Span
  }
  trace.setGlobalTracerProvider({ getTracer: () => ({ startSpan }) as Tracer })
  return spans
}

describe('traces', () => {
  afterEach(() => trace.disable())

  test('have a span for each connection, for its frames and for commits, when an SDK is there', async () => {
    const spans = recordSpans()
    const server = await openServer()
    const { replica, link } = await openLinked(server.url)
    await replica.table('notes').insert({ id: 'secret-id', title: 'secret title', done: false })
    await settleAll(link)
    await link.close()
    await until(() => spans.some(({ name, isEnded }) => name === 'tidemark.connection' && isEnded), 'the session ended')
    const [connection] = spans.filter(({ name }) => name === 'tidemark.connection')
    expect(connection).toMatchObject({
      parent: undefined,
      attributes: { 'tidemark.tenant': 'acme', 'tidemark.transport': 'websocket' },
    })
    const frames = spans.filter(({ name }) => name === 'tidemark.frame')
    expect(frames.length).toBeGreaterThan(2)
    for (const frame of frames) {
      expect(frame.parent).toBe(connection?.id)
      expect(frame.attributes['tidemark.bytes']).toBeGreaterThan(0)
    }
    const commits = spans.filter(({ name }) => name === 'tidemark.commit')
    expect(commits.length).toBeGreaterThan(0)
    expect(commits.every(({ attributes }) => attributes['tidemark.outcome'] === 'committed')).toBe(true)
    expect(spans.filter(({ isEnded }) => !isEnded)).toEqual([])
    expect(JSON.stringify(spans)).not.toContain('secret')
  })

  test('mark a connection that ended with an error', async () => {
    const spans = recordSpans()
    const server = await openServer({ limits: { helloMs: 50 } })
    const link = linkTo(await openNotes({ tenant: 'acme' }), server.url)
    await settleAll(link)
    await server.close()
    await statusOf(link, ({ lastError }) => lastError !== undefined)
    const [connection] = spans.filter(({ name }) => name === 'tidemark.connection')
    expect(connection).toMatchObject({ isEnded: true, status: SpanStatusCode.ERROR })
  })

  test('are had from the shell as well, by loading an SDK into the process', async () => {
    const sdk = new URL('tracing-child.mjs', import.meta.url).href
    const flags = ['--dev', '--data', createFolder(), '--port', '0']
    const { child, url } = await launchServer(flags, { NODE_OPTIONS: `--import=${sdk}` })
    let told = ''
    child.stderr?.on('data', (text) => {
      told += text
    })
    const { link } = await openLinked(url)
    await settleAll(link)
    await link.close()
    await until(() => told.includes('span tidemark.connection'), 'the connection was told')
    expect(told).toContain('span tidemark.frame\n')
    expect(told).toContain('span tidemark.commit\n')
  })

  test('are nothing without an SDK', async () => {
    const server = await openServer()
    const { link } = await openLinked(server.url)
    await settleAll(link)
    expect(trace.getTracer('tidemark').startSpan('probe').isRecording()).toBe(false)
  })
})
