/**
 * The writing side of a link: own changes on their way to the server that answers them.
 *
 * Knows: what may be pushed where, what an answer does here. Must never know: transports, what comes from other replicas.
 *
 * Invariants:
 * N5  Before a change is sent to a home, it is durable that some may have been.
 */
import { TakeAnswer } from './answer.ts'
import type { VoidCode } from './block.ts'
import type { Change } from './change.ts'
import type { TidemarkError } from './errors.ts'
import { beginPushing, endPushing, expectHome, isPushing, type Relation, takeHome } from './family.ts'
import type { Shortage } from './gate.ts'
import { answerOf } from './handshake.ts'
import type { Hub } from './hub.ts'
import type { LinkGreeter } from './link-greeter.ts'
import type { Ack, RefusalRecord, Welcome } from './message.ts'
import type { Feed, FeedPlace } from './outflow.ts'
import { ReissueSkewed } from './reissue.ts'
import { Withdraw } from './withdraw.ts'

/** A clock that goes on jumping while its changes are issued again has to wait for the next session. */
const REISSUES_MAX = 8

export interface WriterOptions {
  readonly hub: Hub
  readonly greeter: LinkGreeter
  /** The server's wall time in Unix milliseconds, as far as it is known. */
  readonly serverNow: () => number
}

export class LinkWriter {
  readonly #options: WriterOptions
  /** The server that answers. */
  #home: Relation | undefined
  /** Which pushing to its home this session has begun, and how far it has come. */
  #pushing: number | undefined
  #offeredSeq = 0
  /** Changes may be due to be issued again, and how often some were without one that was accepted. */
  #mayReissue = false
  #reissues = 0
  #pause: Shortage | undefined
  #withdrawals = 0

  constructor(options: WriterOptions) {
    this.#options = options
  }

  /** Why the server takes nothing more for now. */
  get pause(): Shortage | undefined {
    return this.#pause
  }

  /** Answers false while something is being taken back: until that is durable, it would be pushed as it was (WD3). */
  resume(): boolean {
    if (this.#withdrawals > 0) return false
    this.#pause = undefined
    return true
  }

  /** Takes back what waits for room: see `Link.withdraw`. Not once the pause is over, or `isOpen` says that the session is. */
  async withdraw(choose: (change: Change) => boolean, isOpen: () => boolean): Promise<readonly Change[]> {
    const pause = this.#pause
    const isPaused = (): boolean => pause !== undefined && this.#pause === pause && isOpen()
    this.#withdrawals++
    try {
      return await this.#options.hub.ledger.submit(new Withdraw(choose, isPaused))
    } finally {
      this.#withdrawals--
    }
  }

  /** True when the server says that it has something else, and may have some of our unanswered changes all the same. */
  isStillShared(error: TidemarkError | undefined): boolean {
    const { hub, greeter } = this.#options
    const { past, ledger } = hub
    const isSaid = error?.code === 'replica-cloned' && error.details.isRemote === true
    if (!isSaid || greeter.greetedSeq === 0) return false
    return past.differs(ledger.state.meta.replicaId, ledger.durableAckedSeq, greeter.greetedSeq)
  }

  /** Takes what a welcome says about our changes. Answers with where our stream starts. */
  async takeWelcome(welcome: Welcome, server: Relation): Promise<FeedPlace> {
    const { hub, greeter } = this.#options
    const { ledger } = hub
    const { throughSeq, refusals } = answerOf(welcome, welcome.yourSeq)
    const answers = ledger.submit(new TakeAnswer(throughSeq, refusals, greeter.greetedAs))
    const answeredSeq = Math.max(greeter.saidAckedSeq, welcome.yourSeq)
    const [, pushing] = await Promise.all([answers, ledger.submit(takeHome(server, answeredSeq))])
    this.#pushing = pushing
    this.#home = server
    this.#mayReissue = ledger.state.meta.rejected > 0
    await this.#reissue()
    // What it does not answer is pushed again, and answered then.
    return { type: 'own', afterSeq: throughSeq }
  }

  /** Throws when another server has become the home meanwhile. */
  expectHome(): void {
    if (this.#home !== undefined) expectHome(this.#options.hub.ledger.state, this.#home)
  }

  /** The next piece of our stream (N5). */
  async read(place: Extract<FeedPlace, { readonly type: 'own' }>, bytesMax: number): Promise<Feed> {
    const { ledger, feeds } = this.#options.hub
    const home = this.#home
    const hasMore = ledger.durableSeqOf(ledger.state.own) > place.afterSeq
    if (hasMore && home !== undefined && !isPushing(ledger.state, this.#pushing)) {
      this.#pushing = await ledger.submit(beginPushing(home))
    }
    const feed = await feeds.readOwn(place.afterSeq, bytesMax)
    if (feed.next.type === 'own') this.#offeredSeq = Math.max(this.#offeredSeq, feed.next.afterSeq)
    return feed
  }

  async takeAck({ throughSeq, refusals, pause, time }: Ack): Promise<void> {
    const { hub, greeter } = this.#options
    await hub.ledger.submit(new TakeAnswer(throughSeq, refusals.map(toRefusal), greeter.greetedAs))
    if (time !== undefined) this.#mayReissue = this.#reissues < REISSUES_MAX
    else this.#reissues = 0
    await this.#reissue()
    if (pause !== undefined) this.#pause = pause
  }

  /** The session is over. */
  end(): void {
    if (!this.#pushing) return
    // When the replica is closed as well, or its store has failed, its next home is only asked more carefully.
    this.#options.hub.ledger.submit(endPushing(this.#pushing, this.#offeredSeq)).catch(() => {})
  }

  /** Once all is answered, what was refused because our clock ran ahead is issued again by the server's. */
  async #reissue(): Promise<void> {
    const { hub, serverNow } = this.#options
    if (!this.#mayReissue || hub.ledger.pending > 0) return
    const count = await hub.ledger.submit(new ReissueSkewed(serverNow()))
    this.#mayReissue = count === undefined
    if (count !== undefined) this.#reissues++
  }
}

function toRefusal([seq, code]: RefusalRecord): { readonly seq: number; readonly code: VoidCode } {
  return { seq, code: code as VoidCode }
}
