/**
 * Counts the bytes on the TCP sockets of a link, both directions, handshake and WebSocket headers included.
 */
import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import type { Socket } from 'node:net'

export interface Traffic {
  /** What Socket.IO's client takes as `agent`. */
  readonly agent: HttpAgent
  readonly bytes: number
}

export function countTraffic(url: string): Traffic {
  const sockets: Socket[] = []
  const agent: HttpAgent = url.startsWith('https:') ? new HttpsAgent() : new HttpAgent()
  // Documented for agents of one's own, and missing from the types.
  const connecting = agent as unknown as { createConnection: (...options: unknown[]) => Socket }
  const createConnection = connecting.createConnection.bind(agent)
  connecting.createConnection = (...options) => {
    const socket = createConnection(...options)
    sockets.push(socket)
    return socket
  }
  return {
    agent,
    get bytes() {
      return sockets.reduce((sum, { bytesRead, bytesWritten }) => sum + bytesRead + bytesWritten, 0)
    },
  }
}
