/**
 * An inquiry at a server: a session that asks how its rows compare, and neither reads the log nor writes.
 *
 * Knows: Socket.IO's client side, and the few frames that asking takes. Must never know: what is compared with what.
 *
 * Invariants:
 * IQ1 An inquirer writes nothing and has an id of its own, the same for all inquiries: a tenant learns of one replica more, once.
 * IQ2 Every wait has a bound. After the end no socket and no timer is left.
 */

import { io, type Socket } from 'socket.io-client'
import {
  DEFAULT_LIMITS,
  decodeFrame,
  ERROR_CODES,
  encodeFrame,
  FRAME_EVENT,
  type Frame,
  isTidemarkError,
  PROTOCOL_MAX,
  PROTOCOL_MIN,
  packetParser,
  parseReplicaId,
  quote,
  type Resume,
  TidemarkError,
} from '../../core/index.ts'
import type { Answer, Ask } from '../../core/server-door.ts'

export interface InquiryOptions {
  readonly url: string
  readonly tenant: string
  readonly token: string | undefined
  /** How long reaching the server may take, and each of its answers. */
  readonly timeoutMs: number
}

/** Two inquiries at one tenant at the same time are one replica twice: the older one is told so. */
const INQUIRER = parseReplicaId('00000000-0000-4000-8000-766572696679')
const LIMITS = DEFAULT_LIMITS

type Welcome = Extract<Frame, { readonly type: 'welcome' }>

interface Waiting {
  readonly timer: NodeJS.Timeout
  readonly resolve: (frame: Frame) => void
  readonly reject: (error: TidemarkError) => void
}

/** Goes there, and stands at the end of its log, so that nothing but answers comes down. */
export async function inquire(options: InquiryOptions): Promise<Inquiry> {
  const first = await Inquiry.begin(options, { type: 'clock', clock: [] })
  await first.close()
  const { logId, epoch, position } = first.welcome
  return Inquiry.begin(options, { type: 'cursor', logId, epoch, position })
}

export class Inquiry {
  readonly #socket: Socket
  readonly #options: InquiryOptions
  /** By token; under 0 whoever waits for the welcome. */
  readonly #waiting = new Map<number, Waiting>()
  #welcome: Welcome | undefined
  #nextToken = 1
  #error: TidemarkError | undefined

  private constructor(options: InquiryOptions, socket: Socket) {
    this.#options = options
    this.#socket = socket
    socket.on(FRAME_EVENT, (frame: Uint8Array) => this.#receive(frame))
    socket.on('connect_error', (error) => this.#end(toConnectError(error, options.url)))
    socket.on('disconnect', (reason) => this.#end(offline(`the connection to ${options.url} ended (${reason})`)))
  }

  static async begin(options: InquiryOptions, resume: Resume): Promise<Inquiry> {
    const { url, tenant, token, timeoutMs } = options
    const { origin, path } = parseServerUrl(url)
    const socket = io(origin, {
      path,
      auth: token === undefined ? { tenant } : { token },
      transports: ['websocket', 'polling'],
      tryAllTransports: true,
      parser: packetParser,
      forceNew: true,
      multiplex: false,
      reconnection: false,
      timeout: timeoutMs,
    })
    const begun = new Inquiry(options, socket)
    try {
      const welcome = begun.#wait(0, `${url} did not answer`)
      socket.on('connect', () => begun.#send(hello(tenant, resume)))
      begun.#welcome = (await welcome) as Welcome
      return begun
    } catch (error) {
      await begun.close()
      throw error
    }
  }

  get welcome(): Welcome {
    return this.#welcome as Welcome
  }

  readonly ask: Ask = async (question): Promise<Answer> => {
    const token = this.#nextToken++
    const answer = this.#wait(token, `${this.#options.url} did not answer a question about ${question.table}`)
    this.#send({ type: 'compare', token, ...question })
    const frame = await answer
    if (frame.type !== 'compared') throw new TidemarkError('bad-frame', 'the server answered something else')
    const chunk = frame.chunk === undefined ? undefined : decodeFrame(frame.chunk, LIMITS)
    if (chunk !== undefined && chunk.type !== 'snapshot-rows') {
      throw new TidemarkError('bad-frame', 'the server answered without rows')
    }
    return { isSame: frame.isSame, parts: frame.parts, chunk }
  }

  async close(): Promise<void> {
    this.#error ??= new TidemarkError('closed', 'the inquiry is over')
    if (!this.#socket.connected) return void this.#socket.disconnect()
    // Gone when the goodbye has left: the next one is the same replica.
    const { engine } = this.#socket.io
    const isGone = new Promise<void>((resolve) => engine.once('close', () => resolve()))
    this.#socket.disconnect()
    await isGone
  }

  #send(frame: Frame): void {
    this.#socket.emit(FRAME_EVENT, encodeFrame(frame))
  }

  #wait(token: number, what: string): Promise<Frame> {
    return new Promise((resolve, reject) => {
      if (this.#error !== undefined) return reject(this.#error)
      const { timeoutMs } = this.#options
      const timer = setTimeout(
        () => this.#end(new TidemarkError('timeout', `${what} within ${timeoutMs} ms`, { retryable: true })),
        timeoutMs,
      )
      this.#waiting.set(token, { timer, resolve, reject })
    })
  }

  #receive(bytes: Uint8Array): void {
    try {
      const frame = decodeFrame(bytes, LIMITS)
      if (frame.type === 'welcome') this.#settle(0, frame)
      else if (frame.type === 'compared') this.#settle(frame.token, frame)
      else if (frame.type === 'refuse') this.#end(toRefusal(frame.code, frame.message, frame.retryable))
      // What is written meanwhile comes down as far as the credit goes, and is none of ours.
    } catch (error) {
      this.#end(isTidemarkError(error) ? error : offline(`a frame could not be read: ${String(error)}`))
    }
  }

  #settle(token: number, frame: Frame): void {
    const waiting = this.#waiting.get(token)
    this.#waiting.delete(token)
    clearTimeout(waiting?.timer)
    waiting?.resolve(frame)
  }

  #end(error: TidemarkError): void {
    this.#error ??= error
    for (const { timer, reject } of this.#waiting.values()) {
      clearTimeout(timer)
      reject(this.#error)
    }
    this.#waiting.clear()
    this.#socket.disconnect()
  }
}

function hello(tenant: string, resume: Resume): Frame {
  return {
    type: 'hello',
    versions: [PROTOCOL_MIN, PROTOCOL_MAX],
    tenant,
    replica: INQUIRER,
    isMesh: false,
    ownSeq: 0,
    ackedSeq: 0,
    fingerprint: new Uint8Array(0),
    resume,
    tables: [],
  }
}

/** A path in the URL is where a proxy serves the server. */
function parseServerUrl(text: string): { readonly origin: string; readonly path: string } {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !/^(https?|wss?):$/.test(url.protocol) || url.search !== '' || url.username !== '') {
    throw new TidemarkError('bad-option', `${quote(text)} is not the http(s) address of a server`, {
      remedy: 'Give an address such as https://sync.example.com; a token goes into --token',
    })
  }
  return { origin: `${url.protocol}//${url.host}`, path: `${url.pathname.replace(/\/+$/, '')}/socket.io` }
}

function toConnectError(error: Error & { readonly data?: unknown }, url: string): TidemarkError {
  if (error.data === undefined) return offline(`${url} cannot be reached: ${quote(error.message)}`)
  const { code, retryable } = error.data as { readonly code?: unknown; readonly retryable?: unknown }
  return toRefusal(String(code), error.message, retryable === true)
}

function toRefusal(code: string, message: string, retryable: boolean): TidemarkError {
  const known = ERROR_CODES.find((each) => each === code)
  return new TidemarkError(known ?? 'unavailable', `the server refused: ${message}`, { retryable })
}

function offline(message: string): TidemarkError {
  return new TidemarkError('offline', message, { retryable: true, remedy: 'See that the server runs, and try again' })
}
