/** Tallies and the page that is made of them: bounded, escaped, and never going down. */
import { expect, test } from 'vitest'
import { parseTenantName, TidemarkError } from '../../core/index.ts'
import { type ConnectionFigures, Metrics, type MetricsSource } from '../../sync-server/metrics.ts'
import { Tallies } from '../../sync-server/tally.ts'

function pageOf(source: Partial<MetricsSource>): Promise<string> {
  const whole = {
    tallies: new Tallies(),
    openTenants: 0,
    tenants: [],
    connections: [],
    sockets: 0,
    upstreams: [],
    ...source,
  }
  const metrics = new Metrics(() => whole)
  return metrics.page().finally(() => metrics.stop())
}

function seriesOf(page: string, name: string): string[] {
  return page.split('\n').filter((line) => line.startsWith(`tidemark_${name}{`))
}

test('MX1: beyond so many tenants the rest share one series, and no count is lost', async () => {
  const tallies = new Tallies()
  for (let n = 0; n < 1_500; n++) tallies.of(parseTenantName(`tenant-${n}`)).connections++
  for (let n = 0; n < 1_500; n++) tallies.of(parseTenantName(`tenant-${n}`)).connections++
  const series = seriesOf(await pageOf({ tallies }), 'connections_total')
  expect(series).toHaveLength(1_001)
  expect(series.at(-1)).toBe('tidemark_connections_total{tenant="_others"} 1000')
  expect(series[0]).toBe('tidemark_connections_total{tenant="tenant-0"} 2')
})

test('MX1: of many replicas those are shown that are furthest behind', async () => {
  const connections = Array.from({ length: 5_000 }, (_, n): ConnectionFigures => {
    return { tenant: 'acme', replica: `r${n}`, lag: n, aheadMs: -n, isPaused: false, waitingBytes: 1 }
  })
  const page = await pageOf({ connections })
  const lags = seriesOf(page, 'replica_lag')
  expect(lags).toHaveLength(100)
  expect(lags[0]).toBe('tidemark_replica_lag{tenant="acme",replica="r4999"} 4999')
  expect(seriesOf(page, 'replica_clock_ahead_seconds')).toEqual([])
  expect(seriesOf(page, 'waiting_bytes')).toEqual(['tidemark_waiting_bytes{tenant="acme"} 5000'])
})

test('names cannot break out of their label', async () => {
  const hostile = 'a"} 1\ntidemark_forged{x="\\'
  const connection: ConnectionFigures = {
    tenant: hostile,
    replica: hostile,
    lag: 7,
    aheadMs: 0,
    isPaused: false,
    waitingBytes: 0,
  }
  const page = await pageOf({ connections: [connection] })
  expect(page.split('\n').filter((line) => line.startsWith('tidemark_forged'))).toEqual([])
  expect(seriesOf(page, 'replica_lag')[0]).toContain('a\\"} 1\\ntidemark_forged{x=\\"\\\\')
})

test('TY2: reading a page changes no count', async () => {
  const tallies = new Tallies()
  const tally = tallies.of(parseTenantName('acme'))
  tally.frameIn(100)
  tally.end(new TidemarkError('timeout', 'too slow'), 'ann', 0)
  tallies.refusedConnections.add('unauthenticated')
  const metrics = new Metrics(() => ({
    tallies,
    openTenants: 0,
    tenants: [],
    connections: [],
    sockets: 0,
    upstreams: [],
  }))
  const read = async () => (await metrics.page()).split('\n').filter((line) => /^tidemark_.*_total/.test(line))
  const first = (await read()).filter((line) => !line.includes('cpu'))
  expect(first).toContain('tidemark_bytes_in_total{tenant="acme"} 100')
  expect(first).toContain('tidemark_failed_sessions_total{tenant="acme",code="timeout"} 1')
  expect((await read()).filter((line) => !line.includes('cpu'))).toEqual(first)
  metrics.stop()
})
