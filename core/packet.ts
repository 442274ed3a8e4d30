/**
 * The packet parser of the Socket.IO shells: each frame is one binary WebSocket message and nothing more.
 *
 * Socket.IO's own parser announces binary data with a text message of its own, 43 bytes for every frame. Here a binary
 * message *is* a frame, and a text message is one of the few packets around it: its type as a digit, then JSON.
 *
 *     binary               event `f` with the frame
 *     0 [object]           connect: to the server what it authenticates with, to the client the session id
 *     1                    disconnect
 *     2 object             event `auth`: from the client a new token, from the server what became of the old one
 *     4 object             connect error: { message, data? }
 *
 * Knows: what Socket.IO asks of the official `parser` option. Must never know: sockets, and what a frame says.
 *
 * Invariants:
 * K1  One namespace, two events, no acknowledgements: any other packet is refused, in both directions.
 * K2  What comes in is checked before it is parsed: types from the list above, text of at most 16 Ki characters.
 * K3  A frame goes out as the very bytes that it was handed in as: frames that are shared are not copied.
 */
import { TidemarkError } from './errors.ts'

/** Its only argument is a frame. */
export const FRAME_EVENT = 'f'
/** Its only argument is an object of JSON. */
export const AUTH_EVENT = 'auth'
/** A token has at most 8 KiB; this leaves room for what else an app authenticates with. */
const TEXT_LENGTH_MAX = 16_384
const NAMESPACE = '/'

const CONNECT = 0
const DISCONNECT = 1
const EVENT = 2
const CONNECT_ERROR = 4
/** What Socket.IO may call an event that carries bytes. */
const BINARY_EVENT = 5

/** What Socket.IO hands to an encoder, and takes from a decoder. */
export interface SocketPacket {
  readonly type: number
  readonly nsp: string
  readonly data?: unknown
  readonly id?: number
}

export class PacketEncoder {
  encode(packet: SocketPacket): (string | Uint8Array)[] {
    const { type, nsp, data } = packet
    if (nsp !== NAMESPACE) throw refusal('there is only the main namespace')
    switch (type) {
      case EVENT:
      case BINARY_EVENT:
        return [messageOf(packet)]
      case DISCONNECT:
        return [`${DISCONNECT}`]
      case CONNECT:
      case CONNECT_ERROR:
        return [data === undefined ? `${type}` : `${type}${JSON.stringify(data)}`]
      default:
        throw refusal(`packets of type ${type} are not sent`)
    }
  }
}

function messageOf({ data, id }: SocketPacket): string | Uint8Array {
  const [event, content] = Array.isArray(data) ? (data as readonly unknown[]) : []
  if (event === FRAME_EVENT && content instanceof Uint8Array && id === undefined) return content
  if (event === AUTH_EVENT && isObject(content) && id === undefined) return `${EVENT}${JSON.stringify(content)}`
  throw refusal(`the events are ${FRAME_EVENT} with a frame and ${AUTH_EVENT} with an object, without acknowledgement`)
}

type Listener = (packet: SocketPacket) => void

export class PacketDecoder {
  readonly #listeners = new Set<Listener>()

  on(_event: 'decoded', listener: Listener): this {
    this.#listeners.add(listener)
    return this
  }

  off(_event: 'decoded', listener: Listener): this {
    this.#listeners.delete(listener)
    return this
  }

  removeListener(event: 'decoded', listener: Listener): this {
    return this.off(event, listener)
  }

  /** Takes one message. Throws `bad-frame`, on which Socket.IO closes the connection. */
  add(message: unknown): void {
    const packet = typeof message === 'string' ? readText(message) : readFrame(message)
    for (const listener of this.#listeners) listener(packet)
  }

  /** Socket.IO calls this between two connections; nothing is kept here. */
  destroy(): void {}
}

/** What the `parser` option of both sides takes. */
export const packetParser: { readonly Encoder: typeof PacketEncoder; readonly Decoder: typeof PacketDecoder } = {
  Encoder: PacketEncoder,
  Decoder: PacketDecoder,
}

function readText(text: string): SocketPacket {
  if (text.length > TEXT_LENGTH_MAX) throw refusal(`a packet has ${text.length} characters of text`)
  const type = text.charCodeAt(0) - 48
  const json = text.slice(1)
  if (type === DISCONNECT && json === '') return { type, nsp: NAMESPACE }
  if (type === CONNECT && json === '') return { type, nsp: NAMESPACE }
  if (type === CONNECT || type === CONNECT_ERROR) return { type, nsp: NAMESPACE, data: readObject(json) }
  if (type === EVENT) return { type, nsp: NAMESPACE, data: [AUTH_EVENT, readObject(json)] }
  throw refusal('its type is unknown')
}

function readObject(json: string): object {
  let value: unknown
  try {
    value = JSON.parse(json)
  } catch (cause) {
    throw refusal('its text is not JSON', cause)
  }
  if (isObject(value)) return value
  throw refusal('its text is not an object')
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Node hands over a Buffer, browsers an ArrayBuffer; a frame is a plain array in either case. */
function readFrame(message: unknown): SocketPacket {
  return { type: EVENT, nsp: NAMESPACE, data: [FRAME_EVENT, toBytes(message)] }
}

function toBytes(message: unknown): Uint8Array {
  if (message instanceof ArrayBuffer) return new Uint8Array(message)
  if (!(message instanceof Uint8Array)) throw refusal('it is neither text nor bytes')
  return message.constructor === Uint8Array
    ? message
    : new Uint8Array(message.buffer, message.byteOffset, message.byteLength)
}

function refusal(what: string, cause?: unknown): TidemarkError {
  return new TidemarkError('bad-frame', `a packet was refused: ${what}`, { cause })
}
