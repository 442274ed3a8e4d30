/**
 * An intruder: a socket that says whatever it is told to, with a token of its own, and hears everything.
 *
 * Knows: packets, frames, blocks. Must never know: what the server should answer.
 */
import type { Socket as ClientSocket } from 'socket.io-client'
import { decodeFrame, encodeFrame } from '../../core/frame.ts'
import { AUTH_EVENT, createReplicaId, DEFAULT_LIMITS, FRAME_EVENT, type ReplicaId } from '../../core/index.ts'
import type { Frame, Hello } from '../../core/message.ts'
import type { SyncServer } from '../../sync-server/index.ts'
import { createDictionaries, encodeBlock, type PlainChange } from '../core/block-entry.ts'
import { sign } from './sign.ts'
import { disconnected, openRawSocket, until } from './stage.ts'

type FrameOf<Type extends Frame['type']> = Extract<Frame, { readonly type: Type }>

export interface Intruder {
  readonly replica: ReplicaId
  readonly socket: ClientSocket
  /** What was heard so far. */
  readonly heard: readonly Frame[]
  /** What was said about its token. */
  readonly told: readonly Readonly<Record<string, unknown>>[]
  /** Resolves when the server has closed the socket. */
  readonly gone: Promise<unknown>
  say(...frames: readonly (Frame | Uint8Array)[]): void
  bringToken(auth: object): void
  hello(changed?: Partial<Hello>): Hello
  /** The first frame of a type that comes, or came. */
  hears<Type extends Frame['type']>(type: Type): Promise<FrameOf<Type>>
  /** Says hello and waits for the welcome. */
  greet(changed?: Partial<Hello>): Promise<FrameOf<'welcome'>>
  /** Says changes of its own, unless they are given other names. */
  push(...changes: readonly Partial<PlainChange>[]): void
}

/** `token`: to a development server, the tenant in its place. */
export async function openIntruder(
  server: Pick<SyncServer, 'url'>,
  token: string | Promise<string> | { readonly tenant: string } = sign(),
  replica: ReplicaId = createReplicaId(),
): Promise<Intruder> {
  const given = await token
  const socket = await openRawSocket(server.url, typeof given === 'string' ? { token: given } : given)
  const heard: Frame[] = []
  const told: Readonly<Record<string, unknown>>[] = []
  const gone = disconnected(socket)
  socket.on(FRAME_EVENT, (bytes: Uint8Array) => heard.push(decodeFrame(bytes, DEFAULT_LIMITS)))
  socket.on(AUTH_EVENT, (said: Readonly<Record<string, unknown>>) => told.push(said))

  const hello = (changed: Partial<Hello> = {}): Hello => ({
    type: 'hello',
    versions: [1, 1],
    tenant: 'acme',
    replica,
    isMesh: false,
    ownSeq: 0,
    ackedSeq: 0,
    fingerprint: new Uint8Array(0),
    resume: { type: 'clock', clock: [] },
    tables: [],
    ...changed,
  })
  const say: Intruder['say'] = (...frames) => {
    for (const frame of frames) socket.emit(FRAME_EVENT, frame instanceof Uint8Array ? frame : encodeFrame(frame))
  }
  const hears = async <Type extends Frame['type']>(type: Type): Promise<FrameOf<Type>> => {
    const find = () => heard.find((frame): frame is FrameOf<Type> => frame.type === type)
    await until(() => find() !== undefined, `a ${type} comes`)
    return find() as FrameOf<Type>
  }
  return {
    replica,
    socket,
    heard,
    told,
    gone,
    say,
    hello,
    hears,
    bringToken: (auth) => void socket.emit(AUTH_EVENT, auth),
    greet: (changed) => {
      say(hello(changed))
      return hears('welcome')
    },
    push: (...changes) =>
      say({
        type: 'push',
        blocks: changes.map((change) => encodeBlock([plain(replica, change)], createDictionaries())),
      }),
  }
}

function plain(author: string, change: Partial<PlainChange>): PlainChange {
  return {
    op: 'insert',
    author,
    seq: 1,
    timestamp: Date.now() * 2_048,
    more: false,
    table: 'notes',
    id: `row-${change.seq ?? 1}`,
    context: {},
    fields: { title: 'mine', done: false },
    ...change,
  }
}
