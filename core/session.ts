/**
 * The session: one conversation between two replicas, as a state machine without sockets, timers, randomness or time.
 *
 * The conversation, once. The initiator says hello: who it is, what it wrote, where it stands in the other's log. The
 * acceptor answers welcome: what it has of the initiator's changes, and where reading starts. From then on two streams run
 * independently. Down: the acceptor's log from that place (`changes`), or a snapshot and then the log. Up: the initiator's own
 * changes from the seq the welcome named (`push`), each answered (`ack`) after it is durable. Between peers without a server,
 * and from a relay to its upstream, both directions are `changes`, and nothing is acknowledged but that there is no room. Either stream stops when its credit is used up and goes on
 * when the reader has dealt with what it got (`credit`). A session ends with `refuse`, or with its transport.
 *
 * Asymmetric because a server admits: what it has of a client is one number, what a client has of it is one position.
 *
 * Knows: the order of messages and who may say what. Must never know: stores, sockets, how a message is carried out; it asks
 * for that with effects, and is told the outcome.
 *
 * Invariants:
 * I1  What the peer has of our changes is what its welcome says, never what was sent before. Nothing outlives the session.
 * I2  The log is the queue: at most one read and one apply are under way, and what waits is bounded by the credit window.
 * I3  An acknowledgement is sent only for what `applied` has reported, which is after the flush.
 * I4  A message that is not allowed in this state, or too large for its credit, ends the session, not the process.
 * I5  What came whole before the transport went is carried out all the same, so that a line that breaks again and again brings
 *     something each time. Nothing is sent any more, and a session that fails drops what waits.
 */
import { isErrorCode, isTidemarkError, TidemarkError } from './errors.ts'
import { decodeFrame, encodeFrame } from './frame.ts'
import { GROUP_CHANGES_MAX, type Incoming, Inflow, isNews, QUESTIONS_MAX, tooMuchWaits } from './inflow.ts'
import type { Limits } from './limits.ts'
import type { Ack, Compare, Compared, Frame, Hello, Welcome } from './message.ts'
import { type Feed, type FeedPlace, Outflow, type StreamGoal } from './outflow.ts'

/**
 * `client` pushes to a server; `server` admits; `mesh` peers admit for themselves. A `relay` passes on what it has admitted, and
 * reads, as a client does; a server that meets one is its `upstream`.
 */
export type SessionRole = 'client' | 'server' | 'mesh' | 'relay' | 'upstream'

export type Effect =
  | { readonly type: 'send'; readonly frame: Uint8Array }
  /** Put together the hello and hand it to `greet`. `withClock`: the cursor was of no use to the peer. */
  | { readonly type: 'introduce'; readonly withClock: boolean }
  /** Decide about a hello; then `accept` or `fail`. */
  | { readonly type: 'meet'; readonly hello: Hello }
  /** Check a welcome and take its answers; then `begin` or `fail`. */
  | { readonly type: 'take-welcome'; readonly welcome: Welcome }
  /** Read about so much of the outgoing stream; then `feed`. */
  | { readonly type: 'read'; readonly place: FeedPlace; readonly bytesMax: number }
  /** Carry out messages of one kind; then `applied`. */
  | { readonly type: 'apply'; readonly messages: readonly Incoming[] }
  /** The transport ends; nothing is sent any more. */
  | { readonly type: 'close'; readonly error: TidemarkError | undefined }
  /** Nothing is carried out any more. */
  | { readonly type: 'leave' }

/** `ending`: without a transport, while what has come is carried out. */
export type SessionState = 'new' | 'greeting' | 'meeting' | 'streaming' | 'ending' | 'closed'

export class Session {
  #role: SessionRole
  readonly #limits: Limits
  /** What a commit may hold now; a group of messages is one job of it. */
  readonly #groupChangesMax: () => number
  readonly #isInitiator: boolean
  readonly #effects: Effect[] = []
  readonly #inflow: Inflow
  readonly #outflow: Outflow
  #state: SessionState = 'new'
  /** The handshake is over: what has come may be carried out. */
  #isOpen = false
  #badFrames = 0
  #hasBrought = false

  constructor(role: SessionRole, isInitiator: boolean, limits: Limits, groupChangesMax?: () => number) {
    this.#role = role
    this.#groupChangesMax = groupChangesMax ?? (() => GROUP_CHANGES_MAX)
    this.#isInitiator = isInitiator
    this.#limits = limits
    this.#inflow = new Inflow(limits)
    this.#outflow = new Outflow(limits.creditBytes)
  }

  get role(): SessionRole {
    return this.#role
  }

  get state(): SessionState {
    return this.#state
  }

  /** Where our stream stands; undefined while it has none. */
  get place(): FeedPlace | undefined {
    return this.#outflow.place
  }

  /** True when everything that was there to send has been sent. */
  get isFed(): boolean {
    return this.#state === 'streaming' && this.#outflow.isFed
  }

  /** There is more to send than the peer lets us. */
  get isStarved(): boolean {
    return this.#state === 'streaming' && this.#outflow.isStarved
  }

  /** While the peer owes credit for what it was sent: all that it ever gave. */
  get owedAt(): number | undefined {
    return this.#outflow.owedAt
  }

  /** Something has come that need not come again, and nothing went wrong on our side. */
  get hasBrought(): boolean {
    return this.#hasBrought
  }

  /** How many changes have come in pushes. */
  get pushedChanges(): number {
    return this.#inflow.pushedChanges
  }

  /** Bytes of messages that came and are not dealt with yet. */
  get waitingBytes(): number {
    return this.#inflow.waitingBytes
  }

  /** What to do next; each effect is given once. */
  takeEffects(): Effect[] {
    return this.#effects.splice(0)
  }

  // ── What the driver reports ───────────────────────────────────────────────────────────────────────────────────────

  start(): void {
    if (this.#isInitiator) {
      this.#state = 'greeting'
      this.#effects.push({ type: 'introduce', withClock: false })
    }
  }

  greet(hello: Hello): void {
    if (this.#state === 'greeting') this.#send(hello)
  }

  /** The acceptor's side is ready: its welcome, where its stream starts, and what it is to this peer. */
  accept(welcome: Welcome, place: FeedPlace | undefined, role: SessionRole = this.#role): void {
    if (this.#state !== 'meeting') return
    this.#role = role
    this.#send(welcome)
    this.#stream(place)
  }

  /** The initiator has dealt with the welcome; its stream starts at `place`. */
  begin(place: FeedPlace | undefined): void {
    if (this.#state === 'meeting') return this.#stream(place)
    this.#isOpen = true
    this.#applyNext()
  }

  feed(feed: Feed): void {
    if (this.#state !== 'streaming') return
    const frames = this.#outflow.take(feed)
    for (const frame of frames ?? []) this.#effects.push({ type: 'send', frame })
    if (frames !== undefined) this.#sendMarks()
    this.#pump()
  }

  /** There is more to send. */
  logGrew(): void {
    if (this.#state !== 'streaming') return
    this.#outflow.grew()
    this.#pump()
  }

  /** Our stream goes back to `place` and waits there for `release`. */
  hold(place: FeedPlace): void {
    if (this.#state === 'streaming') this.#outflow.hold(place)
  }

  release(): void {
    if (this.#outflow.release()) this.#pump()
  }

  /** A group of messages is durable; `ack` is what the writer is told. */
  applied(ack: Ack | undefined): void {
    this.#inflow.done()
    if (this.#state === 'streaming') this.#answer(ack)
    this.#applyNext()
  }

  #answer(ack: Ack | undefined): void {
    if (ack !== undefined) this.#send(ack)
    const bytes = this.#inflow.takeCredit()
    if (bytes !== undefined) this.#send({ type: 'credit', bytes })
  }

  /** Tells a writer something between its pushes. */
  acknowledge(ack: Ack): void {
    if (this.#state === 'streaming') this.#send(ack)
  }

  /** Asks a question about the rows of a range, or answers one. */
  discuss(frame: Compare | Compared): void {
    if (this.#state === 'streaming') this.#send(frame)
  }

  /** Asks the peer to say when it has dealt with all we send up to `goal`, and has sent all it has. */
  askMark(token: number, goal: StreamGoal): void {
    this.#outflow.addMark({ type: 'mark', token }, goal)
    this.#sendMarks()
  }

  /** Answers a mark once everything up to `goal` has been sent. */
  answerMark(token: number, goal: StreamGoal): void {
    this.#outflow.addMark({ type: 'marked', token, position: goal.position }, goal)
    this.#sendMarks()
  }

  /** Ends the session, telling the peer why. */
  fail(error: TidemarkError): void {
    if (this.#state === 'closed') return
    this.#hasBrought = false
    if (this.#state === 'ending') return this.#leave()
    if (error.code === 'foreign-cursor' && this.#state === 'meeting' && !this.#isInitiator) {
      this.#state = 'new'
      this.#sendRefusal(error)
      return
    }
    this.#sendRefusal(error)
    this.#leave()
    this.#effects.push({ type: 'close', error })
  }

  /** The transport is gone. */
  end(): void {
    this.#hangUp(undefined)
  }

  // ── What the peer says ────────────────────────────────────────────────────────────────────────────────────────────

  receive(bytes: Uint8Array): void {
    if (this.#state === 'closed' || this.#state === 'ending') return
    let frame: Frame
    try {
      frame = decodeFrame(bytes, this.#limits)
    } catch (error) {
      if (!(error instanceof TidemarkError)) throw error
      this.#badFrames++
      if (this.#badFrames >= this.#limits.badFramesMax) this.fail(error)
      else this.#sendRefusal(error, true)
      return
    }
    this.#take(frame, bytes.length)
  }

  #take(frame: Frame, bytes: number): void {
    switch (frame.type) {
      case 'hello':
        return this.#takeHello(frame)
      case 'welcome':
        return this.#takeWelcome(frame)
      case 'refuse':
        return this.#takeRefusal(frame.code, frame.message, frame.retryable)
      case 'credit':
        if (!this.#expectOpen(frame.type)) return
        this.#outflow.grant(frame.bytes)
        return this.#pump()
      default:
        if (this.#expectOpen(frame.type)) this.#enqueue(frame, bytes)
    }
  }

  #takeHello(hello: Hello): void {
    if (this.#isInitiator || this.#state !== 'new') return this.#misplaced(hello.type)
    this.#state = 'meeting'
    this.#effects.push({ type: 'meet', hello })
  }

  #takeWelcome(welcome: Welcome): void {
    if (!this.#isInitiator || this.#state !== 'greeting') return this.#misplaced(welcome.type)
    this.#state = 'meeting'
    this.#effects.push({ type: 'take-welcome', welcome })
  }

  #takeRefusal(code: string, message: string, retryable: boolean): void {
    if (code === 'foreign-cursor' && this.#state === 'greeting') {
      this.#effects.push({ type: 'introduce', withClock: true })
      return
    }
    if (code === 'warning') return
    this.#hangUp(refusalToError(code, message, retryable))
  }

  #enqueue(message: Incoming, bytes: number): void {
    if (!this.#mayReceive(message.type)) return this.#misplaced(message.type)
    if (this.#outflow.marksWaiting >= QUESTIONS_MAX) return this.fail(tooMuchWaits())
    try {
      this.#inflow.add(message, bytes, message.type === 'push' || this.#role === 'upstream')
    } catch (error) {
      if (!isTidemarkError(error)) throw error
      return this.fail(error)
    }
    this.#hasBrought ||= isNews(message)
    this.#applyNext()
  }

  #mayReceive(type: Incoming['type']): boolean {
    if (type === 'mark' || type === 'marked' || type === 'compare' || type === 'compared') return true
    switch (this.#role) {
      case 'server':
        return type === 'push'
      case 'mesh':
      case 'upstream':
        return type === 'changes'
      // It is told when there is no room for what it brings.
      case 'relay':
        return type === 'changes' || type === 'ack'
      case 'client':
        return type !== 'push'
    }
  }

  // ── Streams ───────────────────────────────────────────────────────────────────────────────────────────────────────

  #stream(place: FeedPlace | undefined): void {
    this.#state = 'streaming'
    this.#isOpen = true
    this.#outflow.start(place)
    this.#sendMarks()
    this.#pump()
    this.#applyNext()
  }

  #pump(): void {
    const reading = this.#outflow.next()
    if (reading !== undefined) this.#effects.push({ type: 'read', ...reading })
  }

  #sendMarks(): void {
    if (this.#state === 'streaming') for (const frame of this.#outflow.takeMarks()) this.#send(frame)
  }

  /** Hands out what waits, one group after the other. */
  #applyNext(): void {
    if (this.#state === 'closed' || !this.#isOpen) return
    const messages = this.#inflow.next(this.#groupChangesMax())
    if (messages !== undefined) this.#effects.push({ type: 'apply', messages })
    else if (this.#state === 'ending' && this.#inflow.isIdle) this.#leave()
  }

  // ── Ends ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The acceptor streams as soon as it has said welcome; what comes before the initiator has dealt with that, waits. */
  #expectOpen(type: Frame['type']): boolean {
    if (this.#state === 'streaming' || (this.#state === 'meeting' && this.#isInitiator)) return true
    this.#misplaced(type)
    return false
  }

  #misplaced(type: Frame['type']): void {
    this.fail(new TidemarkError('bad-frame', `a ${type} message is not allowed here (session is ${this.#state})`))
  }

  #sendRefusal(error: TidemarkError, isWarning = false): void {
    const code = isWarning ? 'warning' : error.code
    // What broke inside a server is for its operator: paths and innards are no client's business.
    const isOurs = this.#role !== 'client' && this.#role !== 'mesh' && error.cause !== undefined
    const message = isOurs ? 'the server failed' : error.message
    this.#send({ type: 'refuse', code, message, retryable: error.retryable })
  }

  #send(frame: Frame): void {
    this.#effects.push({ type: 'send', frame: encodeFrame(frame) })
  }

  /** Nobody hears us any more (I5). */
  #hangUp(error: TidemarkError | undefined): void {
    if (this.#state === 'closed' || this.#state === 'ending') return
    const isWelcomed = this.#state === 'meeting' && this.#isInitiator
    this.#effects.push({ type: 'close', error })
    if (!isWelcomed && this.#state !== 'streaming') return this.#leave()
    this.#state = 'ending'
    this.#inflow.keepLasting()
    this.#applyNext()
  }

  #leave(): void {
    this.#state = 'closed'
    this.#inflow.clear()
    this.#effects.push({ type: 'leave' })
  }
}

/** A refusal that came over the wire, as the error it was. Codes of newer versions read as `unavailable`. */
function refusalToError(code: string, message: string, retryable: boolean): TidemarkError {
  const known = isErrorCode(code)
  return new TidemarkError(known ? code : 'unavailable', message, { retryable, details: { code, isRemote: true } })
}
