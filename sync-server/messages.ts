/**
 * Messages of a WebSocket, as far as nobody above hears of them: pings, and many of any kind in one piece of the network.
 *
 * What is paced, counted and held back is frames. A ping is none, nor is a packet of Engine.IO that says nothing; a stream of
 * these costs as much to read, and every pong that nobody takes would wait in memory, a hundred times larger than on the wire.
 *
 * Knows: what ws keeps; its types name none of it. Must never know: packets, who is let in.
 *
 * Invariants:
 * MG1  Of one connection at most one message, ping or pong is dealt with in a turn of the event loop; what is behind it waits, and
 *      then the network does.
 * MG2  A ping is answered when nothing waits to be sent: of several, the last one may be answered alone (RFC 6455, section 5.5.3).
 */
import type { Socket } from 'socket.io'

interface WebSocketInnards {
  readonly bufferedAmount: number
  _autoPong: boolean
  readonly _receiver: { _allowSynchronousEvents: boolean }
  on(event: 'ping', listener: (data: Uint8Array) => void): void
  pong(data: Uint8Array): void
}

/** To be called when a connection begins. */
export function takeMessagesInTurns(conn: Socket['conn']): void {
  watch(conn.transport)
  conn.on('upgrading', watch)
}

function watch(transport: unknown): void {
  const { socket } = transport as { readonly socket?: WebSocketInnards }
  if (socket === undefined) return
  socket._receiver._allowSynchronousEvents = false
  socket._autoPong = false
  socket.on('ping', (data) => {
    if (socket.bufferedAmount === 0) socket.pong(data)
  })
}
