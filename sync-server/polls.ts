/**
 * Polls: what comes over long-polling, a request at a time.
 *
 * Engine.IO would take whatever a body holds apart at once, and hand on all of it in one turn of the event loop: a body of
 * 1 MiB may hold half a million packets, and come in as many pieces.
 *
 * Knows: what Engine.IO's polling transport does with a request that brings something; its types name none of it. Must never
 * know: packets of ours, who is let in.
 *
 * Invariants:
 * PL1  A body says its length, and that is within the allowance of its transport; else nothing of it is read.
 * PL2  Beyond `SHARED_BYTES_MAX` a body is one packet: clients put several together only up to what they were told.
 * PL3  In one turn at most `PACKETS_PER_TURN` are handed on. The request is answered after the last one, and is the only one
 *      of its transport until then.
 * PL4  While it is paused no body is read and nothing is handed on. Neither is once the transport is closed.
 */
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'socket.io'
import { STRANGER_BYTES_MAX } from './allowance.ts'
import type { Reader } from './intake.ts'

interface Packet {
  readonly type: string
}

interface PollingInnards {
  readonly name: string
  readonly readyState: string
  readonly maxHttpBufferSize: number
  readonly parser: { readonly decodePacket: (text: string) => Packet }
  /** Destroyed when the transport begins to close, which may take it half a minute. */
  dataReq: IncomingMessage | null
  onDataRequest(request: IncomingMessage, response: ServerResponse): void
  onPacket(packet: Packet): void
  onClose(): void
  onError(what: string): void
  headers(request: IncomingMessage, headers: IncomingHttpHeaders): IncomingHttpHeaders
  once(event: 'close', listener: () => void): void
}

/** Clients reckon Base64 as a third more than its bytes, which leaves out some of what fills it up. */
const SHARED_BYTES_MAX = 2 * STRANGER_BYTES_MAX
const SEPARATOR = '\u001e'
/** Some 100 µs. */
const PACKETS_PER_TURN = 32

const pollsByTransport = new WeakMap<object, Polls>()

/** To be called when a connection begins. */
export function watchPolls(conn: Socket['conn']): void {
  const transport = conn.transport as unknown as PollingInnards
  if (transport.name === 'polling') pollsByTransport.set(transport, new Polls(transport))
}

/** Of a transport that polls. */
export function pollsOf(transport: object): Reader | undefined {
  return pollsByTransport.get(transport)
}

class Polls implements Reader {
  readonly #transport: PollingInnards
  #isBusy = false
  #isPaused = false
  /** What is to be done when it is not paused any more. */
  #next: (() => void) | undefined

  constructor(transport: PollingInnards) {
    this.#transport = transport
    transport.onDataRequest = (request, response) => this.#take(request, response)
    transport.once('close', () => this.resume())
  }

  pause(): void {
    this.#isPaused = true
  }

  resume(): void {
    this.#isPaused = false
    const next = this.#next
    this.#next = undefined
    next?.()
  }

  #take(request: IncomingMessage, response: ServerResponse): void {
    const status = this.#judge(request)
    if (status !== undefined) {
      this.#transport.onError(`a request was refused with ${status}`)
      // What it brings is not read.
      response.writeHead(status, { connection: 'close' })
      response.end(() => request.destroy())
      return
    }
    this.#isBusy = true
    this.#transport.dataReq = request
    this.#whenRead(() => this.#read(request, response))
  }

  /** With what it is refused. */
  #judge({ headers }: IncomingMessage): number | undefined {
    const { 'content-type': type, 'content-length': length } = headers
    if (this.#isBusy || type === 'application/octet-stream') return 400
    if (length === undefined) return 411
    return Number(length) <= this.#transport.maxHttpBufferSize ? undefined : 413
  }

  #whenRead(next: () => void): void {
    if (this.#isPaused) this.#next = next
    else next()
  }

  /** Into one buffer: a body that comes byte by byte would take a hundred times its size. */
  #read(request: IncomingMessage, response: ServerResponse): void {
    const onClose = (): void => this.#transport.onError('a request was broken off')
    if (request.destroyed) return onClose()
    const body = Buffer.allocUnsafeSlow(Number(request.headers['content-length']))
    let bytes = 0
    request.once('close', onClose)
    request.on('data', (chunk: Buffer) => {
      chunk.copy(body, bytes)
      bytes += chunk.length
    })
    request.once('end', () => {
      request.off('close', onClose)
      this.#transport.dataReq = null
      const text = body.toString('utf8')
      const packets = bytes > SHARED_BYTES_MAX ? [text] : text.split(SEPARATOR)
      this.#handOn(packets, 0, () => this.#answer(request, response))
    })
  }

  #handOn(packets: readonly string[], first: number, done: () => void): void {
    const transport = this.#transport
    const end = Math.min(packets.length, first + PACKETS_PER_TURN)
    for (let at = first; at < end && transport.readyState === 'open'; at++) {
      const packet = transport.parser.decodePacket(packets[at] as string)
      if (packet.type === 'close') transport.onClose()
      else transport.onPacket(packet)
    }
    if (end === packets.length || transport.readyState !== 'open') return done()
    setImmediate(() => this.#whenRead(() => this.#handOn(packets, end, done)))
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    this.#isBusy = false
    const headers = { 'content-type': 'text/html', 'content-length': '2' }
    response.writeHead(200, this.#transport.headers(request, headers))
    response.end('ok')
  }
}
