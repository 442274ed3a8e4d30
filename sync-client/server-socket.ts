/**
 * One socket to the server: Engine.IO, and on it the few packets of Socket.IO that both sides use.
 *
 * Socket.IO's own client has namespaces, acknowledgements, buffers and a manager that connects again around this; nothing of
 * that is used here, and it is a tenth of what a browser would load.
 *
 * Knows: Engine.IO, packets. Must never know: what a frame says, when to connect again.
 *
 * Invariants:
 * SS1  It ends once, and tells nothing after that.
 */
import { Socket as Engine, type SocketOptions } from 'engine.io-client'
import { AUTH_EVENT, FRAME_EVENT, PACKET, packetParser, type SocketPacket } from '../core/index.ts'

export type { SocketOptions }

export interface ServerSocketEvents {
  readonly onOpen: () => void
  readonly onConnect: () => void
  readonly onFrame: (frame: Uint8Array) => void
  /** What the server says beside the session. */
  readonly onAuth: (said: Readonly<Record<string, unknown>>) => void
  /** The server lets nobody in, which it says with `data`; or it cannot be reached. */
  readonly onRefusal: (message: string, data: unknown, cause: unknown) => void
  /** The socket is over; `reason` in the words of Engine.IO. */
  readonly onEnd: (reason: string) => void
}

export class ServerSocket {
  readonly engine: Engine
  readonly #events: ServerSocketEvents
  readonly #encoder = new packetParser.Encoder()
  readonly #decoder = new packetParser.Decoder()
  /** Decoded, and not told yet. */
  readonly #came: SocketPacket[] = []
  #isConnected = false
  #hasEnded = false

  /** `auth`: what the server is told of who connects. */
  constructor(
    origin: string,
    options: Partial<SocketOptions>,
    auth: Readonly<Record<string, unknown>>,
    events: ServerSocketEvents,
  ) {
    this.#events = events
    const engine = new Engine(origin, options)
    this.engine = engine
    this.#decoder.on('decoded', (packet) => this.#came.push(packet))
    engine.on('open', () => {
      this.#send({ type: PACKET.connect, nsp: '/', data: auth })
      if (!this.#hasEnded) events.onOpen()
    })
    engine.on('data', (message) => {
      if (!this.#hasEnded) this.#receive(message)
    })
    engine.on('error', (error) => {
      if (this.#isConnected || this.#hasEnded) return
      const { message } = toError(error)
      this.close()
      events.onRefusal(message, undefined, error)
    })
    engine.on('close', (reason) => this.#end(reason))
  }

  emitFrame(frame: Uint8Array): void {
    this.#send({ type: PACKET.event, nsp: '/', data: [FRAME_EVENT, frame] })
  }

  emitAuth(said: Readonly<Record<string, unknown>>): void {
    this.#send({ type: PACKET.event, nsp: '/', data: [AUTH_EVENT, said] })
  }

  /** Says goodbye to a server that has let us in, and closes. Nothing is told after this. */
  close(): void {
    if (this.#isConnected && !this.#hasEnded) this.#send({ type: PACKET.disconnect, nsp: '/' })
    this.#hasEnded = true
    this.engine.close()
  }

  #send(packet: SocketPacket): void {
    if (this.#hasEnded) return
    for (const message of this.#encoder.encode(packet)) this.engine.write(message)
  }

  #receive(message: unknown): void {
    try {
      this.#decoder.add(message)
    } catch {
      return this.#end('parse error')
    }
    for (const packet of this.#came.splice(0)) this.#take(packet)
  }

  #take({ type, data }: SocketPacket): void {
    if (this.#hasEnded) return
    switch (type) {
      case PACKET.connect:
        this.#isConnected = true
        return this.#events.onConnect()
      case PACKET.disconnect:
        return this.#end('io server disconnect')
      case PACKET.refusal: {
        const { message, data: why } = data as { readonly message?: unknown; readonly data?: unknown }
        this.close()
        return this.#events.onRefusal(String(message), why, undefined)
      }
      default: {
        const [event, content] = data as readonly [string, unknown]
        if (event === FRAME_EVENT) this.#events.onFrame(content as Uint8Array)
        else this.#events.onAuth(content as Readonly<Record<string, unknown>>)
      }
    }
  }

  #end(reason: string): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    this.engine.close()
    this.#events.onEnd(reason)
  }
}

function toError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}
