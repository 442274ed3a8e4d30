/**
 * The greeter of a link that says hello: what it said of itself, and whether the welcome fits that.
 *
 * Knows: hellos and welcomes. Must never know: streams, what follows from a welcome for each role.
 */
import type { Draft, LogCursor } from './draft.ts'
import { checkWelcome, introduce, type Versions } from './handshake.ts'
import { expectIdentity } from './identity.ts'
import type { LedgerState } from './ledger-state.ts'
import { linkClosed, type Stage } from './link-part.ts'
import type { Hello, Welcome } from './message.ts'
import type { ReplicaId } from './names.ts'

export class LinkGreeter {
  readonly #stage: Stage
  readonly #isMesh: boolean
  #hello: Hello | undefined
  #serverOffsetMs = 0

  constructor(stage: Stage, isMesh: boolean) {
    this.#stage = stage
    this.#isMesh = isMesh
  }

  /** Who our hello said that we are. */
  get greetedAs(): ReplicaId | undefined {
    return this.#hello?.replica
  }

  /** What our hello said that we had written. */
  get greetedSeq(): number {
    return this.#hello?.ownSeq ?? 0
  }

  /** How far our hello said that we were answered. */
  get saidAckedSeq(): number {
    return this.#hello?.ackedSeq ?? 0
  }

  /** The peer's wall time minus ours, as of what it said last, in milliseconds. */
  get serverOffsetMs(): number {
    return this.#serverOffsetMs
  }

  hearTime(time: number): void {
    this.#serverOffsetMs = time - this.#stage.now()
  }

  /** Puts together the hello; `more` adds what only some say. */
  async introduce(
    withClock: boolean,
    versions: Versions = this.#stage.versions,
    more: (hello: Hello) => Promise<Hello> = async (hello) => hello,
  ): Promise<Hello> {
    const { hub, tables } = this.#stage
    await hub.othersLeft()
    const hello = await introduce(hub.ledger, hub.past, { isMesh: this.#isMesh, tables, withClock, versions })
    this.#hello = await more(hello)
    return this.#hello
  }

  /** True when a welcome is for us, and this session is not over: its peer is known from now on. */
  async accepts(welcome: Welcome): Promise<boolean> {
    const { hub, link, session, meetPeer } = this.#stage
    await checkWelcome(hub.ledger, welcome, this.greetedSeq, hub.past)
    // Nor may one that is over fence the one that came after it.
    if (link.isOver && hub.links.has(welcome.replica)) link.fail(linkClosed())
    if (session.state === 'closed') return false
    meetPeer(welcome.replica)
    // What an older session still brings would begin again what this one has finished: a snapshot, an answer.
    if (!this.#isMesh) hub.enter(link)
    this.hearTime(welcome.time)
    return true
  }

  /** Keeps how far the peer's log has been read, by whom our hello said that we are. */
  readonly saveCursor = (draft: Draft, cursor: LogCursor): void => {
    this.expectIdentity(draft.state)
    draft.saveCursor(cursor)
  }

  /** Throws when the store has gone on under another id meanwhile. */
  expectIdentity(state: LedgerState): void {
    expectIdentity(state, this.greetedAs)
  }
}
