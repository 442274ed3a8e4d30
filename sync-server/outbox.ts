/**
 * The transport of one connection: writes frames to it, knows how much waits there, and may stop reading it.
 *
 * Frames go to Engine.IO directly, as the packet encoder would hand them on (a binary message is a frame): the hot path
 * of a server is one change to many clients, and Socket.IO's own way costs as much again for each of them.
 *
 * Invariants:
 * Q1  More than `bytesMax` never waits for one connection: what would go beyond is reported instead of kept.
 * Q2  A frame that many connections get is framed for WebSocket once.
 */
import type { Socket } from 'socket.io'
import type { Reader } from './intake.ts'
import { pollsOf } from './polls.ts'

type EngineSocket = Socket['conn']

/** What Engine.IO and ws keep, as far as it is needed here; neither names it in its types. */
interface EngineInnards {
  readonly writeBuffer: readonly { readonly data?: string | Uint8Array }[]
  readonly transport: { readonly socket?: WebSocketInnards }
}

interface WebSocketInnards extends Reader {
  readonly bufferedAmount: number
  readonly readyState: number
  terminate(): void
  once(event: 'close', listener: () => void): void
}

const CLOSED = 3

interface WriteOptions {
  readonly compress: boolean
  readonly wsPreEncodedFrame?: readonly Uint8Array[]
}

/** Below this, one buffer with header and frame is cheaper to write than two. */
const MERGE_BYTES_MAX = 16_384
const COMPRESSED: WriteOptions = { compress: true }

export class Outbox {
  readonly #conn: EngineSocket
  readonly #bytesMax: number
  readonly #hasCompression: boolean
  /** What waited when it was last measured, and all that was written since: never less than what waits. */
  #bytesAtMost = 0
  #isPaused = false

  constructor(conn: EngineSocket, bytesMax: number, hasCompression: boolean) {
    this.#conn = conn
    this.#bytesMax = bytesMax
    this.#hasCompression = hasCompression
    conn.on('upgrade', () => {
      if (this.#isPaused) this.pause()
    })
  }

  /** False when too much waits already; the frame is then not kept. */
  write(frame: Uint8Array): boolean {
    this.#bytesAtMost += frame.length
    if (this.#bytesAtMost > this.#bytesMax) {
      this.#bytesAtMost = this.measure() + frame.length
      if (this.#bytesAtMost > this.#bytesMax) return false
    }
    // The types of Engine.IO name a part of what its transports read.
    const options = this.#hasCompression ? COMPRESSED : framed(frame)
    this.#conn.write(frame as Buffer, options as Parameters<EngineSocket['write']>[1])
    return true
  }

  /** Bytes that wait for the network. */
  measure(): number {
    const { writeBuffer, transport } = this.#conn as unknown as EngineInnards
    let bytes = transport.socket?.bufferedAmount ?? 0
    for (const { data } of writeBuffer) bytes += data?.length ?? 0
    this.#bytesAtMost = bytes
    return bytes
  }

  /** Stops reading, also from the transport that follows this one. */
  pause(): void {
    this.#isPaused = true
    this.#reader()?.pause()
  }

  resume(): void {
    this.#isPaused = false
    this.#reader()?.resume()
  }

  #reader(): Reader | undefined {
    const { transport } = this.#conn as unknown as EngineInnards
    return transport.socket ?? pollsOf(transport)
  }

  /** Ends the transport without waiting for the peer. */
  terminate(): void {
    terminateTransport(this.#conn)
  }

  /** Calls back when the transport is closed on both sides. Engine.IO counts as closed before its WebSocket is. */
  whenGone(listener: () => void): void {
    const { transport } = this.#conn as unknown as EngineInnards
    if (transport.socket === undefined) {
      if (this.#conn.readyState === 'closed') listener()
      else this.#conn.once('close', listener)
    } else if (transport.socket.readyState === CLOSED) listener()
    else transport.socket.once('close', listener)
  }
}

/** A WebSocket that was closed waits for its peer to agree, and would wait for half a minute. */
export function terminateTransport(conn: EngineSocket): void {
  const { transport } = conn as unknown as EngineInnards
  if (transport.socket === undefined) conn.close(true)
  else transport.socket.terminate()
}

let lastFrame: Uint8Array | undefined
let lastOptions: WriteOptions = { compress: false }

/** Readers at the same place of a log get the same frame right after each other: the last one is kept. */
function framed(frame: Uint8Array): WriteOptions {
  if (frame !== lastFrame) {
    lastFrame = frame
    lastOptions = { compress: false, wsPreEncodedFrame: toWebSocketFrame(frame) }
  }
  return lastOptions
}

/** RFC 6455, section 5.2: one final binary message, unmasked as servers send it. */
function toWebSocketFrame(payload: Uint8Array): readonly Uint8Array[] {
  const { length } = payload
  const headerLength = length < 126 ? 2 : length < 65_536 ? 4 : 10
  const isMerged = length <= MERGE_BYTES_MAX
  const bytes = Buffer.allocUnsafe(isMerged ? headerLength + length : headerLength)
  bytes[0] = 0x82
  if (headerLength === 2) bytes[1] = length
  else if (headerLength === 4) {
    bytes[1] = 126
    bytes.writeUInt16BE(length, 2)
  } else {
    bytes[1] = 127
    bytes.writeUInt32BE(0, 2)
    bytes.writeUInt32BE(length, 6)
  }
  if (!isMerged) return [bytes, payload]
  bytes.set(payload, headerLength)
  return [bytes]
}
