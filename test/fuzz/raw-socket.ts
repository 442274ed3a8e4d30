/**
 * A client that may say anything: WebSocket (RFC 6455) and Engine.IO by hand, over a TCP socket.
 *
 * The client library would refuse most of what is sent here before the server sees it.
 *
 * Knows: WebSocket frames, Engine.IO's few packets, and `core/packet.ts`. Must never know: what a frame of ours means.
 */
import { connect, type Socket } from 'node:net'

const OPEN_MS = 10_000
const ATTEMPTS_MAX = 5
const TEXT = 1
const BINARY = 2
const CLOSE = 8
const PING = 9

export interface RawAddress {
  readonly host: string
  readonly port: number
}

export interface RawEvents {
  readonly onText: (text: string) => void
  readonly onBinary: (bytes: Uint8Array) => void
  readonly onClose: () => void
}

/** A WebSocket to the server's Engine.IO, opened as far as the transport goes. */
export class RawSocket {
  readonly #socket: Socket
  readonly #events: RawEvents
  #pending: Buffer = Buffer.alloc(0)
  #isUpgraded = false
  #isClosed = false
  #resolveOpen: () => void = () => {}

  private constructor(socket: Socket, events: RawEvents) {
    this.#socket = socket
    this.#events = events
    socket.setNoDelay(true)
    socket.on('data', (data) => this.#take(data))
    socket.on('error', () => this.close())
    socket.on('close', () => this.#end())
  }

  /** Resolves when Engine.IO has said that it is open. A machine that is busy may let a handshake take too long. */
  static async open(address: RawAddress, events: RawEvents): Promise<RawSocket> {
    for (let left = ATTEMPTS_MAX; ; left--) {
      try {
        return await RawSocket.#open(address, events)
      } catch (error) {
        if (left <= 1) throw error
      }
    }
  }

  static async #open(address: RawAddress, events: RawEvents): Promise<RawSocket> {
    const socket = connect(address.port, address.host)
    const raw = new RawSocket(socket, events)
    const opened = new Promise<void>((resolve, reject) => {
      raw.#resolveOpen = resolve
      socket.once('close', () => reject(new Error('the server closed the connection before it was open')))
    })
    const timer = setTimeout(() => socket.destroy(), OPEN_MS)
    socket.write(
      `GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: ${address.host}:${address.port}\r\n` +
        'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n' +
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
    )
    await opened.finally(() => clearTimeout(timer))
    return raw
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  /** A packet of ours as text, behind Engine.IO's sign for a message. */
  sendText(text: string): void {
    this.sendEngine(`4${text}`)
  }

  /** A packet of Engine.IO, whatever it is. */
  sendEngine(text: string): void {
    this.#write(TEXT, Buffer.from(text))
  }

  sendBinary(bytes: Uint8Array): void {
    this.#write(BINARY, bytes)
  }

  /** Bytes that are not even a WebSocket message. */
  sendRaw(bytes: Uint8Array): void {
    if (!this.#isClosed) this.#socket.write(bytes)
  }

  close(): void {
    this.#socket.destroy()
    this.#end()
  }

  #end(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#events.onClose()
  }

  /** Masked as clients have to, with a mask of zeros, which changes nothing. */
  #write(opcode: number, payload: Uint8Array): void {
    if (this.#isClosed) return
    const { length } = payload
    const extended = length < 126 ? 0 : length < 65_536 ? 2 : 8
    const header = Buffer.alloc(2 + extended + 4)
    header[0] = 0x80 | opcode
    header[1] = 0x80 | (extended === 0 ? length : extended === 2 ? 126 : 127)
    if (extended === 2) header.writeUInt16BE(length, 2)
    if (extended === 8) header.writeBigUInt64BE(BigInt(length), 2)
    this.#socket.cork()
    this.#socket.write(header)
    this.#socket.write(payload)
    this.#socket.uncork()
  }

  #take(data: Buffer): void {
    this.#pending = this.#pending.length === 0 ? data : Buffer.concat([this.#pending, data])
    if (!this.#isUpgraded && !this.#readUpgrade()) return
    while (this.#readMessage());
  }

  #readUpgrade(): boolean {
    const end = this.#pending.indexOf('\r\n\r\n')
    if (end < 0) return false
    if (!this.#pending.subarray(0, end).toString('latin1').startsWith('HTTP/1.1 101')) this.close()
    this.#pending = this.#pending.subarray(end + 4)
    this.#isUpgraded = true
    return true
  }

  /** Servers send whole messages, unmasked. False when the next one is not there yet. */
  #readMessage(): boolean {
    const pending = this.#pending
    if (pending.length < 2) return false
    const short = (pending[1] as number) & 0x7f
    const headerLength = short < 126 ? 2 : short === 126 ? 4 : 10
    if (pending.length < headerLength) return false
    const length = short < 126 ? short : short === 126 ? pending.readUInt16BE(2) : Number(pending.readBigUInt64BE(2))
    if (pending.length < headerLength + length) return false
    const payload = pending.subarray(headerLength, headerLength + length)
    this.#pending = pending.subarray(headerLength + length)
    this.#dispatch((pending[0] as number) & 0x0f, payload)
    return !this.#isClosed
  }

  #dispatch(opcode: number, payload: Buffer): void {
    if (opcode === BINARY) return this.#events.onBinary(Uint8Array.from(payload))
    if (opcode === PING) return this.#write(0x0a, payload)
    if (opcode === CLOSE) return this.close()
    if (opcode !== TEXT) return
    const text = payload.toString()
    if (text === '2') this.sendEngine('3')
    else if (text.startsWith('0')) this.#resolveOpen()
    else if (text.startsWith('4')) this.#events.onText(text.slice(1))
  }
}
