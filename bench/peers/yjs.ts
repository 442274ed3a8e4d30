/** Yjs in memory. Both of its encodings where bytes count: v1 is the default everywhere, v2 is smaller. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createDecoder } from 'lib0/decoding'
import { createEncoder, toUint8Array } from 'lib0/encoding'
import type { Doc } from 'yjs'
import { rows } from '../data.ts'
import { diskBytesOf } from '../disk.ts'
import {
  expectEqual,
  type Figures,
  insertLoad,
  offlineLoad,
  replicaLoad,
  type Subject,
  secondsOf,
  updateLoad,
} from '../workloads.ts'
import { heldBy, insertAll, rowsOf, updateAll, updateEach } from './yjs-document.ts'
import { readSyncMessage, writeSyncStep1, Y } from './yjs-modules.ts'

type Encoding = {
  readonly encode: (doc: Doc, vector?: Uint8Array) => Uint8Array
  readonly apply: (doc: Doc, update: Uint8Array) => void
}
const v1: Encoding = { encode: Y.encodeStateAsUpdate, apply: Y.applyUpdate }
const v2: Encoding = { encode: Y.encodeStateAsUpdateV2, apply: Y.applyUpdateV2 }

export const subjects: readonly Subject[] = [
  {
    name: 'Yjs',
    workload: 'W1',
    async run() {
      const load = insertLoad()
      const doc = new Y.Doc()
      const seconds = await secondsOf(() => insertAll(doc, load.rowBatches))
      expectEqual('rows', heldBy(doc).rows, load.rows.length)
      return { rowsPerSecond: load.rows.length / seconds }
    },
  },
  {
    name: 'Yjs',
    workload: 'W2',
    async run() {
      const load = updateLoad()
      const doc = new Y.Doc()
      insertAll(doc, load.rowBatches)
      const seconds = await secondsOf(() => updateAll(doc, load.updateBatches))
      expectEqual('sum of priorities', heldBy(doc).sum, load.sum)
      return { updatesPerSecond: load.updates.length / seconds }
    },
  },
  { name: 'Yjs', workload: 'W3', run: () => receive(v1) },
  { name: 'Yjs (v2)', workload: 'W3', run: () => receive(v2) },
  { name: 'Yjs', workload: 'W4', run: () => meet(v1) },
  { name: 'Yjs (v2)', workload: 'W4', run: () => meet(v2) },
  {
    name: 'Yjs, one file',
    workload: 'W6',
    async prepare({ directory }) {
      const doc = new Y.Doc()
      insertAll(doc, insertLoad().rowBatches)
      writeFileSync(join(directory, 'doc'), Y.encodeStateAsUpdate(doc))
    },
    async run({ directory }) {
      const { rows: drawn } = insertLoad()
      const doc = new Y.Doc()
      let priority: unknown
      const seconds = await secondsOf(() => {
        Y.applyUpdate(doc, readFileSync(join(directory, 'doc')))
        priority = rowsOf(doc).get(drawn[50_000].id)?.get('priority')
      })
      expectEqual('priority', Number(priority), drawn[50_000].priority)
      return { firstReadMs: seconds * 1000, diskBytesPerRow: diskBytesOf(directory) / drawn.length }
    },
  },
  { name: 'Yjs', workload: 'W7', run: async () => measureClocks() },
]

async function receive({ encode, apply }: Encoding): Promise<Figures> {
  const load = replicaLoad()
  const source = new Y.Doc()
  insertAll(source, load.rowBatches)
  updateAll(source, load.updateBatches)
  const target = new Y.Doc()
  let wireBytes = 0
  const seconds = await secondsOf(() => {
    const update = encode(source)
    wireBytes = update.byteLength
    apply(target, update)
  })
  const held = heldBy(target)
  expectEqual('rows', held.rows, load.rows.length)
  expectEqual('sum of priorities', held.sum, load.sum)
  return { seconds, wireBytes }
}

async function meet({ encode, apply }: Encoding): Promise<Figures> {
  const load = offlineLoad()
  const [a, b] = [new Y.Doc(), new Y.Doc()]
  insertAll(a, load.rowBatches)
  apply(b, encode(a))
  for (const update of load.updates) updateEach(a, [update])
  for (const update of load.otherUpdates) updateEach(b, [update])
  let bytes = 0
  const seconds = await secondsOf(() => {
    const [vectorA, vectorB] = [Y.encodeStateVector(a), Y.encodeStateVector(b)]
    const [toB, toA] = [encode(a, vectorB), encode(b, vectorA)]
    apply(a, toA)
    apply(b, toB)
    bytes = vectorA.byteLength + vectorB.byteLength + toA.byteLength + toB.byteLength
  })
  expectEqual('sum on both sides', heldBy(a).sum, heldBy(b).sum)
  return { seconds, bytesPerChange: bytes / (load.updates.length * 2) }
}

/** Replica n has made one change, to row n, under a random 32-bit client id as Yjs draws them. */
function measureClocks(): Figures {
  const doc = new Y.Doc()
  const drawn = rows(10_000)
  insertAll(doc, [drawn])
  const at = (replicas: number) => {
    for (; writers < replicas; writers++) {
      doc.clientID = Math.floor(Math.random() * 2 ** 32)
      updateEach(doc, [{ id: drawn[writers].id, priority: writers }])
    }
    let change = 0
    const count = (update: Uint8Array) => {
      change = update.byteLength
    }
    doc.once('update', count)
    updateEach(doc, [{ id: drawn[1].id, priority: 4_321 }])
    return { change, handshake: handshakeBytes(doc) }
  }
  let writers = 1
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

/** Both directions of y-protocols' handshake between two replicas that already hold the same. */
function handshakeBytes(doc: Doc): number {
  const other = new Y.Doc()
  Y.applyUpdate(other, Y.encodeStateAsUpdate(doc))
  let bytes = 0
  for (const [asking, answering] of [
    [doc, other],
    [other, doc],
  ]) {
    const question = createEncoder()
    writeSyncStep1(question, asking)
    const asked = toUint8Array(question)
    const answer = createEncoder()
    readSyncMessage(createDecoder(asked), answer, answering, undefined)
    bytes += asked.byteLength + toUint8Array(answer).byteLength
  }
  return bytes
}
