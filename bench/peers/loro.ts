/**
 * Loro in memory: a map of row maps, so that fields of one row merge one by one. A new replica can be given all
 * updates or a snapshot; both are measured.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { LoroDoc, LoroMap, VersionVector } from 'loro-crdt'
import { type Row, rows, type Update } from '../data.ts'
import { diskBytesOf } from '../disk.ts'
import {
  expectEqual,
  type Figures,
  insertLoad,
  type Load,
  offlineLoad,
  replicaLoad,
  type Subject,
  secondsOf,
  updateLoad,
} from '../workloads.ts'

export const subjects: readonly Subject[] = [
  {
    name: 'Loro',
    workload: 'W1',
    async run() {
      const load = insertLoad()
      const doc = new LoroDoc()
      const seconds = await secondsOf(() => insertAll(doc, load.rowBatches))
      expectEqual('rows', rowsOf(doc).size, load.rows.length)
      return { rowsPerSecond: load.rows.length / seconds }
    },
  },
  {
    name: 'Loro',
    workload: 'W2',
    async run() {
      const load = updateLoad()
      const doc = new LoroDoc()
      insertAll(doc, load.rowBatches)
      // Row handles that are kept are the faster way to use Loro.
      const handles = new Map(load.rows.map(({ id }) => [id, rowOf(doc, id)]))
      const seconds = await secondsOf(() => {
        for (const batch of load.updateBatches) {
          for (const { id, priority } of batch) handles.get(id)?.set('priority', priority)
          doc.commit()
        }
      })
      expectEqual('sum of priorities', sumOf(doc), load.sum)
      return { updatesPerSecond: load.updates.length / seconds }
    },
  },
  { name: 'Loro (updates)', workload: 'W3', run: () => receive('update') },
  { name: 'Loro (snapshot)', workload: 'W3', run: () => receive('snapshot') },
  { name: 'Loro', workload: 'W4', run: meet },
  {
    name: 'Loro, one file',
    workload: 'W6',
    async prepare({ directory }) {
      const doc = new LoroDoc()
      insertAll(doc, insertLoad().rowBatches)
      writeFileSync(join(directory, 'doc'), doc.export({ mode: 'snapshot' }))
    },
    async run({ directory }) {
      const { rows: drawn } = insertLoad()
      let priority: unknown
      const seconds = await secondsOf(() => {
        const doc = new LoroDoc()
        doc.import(readFileSync(join(directory, 'doc')))
        priority = rowOf(doc, drawn[50_000].id)?.get('priority')
      })
      expectEqual('priority', Number(priority), drawn[50_000].priority)
      return { firstReadMs: seconds * 1000, diskBytesPerRow: diskBytesOf(directory) / drawn.length }
    },
  },
  { name: 'Loro', workload: 'W7', run: async () => measureClocks() },
]

const rowsOf = (doc: LoroDoc): LoroMap => doc.getMap('rows')
const rowOf = (doc: LoroDoc, id: string): LoroMap | undefined => rowsOf(doc).get(id) as LoroMap | undefined

function insertAll(doc: LoroDoc, rowBatches: Load['rowBatches']): void {
  const all = rowsOf(doc)
  for (const batch of rowBatches) {
    for (const row of batch) insertRow(all, row)
    doc.commit()
  }
}

function insertRow(all: LoroMap, row: Row): void {
  const map = all.setContainer(row.id, new LoroMap())
  for (const [field, value] of Object.entries(row)) map.set(field, value)
}

function updateAll(doc: LoroDoc, updateBatches: readonly (readonly Update[])[]): void {
  const all = rowsOf(doc)
  for (const batch of updateBatches) {
    for (const { id, priority } of batch) (all.get(id) as LoroMap).set('priority', priority)
    doc.commit()
  }
}

function sumOf(doc: LoroDoc): number {
  const json = rowsOf(doc).toJSON() as Record<string, Row>
  return Object.values(json).reduce((sum, { priority }) => sum + priority, 0)
}

async function receive(mode: 'update' | 'snapshot'): Promise<Figures> {
  const load = replicaLoad()
  const source = new LoroDoc()
  insertAll(source, load.rowBatches)
  updateAll(source, load.updateBatches)
  const target = new LoroDoc()
  let wireBytes = 0
  const seconds = await secondsOf(() => {
    const bytes = source.export({ mode })
    wireBytes = bytes.byteLength
    target.import(bytes)
  })
  expectEqual('rows', rowsOf(target).size, load.rows.length)
  expectEqual('sum of priorities', sumOf(target), load.sum)
  return { seconds, wireBytes }
}

async function meet(): Promise<Figures> {
  const load = offlineLoad()
  const [a, b] = [new LoroDoc(), new LoroDoc()]
  insertAll(a, load.rowBatches)
  b.import(a.export({ mode: 'update' }))
  for (const update of load.updates) updateAll(a, [[update]])
  for (const update of load.otherUpdates) updateAll(b, [[update]])
  let bytes = 0
  const seconds = await secondsOf(() => {
    const [versionA, versionB] = [a.version().encode(), b.version().encode()]
    const toB = a.export({ mode: 'update', from: VersionVector.decode(versionB) })
    const toA = b.export({ mode: 'update', from: VersionVector.decode(versionA) })
    a.import(toA)
    b.import(toB)
    bytes = versionA.byteLength + versionB.byteLength + toA.byteLength + toB.byteLength
  })
  expectEqual('sum on both sides', sumOf(a), sumOf(b))
  return { seconds, bytesPerChange: bytes / (load.updates.length * 2) }
}

/** Replica n has made one change, to row n, under a random peer id as Loro draws them. */
function measureClocks(): Figures {
  const doc = new LoroDoc()
  const drawn = rows(10_000)
  insertAll(doc, [drawn])
  let writers = 1
  const at = (replicas: number) => {
    for (; writers < replicas; writers++) {
      doc.setPeerId(crypto.getRandomValues(new BigUint64Array(1))[0])
      updateAll(doc, [[{ id: drawn[writers].id, priority: writers }]])
    }
    const before = doc.version()
    updateAll(doc, [[{ id: drawn[1].id, priority: 5_000 + replicas }]])
    const version = doc.version()
    const nothing = doc.export({ mode: 'update', from: version }).byteLength
    return {
      change: doc.export({ mode: 'update', from: before }).byteLength,
      handshake: 2 * (version.encode().byteLength + nothing),
    }
  }
  const [few, hundred, thousand, tenThousand] = [2, 100, 1_000, 10_000].map(at)
  return {
    changeBytesAt2: few.change,
    changeBytesAt100: hundred.change,
    changeBytesAt1000: thousand.change,
    changeBytesAt10000: tenThousand.change,
    handshakeBytesAt2: few.handshake,
    handshakeBytesAt100: hundred.handshake,
    handshakeBytesAt1000: thousand.handshake,
    handshakeBytesAt10000: tenThousand.handshake,
  }
}
