/**
 * What is measured: the workloads, their sizes, and the figures each of them gives.
 *
 * Knows: names, units and directions. Must never know: how a subject does the work.
 * 1. Every figure a subject returns is listed here, with its unit and which way is better.
 * 2. A subject's work is timed alone: data is drawn and checked outside the clock.
 */
import { batches, prioritySum, type Row, rows, type Update, updates } from './data.ts'

export const workloads = {
  W1: { title: 'insert 100,000 rows, 1,000 per transaction', figures: ['rowsPerSecond', 'peakRssBytes'] },
  W2: { title: 'update one field, 100,000 times on 10,000 rows', figures: ['updatesPerSecond', 'peakRssBytes'] },
  W3: {
    title: '100,000 inserts and 100,000 updates to an empty replica, in one process: encode, decode, apply',
    figures: ['seconds', 'wireBytes', 'deflatedBytes', 'peakRssBytes'],
  },
  W3s: {
    title: '100,000 inserts and 100,000 updates to an empty replica, over loopback sockets',
    figures: ['seconds', 'wireBytes', 'peakRssBytes'],
  },
  W3m: {
    title: '10 MB of rows to an empty replica, over loopback sockets',
    figures: ['seconds', 'wireBytes', 'peakRssBytes'],
  },
  W4: {
    title: 'two replicas update the same 10,000 rows offline, then sync both ways',
    figures: ['seconds', 'bytesPerChange', 'peakRssBytes'],
  },
  W5: {
    title: 'one writer at 100 changes/s for 10 s, 49 other clients on one server',
    figures: ['latencyP50Ms', 'latencyP99Ms', 'serverCpuMicros', 'bytesPerDelivery'],
  },
  W5b: {
    title: 'burst: 2,000 changes at once to 49 other clients on one server',
    figures: ['deliveriesPerSecond', 'serverCpuMicros', 'bytesPerDelivery'],
  },
  W6: {
    title: '100,000 persisted rows: first read after opening, size on disk',
    figures: ['firstReadMs', 'diskBytesPerRow', 'peakRssBytes'],
  },
  W7: {
    title: 'one live change and one handshake when 2, 100, 1,000, 10,000 replicas have ever written, two to each row',
    figures: [
      'changeBytesAt2',
      'changeBytesAt100',
      'changeBytesAt1000',
      'changeBytesAt10000',
      'ownRowChangeBytesAt10000',
      'busyRowChangeBytesAt10000',
      'handshakeBytesAt2',
      'handshakeBytesAt100',
      'handshakeBytesAt1000',
      'handshakeBytesAt10000',
      'logBytesAt2',
      'logBytesAt100',
      'logBytesAt1000',
      'logBytesAt10000',
      'ownRowLogBytesAt10000',
    ],
  },
  W8: {
    title: 'durable writes: one after the other, beside the flushes of the same disk, and 1,000 at once',
    figures: ['writesPerSecond', 'flushesPerSecond', 'writesPerFlush', 'thousandMs', 'thousandCommits'],
  },
  W9: {
    title: 'one more change to a row that then has 1 (no conflict), 2, 10, 50 heads: merge, and report of a pair',
    figures: [
      'mergeMicrosAt1',
      'mergeMicrosAt2',
      'mergeMicrosAt10',
      'mergeMicrosAt50',
      'reportMicrosAt2',
      'reportMicrosAt10',
      'reportMicrosAt50',
    ],
  },
  W9p: {
    title: 'work without conflicts: CPU time against the same engine with rows that know last write only',
    figures: [
      'localCpuRatio',
      'localCpuRatioLow',
      'localCpuRatioHigh',
      'receivedCpuRatio',
      'receivedCpuRatioLow',
      'receivedCpuRatioHigh',
    ],
  },
} as const satisfies Record<string, { title: string; figures: readonly FigureName[] }>

export type WorkloadId = keyof typeof workloads

export type FigureKind = {
  readonly label: string
  readonly better: 'more' | 'less'
  readonly unit: 'per second' | 's' | 'ms' | 'µs' | 'bytes' | 'MB' | 'times'
}

export const figureKinds = {
  rowsPerSecond: { label: 'rows/s', better: 'more', unit: 'per second' },
  updatesPerSecond: { label: 'updates/s', better: 'more', unit: 'per second' },
  deliveriesPerSecond: { label: 'deliveries/s', better: 'more', unit: 'per second' },
  seconds: { label: 'time', better: 'less', unit: 's' },
  wireBytes: { label: 'bytes', better: 'less', unit: 'MB' },
  deflatedBytes: { label: 'deflated', better: 'less', unit: 'MB' },
  bytesPerChange: { label: 'B/change', better: 'less', unit: 'bytes' },
  peakRssBytes: { label: 'peak RSS', better: 'less', unit: 'MB' },
  latencyP50Ms: { label: 'p50', better: 'less', unit: 'ms' },
  latencyP99Ms: { label: 'p99', better: 'less', unit: 'ms' },
  serverCpuMicros: { label: 'server CPU/delivery', better: 'less', unit: 'µs' },
  bytesPerDelivery: { label: 'B/delivery', better: 'less', unit: 'bytes' },
  firstReadMs: { label: 'first read', better: 'less', unit: 'ms' },
  diskBytesPerRow: { label: 'disk B/row', better: 'less', unit: 'bytes' },
  changeBytesAt2: { label: 'change at 2', better: 'less', unit: 'bytes' },
  changeBytesAt100: { label: 'at 100', better: 'less', unit: 'bytes' },
  changeBytesAt1000: { label: 'at 1,000', better: 'less', unit: 'bytes' },
  changeBytesAt10000: { label: 'at 10,000', better: 'less', unit: 'bytes' },
  ownRowChangeBytesAt10000: { label: 'row of one writer', better: 'less', unit: 'bytes' },
  busyRowChangeBytesAt10000: { label: 'row of ten writers', better: 'less', unit: 'bytes' },
  handshakeBytesAt2: { label: 'handshake at 2', better: 'less', unit: 'bytes' },
  handshakeBytesAt100: { label: 'at 100', better: 'less', unit: 'bytes' },
  handshakeBytesAt1000: { label: 'at 1,000', better: 'less', unit: 'bytes' },
  handshakeBytesAt10000: { label: 'at 10,000', better: 'less', unit: 'bytes' },
  logBytesAt2: { label: 'log at 2', better: 'less', unit: 'bytes' },
  logBytesAt100: { label: 'at 100', better: 'less', unit: 'bytes' },
  logBytesAt1000: { label: 'at 1,000', better: 'less', unit: 'bytes' },
  logBytesAt10000: { label: 'at 10,000', better: 'less', unit: 'bytes' },
  ownRowLogBytesAt10000: { label: 'row of one writer', better: 'less', unit: 'bytes' },
  writesPerSecond: { label: 'writes/s', better: 'more', unit: 'per second' },
  flushesPerSecond: { label: 'disk flushes/s', better: 'more', unit: 'per second' },
  writesPerFlush: { label: 'writes per flush', better: 'more', unit: 'times' },
  thousandMs: { label: '1,000 at once', better: 'less', unit: 'ms' },
  thousandCommits: { label: 'commits', better: 'less', unit: 'times' },
  mergeMicrosAt1: { label: 'merge at 1', better: 'less', unit: 'µs' },
  mergeMicrosAt2: { label: 'at 2', better: 'less', unit: 'µs' },
  mergeMicrosAt10: { label: 'at 10', better: 'less', unit: 'µs' },
  mergeMicrosAt50: { label: 'at 50', better: 'less', unit: 'µs' },
  reportMicrosAt2: { label: 'report at 2', better: 'less', unit: 'µs' },
  reportMicrosAt10: { label: 'at 10', better: 'less', unit: 'µs' },
  reportMicrosAt50: { label: 'at 50', better: 'less', unit: 'µs' },
  localCpuRatio: { label: 'local updates', better: 'less', unit: 'times' },
  localCpuRatioLow: { label: 'a quarter below', better: 'less', unit: 'times' },
  localCpuRatioHigh: { label: 'a quarter above', better: 'less', unit: 'times' },
  receivedCpuRatio: { label: 'received changes', better: 'less', unit: 'times' },
  receivedCpuRatioLow: { label: 'a quarter below', better: 'less', unit: 'times' },
  receivedCpuRatioHigh: { label: 'a quarter above', better: 'less', unit: 'times' },
} as const satisfies Record<string, FigureKind>

export type FigureName = keyof typeof figureKinds
/** What one run of one subject measured. `peakRssBytes` is filled in by the frame when the subject leaves it out. */
export type Figures = Readonly<Partial<Record<FigureName, number>>>

export type RunContext = {
  /** An empty directory of this subject and run, removed afterwards; `prepare` and `run` see the same one. */
  readonly directory: string
}

/** One way to do one workload. `run` is called once, in a fresh process. */
export type Subject = {
  readonly name: string
  readonly workload: WorkloadId
  /** At most this many runs, for what takes minutes. */
  readonly runsMax?: number
  /** Untimed, in a process of its own before the one that runs; for W6, where the first read must be cold. */
  readonly prepare?: (context: RunContext) => Promise<void>
  readonly run: (context: RunContext) => Promise<Figures>
}

export const rowCount = 100_000
export const updateCount = 100_000
export const updatedRowCount = 10_000
export const batchSize = 1_000
/** A row has 282 bytes of JSON. */
const tenMegabyteRowCount = 35_500

export type Load = {
  readonly rows: readonly Row[]
  readonly rowBatches: readonly (readonly Row[])[]
  readonly updates: readonly Update[]
  readonly updateBatches: readonly (readonly Update[])[]
  /** Sum of all priorities when everything is applied. */
  readonly sum: number
}

/** W1, W6: rows only. */
export const insertLoad = (): Load => load(rowCount, 0)
/** W2: many updates of few rows. */
export const updateLoad = (): Load => load(updatedRowCount, updateCount)
/** W3, W3s: as many updates as rows. */
export const replicaLoad = (): Load => load(rowCount, updateCount)
/** W3m: rows whose values come to 10 MB as JSON. */
export const tenMegabyteLoad = (): Load => load(tenMegabyteRowCount, 0)
/** W4: the rows both replicas start from, and one update of every row for each side. */
export const offlineLoad = (): Load & { readonly otherUpdates: readonly Update[] } => {
  const shared = load(updatedRowCount, updatedRowCount)
  return { ...shared, otherUpdates: updates(updatedRowCount, shared.rows, 3) }
}

function load(rowsWanted: number, updatesWanted: number): Load {
  const drawn = rows(rowsWanted)
  const changes = updates(updatesWanted, drawn)
  return {
    rows: drawn,
    rowBatches: batches(drawn, batchSize),
    updates: changes,
    updateBatches: batches(changes, batchSize),
    sum: prioritySum(drawn, changes),
  }
}

/** Seconds that `work` takes, on a heap that has just been collected. */
export async function secondsOf(work: () => void | Promise<void>): Promise<number> {
  globalThis.gc?.()
  const begin = process.hrtime.bigint()
  const pending = work()
  if (pending instanceof Promise) await pending
  return Number(process.hrtime.bigint() - begin) / 1e9
}

/** A subject that lost something has no figures. */
export function expectEqual(what: string, actual: number, expected: number): void {
  if (actual !== expected) throw new Error(`${what}: expected ${expected}, got ${actual}`)
}
