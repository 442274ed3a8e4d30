/**
 * Messages of a WebSocket, as far as nobody above hears of them: pings, and many of any kind in one piece of the network.
 *
 * What is paced, counted and held back is frames. A ping is none, nor is a packet of Engine.IO that says nothing; a stream of
 * these costs as much to read, and every pong that nobody takes would wait in memory, a hundred times larger than on the wire.
 *
 * Knows: what ws keeps; its types name none of it. Must never know: packets, who is let in.
 *
 * Invariants:
 * MG1  Of one connection at most `MESSAGES_PER_TURN` messages, pings and pongs are dealt with in a turn of the event loop; what
 *      is behind them waits, and then the network does. Not fewer: of a connection that breaks, what was not read is lost.
 * MG2  A ping is answered when nothing waits to be sent: of several, the last one may be answered alone (RFC 6455, section 5.5.3).
 */
import type { Socket } from 'socket.io'

const MESSAGES_PER_TURN = 16

interface WebSocketInnards {
  readonly bufferedAmount: number
  _autoPong: boolean
  /** Whether the next message may follow in the same turn. */
  readonly _receiver: { _allowSynchronousEvents: boolean }
  on(event: 'message' | 'ping' | 'pong', listener: (data: Uint8Array) => void): void
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
  let inTurn = 0
  const count = (): void => {
    if (inTurn++ === 0) {
      setImmediate(() => {
        inTurn = 0
        socket._receiver._allowSynchronousEvents = true
      })
    }
    if (inTurn === MESSAGES_PER_TURN) socket._receiver._allowSynchronousEvents = false
  }
  for (const event of ['message', 'ping', 'pong'] as const) socket.on(event, count)
  socket._autoPong = false
  socket.on('ping', (data) => {
    if (socket.bufferedAmount === 0) socket.pong(data)
  })
}
