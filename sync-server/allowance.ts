/**
 * The allowance of a transport: how large one message may be. Little until its connection is let in, then a whole frame, so
 * that strangers cannot have memory set aside for them.
 *
 * Knows: what Engine.IO and ws keep; neither names it in its types. Must never know: who is let in.
 *
 * Invariant AL1: a transport begins with the little one, and has no more unless somebody says so: where the innards below
 * are other ones, frames do not pass, and tests tell.
 */
import type { Socket } from 'socket.io'

/** What asks to be let in is a text of at most 16,384 characters; a poll has form fields around it. */
export const STRANGER_BYTES_MAX = 32_768

interface TransportInnards {
  /** Of long-polling. */
  maxHttpBufferSize?: number
  /** Of WebSockets. */
  readonly socket?: { readonly _receiver?: ReceiverInnards }
}

interface ReceiverInnards {
  _maxPayload: number
  /** Where frames are compressed, what comes out of one. */
  readonly _extensions: { readonly 'permessage-deflate'?: { _maxPayload: number } }
}

/** Messages up to `bytesMax` may come from now on, also on the transport that follows this one. */
export function allowFrames(conn: Socket['conn'], bytesMax: number): void {
  const allow = (transport: TransportInnards): void => {
    if (transport.maxHttpBufferSize !== undefined) transport.maxHttpBufferSize = bytesMax
    const receiver = transport.socket?._receiver
    if (receiver === undefined) return
    receiver._maxPayload = bytesMax
    const inflating = receiver._extensions['permessage-deflate']
    if (inflating !== undefined) inflating._maxPayload = bytesMax
  }
  allow(conn.transport as unknown as TransportInnards)
  conn.on('upgrading', (transport: unknown) => allow(transport as TransportInnards))
}
