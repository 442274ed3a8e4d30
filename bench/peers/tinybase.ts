/**
 * TinyBase: mergeable stores in memory, JSON on the wire. Over sockets its own synchronizer and server, which passes
 * messages on between clients.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { createMergeableStore, type MergeableContent, type MergeableStore } from 'tinybase'
import { createCustomSynchronizer, type Receive, type Synchronizer } from 'tinybase/synchronizers'
import { createWsSynchronizer } from 'tinybase/synchronizers/synchronizer-ws-client'
import { createWsServer } from 'tinybase/synchronizers/synchronizer-ws-server'
import { WebSocket, WebSocketServer } from 'ws'
import type { Row, Update } from '../data.ts'
import { diskBytesOf } from '../disk.ts'
import { type LivePeer, measureBurst, measurePaced } from '../live.ts'
import {
  expectEqual,
  insertLoad,
  type Load,
  offlineLoad,
  replicaLoad,
  type Subject,
  secondsOf,
  updateLoad,
} from '../workloads.ts'

const file = import.meta.url
const runsMax = 3
const syncSecondsMax = 60

export const subjects: readonly Subject[] = [
  {
    name: 'TinyBase',
    workload: 'W1',
    runsMax,
    async run() {
      const load = insertLoad()
      const store = createMergeableStore()
      const seconds = await secondsOf(() => insertAll(store, load.rowBatches))
      expectEqual('rows', store.getRowCount('rows'), load.rows.length)
      return { rowsPerSecond: load.rows.length / seconds }
    },
  },
  {
    name: 'TinyBase',
    workload: 'W2',
    runsMax,
    async run() {
      const load = updateLoad()
      const store = createMergeableStore()
      insertAll(store, load.rowBatches)
      const seconds = await secondsOf(() => updateAll(store, load.updateBatches))
      expectEqual('sum of priorities', sumOf(store), load.sum)
      return { updatesPerSecond: load.updates.length / seconds }
    },
  },
  {
    name: 'TinyBase',
    workload: 'W3',
    runsMax,
    async run() {
      const load = replicaLoad()
      const source = createMergeableStore()
      insertAll(source, load.rowBatches)
      updateAll(source, load.updateBatches)
      const target = createMergeableStore()
      let wireBytes = 0
      const seconds = await secondsOf(() => {
        const bytes = Buffer.from(JSON.stringify(source.getMergeableContent()))
        wireBytes = bytes.byteLength
        target.setMergeableContent(JSON.parse(bytes.toString()) as MergeableContent)
      })
      expectEqual('rows', target.getRowCount('rows'), load.rows.length)
      expectEqual('sum of priorities', sumOf(target), load.sum)
      return { seconds, wireBytes }
    },
  },
  { name: 'TinyBase', workload: 'W4', runsMax, run: meet },
  { name: 'TinyBase', workload: 'W5', run: ({ directory }) => measurePaced({ file, name: 'live' }, directory) },
  { name: 'TinyBase', workload: 'W5b', run: ({ directory }) => measureBurst({ file, name: 'live' }, directory) },
  {
    name: 'TinyBase, one file',
    workload: 'W6',
    runsMax,
    async prepare({ directory }) {
      const store = createMergeableStore()
      insertAll(store, insertLoad().rowBatches)
      writeFileSync(join(directory, 'store.json'), JSON.stringify(store.getMergeableContent()))
    },
    async run({ directory }) {
      const { rows } = insertLoad()
      const store = createMergeableStore()
      const seconds = await secondsOf(() => {
        const text = readFileSync(join(directory, 'store.json'), 'utf8')
        store.setMergeableContent(JSON.parse(text) as MergeableContent)
        store.getRow('rows', rows[50_000].id)
      })
      expectEqual('priority', Number(store.getCell('rows', rows[50_000].id, 'priority')), rows[50_000].priority)
      return { firstReadMs: seconds * 1000, diskBytesPerRow: diskBytesOf(directory) / rows.length }
    },
  },
]

function insertAll(store: MergeableStore, rowBatches: Load['rowBatches']): void {
  for (const batch of rowBatches) {
    store.transaction(() => {
      for (const row of batch) store.setRow('rows', row.id, row)
    })
  }
}

function updateAll(store: MergeableStore, updateBatches: readonly (readonly Update[])[]): void {
  for (const batch of updateBatches) {
    store.transaction(() => {
      for (const { id, priority } of batch) store.setCell('rows', id, 'priority', priority)
    })
  }
}

function sumOf(store: MergeableStore): number {
  return (Object.values(store.getTable('rows')) as Row[]).reduce((sum, { priority }) => sum + priority, 0)
}

async function meet() {
  const load = offlineLoad()
  const [a, b] = [createMergeableStore(), createMergeableStore()]
  insertAll(a, load.rowBatches)
  b.setMergeableContent(a.getMergeableContent())
  for (const update of load.updates) updateAll(a, [[update]])
  for (const update of load.otherUpdates) updateAll(b, [[update]])
  const wire = createWire(a, b)
  const seconds = await secondsOf(async () => {
    await Promise.all(wire.ends.map((end) => end.startSync()))
    const limit = performance.now() + syncSecondsMax * 1000
    while (JSON.stringify(a.getMergeableContentHashes()) !== JSON.stringify(b.getMergeableContentHashes())) {
      if (performance.now() > limit) throw new Error(`not equal after ${syncSecondsMax} s`)
      await nextTurn()
    }
  })
  await Promise.all(wire.ends.map((end) => end.destroy()))
  expectEqual('sum on both sides', sumOf(a), sumOf(b))
  return { seconds, bytesPerChange: wire.bytes() / (load.updates.length * 2) }
}

/** Two synchronizers whose messages cross as JSON bytes, as they would on a socket. */
function createWire(a: MergeableStore, b: MergeableStore): { ends: Synchronizer[]; bytes: () => number } {
  const receivers: Receive[] = []
  let bytes = 0
  const ends = [a, b].map((store, index) =>
    createCustomSynchronizer(
      store,
      (_to, ...message) => {
        const packet = Buffer.from(JSON.stringify(message))
        bytes += packet.byteLength
        setImmediate(() => {
          const [requestId, type, body] = JSON.parse(packet.toString()) as typeof message
          receivers[1 - index](String(index), requestId, type, body)
        })
      },
      (receive) => {
        receivers[index] = receive
      },
      () => {},
      syncSecondsMax,
    ),
  )
  return { ends, bytes: () => bytes }
}

export const live: LivePeer = {
  async openServer() {
    const server = new WebSocketServer({ host: '127.0.0.1', port: 0 })
    createWsServer(server)
    await new Promise((resolve) => server.once('listening', resolve))
    return { port: (server.address() as AddressInfo).port }
  },
  async openClient(port, onChange) {
    const store = createMergeableStore()
    const synchronizer = await createWsSynchronizer(store, new WebSocket(`ws://127.0.0.1:${port}/bench`))
    await synchronizer.startSync()
    store.addCellListener('rows', null, 'priority', (_store, _table, _row, _cell, priority) => {
      if (typeof priority === 'number') onChange(priority)
    })
    return {
      insert: (rows) => insertAll(store, [rows]),
      update: (id, priority) => store.setCell('rows', id, 'priority', priority),
      rowCount: () => store.getRowCount('rows'),
    }
  },
}
