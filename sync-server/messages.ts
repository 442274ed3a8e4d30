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
 * MG2  A ping is answered, and while an answer waits to be sent only the last of those that came meanwhile (RFC 6455, section
 *      5.5.3): answers that nobody reads do not pile up.
 */
import type { Socket } from 'socket.io'

const MESSAGES_PER_TURN = 16

interface WebSocketInnards {
  _autoPong: boolean
  /** Whether the next message may follow in the same turn. */
  readonly _receiver: { _allowSynchronousEvents: boolean }
  on(event: 'message' | 'ping' | 'pong', listener: (data: Uint8Array) => void): void
  pong(data: Uint8Array, mask: undefined, onSent: (error?: Error | null) => void): void
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
  answerPings(socket)
}

function answerPings(socket: WebSocketInnards): void {
  let isAnswering = false
  let last: Uint8Array | undefined
  const answer = (data: Uint8Array): void => {
    isAnswering = true
    socket.pong(data, undefined, (error) => {
      isAnswering = false
      const next = last
      last = undefined
      if (next !== undefined && !(error instanceof Error)) answer(next)
    })
  }
  socket.on('ping', (data) => {
    if (isAnswering) last = data
    else answer(data)
  })
}
