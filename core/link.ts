/**
 * A link: drives one session over one transport against one ledger, with the part that its role has in it.
 *
 * Knows: which effect is carried out how, marks and questions. Must never know: what the transport is, when to connect, or what
 * only some roles do.
 *
 * Invariants:
 * N2  Effects are carried out in their order; of reads and of applies at most one each is under way.
 * N3  Every failure ends in `close` with a typed error. A bug ends the session, not the process.
 */
import type { Change } from './change.ts'
import type { Ask } from './comparison.ts'
import { InvariantError, isTidemarkError, TidemarkError } from './errors.ts'
import { pausedBy, type Shortage } from './gate.ts'
import { ALL_VERSIONS, type Tables, type Versions } from './handshake.ts'
import type { Hub } from './hub.ts'
import type { Incoming } from './inflow.ts'
import { type Initiating, linkClosed, type Part, type Role } from './link-part.ts'
import { LinkQuestions } from './link-questions.ts'
import type { Compare, Hello } from './message.ts'
import type { ReplicaId } from './names.ts'
import type { Feed, FeedPlace, StreamGoal } from './outflow.ts'
import type { Manning } from './posts.ts'
import { type Effect, Session, type SessionRole, type SessionState } from './session.ts'
import { answerCompare, type VerifyReport, verifyTables } from './verify.ts'

/** A transport for whole frames, in order, each at most once. */
export interface Transport {
  send(frame: Uint8Array): void
  /** Ends it; `error` is why. Called once. */
  close(error: TidemarkError | undefined): void
}

export interface LinkOptions {
  readonly hub: Hub
  /** What our side does: a client's, a server's, a relay's, or that of one of two peers. */
  readonly role: Role
  readonly transport: Transport
  readonly tables: Tables
  /** Of the protocol. Default: all that there are. */
  readonly versions?: Versions
  /** Wall time in Unix milliseconds. */
  readonly now: () => number
  /** Told after anything that a status shows has changed. */
  readonly onChange?: () => void
}

interface Settling {
  readonly token: number
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

export class Link {
  readonly #options: LinkOptions
  readonly #part: Part
  readonly #session: Session
  readonly #stopListening: () => void
  #peer: ReplicaId | undefined
  #settling: Settling[] = []
  readonly #questions: LinkQuestions
  #nextToken = 1
  #isDraining = false
  #error: TidemarkError | undefined
  /** Resolves when nothing that came is carried out any more. */
  readonly left: Promise<void>
  #resolveLeft: () => void = () => {}

  constructor(options: LinkOptions) {
    const { hub, role, tables, versions = ALL_VERSIONS, now } = options
    const { ledger } = hub
    this.#options = options
    this.left = new Promise((resolve) => {
      this.#resolveLeft = resolve
    })
    const session = new Session(role.name, role.isInitiator, ledger.limits, ledger.groupChangesMax)
    this.#session = session
    this.#questions = new LinkQuestions(ledger.limits)
    this.#part = role.open({
      ...{ link: this, session, hub, tables, versions, now },
      meetPeer: (peer) => {
        this.#peer = peer
      },
      askMark: (goal) => this.#askMark(goal),
      hold: (place, pause) => this.#hold(place, pause),
    })
    this.#stopListening = ledger.onCommit(() => this.#onCommit())
  }

  get state(): SessionState {
    return this.#session.state
  }

  get role(): SessionRole {
    return this.#session.role
  }

  /** An upstream's: which post the peer has, with which store. */
  get manning(): Manning | undefined {
    return this.#part.manning
  }

  get peer(): ReplicaId | undefined {
    return this.#peer
  }

  /** Entries of the peer's log that it is known to have and we do not. */
  get behind(): number {
    return this.#part.reader.behind
  }

  /** Entries of our log that were not sent to the peer yet; all of them while it is being sent a snapshot. */
  get lag(): number {
    const { place } = this.#session
    if (place === undefined || place.type === 'own') return 0
    return this.#options.hub.ledger.durablePosition - (place.type === 'log' ? place.position : 1)
  }

  /** A server's: how many changes have come in pushes, whatever becomes of them. */
  get pushedChanges(): number {
    return this.#session.pushedChanges
  }

  /** Bytes of messages that came and are not dealt with yet. */
  get waitingBytes(): number {
    return this.#session.waitingBytes
  }

  /** True while a snapshot is being received. */
  get isRestoring(): boolean {
    return this.#part.reader.isRestoring
  }

  /** The peer's wall time minus ours, as of its welcome, in milliseconds. */
  get serverOffsetMs(): number {
    return this.#part.initiating?.serverOffsetMs() ?? 0
  }

  /** Why the server takes no more of our changes for now; `resume` tries again. Downloads go on. */
  get pause(): Shortage | undefined {
    return this.#part.pause
  }

  /** At a server: there may be room now for what the peer had to keep back, and it is told. */
  offerRoom(): void {
    const ack = this.#part.offerRoom?.()
    if (ack === undefined || this.#session.state === 'closed') return
    this.#session.acknowledge(ack)
    this.#drain()
  }

  /** Sends again what the server had no room for: after `pause.retryAfterMs`, or when something changed. */
  resume(): void {
    if (this.#part.resume?.() !== true) return
    this.#session.release()
    this.#drain()
  }

  /**
   * While the server has no room: takes back those of our changes that wait which `choose` chooses, each with its
   * transaction and whatever builds on it, and goes on with the rest. They are listed as rejected.
   */
  async withdraw(choose: (change: Change) => boolean): Promise<readonly Change[]> {
    try {
      return (await this.#part.withdraw?.(choose)) ?? []
    } finally {
      this.resume()
    }
  }

  /** The peer lets us send nothing although there is something. */
  get isStarved(): boolean {
    return this.#session.isStarved
  }

  /** While the peer owes credit for what it was sent: all that it ever gave. */
  get owedAt(): number | undefined {
    return this.#session.owedAt
  }

  /** It has brought something, or is about to: the next session has less to do. */
  get hasBrought(): boolean {
    return this.#session.hasBrought
  }

  /** Why the link closed. */
  get error(): TidemarkError | undefined {
    return this.#error
  }

  start(): void {
    this.#session.start()
    this.#drain()
  }

  /** A frame came in. */
  receive(frame: Uint8Array): void {
    this.#session.receive(frame)
    this.#drain()
  }

  /** Ends the session from our side, telling the peer why. */
  fail(error: TidemarkError): void {
    this.#session.fail(error)
    this.#drain()
  }

  /** The transport is gone. */
  end(): void {
    this.#session.end()
    this.#drain()
  }

  /**
   * Resolves when both directions are drained: the peer has dealt with every own change, and everything it had when it
   * heard of this has arrived and is durable here. Rejects when the link closes first, and while the server takes no more.
   */
  settled(): Promise<void> {
    if (this.isOver) return Promise.reject(this.#error ?? linkClosed())
    const { pause } = this.#part
    if (pause !== undefined) return Promise.reject(pausedBy(pause))
    return new Promise((resolve, reject) => {
      this.#settling.push({ token: this.#askMark(this.#goal()), resolve, reject })
      this.#drain()
    })
  }

  #askMark(goal: StreamGoal): number {
    const token = this.#nextToken++
    this.#session.askMark(token, goal)
    return token
  }

  /** Nothing is carried out any more but what has come. */
  get isOver(): boolean {
    return this.#session.state === 'ending' || this.#session.state === 'closed'
  }

  /** As far as our streams have to come to have sent all that is durable now. */
  #goal(): StreamGoal {
    const { ledger } = this.#options.hub
    return { ownSeq: ledger.durableSeqOf(ledger.state.own), position: ledger.durablePosition }
  }

  /**
   * Compares all rows of the given tables with the peer's, and with `repair` joins what differs. Only meaningful when both
   * are settled: what is under way counts as a difference.
   */
  verify(tables: readonly string[], repair = false): Promise<VerifyReport> {
    return verifyTables(this.#options.hub.ledger, tables, (question) => this.#ask(question), repair)
  }

  #ask(question: Omit<Compare, 'type' | 'token'>): ReturnType<Ask> {
    if (this.#session.state !== 'streaming') return Promise.reject(this.#error ?? linkClosed())
    return this.#questions.ask({ token: this.#nextToken++, ...question }, (frame) => {
      this.#session.discuss(frame)
      this.#drain()
    })
  }

  // ── Effects ───────────────────────────────────────────────────────────────────────────────────────────────────────

  #drain(): void {
    if (this.#isDraining) return
    this.#isDraining = true
    try {
      for (let effects = this.#session.takeEffects(); effects.length > 0; effects = this.#session.takeEffects()) {
        for (const effect of effects) this.#carryOut(effect)
      }
    } finally {
      this.#isDraining = false
    }
    this.#options.onChange?.()
  }

  #carryOut(effect: Effect): void {
    const { transport, now } = this.#options
    switch (effect.type) {
      case 'send':
        return transport.send(effect.frame)
      case 'introduce':
        return this.#report(this.#initiating.introduce(effect.withClock).then((hello) => this.#session.greet(hello)))
      case 'meet':
        return this.#report(this.#meet(effect.hello, now()))
      case 'take-welcome':
        return this.#report(this.#initiating.takeWelcome(effect.welcome))
      case 'read':
        return this.#read(effect.place, effect.bytesMax)
      case 'apply':
        return this.#report(this.#apply(effect.messages))
      case 'close':
        return this.#close(effect.error)
      case 'leave':
        return this.#leave()
    }
  }

  /** Runs something asynchronous; its end, good or bad, is the session's next input. */
  #report(work: Promise<void>): void {
    work.then(
      () => this.#drain(),
      (error: unknown) => this.fail(toTidemarkError(error)),
    )
  }

  #read(place: FeedPlace, bytesMax: number): void {
    try {
      const turn = this.#options.hub.ledger.turn()
      const feed =
        turn === undefined ? this.#part.read(place, bytesMax) : turn.then(() => this.#part.read(place, bytesMax))
      if (feed instanceof Promise) this.#report(this.#feedInTurn(feed))
      else this.#session.feed(feed)
    } catch (error) {
      this.#session.fail(toTidemarkError(error))
    }
  }

  /** What is read is written to the transport: to many readers that takes as long as anything else. */
  async #feedInTurn(reading: Promise<Feed>): Promise<void> {
    const feed = await reading
    const turn = this.#options.hub.ledger.turn()
    if (turn !== undefined) await turn
    this.#session.feed(feed)
  }

  #onCommit(): void {
    try {
      const ack = this.#part.committed()
      if (ack !== undefined) this.#session.acknowledge(ack)
    } catch (error) {
      return this.fail(toTidemarkError(error))
    }
    // What came from the peer is known as such only once the commit is over.
    if (this.#part.isReceiving !== true) this.#session.logGrew()
    this.#drain()
  }

  #close(reason: TidemarkError | undefined): void {
    const error = this.#part.explain === undefined ? reason : this.#part.explain(reason)
    this.#error = error
    if (this.#session.state === 'ending') this.#options.hub.linger(this)
    for (const { reject } of this.#settling.splice(0)) reject(error ?? linkClosed())
    this.#questions.giveUp(error ?? linkClosed())
    this.#options.transport.close(error)
  }

  #leave(): void {
    this.#stopListening()
    this.#options.hub.leave(this)
    this.#part.end?.()
    this.#resolveLeft()
  }

  get #initiating(): Initiating {
    const { initiating } = this.#part
    if (initiating === undefined) throw new InvariantError('who answers says no hello')
    return initiating
  }

  async #meet(hello: Hello, nowMs: number): Promise<void> {
    const { accepting } = this.#part
    if (accepting === undefined) throw new InvariantError('who says hello answers none')
    await accepting(hello, nowMs)
  }

  // ── Messages ──────────────────────────────────────────────────────────────────────────────────────────────────────

  async #apply(messages: readonly Incoming[]): Promise<void> {
    const [first] = messages
    switch (first?.type) {
      case undefined:
        return
      case 'mark':
        this.#session.answerMark(first.token, this.#goal())
        break
      case 'marked':
        await this.#takeMarked(first.token, first.position)
        break
      case 'compare':
        this.#session.discuss(await this.#show(() => answerCompare(this.#options.hub.ledger, first)))
        break
      case 'compared':
        this.#questions.take(first)
        break
      default:
        return this.#session.applied(await this.#part.take(messages))
    }
    this.#session.applied(undefined)
  }

  #show<Result>(look: () => Promise<Result>): Promise<Result> {
    return this.#part.show === undefined ? look() : this.#part.show(look)
  }

  #hold(place: FeedPlace, pause: Shortage): void {
    this.#session.hold(place)
    for (const { reject } of this.#settling.splice(0)) reject(pausedBy(pause))
  }

  async #takeMarked(token: number, position: number): Promise<void> {
    this.#part.reader.heardOf(position)
    await this.#part.marked?.(token)
    const settling = this.#settling.find((waiting) => waiting.token === token)
    this.#settling = this.#settling.filter((waiting) => waiting !== settling)
    settling?.resolve()
  }
}

function toTidemarkError(error: unknown): TidemarkError {
  if (isTidemarkError(error)) return error
  const what = error instanceof Error ? error.message : String(error)
  const isBug = error instanceof InvariantError
  return new TidemarkError('unavailable', `the session failed${isBug ? ' on a broken invariant' : ''}: ${what}`, {
    retryable: true,
    cause: error,
  })
}
