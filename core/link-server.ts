/**
 * A server's part in a link: it answers hellos, admits what a client pushes or takes what a relay passes on, and gives its log
 * to both; to clients that are new, a snapshot first.
 *
 * Knows: gates, who was met as what. Must never know: principals, plans, transports.
 */
import { InvariantError, TidemarkError } from './errors.ts'
import { Exchange, peerServer } from './exchange.ts'
import { definedMeanwhile } from './family.ts'
import { packUuid } from './frame.ts'
import { type Gate, OPEN_GATE, type Shortage } from './gate.ts'
import { meet, welcome } from './hosting.ts'
import { type Answered, LinkAdmitter } from './link-admitter.ts'
import type { Part, Role, Stage } from './link-part.ts'
import { LinkReader } from './link-reader.ts'
import type { Ack, Changes, Hello, Push } from './message.ts'
import type { Manning } from './posts.ts'
import { ReceiveChanges } from './receive.ts'
import { expectEpoch } from './recovery.ts'
import { readSnapshotFeed } from './snapshot-feed.ts'
import { msToTimestamp } from './timestamp.ts'

export interface ServerOptions {
  /** Who may read and write, and whether there is room. Default: everybody, any amount. */
  readonly gate?: Gate
  /** Told what was answered, after each commit that did. */
  readonly onAdmit?: (answered: Answered) => void
  /** Told when the peer shows, if it does not lie, that the store has lost changes. */
  readonly onLoss?: () => void
  /** Told when a snapshot begins to be read for the peer; one that is gone on with was told before. */
  readonly onSnapshot?: () => void
}

export function serverRole(options: ServerOptions = {}): Role {
  return { name: 'server', isInitiator: false, open: (stage) => new ServerPart(stage, options) }
}

/** Of what a relay passes on, it has been the judge. */
const NOT_JUDGED: Omit<Answered, 'changes' | 'isPaused'> = { refusals: [], aheadMs: Number.NEGATIVE_INFINITY }

class ServerPart implements Part {
  readonly #stage: Stage
  readonly #options: ServerOptions
  readonly #gate: Gate
  readonly #exchange: Exchange
  readonly reader: LinkReader
  /** Once the writer is met. */
  #admitter: LinkAdmitter | undefined
  /** The peer's id as blocks have it. */
  #peer: Uint8Array = new Uint8Array(16)
  /** The epoch of our log that this session is about. */
  #epoch = 0
  #manning: Manning | undefined

  constructor(stage: Stage, options: ServerOptions) {
    const { hub } = stage
    this.#stage = stage
    this.#options = options
    this.#gate = options.gate ?? OPEN_GATE
    this.#exchange = new Exchange(hub)
    this.reader = new LinkReader({
      ledger: hub.ledger,
      isByClocks: false,
      receive: (blocks) => this.#receive(blocks),
    })
  }

  get isReceiving(): boolean {
    return this.#exchange.isReceiving
  }

  get manning(): Manning | undefined {
    return this.#manning
  }

  // ── The beginning ─────────────────────────────────────────────────────────────────────────────────────────────────

  readonly accepting = async (hello: Hello, nowMs: number): Promise<void> => {
    const { hub, session, link, versions, tables, now, meetPeer } = this.#stage
    const { ledger } = hub
    const { onLoss, onAdmit } = this.#options
    const gate = this.#gate
    const isManned = (post: string, logId: string): boolean => hub.isManned(post, logId)
    const admission = await meet(ledger, hello, { versions, tables, gate, nowMs, onLoss, isManned })
    const { hasDefined, post, epoch, replica, place, role } = admission
    if (hasDefined) hub.renew(['relay', 'upstream'], definedMeanwhile(), link)
    await hub.othersLeft(hello.replica)
    // The transport may have gone meanwhile: a session that is over must not fence the one that came after it.
    if (session.state === 'closed') return
    meetPeer(hello.replica)
    this.#peer = packUuid(hello.replica)
    if (hello.relay !== undefined && post !== undefined) this.#manning = { post, logId: hello.relay.logId }
    hub.enter(link)
    this.#epoch = epoch
    const said = await welcome(ledger, hello, admission, nowMs)
    this.reader.meetRelay(hello.relay)
    const { yourSeq: answeredSeq } = said
    const claimedSeq = hello.ackedSeq
    this.#admitter = new LinkAdmitter({ ledger, gate, replica, answeredSeq, claimedSeq, now, onAdmit })
    session.accept(said, gate.mayRead() ? place : undefined, role)
  }

  // ── What the peer brings ──────────────────────────────────────────────────────────────────────────────────────────

  readonly take: Part['take'] = async (messages) => {
    const [first] = messages
    switch (first?.type) {
      case 'push':
        if (this.#admitter === undefined) throw new InvariantError('a push came before its writer was met')
        return this.#admitter.admit(messages as readonly Push[])
      case 'changes':
        return this.#takeChanges(messages as readonly Changes[])
      default:
        throw new InvariantError(`a ${first?.type} message came to a server`)
    }
  }

  /** Answers with what a relay is told when there is no room for what it has brought. */
  async #takeChanges(messages: readonly Changes[]): Promise<Ack | undefined> {
    const pause = await this.reader.takeChanges(messages)
    this.#stage.session.logGrew()
    if (pause === undefined) return undefined
    return { type: 'ack', throughSeq: this.reader.cursor?.position ?? 0, refusals: [], pause, time: undefined }
  }

  async #receive(blocks: readonly Uint8Array[]): Promise<Shortage | undefined> {
    const { hub, now } = this.#stage
    const { mayRelay, weigh } = this.#gate
    if (mayRelay?.() !== true) throw new TidemarkError('forbidden', 'this session may not pass on changes of others')
    const timestampMax = msToTimestamp(now() + hub.ledger.limits.skewMs)
    const peer = peerServer({ timestampMax, ...(weigh === undefined ? {} : { weigh }) })
    const changes = new ReceiveChanges(blocks, { peerServer: peer })
    const { from, to, shortage } = await this.#exchange.receive(changes)
    this.#options.onAdmit?.({ ...NOT_JUDGED, changes: to - from, isPaused: shortage !== undefined })
    return shortage
  }

  readonly offerRoom = (): Ack | undefined => this.#admitter?.offerRoom()

  readonly committed = (): Ack | undefined => {
    if (this.#epoch > 0) expectEpoch(this.#stage.hub.ledger, this.#epoch)
    return this.#admitter?.arrived()
  }

  // ── What the peer reads ───────────────────────────────────────────────────────────────────────────────────────────

  readonly read: Part['read'] = (place, bytesMax) => {
    const { ledger, feeds } = this.#stage.hub
    if (place.type === 'own') throw new InvariantError('a server sends its log')
    this.#expectReader()
    if (place.type === 'log') return feeds.read(place, bytesMax, this.#peer, this.#exchange.isFromPeer)
    if (place.position === undefined) this.#options.onSnapshot?.()
    return this.#inTurn(() => readSnapshotFeed(ledger, place, bytesMax))
  }

  readonly show: NonNullable<Part['show']> = async (look) => {
    this.#expectReader()
    return this.#inTurn(look)
  }

  /** What reads many rows at once: few do so at a time. */
  #inTurn<Result>(look: () => Promise<Result>): Promise<Result> {
    const { readSnapshot } = this.#gate
    return readSnapshot === undefined ? look() : readSnapshot(look)
  }

  #expectReader(): void {
    if (!this.#gate.mayRead()) throw new TidemarkError('forbidden', 'this session may not read')
  }
}
