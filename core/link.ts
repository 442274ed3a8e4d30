/**
 * A link: drives one session over one transport against one ledger. The only place where messages become jobs.
 *
 * Knows: which job carries out which message. Must never know: what the transport is, or when to connect.
 *
 * Invariants:
 * N2  Effects are carried out in their order; of reads and of applies at most one each is under way.
 * N3  Every failure ends in `close` with a typed error. A bug ends the session, not the process.
 */
import { AdmitChanges } from './admit.ts'
import { TakeAnswer } from './answer.ts'
import type { VoidCode } from './block.ts'
import { type Dot, VectorClock } from './clock.ts'
import type { Ask } from './comparison.ts'
import type { Draft, LogCursor } from './draft.ts'
import { InvariantError, isTidemarkError, TidemarkError } from './errors.ts'
import {
  BeginPushing,
  EndPushing,
  expectHome,
  isCatchingUp,
  isPushing,
  JoinFamily,
  NoteCaughtUp,
  type Relation,
  TakeHome,
} from './family.ts'
import {
  type Ack,
  type Changes,
  type Compare,
  type Compared,
  decodeFrame,
  type Hello,
  type Push,
  packUuid,
  type RelayLog,
  type SnapshotBegin,
  type Welcome,
} from './frame.ts'
import { type Gate, OPEN_GATE, pausedBy, type Shortage } from './gate.ts'
import {
  ALL_VERSIONS,
  checkWelcome,
  composeWelcome,
  ForgetRelay,
  introduce,
  meet,
  placeForUpstream,
  placeOf,
  saveRelayCursor,
  type Tables,
  type Versions,
} from './handshake.ts'
import type { Hub } from './hub.ts'
import type { ReplicaId } from './names.ts'
import { ReceiveChanges } from './receive.ts'
import { expectEpoch, isHere } from './recovery.ts'
import { ReissueSkewed } from './reissue.ts'
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
import { BeginSnapshot, EndSnapshot, ReceiveRows, readSnapshotClock, readSnapshotProgress } from './snapshot.ts'
import { Stretches } from './stretches.ts'
import { msToTimestamp, timestampToMs } from './timestamp.ts'
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

/** What a server answered in one commit. */
export interface Answered {
  /** Accepted and refused ones. */
  readonly changes: number
  readonly refusals: readonly VoidCode[]
  /** True when there was no room for more. */
  readonly isPaused: boolean
  /** How far the writer's clock was ahead of ours when it made the last of them. Far below 0 for what was made offline. */
  readonly aheadMs: number
}

/** Of what a relay passes on, it has been the judge. */
const NOT_JUDGED: Omit<Answered, 'changes'> = { refusals: [], isPaused: false, aheadMs: Number.NEGATIVE_INFINITY }

const NO_LOG = { logId: '', epoch: 0 } as const

interface Settling {
  readonly token: number
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

interface Asking {
  readonly resolve: (answer: Awaited<ReturnType<Ask>>) => void
  readonly reject: (error: unknown) => void
}

/** A cursor that moves without bringing anything is saved after so many positions: nobody reads them twice. */
const CURSOR_STEP = 1_024

/** A clock that goes on jumping while its changes are issued again has to wait for the next session. */
const REISSUES_MAX = 8

interface ReceivingSnapshot {
  readonly cursor: LogCursor
  /** What the sender held when the snapshot began. */
  readonly clock: VectorClock
}

export class Link {
  readonly #options: LinkOptions
  readonly #session: Session
  readonly #stopListening: () => void
  #peer: ReplicaId | undefined
  /** The peer's id as blocks have it. */
  #peerBytes: Uint8Array = new Uint8Array(16)
  /** The peer's index, once it is met. */
  #replica = -1
  /** The peer's log, and how far we have read it. */
  #cursor: LogCursor | undefined
  #savedPosition = 0
  #peerEnd = 0
  /** A client's: the server that answers it, and how far it has told that server to be answered. */
  #home: Relation | undefined
  #saidAckedSeq = 0
  /** Which pushing to its home this session has begun, and how far it has come. */
  #pushing: number | undefined
  #offeredSeq = 0
  /** Between servers: what of our log came from the peer, and whether more is on its way into it. */
  readonly #fromPeer = new Stretches()
  #isReceiving = false
  /** An upstream's: the log that it reads. */
  #relayLog: RelayLog | undefined
  /** A relay's: who it is in this session, and the mark behind everything that its upstream had. */
  #ownId: ReplicaId | undefined
  #catchUpToken: number | undefined
  #snapshot: ReceivingSnapshot | undefined
  #serverOffsetMs = 0
  /** A writer's: changes may be due to be issued again, and how often some were without one that was accepted. */
  #mayReissue = false
  #reissues = 0
  #settling: Settling[] = []
  readonly #asking = new Map<number, Asking>()
  #nextToken = 1
  #isDraining = false
  #error: TidemarkError | undefined
  readonly #gate: Gate
  /** A server's: the writer was told to stop, and has not begun anew yet. */
  #isPaused = false
  /** A server's: what the peer was told that we have of it. */
  #answeredSeq = 0
  /** A server's: how far the peer says that it was answered; beyond what we have when our store lost that. */
  #claimedSeq = 0
  /** A server's: the change that the peer waits for, because our store lost it. */
  #awaited: Dot | undefined
  /** A server's: the epoch of its log that this session is about. */
  #epoch = 0
  /** A writer's: why the server takes nothing more for now. */
  #pause: Shortage | undefined

  constructor(options: LinkOptions) {
    const { hub, role, isInitiator } = options
    this.#options = options
    this.#gate = options.gate ?? OPEN_GATE
    this.#session = new Session(role, isInitiator, hub.ledger.limits, hub.ledger.groupChangesMax)
    this.#stopListening = hub.ledger.onCommit(() => this.#onCommit())
  }

  get state(): SessionState {
    return this.#session.state
  }

  get role(): SessionRole {
    return this.#session.role
  }

  get peer(): ReplicaId | undefined {
    return this.#peer
  }

  /** Entries of the peer's log that it is known to have and we do not. */
  get behind(): number {
    return Math.max(0, this.#peerEnd - (this.#cursor?.position ?? 0))
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

  /** True while a snapshot is being received. */
  get isRestoring(): boolean {
    return this.#snapshot !== undefined
  }

  /** The peer's wall time minus ours, as of its welcome, in milliseconds. */
  get serverOffsetMs(): number {
    return this.#serverOffsetMs
  }

  /** Why the server takes no more of our changes for now; `resume` tries again. Downloads go on. */
  get pause(): Shortage | undefined {
    return this.#pause
  }

  /** Sends again what the server had no room for: after `pause.retryAfterMs`, or when something changed. */
  resume(): void {
    this.#pause = undefined
    this.#session.release()
    this.#drain()
  }

  /** The peer lets us send nothing although there is something. */
  get isStarved(): boolean {
    return this.#session.isStarved
  }

  /** While the peer owes credit for what it was sent: all that it ever gave. */
  get owedAt(): number | undefined {
    return this.#session.owedAt
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
    if (this.#session.state === 'closed') return Promise.reject(this.#error ?? closedError())
    if (this.#pause !== undefined) return Promise.reject(pausedBy(this.#pause))
    return new Promise((resolve, reject) => {
      const token = this.#nextToken++
      this.#settling.push({ token, resolve, reject })
      this.#session.askMark(token, this.#goal())
      this.#drain()
    })
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
        return this.#read(effect.place)
      case 'apply':
        return this.#report(this.#apply(effect.messages))
      case 'close':
        return this.#close(effect.error)
    }
  }

  /** Runs something asynchronous; its end, good or bad, is the session's next input. */
  #report(work: Promise<void>): void {
    work.then(
      () => this.#drain(),
      (error: unknown) => this.fail(toTidemarkError(error)),
    )
  }

  #read(place: FeedPlace): void {
    try {
      this.#expectReader()
      if (place.type === 'snapshot' && place.position === undefined) this.#options.onSnapshot?.()
      const feed = this.#readFeed(place)
      if (feed instanceof Promise) this.#report(feed.then((done) => this.#session.feed(done)))
      else this.#session.feed(feed)
    } catch (error) {
      this.#session.fail(toTidemarkError(error))
    }
  }

  #readFeed(place: FeedPlace): Feed | Promise<Feed> {
    const { feeds } = this.#options.hub
    const { readSnapshot } = this.#gate
    if (place.type === 'own') return this.#readOwn(place)
    if (place.type !== 'snapshot' || readSnapshot === undefined)
      return feeds.read(place, this.#peerBytes, (stretch) => this.#fromPeer.has(stretch))
    return readSnapshot(async () => feeds.read(place, this.#peerBytes))
  }

  /** Before a change is sent to a home, it is known that some may have been. */
  async #readOwn(place: FeedPlace): Promise<Feed> {
    const { ledger, feeds } = this.#options.hub
    const home = this.#home
    const hasMore = place.type === 'own' && ledger.durableSeqOf(ledger.state.own) > place.afterSeq
    if (hasMore && home !== undefined && !isPushing(ledger.state, this.#pushing)) {
      this.#pushing = await ledger.submit(new BeginPushing(home))
    }
    const feed = await feeds.read(place, this.#peerBytes)
    if (feed.next.type === 'own') this.#offeredSeq = Math.max(this.#offeredSeq, feed.next.afterSeq)
    return feed
  }

  #onCommit(): void {
    try {
      this.#expectSameTerms()
    } catch (error) {
      return this.fail(toTidemarkError(error))
    }
    const awaited = this.#awaited
    if (this.#takeArrived()) {
      const pause = isHere(awaited)
      this.#session.acknowledge({ type: 'ack', throughSeq: this.#answeredSeq, refusals: [], pause, time: undefined })
    }
    // What came from the peer is known as such only once the commit is over.
    if (!this.#isReceiving) this.#session.logGrew()
    this.#drain()
  }

  /** Throws when this session is about a log, an identity or a home that is no longer what it was. */
  #expectSameTerms(): void {
    const { ledger } = this.#options.hub
    if (this.#epoch > 0) expectEpoch(ledger, this.#epoch)
    if (this.#home !== undefined) expectHome(ledger.state, this.#home)
    if (this.#ownId !== undefined && this.#ownId !== ledger.state.meta.replicaId) {
      throw new TidemarkError('unavailable', 'the relay goes on from a backup', { retryable: true })
    }
  }

  /** True, once, when what a writer waits for has come. */
  #takeArrived(): boolean {
    const { ledger } = this.#options.hub
    const awaited = this.#awaited
    const author = awaited === undefined ? -1 : ledger.state.replicas.find(awaited.replica)
    if (awaited === undefined || author < 0 || ledger.durableSeqOf(author) < awaited.seq) return false
    this.#awaited = undefined
    return true
  }

  #close(error: TidemarkError | undefined): void {
    this.#error = error
    this.#stopListening()
    this.#options.hub.leave(this)
    for (const { reject } of [...this.#settling.splice(0), ...this.#asking.values()]) reject(error ?? closedError())
    this.#asking.clear()
    // When the replica is closed as well, or its store has failed, its next home is only asked more carefully.
    if (this.#pushing) this.#options.hub.ledger.submit(new EndPushing(this.#pushing, this.#offeredSeq)).catch(() => {})
    this.#options.transport.close(error)
  }

  // ── Handshake ─────────────────────────────────────────────────────────────────────────────────────────────────────

  async #introduce(withClock: boolean): Promise<void> {
    const { hub, role, tables, versions = ALL_VERSIONS } = this.#options
    const hello = await introduce(hub.ledger, role, tables, withClock, versions)
    this.#saidAckedSeq = hello.ackedSeq
    this.#session.greet(hello)
  }

  async #meet(hello: Hello, nowMs: number): Promise<void> {
    const { hub, role, tables, versions = ALL_VERSIONS, onLoss } = this.#options
    const meeting = await meet(hub.ledger, hello, { role, versions, tables, gate: this.#gate, nowMs, onLoss })
    // The transport may have gone meanwhile: a session that is over must not fence the one that came after it.
    if (this.#session.state === 'closed') return
    this.#peer = hello.replica
    this.#peerBytes = packUuid(hello.replica)
    this.#replica = meeting.replica
    hub.enter(this)
    if (role === 'server') this.#epoch = meeting.epoch
    const welcome = await composeWelcome(hub.ledger, hello, meeting, nowMs)
    this.#answeredSeq = welcome.yourSeq
    this.#claimedSeq = hello.ackedSeq
    this.#relayLog = hello.relay
    this.#peerEnd = hello.relay?.position ?? 0
    if (welcome.resume?.type === 'cursor') this.#startAt(welcome.resume)
    this.#session.accept(welcome, this.#gate.mayRead() ? meeting.place : undefined, meeting.role)
  }

  async #takeWelcome(welcome: Welcome): Promise<void> {
    const { hub, role, now } = this.#options
    const { ledger } = hub
    await checkWelcome(ledger, welcome)
    if (this.#session.state === 'closed') return
    this.#peer = welcome.replica
    this.#peerBytes = packUuid(welcome.replica)
    // What an older session still brings would begin again what this one has finished: a snapshot, an answer.
    if (role !== 'mesh') hub.enter(this)
    this.#serverOffsetMs = welcome.time - now()
    this.#peerEnd = welcome.position
    const position = welcome.from.type === 'log' ? welcome.from.position : 0
    this.#startAt({ logId: welcome.logId, epoch: welcome.epoch, position })
    if (welcome.from.type === 'snapshot') await this.#resumeSnapshot()
    this.#session.begin(await this.#prepareStream(welcome))
    this.#askCatchUp()
  }

  #startAt({ logId, epoch, position }: LogCursor): void {
    this.#cursor = { logId, epoch, position }
    this.#savedPosition = position
  }

  /** Takes what a welcome says about our changes. Answers with where our stream starts. */
  async #prepareStream(welcome: Welcome): Promise<FeedPlace> {
    const { hub, role } = this.#options
    const { ledger } = hub
    const resume = welcome.resume ?? { type: 'clock', clock: [] }
    const server: Relation = { logId: welcome.logId, family: welcome.family }
    if (role === 'mesh') return placeOf(ledger, role, resume)
    if (role === 'relay') {
      await ledger.submit(new JoinFamily(server, welcome.tables ?? []))
      this.#ownId = ledger.state.meta.replicaId
      return placeForUpstream(ledger, resume)
    }
    const refusals = welcome.refusals.map(([seq, code]) => ({ seq, code: code as VoidCode }))
    const answers = ledger.submit(new TakeAnswer(welcome.yourSeq, refusals))
    const answeredSeq = Math.max(this.#saidAckedSeq, welcome.yourSeq)
    const [, pushing] = await Promise.all([answers, ledger.submit(new TakeHome(server, answeredSeq))])
    this.#pushing = pushing
    this.#home = server
    this.#mayReissue = ledger.state.meta.rejected > 0
    await this.#reissue()
    return { type: 'own', afterSeq: welcome.yourSeq }
  }

  /** A relay serves once it has what its upstream had in this epoch of its log. */
  #askCatchUp(): void {
    if (this.#options.role !== 'relay' || !isCatchingUp(this.#options.hub.ledger.state)) return
    this.#catchUpToken = this.#nextToken++
    this.#session.askMark(this.#catchUpToken, { ownSeq: 0, position: 0 })
  }

  /** Goes on with a snapshot that an earlier session began; without one, the peer will begin a new one. */
  async #resumeSnapshot(): Promise<void> {
    const { ledger } = this.#options.hub
    const progress = await readSnapshotProgress(ledger)
    if (progress !== undefined) this.#snapshot = { cursor: progress.cursor, clock: await readSnapshotClock(ledger) }
  }

  // ── Messages that become jobs ─────────────────────────────────────────────────────────────────────────────────────

  async #apply(messages: readonly Incoming[]): Promise<void> {
    const [first] = messages
    if (first === undefined) return
    switch (first.type) {
      case 'push':
        return this.#session.applied(await this.#admit(messages as readonly Push[]))
      case 'changes':
        await this.#receiveChanges(messages as readonly Changes[]).catch((error: unknown) => this.#lostWay(error))
        break
      case 'ack':
        await this.#takeAck(first)
        break
      case 'snapshot-begin':
        await this.#beginSnapshot(first)
        break
      case 'snapshot-rows': {
        const { cursor, clock } = this.#expectSnapshot()
        await this.#options.hub.ledger.submit(new ReceiveRows(first, cursor, clock))
        break
      }
      case 'snapshot-end':
        await this.#endSnapshot()
        break
      case 'mark':
        this.#session.answerMark(first.token, this.#goal())
        break
      case 'marked':
        await this.#takeMarked(first.token, first.position)
        break
      case 'compare':
        this.#expectReader()
        this.#session.discuss(await answerCompare(this.#options.hub.ledger, first))
        break
      case 'compared':
        this.#takeCompared(first)
        break
    }
    this.#session.applied(undefined)
  }

  async #admit(pushes: readonly Push[]): Promise<Ack> {
    const { hub, now, onAdmit } = this.#options
    const nowMs = now()
    if (!this.#gate.mayWrite()) throw new TidemarkError('forbidden', 'this session may not write')
    const { throughSeq, refusals, shortage, awaited, isEarly, lastTimestamp } = await hub.ledger.submit(
      new AdmitChanges({
        blocks: pushes.flatMap(({ blocks }) => blocks),
        replica: this.#replica,
        nowMs,
        gate: this.#gate,
        isPaused: this.#isPaused,
        answeredSeq: this.#claimedSeq,
      }),
    )
    if (!isEarly) {
      this.#isPaused = shortage !== undefined
      this.#awaited = awaited
    }
    // It may have come in the same commit.
    const pause = shortage !== undefined && this.#takeArrived() ? isHere(awaited) : shortage
    onAdmit?.({
      changes: throughSeq - this.#answeredSeq,
      refusals: refusals.map(({ code }) => code),
      isPaused: shortage !== undefined,
      aheadMs: lastTimestamp === 0 ? Number.NEGATIVE_INFINITY : timestampToMs(lastTimestamp) - nowMs,
    })
    this.#answeredSeq = throughSeq
    const records = refusals.map(({ seq, code }) => [seq, code] as const)
    const time = refusals.some(({ code }) => code === 'clock-skew') ? nowMs : undefined
    return { type: 'ack', throughSeq, refusals: records, pause, time }
  }

  async #takeAck({ throughSeq, refusals, pause, time }: Ack): Promise<void> {
    const answers = refusals.map(([seq, code]) => ({ seq, code: code as VoidCode }))
    await this.#options.hub.ledger.submit(new TakeAnswer(throughSeq, answers))
    if (time !== undefined) {
      this.#serverOffsetMs = time - this.#options.now()
      this.#mayReissue = this.#reissues < REISSUES_MAX
    } else this.#reissues = 0
    await this.#reissue()
    if (pause === undefined) return
    this.#pause = pause
    this.#session.hold({ type: 'own', afterSeq: throughSeq })
    for (const { reject } of this.#settling.splice(0)) reject(pausedBy(pause))
  }

  /** Once all is answered, what was refused because our clock ran ahead is issued again by the server's. */
  async #reissue(): Promise<void> {
    const { hub, now } = this.#options
    if (!this.#mayReissue || hub.ledger.pending > 0) return
    const count = await hub.ledger.submit(new ReissueSkewed(now() + this.#serverOffsetMs))
    this.#mayReissue = count === undefined
    if (count !== undefined) this.#reissues++
  }

  #expectReader(): void {
    if (!this.#gate.mayRead()) throw new TidemarkError('forbidden', 'this session may not read')
  }

  async #receiveChanges(messages: readonly Changes[]): Promise<void> {
    const { role } = this.#session
    let cursor = this.#cursor ?? { ...(this.#relayLog ?? NO_LOG), position: (messages[0] as Changes).from }
    const blocks: Uint8Array[] = []
    for (const message of messages) {
      if (role !== 'mesh' && message.from !== cursor.position) {
        throw new TidemarkError('gap', `positions from ${message.from} arrived, but ${cursor.position} is the next`, {
          retryable: true,
        })
      }
      for (const block of message.blocks) blocks.push(block)
      cursor = { ...cursor, position: message.to }
    }
    this.#peerEnd = Math.max(this.#peerEnd, cursor.position)
    // Our own changes, which the server leaves out, move the cursor; that alone is not worth a flush.
    const isFar = cursor.position - this.#savedPosition >= CURSOR_STEP
    if (blocks.length > 0 || (isFar && role !== 'mesh')) {
      if (role === 'relay' || role === 'upstream') await this.#receiveFromServer(blocks, cursor)
      else await this.#options.hub.ledger.submit(new ReceiveChanges(blocks, { save: this.#saving(cursor) }))
      this.#savedPosition = cursor.position
    }
    this.#cursor = cursor
  }

  async #receiveFromServer(blocks: readonly Uint8Array[], cursor: LogCursor): Promise<void> {
    const { hub, now, onAdmit } = this.#options
    const { limits } = hub.ledger
    const isUpstream = this.#session.role === 'upstream'
    if (isUpstream && this.#gate.mayRelay?.() !== true)
      throw new TidemarkError('forbidden', 'this session may not pass on changes of others')
    const timestampMax = isUpstream ? msToTimestamp(now() + limits.skewMs) : undefined
    this.#isReceiving = true
    try {
      const job = new ReceiveChanges(blocks, { save: this.#saving(cursor), isBetweenServers: true, timestampMax })
      const stretch = await hub.ledger.submit(job)
      this.#fromPeer.add(stretch)
      if (isUpstream) onAdmit?.({ ...NOT_JUDGED, changes: stretch.to - stretch.from })
    } finally {
      this.#isReceiving = false
    }
    this.#session.logGrew()
  }

  /** What a relay sends does not go on where its log was left: the next session finds out by clocks. */
  async #lostWay(error: unknown): Promise<never> {
    const isAstray = isTidemarkError(error) && (error.code === 'gap' || error.code === 'unknown-context')
    if (isAstray && this.#relayLog !== undefined)
      await this.#options.hub.ledger.submit(new ForgetRelay(this.#relayLog.logId))
    throw error
  }

  async #beginSnapshot({ position, clock }: SnapshotBegin): Promise<void> {
    const { logId, epoch } = this.#cursor ?? { logId: '', epoch: 0 }
    const cursor: LogCursor = { logId, epoch, position }
    const { hub, role, now } = this.#options
    const ownEpoch = role === 'relay' ? Math.floor(now()) : undefined
    await hub.ledger.submit(new BeginSnapshot(cursor, clock, ownEpoch))
    this.#snapshot = { cursor, clock: new VectorClock(clock) }
    this.#askCatchUp()
  }

  async #endSnapshot(): Promise<void> {
    const { cursor, clock } = this.#expectSnapshot()
    await this.#options.hub.ledger.submit(new EndSnapshot(cursor, clock))
    this.#snapshot = undefined
    this.#cursor = cursor
  }

  /** Only a server's log is worth a cursor: peers without a server go by clocks. */
  #saving(cursor: LogCursor): ((draft: Draft) => void) | undefined {
    switch (this.#session.role) {
      case 'mesh':
      case 'server':
        return undefined
      case 'upstream':
        return (draft) => saveRelayCursor(draft, cursor)
      case 'client':
      case 'relay':
        return (draft) => draft.saveCursor(cursor)
    }
  }

  #expectSnapshot(): ReceivingSnapshot {
    if (this.#snapshot !== undefined) return this.#snapshot
    // Another session of this replica may have come to the end of the snapshot that this one was to resume.
    throw new TidemarkError('gap', 'rows of a snapshot came before its beginning', { retryable: true })
  }

  async #takeMarked(token: number, position: number): Promise<void> {
    this.#peerEnd = Math.max(this.#peerEnd, position)
    if (token === this.#catchUpToken && this.#cursor !== undefined)
      await this.#options.hub.ledger.submit(new NoteCaughtUp(this.#cursor))
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
