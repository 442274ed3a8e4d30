/** Yjs over sockets: the server of y-websocket, and Hocuspocus. Both keep the document in memory. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { WebSocket, WebSocketServer } from 'ws'
import type { Doc } from 'yjs'
import { type BulkPeer, measureBulk } from '../bulk.ts'
import { type LiveClient, type LivePeer, measureBurst, measurePaced } from '../live.ts'
import type { Subject } from '../workloads.ts'
import { heldBy, insertAll, rowsOf, updateAll, updateEach, type YRow } from './yjs-document.ts'
import { loadHocuspocusClient, loadHocuspocusServer, loadYWebsocket, loadYWebsocketServer, Y } from './yjs-modules.ts'

type Host = { readonly port: number; readonly fill: (write: (doc: Doc) => void) => Promise<void> }
type Transport = {
  readonly open: () => Promise<Host>
  /** Resolves when `doc` holds what the server holds. */
  readonly join: (port: number, doc: Doc) => Promise<void>
}

const room = 'bench'

const yWebsocket: Transport = {
  async open() {
    const { setupWSConnection, getYDoc } = loadYWebsocketServer()
    const http = createServer()
    new WebSocketServer({ server: http }).on('connection', setupWSConnection)
    await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
    return { port: (http.address() as AddressInfo).port, fill: async (write) => write(getYDoc(room)) }
  },
  join(port, doc) {
    // Every provider listens for the end of the process.
    process.setMaxListeners(100)
    const { WebsocketProvider } = loadYWebsocket()
    const provider = new WebsocketProvider(`ws://127.0.0.1:${port}`, room, doc, {
      WebSocketPolyfill: WebSocket as never,
      disableBc: true,
    })
    return new Promise((resolve) => provider.once('sync', () => resolve()))
  },
}

const hocuspocus: Transport = {
  async open() {
    const { Server } = loadHocuspocusServer()
    const server = new Server({ port: 0, address: '127.0.0.1', quiet: true, stopOnSignals: false })
    await server.listen()
    return {
      port: server.address.port,
      async fill(write) {
        const connection = await server.hocuspocus.openDirectConnection(room)
        await connection.transact(write)
      },
    }
  },
  join(port, doc) {
    const { HocuspocusProvider, HocuspocusProviderWebsocket } = loadHocuspocusClient()
    const socket = new HocuspocusProviderWebsocket({ url: `ws://127.0.0.1:${port}`, WebSocketPolyfill: WebSocket })
    return new Promise((resolve) => {
      const provider = new HocuspocusProvider({
        websocketProvider: socket,
        name: room,
        document: doc,
        onSynced: () => resolve(),
      })
      provider.attach()
    })
  },
}

const bulkOver = ({ open, join }: Transport): BulkPeer => ({
  async openServer(load) {
    const { port, fill } = await open()
    await fill((doc) => insertAll(doc, load.rowBatches))
    for (const batch of load.updateBatches) await fill((doc) => updateAll(doc, [batch]))
    return { port }
  },
  async receive(port) {
    const doc = new Y.Doc()
    await join(port, doc)
    return () => heldBy(doc)
  },
})

const liveOver = ({ open, join }: Transport): LivePeer => ({
  openServer: open,
  async openClient(port, onChange) {
    const doc = new Y.Doc()
    await join(port, doc)
    rowsOf(doc).observeDeep((events, { local }) => {
      if (local) return
      for (const { target, keys } of events) {
        if (keys.has('priority')) onChange((target as YRow).get('priority') as number)
      }
    })
    return clientOf(doc)
  },
})

const clientOf = (doc: Doc): LiveClient => ({
  insert: (rows) => insertAll(doc, [rows]),
  update: (id, priority) => updateEach(doc, [{ id, priority }]),
  rowCount: () => rowsOf(doc).size,
})

export const yWebsocketBulk = bulkOver(yWebsocket)
export const yWebsocketLive = liveOver(yWebsocket)
export const hocuspocusBulk = bulkOver(hocuspocus)
export const hocuspocusLive = liveOver(hocuspocus)

const file = import.meta.url

export const subjects: readonly Subject[] = (['y-websocket', 'Hocuspocus'] as const).flatMap((name): Subject[] => {
  const prefix = name === 'Hocuspocus' ? 'hocuspocus' : 'yWebsocket'
  const live = { file, name: `${prefix}Live` }
  return [
    { name, workload: 'W3s', run: ({ directory }) => measureBulk({ file, name: `${prefix}Bulk` }, directory) },
    { name, workload: 'W5', run: ({ directory }) => measurePaced(live, directory) },
    { name, workload: 'W5b', run: ({ directory }) => measureBurst(live, directory) },
  ]
})
