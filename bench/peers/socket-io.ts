/**
 * Raw Socket.IO: what the transport itself costs. The server passes each event on to all other clients and keeps
 * nothing; a delivery is the handler's call. Text events, because Socket.IO sends a binary one as two frames.
 */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Server } from 'socket.io'
import { io } from 'socket.io-client'
import { type LivePeer, liveRowCount, measureBurst, measurePaced } from '../live.ts'
import type { Subject } from '../workloads.ts'

type Change = { readonly id: string; readonly priority: number }

const createLive = <Message>(encode: (change: Change) => Message, decode: (message: Message) => Change): LivePeer => ({
  async openServer() {
    const http = createServer()
    const server = new Server(http, { transports: ['websocket'] })
    server.on('connection', (socket) => {
      socket.on('change', (message: Message) => socket.broadcast.emit('change', message))
    })
    await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
    return { port: (http.address() as AddressInfo).port }
  },
  async openClient(port, onChange) {
    const socket = io(`http://127.0.0.1:${port}`, { transports: ['websocket'], forceNew: true })
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve)
      socket.once('connect_error', reject)
    })
    socket.on('change', (message: Message) => onChange(decode(message).priority))
    return {
      insert: () => {},
      update: (id, priority) => socket.emit('change', encode({ id, priority })),
      rowCount: () => liveRowCount,
    }
  },
})

export const live = createLive(
  (change) => change,
  (change) => change,
)
/** The same text as a buffer: how a protocol with an encoding of its own would use Socket.IO. */
export const liveBinary = createLive(
  (change) => Buffer.from(JSON.stringify(change)),
  (message) => JSON.parse(message.toString()) as Change,
)

const file = import.meta.url

export const subjects: readonly Subject[] = [
  { name: 'Socket.IO', workload: 'W5', run: ({ directory }) => measurePaced({ file, name: 'live' }, directory) },
  { name: 'Socket.IO', workload: 'W5b', run: ({ directory }) => measureBurst({ file, name: 'live' }, directory) },
  {
    name: 'Socket.IO (binary)',
    workload: 'W5',
    run: ({ directory }) => measurePaced({ file, name: 'liveBinary' }, directory),
  },
  {
    name: 'Socket.IO (binary)',
    workload: 'W5b',
    run: ({ directory }) => measureBurst({ file, name: 'liveBinary' }, directory),
  },
]
