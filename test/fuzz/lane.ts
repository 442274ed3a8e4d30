/**
 * A lane: one hostile client that comes back as often as it is thrown out, and knows when the server has dealt with a frame.
 *
 * Knows: the conversation as far as it takes to be let in, and what answers are allowed. Must never know: what it fires.
 */
import { decodeFrame, encodeFrame } from '../../core/frame.ts'
import { DEFAULT_LIMITS } from '../../core/limits.ts'
import type { Frame } from '../../core/message.ts'
import { Random } from '../simulation/random.ts'
import { array, binary } from './craft.ts'
import { craftHello, type Target } from './killers.ts'
import { type RawAddress, RawSocket } from './raw-socket.ts'

/** The server has so long to answer or to hang up. */
const ANSWER_MS = 15_000
const ATTEMPTS_MAX = 4
const ASSAULT_MS: Readonly<Record<Stage, number>> = { open: 300, admitted: 300, greeted: 5_000 }
/** No assault asks with this one. */
const LAST_TOKEN = 999_999
const NOBODY = '00000000-0000-4000-8000-000000000000'

/** How the server took what was fired at it. */
export interface Outcome {
  /** `answered`: the session goes on. `closed`: the server hung up. */
  readonly end: 'answered' | 'closed'
  readonly codes: readonly string[]
  /** What must not happen; undefined when it did not. */
  readonly failure: string | undefined
}

/** How far a connection has come when it turns hostile: an open WebSocket, let in, or welcomed. */
export type Stage = 'open' | 'admitted' | 'greeted'

type Listener = (frame: Frame | undefined) => void

/** After a refusal that is no warning a session is over, or begins anew. */
function isAnswerToHello(frame: Frame): boolean {
  return frame.type === 'welcome' || (frame.type === 'refuse' && frame.code !== 'warning')
}

export class Lane {
  readonly #address: RawAddress
  readonly #tenant: string
  readonly #name: string
  readonly #grantsCredit: boolean
  #generation = 0
  #socket: RawSocket | undefined
  #isGreeted = false
  #listener: Listener = () => {}
  #onConnected: () => void = () => {}
  #codes: string[] = []
  #failure: string | undefined
  #target: Target
  #nextToken = 1

  /** `name` makes the replica id: the same on every run. Without `grantsCredit` it never says that it has read anything. */
  constructor(address: RawAddress, tenant: string, name: string, grantsCredit = true) {
    this.#address = address
    this.#tenant = tenant
    this.#name = name
    this.#grantsCredit = grantsCredit
    this.#target = this.#freshTarget()
  }

  get target(): Target {
    return this.#target
  }

  /** Fires inside a session. */
  async fire(...frames: readonly Uint8Array[]): Promise<Outcome> {
    if (!this.#isGreeted) await this.#enter()
    return this.#shoot(() => {
      for (const frame of frames) this.#socket?.sendBinary(frame)
      const token = this.#nextToken++
      this.#send({ type: 'mark', token })
      return (frame) => frame.type === 'marked' && frame.token === token
    })
  }

  /** Fires where a hello is expected, and says hello afterwards. */
  async fireBeforeHello(frame: Uint8Array): Promise<Outcome> {
    await this.#connect()
    const outcome = await this.#shoot(() => {
      this.#socket?.sendBinary(frame)
      this.#socket?.sendBinary(this.#hello())
      return isAnswerToHello
    })
    this.hangUp()
    return outcome
  }

  /**
   * Does anything at all with a connection, which is not used afterwards. Inside a session it is over when a mark behind it
   * all is answered; anywhere, when the server hangs up, or after `ms`.
   */
  async assault(stage: Stage, work: (socket: RawSocket) => void, ms = ASSAULT_MS[stage]): Promise<Outcome> {
    if (stage === 'greeted') await this.#enter()
    else await this.#connect(stage === 'admitted')
    const timer = setTimeout(() => this.hangUp(), ms)
    const outcome = await this.#shoot(() => {
      if (this.#socket !== undefined) work(this.#socket)
      if (stage !== 'greeted') return () => false
      const token = LAST_TOKEN
      this.#send({ type: 'mark', token })
      return (frame) => frame.type === 'marked' && frame.token === token
    })
    clearTimeout(timer)
    this.hangUp()
    return outcome
  }

  hangUp(): void {
    this.#socket?.close()
    this.#socket = undefined
    this.#isGreeted = false
  }

  // ── Coming in ─────────────────────────────────────────────────────────────────────────────────────────────────────

  #freshTarget(): Target {
    const random = new Random(`${this.#name}/${this.#generation++}`)
    const unknown = { server: NOBODY, logId: NOBODY, epoch: 1, position: 1 }
    return { ...unknown, tenant: this.#tenant, replica: random.uuid(), nextSeq: 1 }
  }

  /** Connects, says hello, and waits to be welcomed. */
  async #enter(): Promise<void> {
    const refusals: string[] = []
    for (let attempt = 0; attempt < ATTEMPTS_MAX && !this.#isGreeted; attempt++) {
      if (this.#socket === undefined) await this.#connect()
      const { codes } = await this.#shoot(() => {
        this.#socket?.sendBinary(this.#hello())
        return isAnswerToHello
      })
      refusals.push(...codes)
      // The log was exchanged, or is not known yet: the next hello comes with a clock.
      if (codes.includes('foreign-cursor')) this.#target = { ...this.#target, logId: NOBODY }
      // An ack was lost on the way: the server has more of this replica than the replica itself.
      if (codes.includes('replica-restored')) this.#target = this.#freshTarget()
    }
    if (!this.#isGreeted) throw new Error(`the server lets nobody in: ${refusals.join(', ')}`)
  }

  #hello(): Uint8Array {
    const clock = array([2], binary([]))
    return craftHello(this.#target, this.#target.logId === NOBODY ? { resume: clock } : {})
  }

  #takeWelcome({ replica, logId, epoch, position, yourSeq }: Extract<Frame, { type: 'welcome' }>): void {
    this.#isGreeted = true
    this.#target = { ...this.#target, server: replica, logId, epoch, position, nextSeq: yourSeq + 1 }
  }

  async #connect(isAdmitted = true): Promise<void> {
    this.hangUp()
    let socket: RawSocket | undefined
    socket = await RawSocket.open(this.#address, {
      onText: (text) => {
        if (text.startsWith('0')) this.#onConnected()
      },
      onBinary: (bytes) => {
        if (socket === this.#socket) this.#receive(bytes)
      },
      onClose: () => {
        if (socket === undefined || socket !== this.#socket) return
        this.#socket = undefined
        this.#isGreeted = false
        this.#listener(undefined)
      },
    })
    this.#socket = socket
    if (!isAdmitted) return
    const connected = new Promise<void>((resolve) => {
      this.#onConnected = resolve
    })
    socket.sendText(`0${JSON.stringify({ tenant: this.#tenant })}`)
    await connected
  }

  // ── Firing ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Runs `begin`, and waits for the frame it looks for, or for the end. */
  #shoot(begin: () => (frame: Frame) => boolean): Promise<Outcome> {
    this.#codes = []
    this.#failure = undefined
    return new Promise((resolve) => {
      const finish = (end: Outcome['end']): void => {
        clearTimeout(timer)
        this.#listener = () => {}
        resolve({ end, codes: this.#codes, failure: this.#failure })
      }
      const timer = setTimeout(() => {
        this.#failure = 'the server neither answered nor hung up'
        this.hangUp()
        finish('closed')
      }, ANSWER_MS)
      let isDone: (frame: Frame) => boolean = () => false
      this.#listener = (frame) => {
        if (frame === undefined) finish('closed')
        else if (isDone(frame)) finish('answered')
      }
      if (this.#socket === undefined || this.#socket.isClosed) return finish('closed')
      isDone = begin()
    })
  }

  #send(frame: Frame): void {
    this.#socket?.sendBinary(encodeFrame(frame))
  }

  #receive(bytes: Uint8Array): void {
    let frame: Frame
    try {
      frame = decodeFrame(bytes, DEFAULT_LIMITS)
    } catch (error) {
      this.#failure = `the server sent what is no frame: ${String(error)}`
      return
    }
    if (frame.type === 'welcome') this.#takeWelcome(frame)
    if (frame.type === 'refuse') this.#takeRefusal(frame.code, frame.message)
    if (frame.type === 'ack') this.#target = { ...this.#target, nextSeq: frame.throughSeq + 1 }
    const isStream = frame.type === 'changes' || frame.type === 'snapshot-rows'
    if (isStream && this.#grantsCredit) this.#send({ type: 'credit', bytes: bytes.length })
    this.#listener(frame)
  }

  /** A refusal may blame the client; one that blames the server shows a bug there. */
  #takeRefusal(code: string, message: string): void {
    this.#codes.push(code)
    if (['unavailable', 'store-failed', 'store-full', 'store-closed', 'store-busy'].includes(code)) {
      this.#failure = `the server blamed itself: ${code}, ${message}`
    }
  }
}
