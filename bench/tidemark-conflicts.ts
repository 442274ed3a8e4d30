/**
 * Tidemark, W9: rows that several replicas have written concurrently.
 *
 * Fifty replicas start from the same rows, each writes one field of every row, and one more replica receives their
 * changes, writer after writer: those of the nth find n - 1 heads on their rows that they have not seen. Those of the
 * first find the row as they know it: the path without conflicts.
 */
import { ReceiveChanges } from '../dist/core/receive.js'
import { batches, rows } from './data.ts'
import { type BenchReplica, insertAll, openInMemory, updateAll } from './tidemark-replica.ts'
import { meshEnd, openWire } from './tidemark-wire.ts'
import { batchSize, expectEqual, type Figures, type Subject, secondsOf } from './workloads.ts'

const rowCount = 2_000
const writerCount = 50
const reportedHeads: readonly number[] = [2, 10, 50]
/** A row has n (n - 1) / 2 pairs of heads; a report of one reads the log. */
const reportsMax = 200

const drawn = rows(rowCount)

async function openCopy(base: BenchReplica): Promise<BenchReplica> {
  const copy = await openInMemory('self')
  const wire = openWire(meshEnd(copy), meshEnd(base))
  await wire.settled()
  wire.close()
  return copy
}

/** The changes that a replica wrote itself, as they lie in its log. */
async function ownBlocks({ ledger }: BenchReplica): Promise<Uint8Array[]> {
  const { own, meta } = ledger.state
  const found = await ledger.log.blocksOf(own, 0, meta.ownSeq, Number.POSITIVE_INFINITY)
  return found.map(({ block }) => block)
}

async function drawChanges(base: BenchReplica): Promise<Uint8Array[][]> {
  const changes: Uint8Array[][] = []
  for (let n = 0; n < writerCount; n++) {
    const writer = await openCopy(base)
    await updateAll(
      writer,
      batches(
        drawn.map(({ id }) => ({ id, priority: 20_000 + n })),
        batchSize,
      ),
    )
    changes.push(await ownBlocks(writer))
  }
  return changes
}

async function reportMicros(replica: BenchReplica, heads: number): Promise<number> {
  const expected = Math.min(reportsMax, (rowCount * heads * (heads - 1)) / 2)
  let reports = 0
  const seconds = await secondsOf(async () => {
    for await (const _ of replica.conflicts.open()) if (++reports === expected) break
  })
  expectEqual('reports', reports, expected)
  return (seconds / reports) * 1e6
}

async function measureConflicts(): Promise<Figures> {
  const base = await openInMemory('self')
  await insertAll(base, batches(drawn, batchSize))
  const changes = await drawChanges(base)
  const replica = await openCopy(base)
  const merge: number[] = []
  const report: number[] = []
  for (const [n, blocks] of changes.entries()) {
    const heads = n + 1
    const seconds = await secondsOf(async () => {
      await replica.ledger.submit(new ReceiveChanges(blocks, undefined))
    })
    merge[heads] = (seconds / rowCount) * 1e6
    if (reportedHeads.includes(heads)) report[heads] = await reportMicros(replica, heads)
  }
  expectEqual('rows in conflict', replica.log.stats().conflicts, rowCount)
  return {
    mergeMicrosAt1: merge[1],
    mergeMicrosAt2: merge[2],
    mergeMicrosAt10: merge[10],
    mergeMicrosAt50: merge[50],
    reportMicrosAt2: report[2],
    reportMicrosAt10: report[10],
    reportMicrosAt50: report[50],
  }
}

export const subjects: readonly Subject[] = [{ name: 'Tidemark', workload: 'W9', run: measureConflicts }]
