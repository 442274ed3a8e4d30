/**
 * A link: drives one session over one transport against one ledger. The only place where messages become jobs.
 *
 * Knows: which job carries out which message. Must never know: what the transport is, or when to connect.
 *
 * Invariants:
 * N2  Effects are carried out in their order; of reads and of applies at most one each is under way.
 * N3  Every failure ends in `close` with a typed error. A bug ends the session, not the process.
 */
import type { Change } from './change.ts'
import type { Ask } from './comparison.ts'
import { InvariantError, isTidemarkError, TidemarkError } from './errors.ts'
import { definedMeanwhile, isCatchingUp, type Join, NoteCaughtUp } from './family.ts'
import { decodeFrame, packUuid } from './frame.ts'
import { type Gate, OPEN_GATE, pausedBy, type Shortage } from './gate.ts'
import {
  ALL_VERSIONS,
  checkWelcome,
  composeWelcome,
  introduce,
  meet,
  placeOf,
  type Tables,
  type Versions,
} from './handshake.ts'
import type { Hub } from './hub.ts'
import { expectIdentity } from './identity.ts'
import { type Answered, LinkAdmitter } from './link-admitter.ts'
import { LinkReader } from './link-reader.ts'
import { LinkWriter } from './link-writer.ts'
import type { Ack, Changes, Compare, Compared, Hello, Push, Welcome } from './message.ts'
import type { ReplicaId } from './names.ts'
import type { IsManned, Manning } from './posts.ts'
import { expectEpoch } from './recovery.ts'
import {
  type Effect,
  type Feed,
  type FeedPlace,
  type Incoming,
  Session,
  type SessionRole,
  type SessionState,
  type StreamGoal,
} from './session.ts'
import { findingOut } from './shared-past.ts'
import { answerCompare, type VerifyReport, verifyTables } from './verify.ts'

/** A transport for whole frames, in order, each at most once. */
export interface Transport {
  send(frame: Uint8Array): void
  /** Ends it; `error` is why. Called once. */
  close(error: TidemarkError | undefined): void
}

export interface LinkOptions {
  readonly hub: Hub
  readonly role: SessionRole
  readonly isInitiator: boolean
  readonly transport: Transport
  readonly tables: Tables
  /** Of the protocol. Default: all that there are. */
  readonly versions?: Versions
  /** Wall time in Unix milliseconds. */
  readonly now: () => number
  /** A relay's: how it joins the family of its upstream. Nobody else carries the code for it. */
  readonly join?: Join
  /** A server's: who may read and write, and whether there is room. Default: everybody, any amount. */
  readonly gate?: Gate
  /** A server's: told what was answered, after each commit that did. */
  readonly onAdmit?: (answered: Answered) => void
  /** A server's: told when the peer shows, if it does not lie, that the store has lost changes. */
  readonly onLoss?: () => void
  /** Told when a snapshot begins to be read for the peer; one that is gone on with was told before. */
  readonly onSnapshot?: () => void
  /** Told after anything that a status shows has changed. */
  readonly onChange?: () => void
}

/** Of what a relay passes on, it has been the judge. */
const NOT_JUDGED: Omit<Answered, 'changes' | 'isPaused'> = { refusals: [], aheadMs: Number.NEGATIVE_INFINITY }

interface Settling {
  readonly token: number
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

interface Asking {
  readonly resolve: (answer: Awaited<ReturnType<Ask>>) => void
  readonly reject: (error: unknown) => void
}

export class Link {
  readonly #options: LinkOptions
  readonly #session: Session
  readonly #stopListening: () => void
  #peer: ReplicaId | undefined
  /** The peer's id as blocks have it. */
  #peerBytes: Uint8Array = new Uint8Array(16)
  readonly #reader: LinkReader
  /** An initiator's; only a client's has changes to push. */
  readonly #writer: LinkWriter
  /** A server's, once its writer is met. */
  #admitter: LinkAdmitter | undefined
  /** A relay's: the mark behind everything that its upstream had. */
  #catchUpToken: number | undefined
  /** The tables of our hello. */
  #said: Hello['tables'] = []
  #manning: Manning | undefined
  #serverOffsetMs = 0
  #settling: Settling[] = []
  readonly #asking = new Map<number, Asking>()
  #nextToken = 1
  #isDraining = false
  #error: TidemarkError | undefined
  /** Resolves when nothing that came is carried out any more. */
  readonly left: Promise<void>
  #resolveLeft: () => void = () => {}
  readonly #gate: Gate
  /** A server's: the epoch of its log that this session is about. */
  #epoch = 0

  constructor(options: LinkOptions) {
    const { hub, role, isInitiator, now, onAdmit } = options
    this.#options = options
    this.left = new Promise((resolve) => {
      this.#resolveLeft = resolve
    })
    this.#gate = options.gate ?? OPEN_GATE
    this.#session = new Session(role, isInitiator, hub.ledger.limits, hub.ledger.groupChangesMax)
    this.#writer = new LinkWriter({ hub, serverNow: () => now() + this.#serverOffsetMs })
    this.#reader = new LinkReader({
      ledger: hub.ledger,
      role: () => this.#session.role,
      mayRelay: () => this.#gate.mayRelay?.() === true,
      greetedAs: () => this.#writer.greetedAs,
      now,
      weigh: (usage, growth) => this.#gate.weigh?.(usage, growth),
      onRelayed: (changes, isPaused) => onAdmit?.({ ...NOT_JUDGED, changes, isPaused }),
    })
    this.#stopListening = hub.ledger.onCommit(() => this.#onCommit())
  }

  get state(): SessionState {
    return this.#session.state
  }

  get role(): SessionRole {
    return this.#session.role
  }

  /** An upstream's: which post the peer has, with which store. */
  get manning(): Manning | undefined {
    return this.#manning
  }

  get peer(): ReplicaId | undefined {
    return this.#peer
  }

  /** Entries of the peer's log that it is known to have and we do not. */
  get behind(): number {
    return this.#reader.behind
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
    return this.#reader.isRestoring
  }

  /** The peer's wall time minus ours, as of its welcome, in milliseconds. */
  get serverOffsetMs(): number {
    return this.#serverOffsetMs
  }

  /** Why the server takes no more of our changes for now; `resume` tries again. Downloads go on. */
  get pause(): Shortage | undefined {
    return this.#writer.pause
  }

  /** At a server: there may be room now for what the peer had to keep back, and it is told. */
  offerRoom(): void {
    const ack = this.#admitter?.offerRoom()
    if (ack === undefined || this.#session.state === 'closed') return
    this.#session.acknowledge(ack)
    this.#drain()
  }

  /** Sends again what the server had no room for: after `pause.retryAfterMs`, or when something changed. */
  resume(): void {
    if (this.#writer.isWithdrawing) return
    this.#writer.resume()
    this.#session.release()
    this.#drain()
  }

  /**
   * While the server has no room: takes back those of our changes that wait which `choose` chooses, each with its
   * transaction and whatever builds on it, and goes on with the rest. They are listed as rejected.
   */
  async withdraw(choose: (change: Change) => boolean): Promise<readonly Change[]> {
    try {
      return await this.#writer.withdraw(choose, () => this.state === 'streaming')
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
    if (this.#isOver) return Promise.reject(this.#error ?? closedError())
    const { pause } = this.#writer
    if (pause !== undefined) return Promise.reject(pausedBy(pause))
    return new Promise((resolve, reject) => {
      const token = this.#nextToken++
      this.#settling.push({ token, resolve, reject })
      this.#session.askMark(token, this.#goal())
      this.#drain()
    })
  }

  get #isOver(): boolean {
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
    if (this.#session.state !== 'streaming') return Promise.reject(this.#error ?? closedError())
    return new Promise((resolve, reject) => {
      const token = this.#nextToken++
      this.#asking.set(token, { resolve, reject })
      this.#session.discuss({ type: 'compare', token, ...question })
      this.#drain()
    })
  }

  #takeCompared({ token, isSame, parts, chunk }: Compared): void {
    const asking = this.#asking.get(token)
    this.#asking.delete(token)
    const frame = chunk === undefined ? undefined : decodeFrame(chunk, this.#options.hub.ledger.limits)
    if (frame !== undefined && frame.type !== 'snapshot-rows')
      throw new TidemarkError('bad-frame', 'rows were expected')
    asking?.resolve({ isSame, parts, chunk: frame })
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
        return this.#report(this.#introduce(effect.withClock))
      case 'meet':
        return this.#report(this.#meet(effect.hello, now()))
      case 'take-welcome':
        return this.#report(this.#takeWelcome(effect.welcome))
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
      this.#expectReader()
      if (place.type === 'snapshot' && place.position === undefined) this.#options.onSnapshot?.()
      const turn = this.#options.hub.ledger.turn()
      const feed =
        turn === undefined ? this.#readFeed(place, bytesMax) : turn.then(() => this.#readFeed(place, bytesMax))
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

  #readFeed(place: FeedPlace, bytesMax: number): Feed | Promise<Feed> {
    const { readSnapshot } = this.#gate
    if (place.type === 'own') return this.#writer.read(place, bytesMax)
    const read = (): Feed | Promise<Feed> =>
      this.#options.hub.feeds.read(place, bytesMax, this.#peerBytes, this.#reader.isFromPeer)
    return place.type === 'snapshot' && readSnapshot !== undefined ? readSnapshot(async () => read()) : read()
  }

  #onCommit(): void {
    try {
      this.#expectSameTerms()
    } catch (error) {
      return this.fail(toTidemarkError(error))
    }
    const ack = this.#admitter?.arrived()
    if (ack !== undefined) this.#session.acknowledge(ack)
    // What came from the peer is known as such only once the commit is over.
    if (!this.#reader.isReceiving) this.#session.logGrew()
    this.#drain()
  }

  /** Throws when this session is about a log, an identity or a home that is no longer what it was. */
  #expectSameTerms(): void {
    const { ledger } = this.#options.hub
    if (this.#epoch > 0) expectEpoch(ledger, this.#epoch)
    this.#writer.expectHome()
    expectIdentity(ledger.state, this.#writer.greetedAs)
  }

  #close(reason: TidemarkError | undefined): void {
    const isStillShared = this.#options.role === 'client' && this.#writer.isStillShared(reason)
    const error = isStillShared ? findingOut() : reason
    this.#error = error
    if (this.#session.state === 'ending') this.#options.hub.linger(this)
    for (const { reject } of [...this.#settling.splice(0), ...this.#asking.values()]) reject(error ?? closedError())
    this.#asking.clear()
    this.#options.transport.close(error)
  }

  #leave(): void {
    this.#stopListening()
    this.#options.hub.leave(this)
    this.#writer.end()
    this.#resolveLeft()
  }

  // ── Handshake ─────────────────────────────────────────────────────────────────────────────────────────────────────

  async #introduce(withClock: boolean): Promise<void> {
    const { hub, role, tables, versions = ALL_VERSIONS } = this.#options
    await hub.othersLeft()
    const hello = await introduce(hub.ledger, role, tables, withClock, versions, hub.past)
    this.#writer.greeted(hello)
    this.#said = hello.tables
    this.#session.greet(hello)
  }

  async #meet(hello: Hello, nowMs: number): Promise<void> {
    const { hub, role, tables, versions = ALL_VERSIONS, now, onAdmit, onLoss } = this.#options
    const gate = this.#gate
    const isManned: IsManned = (post, logId) => hub.isManned(post, logId)
    const meeting = await meet(hub.ledger, hello, { role, versions, tables, gate, nowMs, onLoss, isManned })
    if (meeting.hasDefined) hub.renew(['relay', 'upstream'], definedMeanwhile(), this)
    await hub.othersLeft(hello.replica)
    // The transport may have gone meanwhile: a session that is over must not fence the one that came after it.
    if (this.#session.state === 'closed') return
    this.#peer = hello.replica
    this.#peerBytes = packUuid(hello.replica)
    if (hello.relay !== undefined && meeting.post !== undefined)
      this.#manning = { post: meeting.post, logId: hello.relay.logId }
    hub.enter(this)
    if (role === 'server') this.#epoch = meeting.epoch
    const welcome = await composeWelcome(hub.ledger, hello, meeting, nowMs)
    this.#reader.meetRelay(hello.relay)
    this.#admitter = new LinkAdmitter({
      ledger: hub.ledger,
      gate: this.#gate,
      replica: meeting.replica,
      answeredSeq: welcome.yourSeq,
      claimedSeq: hello.ackedSeq,
      now,
      onAdmit,
    })
    this.#session.accept(welcome, this.#gate.mayRead() ? meeting.place : undefined, meeting.role)
  }

  async #takeWelcome(welcome: Welcome): Promise<void> {
    const { hub, role, now } = this.#options
    const { ledger } = hub
    await checkWelcome(ledger, welcome, this.#writer.greetedSeq, hub.past)
    // Nor may one that is over fence the one that came after it.
    if (this.#isOver && hub.links.has(welcome.replica)) this.fail(closedError())
    if (this.#session.state === 'closed') return
    this.#peer = welcome.replica
    this.#peerBytes = packUuid(welcome.replica)
    // What an older session still brings would begin again what this one has finished: a snapshot, an answer.
    if (role !== 'mesh') hub.enter(this)
    this.#serverOffsetMs = welcome.time - now()
    await this.#reader.takeWelcome(welcome)
    this.#session.begin(await this.#prepareStream(welcome))
    this.#askCatchUp()
  }

  /** Where our stream starts. */
  async #prepareStream(welcome: Welcome): Promise<FeedPlace> {
    const { hub, role, join } = this.#options
    const { ledger } = hub
    const resume = welcome.resume ?? { type: 'clock', clock: [] }
    if (role === 'mesh') return placeOf(ledger, role, resume)
    const { logId, family, post = logId } = welcome
    if (role === 'relay') {
      if (join === undefined) throw new InvariantError('a relay has to know how to join a family')
      const { isNews, isOther } = await join(ledger, welcome, this.#said)
      if (isNews) hub.renew(isOther ? ['upstream', 'server'] : ['upstream'], definedMeanwhile(), this)
      return placeOf(ledger, role, resume)
    }
    return this.#writer.takeWelcome(welcome, { home: post, family })
  }

  /** A relay serves once it has what its upstream had in this epoch of its log. */
  #askCatchUp(): void {
    if (this.#options.role !== 'relay' || !isCatchingUp(this.#options.hub.ledger.state)) return
    this.#catchUpToken = this.#nextToken++
    this.#session.askMark(this.#catchUpToken, { ownSeq: 0, position: 0 })
  }

  // ── Messages that become jobs ─────────────────────────────────────────────────────────────────────────────────────

  async #apply(messages: readonly Incoming[]): Promise<void> {
    const [first] = messages
    if (first === undefined) return
    switch (first.type) {
      case 'push':
        return this.#session.applied(await this.#admit(messages as readonly Push[]))
      case 'changes':
        return this.#session.applied(await this.#takeChanges(messages as readonly Changes[]))
      case 'ack':
        await this.#takeAck(first)
        break
      case 'snapshot-begin':
        this.#reader.beginSnapshot(first)
        break
      case 'snapshot-rows':
        await this.#reader.takeRows(first)
        break
      case 'snapshot-end':
        await this.#reader.endSnapshot()
        break
      case 'mark':
        this.#session.answerMark(first.token, this.#goal())
        break
      case 'marked':
        await this.#takeMarked(first.token, first.position)
        break
      case 'compare':
        this.#expectReader()
        this.#session.discuss(await this.#inTurn(() => answerCompare(this.#options.hub.ledger, first)))
        break
      case 'compared':
        this.#takeCompared(first)
        break
    }
    this.#session.applied(undefined)
  }

  async #admit(pushes: readonly Push[]): Promise<Ack> {
    if (this.#admitter === undefined) throw new InvariantError('a push came before its writer was met')
    return this.#admitter.admit(pushes)
  }

  /** Answers with what a relay is told when there is no room for what it has brought. */
  async #takeChanges(messages: readonly Changes[]): Promise<Ack | undefined> {
    const pause = await this.#reader.takeChanges(messages)
    if (this.#session.role === 'relay' || this.#session.role === 'upstream') this.#session.logGrew()
    if (pause === undefined) return undefined
    return { type: 'ack', throughSeq: this.#reader.cursor?.position ?? 0, refusals: [], pause, time: undefined }
  }

  /** Our stream goes back, and waits there until there is room. */
  #hold(place: FeedPlace, pause: Shortage): void {
    this.#session.hold(place)
    for (const { reject } of this.#settling.splice(0)) reject(pausedBy(pause))
  }

  async #takeAck(ack: Ack): Promise<void> {
    const { throughSeq, pause, time } = ack
    if (this.#session.role === 'relay') {
      if (pause === undefined) return
      this.#writer.hold(pause)
      return this.#hold({ type: 'log', position: throughSeq }, pause)
    }
    if (time !== undefined) this.#serverOffsetMs = time - this.#options.now()
    await this.#writer.takeAck(ack)
    if (pause !== undefined) this.#hold({ type: 'own', afterSeq: throughSeq }, pause)
  }

  /** What reads many rows at once: a server lets few of them do so at a time. */
  #inTurn<Result>(read: () => Promise<Result>): Promise<Result> {
    const { readSnapshot } = this.#gate
    return readSnapshot === undefined ? read() : readSnapshot(read)
  }

  #expectReader(): void {
    if (!this.#gate.mayRead()) throw new TidemarkError('forbidden', 'this session may not read')
  }

  async #takeMarked(token: number, position: number): Promise<void> {
    this.#reader.heardOf(position)
    const { cursor } = this.#reader
    if (token === this.#catchUpToken && cursor !== undefined)
      await this.#options.hub.ledger.submit(new NoteCaughtUp(cursor))
    const settling = this.#settling.find((waiting) => waiting.token === token)
    this.#settling = this.#settling.filter((waiting) => waiting !== settling)
    settling?.resolve()
  }
}

function closedError(): TidemarkError {
  return new TidemarkError('closed', 'the link closed', { retryable: true })
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
