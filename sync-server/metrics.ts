/**
 * Metrics: the tallies and the present state of a server as a page for Prometheus.
 *
 * Knows: prom-client, names and help of every metric. Must never know: who may read the page.
 *
 * Invariants:
 * MX1  Series are bounded: tenants by their tallies, replicas to the `REPLICAS_MAX` that are furthest behind or ahead, all
 *      other labels by sets of our own. Names are escaped by the format.
 * MX2  Reading the page changes nothing but the window of the event-loop delay.
 */
import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks'
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { CommitOutcome } from './observed-stores.ts'
import type { TenantFigures } from './standings.ts'
import type { Counts, Tallies, Tally } from './tally.ts'

/** What is read at each request. */
export interface MetricsSource {
  readonly tallies: Tallies
  readonly openTenants: number
  /** As they stand, or stood when they were last open. */
  readonly tenants: readonly TenantFigures[]
  readonly connections: readonly ConnectionFigures[]
  /** TCP connections, those that are not admitted included. */
  readonly sockets: number
  readonly upstreams: readonly UpstreamFigures[]
}

export interface UpstreamFigures {
  readonly tenant: string
  readonly state: string
  readonly lagUp: number
  readonly lagDown: number
}

export interface ConnectionFigures {
  readonly tenant: string
  /** Undefined before its hello. */
  readonly replica: string | undefined
  /** Entries of the log that were not sent to it yet. */
  readonly lag: number
  /** How far its clock was ahead when it last wrote; `-Infinity` when it has not. */
  readonly aheadMs: number
  /** What it wrote last found no room, or builds on what was lost. */
  readonly isPaused: boolean
  /** Bytes that wait for the network. */
  readonly waitingBytes: number
}

const REPLICAS_MAX = 100
/** From a store in memory to a disk that is in trouble. */
const COMMIT_SECONDS = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10]
const LOOP_RESOLUTION_MS = 10
const NANOSECONDS = 1e9

export class Metrics {
  readonly #registry = new Registry()
  readonly #source: () => MetricsSource
  readonly #commits: Histogram<'outcome'>
  #loop: IntervalHistogram | undefined

  constructor(source: () => MetricsSource) {
    this.#source = source
    this.#commits = new Histogram({
      name: 'tidemark_commit_seconds',
      help: 'Time of store commits, from the call to the flush, by outcome',
      labelNames: ['outcome'],
      buckets: COMMIT_SECONDS,
      registers: [this.#registry],
    })
    this.#addTraffic()
    this.#addRefusals()
    this.#addState()
    this.#addShares()
    this.#addReplicas()
    this.#addUpstreams()
    this.#addProcess()
  }

  stop(): void {
    this.#loop?.disable()
    this.#loop = undefined
  }

  observeCommit(outcome: CommitOutcome, seconds: number): void {
    this.#commits.observe({ outcome }, seconds)
  }

  /** What only shows over time is measured from the first page on. */
  page(): Promise<string> {
    if (this.#loop === undefined) {
      this.#loop = monitorEventLoopDelay({ resolution: LOOP_RESOLUTION_MS })
      this.#loop.enable()
    }
    return this.#registry.metrics()
  }

  // ── What there is ─────────────────────────────────────────────────────────────────────────────────────────────────

  #addTraffic(): void {
    this.#countByTenant('connections_total', 'Connections that were let in', (tally) => tally.connections)
    this.#countByTenant('frames_in_total', 'Frames that came in', (tally) => tally.framesIn)
    this.#countByTenant('frames_out_total', 'Frames that went out', (tally) => tally.framesOut)
    this.#countByTenant('bytes_in_total', 'Bytes of frames that came in', (tally) => tally.bytesIn)
    this.#countByTenant(
      'bytes_out_total',
      'Bytes of frames that went out, before compression',
      (tally) => tally.bytesOut,
    )
    this.#countByTenant('changes_total', 'Changes that were answered, refused ones included', (tally) => tally.changes)
    this.#countByTenant('snapshots_total', 'Snapshots that were begun for a replica', (tally) => tally.snapshots)
    this.#countByTenant('commits_total', 'Commits of the store', (tally) => tally.commits)
    this.#countByTenant(
      'held_frames_total',
      'Frames that had to wait, because they came faster than the plan or the subject may send',
      (tally) => tally.heldFrames,
    )
    this.#countByTenant('pauses_total', 'Times that a writer was told that there is no room', (tally) => tally.pauses)
  }

  #addRefusals(): void {
    this.#countByCode('refused_changes_total', 'Changes that were refused', (tally) => tally.refusedChanges)
    this.#countByCode('failed_sessions_total', 'Sessions that ended with an error', (tally) => tally.failures)
    this.#counter(
      'refused_connections_total',
      'Connections that were not let in, by tenant, where that was known and is one of ours, code, and the quota of its plan',
      ['tenant', 'code', 'resource'],
      (add) => {
        const { tallies } = this.#source()
        const known = [...tallies.entries()].map(([tenant, tally]) => [tenant, tally.refusedConnections] as const)
        for (const [tenant, counts] of [['', tallies.refusedConnections] as const, ...known]) {
          for (const [name, count] of counts.entries()) {
            const [code = '', resource = ''] = name.split(' ')
            add({ code, ...(tenant === '' ? {} : { tenant }), ...(resource === '' ? {} : { resource }) }, count)
          }
        }
      },
    )
    this.#counter(
      'conflicts_total',
      'Conflicts that came about, by tenant, type and policy',
      ['tenant', 'type', 'policy'],
      (add) => {
        for (const [tenant, { conflicts }] of this.#source().tallies.entries()) {
          for (const [name, count] of conflicts.entries()) {
            const [type = '', policy = ''] = name.split(' ')
            add({ tenant, type, policy }, count)
          }
        }
      },
    )
  }

  #addState(): void {
    this.#gauge('open_tenants', 'Tenants that are open', [], (set) => set({}, this.#source().openTenants))
    this.#gauge('sockets', 'TCP connections, those that are not admitted included', [], (set) =>
      set({}, this.#source().sockets),
    )
    this.#gauge('sessions', 'Connections that are admitted, by tenant', ['tenant'], (set) => {
      for (const [tenant, count] of this.#perTenant(() => 1)) set({ tenant }, count)
    })
    this.#gauge(
      'paused_writers',
      'Connected writers that wait for room, or for what was lost, by tenant',
      ['tenant'],
      (set) => {
        for (const [tenant, count] of this.#perTenant(({ isPaused }) => (isPaused ? 1 : 0))) set({ tenant }, count)
      },
    )
    this.#gauge('waiting_bytes', 'Bytes that wait for the network, by tenant', ['tenant'], (set) => {
      for (const [tenant, bytes] of this.#perTenant(({ waitingBytes }) => waitingBytes)) set({ tenant }, bytes)
    })
    for (const { name, help, read } of STORED) {
      this.#gauge(name, `${help}, by tenant`, ['tenant'], (set) => {
        for (const figures of this.#source().tenants.slice(0, SHOWN_MAX)) set({ tenant: figures.tenant }, read(figures))
      })
    }
  }

  #addShares(): void {
    const help = 'How much of a quota is used up, 1 being all of it, by tenant and resource'
    this.#gauge('quota_share', help, ['tenant', 'resource'], (set) => {
      for (const { tenant, shares } of this.#source().tenants.slice(0, SHOWN_MAX)) {
        for (const { resource, share } of shares) set({ tenant, resource }, share)
      }
    })
  }

  #addReplicas(): void {
    this.#gauge(
      'replica_lag',
      'Entries of the log that a replica was not sent yet, by tenant and connected replica; the 100 that are furthest behind',
      REPLICA,
      (set) => {
        for (const { tenant, replica, lag } of this.#worst(({ lag }) => lag)) set({ tenant, replica }, lag)
      },
    )
    this.#gauge(
      'replica_clock_ahead_seconds',
      'How far a clock was ahead at the last write, by tenant and connected replica; the 100 that are furthest ahead',
      REPLICA,
      (set) => {
        for (const { tenant, replica, aheadMs } of this.#worst(({ aheadMs }) => aheadMs)) {
          if (aheadMs > 0) set({ tenant, replica }, aheadMs / 1_000)
        }
      },
    )
  }

  #addUpstreams(): void {
    this.#gauge(
      'upstream_connected',
      'Whether the upstream of a relayed tenant is reached, by tenant',
      ['tenant'],
      (set) => {
        for (const { tenant, state } of this.#source().upstreams) set({ tenant }, state === 'live' ? 1 : 0)
      },
    )
    this.#gauge(
      'upstream_lag',
      'Entries of a log that have not reached the other server yet, by tenant that is relayed and direction',
      ['tenant', 'direction'],
      (set) => {
        for (const { tenant, lagUp, lagDown } of this.#source().upstreams) {
          set({ tenant, direction: 'up' }, lagUp)
          set({ tenant, direction: 'down' }, lagDown)
        }
      },
    )
  }

  #addProcess(): void {
    this.#gauge(
      'event_loop_delay_seconds',
      'Delay of the event loop since the page was last read, by quantile',
      ['quantile'],
      (set) => {
        const loop = this.#loop
        if (loop === undefined || loop.count === 0) return
        for (const quantile of [0.5, 0.99, 1]) {
          const delay = loop.percentile(quantile * 100) / NANOSECONDS - LOOP_RESOLUTION_MS / 1_000
          set({ quantile: String(quantile) }, Math.max(0, delay))
        }
        loop.reset()
      },
    )
    this.#gauge('memory_bytes', 'Memory of the process, by kind', ['kind'], (set) => {
      const { rss, heapUsed, external } = process.memoryUsage()
      set({ kind: 'resident' }, rss)
      set({ kind: 'heap' }, heapUsed)
      set({ kind: 'external' }, external)
    })
    this.#counter('cpu_seconds_total', 'Processor time of the process, by mode', ['mode'], (add) => {
      const { user, system } = process.cpuUsage()
      add({ mode: 'user' }, user / 1e6)
      add({ mode: 'system' }, system / 1e6)
    })
    this.#gauge('uptime_seconds', 'Time since the process started', [], (set) => set({}, process.uptime()))
  }

  // ── How it is put ─────────────────────────────────────────────────────────────────────────────────────────────────

  #countByTenant(name: string, help: string, read: (tally: Tally) => number): void {
    this.#counter(name, `${help}, by tenant`, ['tenant'], (add) => {
      for (const [tenant, tally] of this.#source().tallies.entries()) add({ tenant }, read(tally))
    })
  }

  #countByCode(name: string, help: string, read: (tally: Tally) => Counts): void {
    this.#counter(name, `${help}, by tenant and code`, ['tenant', 'code'], (add) => {
      for (const [tenant, tally] of this.#source().tallies.entries()) {
        for (const [code, count] of read(tally).entries()) add({ tenant, code }, count)
      }
    })
  }

  #counter<Label extends string>(
    name: string,
    help: string,
    labelNames: readonly Label[],
    fill: (add: Put<Label>) => void,
  ): void {
    const counter: Counter<Label> = new Counter({
      name: `tidemark_${name}`,
      help,
      labelNames: [...labelNames],
      registers: [this.#registry],
      collect: () => {
        counter.reset()
        fill((labels, value) => counter.inc(labels, value))
      },
    })
  }

  #gauge<Label extends string>(
    name: string,
    help: string,
    labelNames: readonly Label[],
    fill: (set: Put<Label>) => void,
  ): void {
    const gauge: Gauge<Label> = new Gauge({
      name: `tidemark_${name}`,
      help,
      labelNames: [...labelNames],
      registers: [this.#registry],
      collect: () => {
        gauge.reset()
        fill((labels, value) => gauge.set(labels, value))
      },
    })
  }

  #perTenant(read: (connection: ConnectionFigures) => number): ReadonlyMap<string, number> {
    const sums = new Map<string, number>()
    for (const connection of this.#source().connections) {
      sums.set(connection.tenant, (sums.get(connection.tenant) ?? 0) + read(connection))
    }
    return new Map([...sums].sort(([, left], [, right]) => right - left).slice(0, SHOWN_MAX))
  }

  /** MX1. */
  #worst(measure: (connection: ConnectionFigures) => number): readonly MetConnection[] {
    const met = this.#source().connections.filter(
      (connection): connection is MetConnection => connection.replica !== undefined,
    )
    return met.sort((left, right) => measure(right) - measure(left)).slice(0, REPLICAS_MAX)
  }
}

type MetConnection = ConnectionFigures & { readonly replica: string }
type Put<Label extends string> = (labels: Partial<Record<Label, string>>, value: number) => void

const REPLICA = ['tenant', 'replica'] as const
const SHOWN_MAX = 1_000
const STORED: readonly {
  readonly name: string
  readonly help: string
  readonly read: (figures: TenantFigures) => number
}[] = [
  { name: 'stored_rows', help: 'Rows that are not deleted', read: ({ rows }) => rows },
  { name: 'conflicted_rows', help: 'Rows that are in conflict', read: ({ conflictedRows }) => conflictedRows },
  { name: 'stored_bytes', help: 'Bytes of rows and log', read: ({ storedBytes }) => storedBytes },
  { name: 'stored_log_bytes', help: 'The part of the log in that, which only grows', read: ({ logBytes }) => logBytes },
  { name: 'stored_replicas', help: 'Replicas that ever wrote or said hello', read: ({ replicas }) => replicas },
  {
    name: 'tenant_lag',
    help: 'Entries of the log that the replica furthest behind was not sent yet, of those that came within 30 days',
    read: ({ lag }) => lag,
  },
]
