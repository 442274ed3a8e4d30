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
import type { LogCursor } from './draft.ts'
import { InvariantError, isTidemarkError, TidemarkError } from './errors.ts'
import {
  type Ack,
  type Changes,
  type Compare,
  type Compared,
  decodeFrame,
  type Hello,
  type Push,
  packUuid,
  type SnapshotBegin,
  type Welcome,
} from './frame.ts'
import { type Gate, OPEN_GATE, pausedBy, type Shortage } from './gate.ts'
import { answerOf, checkWelcome, composeWelcome, introduce, meet, placeOf, type Tables } from './handshake.ts'
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
import { findingOut } from './shared-past.ts'
import { BeginSnapshot, EndSnapshot, ReceiveRows, readSnapshotClock, readSnapshotProgress } from './snapshot.ts'
import { timestampToMs } from './timestamp.ts'
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

interface Settling {
  readonly token: number
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

interface Asking {
  readonly resolve: (answer: Awaited<ReturnType<Ask>>) => void
  readonly reject: (error: unknown) => void
}

/** A clock that goes on jumping while its changes are issued again has to wait for the next session. */
const REISSUES_MAX = 8

/** How far the cursor may be ahead of the one on the disk: what is read again after a cut. */
const SAVED_POSITIONS = 4_096

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
  #peerEnd = 0
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
  /** Where the cursor on the disk stands. */
  #savedPosition = 0
  /** What our hello said that we had written. */
  #greetedSeq = 0
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
    if (place.type !== 'snapshot' || readSnapshot === undefined) return feeds.read(place, this.#peerBytes)
    return readSnapshot(async () => feeds.read(place, this.#peerBytes))
  }

  #onCommit(): void {
    const { hub, role } = this.#options
    if (role === 'server' && this.#epoch > 0) {
      try {
        expectEpoch(hub.ledger, this.#epoch)
      } catch (error) {
        return this.fail(toTidemarkError(error))
      }
    }
    const awaited = this.#awaited
    if (this.#takeArrived()) {
      const pause = isHere(awaited)
      this.#session.acknowledge({ type: 'ack', throughSeq: this.#answeredSeq, refusals: [], pause, time: undefined })
    }
    this.#session.logGrew()
    this.#drain()
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

  #close(reason: TidemarkError | undefined): void {
    const error = this.#isStillShared(reason) ? findingOut() : reason
    this.#error = error
    this.#stopListening()
    this.#options.hub.leave(this)
    for (const { reject } of [...this.#settling.splice(0), ...this.#asking.values()]) reject(error ?? closedError())
    this.#asking.clear()
    this.#options.transport.close(error)
  }

  /** True when the peer says that it has something else, and may have some of our unanswered changes all the same. */
  #isStillShared(error: TidemarkError | undefined): boolean {
    const { hub, role } = this.#options
    const isSaid = error?.code === 'replica-cloned' && error.details.isRemote === true
    if (role !== 'client' || !isSaid || this.#greetedSeq === 0) return false
    return hub.past.differs(hub.ledger.state.meta.replicaId, hub.ledger.durableAckedSeq, this.#greetedSeq)
  }

  // ── Handshake ─────────────────────────────────────────────────────────────────────────────────────────────────────

  async #introduce(withClock: boolean): Promise<void> {
    const { hub, role, tables } = this.#options
    const hello = await introduce(hub.ledger, role, tables, withClock, hub.past)
    this.#greetedSeq = hello.ownSeq
    this.#session.greet(hello)
  }

  async #meet(hello: Hello, nowMs: number): Promise<void> {
    const { hub, role, tables, onLoss } = this.#options
    const meeting = await meet(hub.ledger, role, tables, hello, this.#gate, nowMs, onLoss)
    // The transport may have gone meanwhile: a session that is over must not fence the one that came after it.
    if (this.#session.state === 'closed') return
    this.#peer = hello.replica
    this.#peerBytes = packUuid(hello.replica)
    this.#replica = meeting.replica
    hub.enter(this)
    this.#epoch = meeting.epoch
    const welcome = await composeWelcome(hub.ledger, role, hello, meeting, nowMs)
    this.#answeredSeq = welcome.yourSeq
    this.#claimedSeq = hello.ackedSeq
    this.#session.accept(welcome, this.#gate.mayRead() ? meeting.place : undefined)
  }

  async #takeWelcome(welcome: Welcome): Promise<void> {
    const { hub, role, now } = this.#options
    const { ledger } = hub
    await checkWelcome(ledger, welcome, this.#greetedSeq, hub.past)
    if (this.#session.state === 'closed') return
    this.#peer = welcome.replica
    this.#peerBytes = packUuid(welcome.replica)
    // What an older session still brings would begin again what this one has finished: a snapshot, an answer.
    if (role === 'client') hub.enter(this)
    this.#serverOffsetMs = welcome.time - now()
    this.#peerEnd = welcome.position
    const position = welcome.from.type === 'log' ? welcome.from.position : 0
    this.#cursor = { logId: welcome.logId, epoch: welcome.epoch, position }
    this.#savedPosition = position
    if (welcome.from.type === 'snapshot') await this.#resumeSnapshot()
    let place: FeedPlace
    if (role === 'mesh') place = await placeOf(ledger, role, welcome.resume ?? { type: 'clock', clock: [] })
    else {
      const { throughSeq, refusals } = answerOf(welcome, welcome.yourSeq)
      // What it does not answer is pushed again, and answered then.
      place = { type: 'own', afterSeq: throughSeq }
      await ledger.submit(new TakeAnswer(throughSeq, refusals))
      this.#mayReissue = ledger.state.meta.rejected > 0
      await this.#reissue()
    }
    this.#session.begin(place)
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
        await this.#receiveChanges(messages as readonly Changes[])
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
        this.#takeMarked(first.token, first.position)
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
      changes: Math.max(0, throughSeq - this.#answeredSeq),
      refusals: refusals.map(({ code }) => code),
      isPaused: shortage !== undefined,
      aheadMs: lastTimestamp === 0 ? Number.NEGATIVE_INFINITY : timestampToMs(lastTimestamp) - nowMs,
    })
    this.#answeredSeq = Math.max(this.#answeredSeq, throughSeq)
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
    const { hub, role } = this.#options
    let cursor = this.#cursor ?? { logId: '', epoch: 0, position: (messages[0] as Changes).from }
    const blocks: Uint8Array[] = []
    for (const message of messages) {
      if (role === 'client' && message.from !== cursor.position) {
        throw new TidemarkError('gap', `positions from ${message.from} arrived, but ${cursor.position} is the next`, {
          retryable: true,
        })
      }
      for (const block of message.blocks) blocks.push(block)
      cursor = { ...cursor, position: message.to }
    }
    this.#peerEnd = Math.max(this.#peerEnd, cursor.position)
    // Our own changes, which the server leaves out, move the cursor; that alone is worth a flush now and then only.
    if (blocks.length > 0 || cursor.position - this.#savedPosition >= SAVED_POSITIONS) {
      await hub.ledger.submit(new ReceiveChanges(blocks, this.#kept(cursor)))
      this.#savedPosition = cursor.position
    }
    this.#cursor = cursor
  }

  async #beginSnapshot({ position, clock }: SnapshotBegin): Promise<void> {
    const { logId, epoch } = this.#cursor ?? { logId: '', epoch: 0 }
    const cursor: LogCursor = { logId, epoch, position }
    await this.#options.hub.ledger.submit(new BeginSnapshot(cursor, clock))
    this.#snapshot = { cursor, clock: new VectorClock(clock) }
  }

  async #endSnapshot(): Promise<void> {
    const { cursor, clock } = this.#expectSnapshot()
    await this.#options.hub.ledger.submit(new EndSnapshot(cursor, clock))
    this.#snapshot = undefined
    this.#cursor = cursor
  }

  /** Only a server's log is worth a cursor: peers without a server go by clocks. */
  #kept(cursor: LogCursor): LogCursor | undefined {
    return this.#options.role === 'client' ? cursor : undefined
  }

  #expectSnapshot(): ReceivingSnapshot {
    if (this.#snapshot !== undefined) return this.#snapshot
    // Another session of this replica may have come to the end of the snapshot that this one was to resume.
    throw new TidemarkError('gap', 'rows of a snapshot came before its beginning', { retryable: true })
  }

  #takeMarked(token: number, position: number): void {
    this.#peerEnd = Math.max(this.#peerEnd, position)
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
