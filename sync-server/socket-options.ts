/**
 * How Socket.IO is set up: what a socket may do before anybody is known, and how it is kept alive.
 *
 * Knows: Socket.IO's options. Must never know: who connects.
 */
import type { IncomingMessage } from 'node:http'
import type { Server as SocketServer } from 'socket.io'
import { packetParser } from '../core/index.ts'
import { STRANGER_BYTES_MAX } from './allowance.ts'
import type { ServerSettings } from './options.ts'
import { originOptions } from './origins.ts'

/** `mayBegin`: asked for each request, before anybody has said a word. */
export function socketOptions(
  settings: ServerSettings,
  mayBegin: (request: IncomingMessage) => boolean,
): NonNullable<ConstructorParameters<typeof SocketServer>[1]> {
  const { limits, hasCompression, pingIntervalMs, pingTimeoutMs, isDev, origins } = settings
  return {
    parser: packetParser,
    transports: ['websocket', 'polling'],
    allowEIO3: false,
    serveClient: false,
    cleanupEmptyChildNamespaces: true,
    // A transport that never asks to be admitted.
    connectTimeout: limits.helloMs,
    pingInterval: pingIntervalMs,
    pingTimeout: pingTimeoutMs,
    // Whoever is let in may send frames (allowance.ts).
    maxHttpBufferSize: STRANGER_BYTES_MAX,
    // Windows that outlive a message cost up to 300 KiB for each connection.
    perMessageDeflate: hasCompression && {
      threshold: 1_024,
      serverNoContextTakeover: true,
      clientNoContextTakeover: true,
    },
    httpCompression: false,
    ...originOptions(isDev, origins, mayBegin),
  }
}
