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
import { blockCount } from './block.ts'
import { isErrorCode, isTidemarkError, TidemarkError } from './errors.ts'
import { decodeFrame, encodeFrame } from './frame.ts'
import { BATCH_BYTES_TARGET, FIRST_BATCH_BYTES, type Limits } from './limits.ts'
import type {
  Ack,
  Changes,
  Compare,
  Compared,
  Frame,
  Hello,
  Mark,
  Marked,
  Push,
  SnapshotBegin,
  SnapshotEnd,
  SnapshotRows,
  Welcome,
} from './message.ts'
import type { SnapshotPlace } from './snapshot.ts'

/**
 * `client` pushes to a server; `server` admits; `mesh` peers admit for themselves. A `relay` passes on what it has admitted, and
 * reads, as a client does; a server that meets one is its `upstream`.
 */
export type SessionRole = 'client' | 'server' | 'mesh' | 'relay' | 'upstream'

/** Where the outgoing stream stands. */
export type FeedPlace =
  | { readonly type: 'own'; readonly afterSeq: number }
  | { readonly type: 'log'; readonly position: number }
  | {
      readonly type: 'snapshot'
      /** Where in the log the snapshot began; undefined before it has. */
      readonly position: number | undefined
      readonly after: SnapshotPlace | undefined
    }

/** A piece of the outgoing stream: encoded frames, the place after them, and whether there is nothing more for now. */
export interface Feed {
  readonly frames: readonly Uint8Array[]
  readonly next: FeedPlace
  readonly isEnd: boolean
}

/** What is carried out in order, one group at a time. */
export type Incoming =
  | Changes
  | Push
  | Ack
  | SnapshotBegin
  | SnapshotRows
  | SnapshotEnd
  | Mark
  | Marked
  | Compare
  | Compared

/** How far a stream has to come before a mark counts: own changes by seq, the log by position. */
export interface StreamGoal {
  readonly ownSeq: number
  readonly position: number
}

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

interface Queued {
  readonly message: Incoming
  readonly bytes: number
  /** Of what is brought to a server: how many. */
  readonly changes: number
}

/** Messages of one kind that may be carried out in one commit. */
const GROUP_MESSAGES_MAX = 64
/** Pushed changes that may be carried out in one commit: the time they take is time that everybody else waits. */
const GROUP_CHANGES_MAX = 2_000
/** Who has dealt with this part of the window gives credit for it. */
const CREDIT_STEP = 1 / 4
/** Small messages cost more than their bytes: so many may wait to be carried out, and so many questions to be answered. */
const QUEUED_MAX = 4_096
const MARKS_MAX = 64

export class Session {
  #role: SessionRole
  readonly #limits: Limits
  /** What a commit may hold now; a group of messages is one job of it. */
  readonly #groupChangesMax: () => number
  readonly #isInitiator: boolean
  readonly #effects: Effect[] = []
  #queue: Queued[] = []
  #state: SessionState = 'new'
  /** The handshake is over: what has come may be carried out. */
  #isOpen = false
  #place: FeedPlace | undefined
  #isReading = false
  #batchBytes = FIRST_BATCH_BYTES
  #isAtEnd = true
  #credit: number
  #granted = 0
  #isApplying = false
  #applyingBytes = 0
  #queuedBytes = 0
  #owedCredit = 0
  #badFrames = 0
  #pushedChanges = 0
  #hasBrought = false
  #grewWhileReading = false
  /** The peer takes no more for now. */
  #isHeld = false
  /** What is being read was asked for before the stream went back. */
  #isReadStale = false
  /** Marks to send, or to answer, once our stream has come far enough. */
  #marks: { readonly frame: Mark | Marked; readonly goal: StreamGoal }[] = []

  constructor(role: SessionRole, isInitiator: boolean, limits: Limits, groupChangesMax?: () => number) {
    this.#role = role
    this.#groupChangesMax = groupChangesMax ?? (() => GROUP_CHANGES_MAX)
    this.#isInitiator = isInitiator
    this.#limits = limits
    this.#credit = limits.creditBytes
  }

  get role(): SessionRole {
    return this.#role
  }

  get state(): SessionState {
    return this.#state
  }

  /** Where our stream stands; undefined while it has none. */
  get place(): FeedPlace | undefined {
    return this.#place
  }

  /** True when everything that was there to send has been sent. */
  get isFed(): boolean {
    return this.#state === 'streaming' && this.#isAtEnd && !this.#isReading
  }

  /** There is more to send than the peer lets us. */
  get isStarved(): boolean {
    const isWaiting = this.#state === 'streaming' && this.#place !== undefined && !this.#isAtEnd && !this.#isHeld
    return isWaiting && this.#credit <= 0
  }

  /**
   * While the peer has more from us than anybody deals with without giving credit for it: all the credit that it ever gave, so that
   * one sees whether it gives any.
   */
  get owedAt(): number | undefined {
    return this.#credit <= this.#limits.creditBytes * (1 - CREDIT_STEP) ? this.#granted : undefined
  }

  /** Something has come that need not come again, and nothing went wrong on our side. */
  get hasBrought(): boolean {
    return this.#hasBrought
  }

  /** How many changes have come in pushes. */
  get pushedChanges(): number {
    return this.#pushedChanges
  }

  /** Bytes of messages that came and are not dealt with yet. */
  get waitingBytes(): number {
    return this.#queuedBytes + this.#applyingBytes
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
    this.#isReading = false
    if (this.#isReadStale) {
      this.#isReadStale = false
      return this.#pump()
    }
    this.#place = feed.next
    this.#isAtEnd = feed.isEnd && !this.#grewWhileReading
    this.#grewWhileReading = false
    if (feed.frames.length > 0) this.#batchBytes = Math.min(BATCH_BYTES_TARGET, this.#batchBytes * 2)
    for (const frame of feed.frames) {
      this.#credit -= frame.length
      this.#effects.push({ type: 'send', frame })
    }
    this.#sendMarks()
    this.#pump()
  }

  /** There is more to send. */
  logGrew(): void {
    if (this.#state !== 'streaming') return
    if (this.#isReading) this.#grewWhileReading = true
    this.#isAtEnd = false
    this.#pump()
  }

  /** Our stream goes back to `place` and waits there for `release`. */
  hold(place: FeedPlace): void {
    if (this.#state !== 'streaming') return
    this.#place = place
    this.#isHeld = true
    this.#isReadStale = this.#isReading
  }

  release(): void {
    if (!this.#isHeld) return
    this.#isHeld = false
    this.#isAtEnd = false
    this.#pump()
  }

  /** A group of messages is durable; `ack` is what the writer is told. */
  applied(ack: Ack | undefined): void {
    this.#isApplying = false
    if (this.#state === 'streaming') this.#answer(ack)
    this.#applyNext()
  }

  #answer(ack: Ack | undefined): void {
    if (ack !== undefined) this.#send(ack)
    this.#owedCredit += this.#applyingBytes
    this.#applyingBytes = 0
    if (this.#owedCredit >= this.#limits.creditBytes * CREDIT_STEP) {
      this.#send({ type: 'credit', bytes: this.#owedCredit })
      this.#owedCredit = 0
    }
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
    this.#marks.push({ frame: { type: 'mark', token }, goal })
    this.#sendMarks()
  }

  /** Answers a mark once everything up to `goal` has been sent. */
  answerMark(token: number, goal: StreamGoal): void {
    this.#marks.push({ frame: { type: 'marked', token, position: goal.position }, goal })
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
        this.#granted += frame.bytes
        this.#credit = Math.min(this.#limits.creditBytes, this.#credit + frame.bytes)
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
    const asked =
      message.type === 'compare' ? this.#queue.filter((queued) => queued.message.type === 'compare').length : 0
    if (this.#queue.length >= QUEUED_MAX || this.#marks.length >= MARKS_MAX || asked >= MARKS_MAX) {
      return this.fail(
        new TidemarkError('rate-limited', 'more waits for an answer than one session may leave open', {
          retryable: true,
        }),
      )
    }
    this.#queuedBytes += bytes
    if (this.waitingBytes > this.#limits.creditBytes + this.#limits.frameBytesMax) {
      return this.fail(new TidemarkError('bad-frame', 'more was sent than the credit allows'))
    }
    const changes = this.#countChanges(message)
    if (changes === undefined) return
    this.#pushedChanges += changes
    this.#hasBrought ||= isNews(message)
    this.#queue.push({ message, bytes, changes })
    this.#applyNext()
  }

  /** How many changes a message says it brings to a server; ends the session when a push holds more than one may. */
  #countChanges(message: Incoming): number | undefined {
    const isStream = message.type === 'push' || (message.type === 'changes' && this.#role === 'upstream')
    if (!isStream) return 0
    try {
      let changes = 0
      for (const block of message.blocks) changes += blockCount(block)
      const limit = this.#limits.transactionChangesMax
      if (changes <= limit || message.type === 'changes') return changes
      this.fail(new TidemarkError('too-large', `a push has ${changes} changes; the limit is ${limit}`))
    } catch (error) {
      if (!isTidemarkError(error)) throw error
      this.fail(error)
    }
    return undefined
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
    this.#place = place
    this.#isAtEnd = place === undefined
    this.#sendMarks()
    this.#pump()
    this.#applyNext()
  }

  #pump(): void {
    if (this.#isReading || this.#isHeld || this.#isAtEnd || this.#credit <= 0 || this.#place === undefined) return
    this.#isReading = true
    this.#effects.push({ type: 'read', place: this.#place, bytesMax: this.#batchBytes })
  }

  #sendMarks(): void {
    if (this.#state !== 'streaming' || this.#marks.length === 0) return
    const due = this.#marks.filter(({ goal }) => hasReached(this.#place, goal))
    this.#marks = this.#marks.filter((mark) => !due.includes(mark))
    for (const { frame } of due) this.#send(frame)
  }

  /** Hands out what waits: all messages of one kind at the front, up to a bound, so that they share a commit. */
  #applyNext(): void {
    const [first] = this.#queue
    if (this.#state === 'closed' || this.#isApplying || !this.#isOpen) return
    if (first === undefined) {
      if (this.#state === 'ending') this.#leave()
      return
    }
    const isGrouped = first.message.type === 'push' || first.message.type === 'changes'
    const changesMax = Math.min(GROUP_CHANGES_MAX, this.#groupChangesMax())
    let count = 1
    let { changes } = first
    for (; isGrouped && count < GROUP_MESSAGES_MAX; count++) {
      const next = this.#queue[count]
      if (next?.message.type !== first.message.type || changes + next.changes > changesMax) break
      changes += next.changes
    }
    const group = this.#queue.splice(0, count)
    for (const { bytes } of group) this.#applyingBytes += bytes
    this.#queuedBytes -= this.#applyingBytes
    this.#isApplying = true
    this.#effects.push({ type: 'apply', messages: group.map(({ message }) => message) })
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
    this.#queue = this.#queue.filter(({ message }) => isLasting(message))
    this.#applyNext()
  }

  #leave(): void {
    this.#state = 'closed'
    this.#queue = []
    this.#effects.push({ type: 'leave' })
  }
}

/** True for what becomes durable here: a cursor that moves over what we wrote ourselves need not. */
function isNews(message: Incoming): boolean {
  switch (message.type) {
    case 'changes':
      return message.blocks.length > 0
    case 'ack':
      return message.pause === undefined
    default:
      return message.type === 'snapshot-rows'
  }
}

/** False for what only asks for an answer, or is one that nobody waits for any more. */
function isLasting({ type }: Incoming): boolean {
  return type !== 'mark' && type !== 'compare' && type !== 'compared'
}

function hasReached(place: FeedPlace | undefined, goal: StreamGoal): boolean {
  if (place === undefined) return true
  if (place.type === 'snapshot') return false
  return place.type === 'own' ? place.afterSeq >= goal.ownSeq : place.position >= goal.position
}

/** A refusal that came over the wire, as the error it was. Codes of newer versions read as `unavailable`. */
function refusalToError(code: string, message: string, retryable: boolean): TidemarkError {
  const known = isErrorCode(code)
  return new TidemarkError(known ? code : 'unavailable', message, { retryable, details: { code, isRemote: true } })
}
