/**
 * Parts: what a link does because of its role. Whoever opens a link hands its part in, so that what takes part as a client
 * carries nothing of what servers do.
 *
 * Knows: what a link asks of its part, and what it lends to it. Must never know: any of the parts.
 */
import type { Change } from './change.ts'
import { TidemarkError } from './errors.ts'
import type { Shortage } from './gate.ts'
import type { Tables, Versions } from './handshake.ts'
import type { Hub } from './hub.ts'
import type { Incoming } from './inflow.ts'
import type { Link } from './link.ts'
import type { LinkReader } from './link-reader.ts'
import type { Ack, Hello, Welcome } from './message.ts'
import type { ReplicaId } from './names.ts'
import type { Feed, FeedPlace, StreamGoal } from './outflow.ts'
import type { Manning } from './posts.ts'
import type { Session, SessionRole } from './session.ts'

/** What a link lends to its part. */
export interface Stage {
  readonly link: Link
  readonly hub: Hub
  readonly session: Session
  readonly tables: Tables
  readonly versions: Versions
  /** Wall time in Unix milliseconds. */
  readonly now: () => number
  /** From now on the link is one with this peer. */
  readonly meetPeer: (peer: ReplicaId) => void
  /** Asks the peer to say when it has dealt with all we send up to there: `marked` of the part hears of it. */
  readonly askMark: (goal: StreamGoal) => number
  /** Our stream goes back to a place, and waits there until there is room. */
  readonly hold: (place: FeedPlace, pause: Shortage) => void
}

/** What a link is opened with: which part it has in the session. */
export interface Role {
  /** At the beginning: a server hears in the hello whether it is an upstream. */
  readonly name: SessionRole
  readonly isInitiator: boolean
  readonly open: (stage: Stage) => Part
}

/** Who says hello. */
export interface Initiating {
  /** Puts together the hello. `withClock`: the cursor was of no use to the peer. */
  readonly introduce: (withClock: boolean) => Promise<Hello>
  /** Takes what a welcome says, and lets the session begin, or fail. */
  readonly takeWelcome: (welcome: Welcome) => Promise<void>
  /** The peer's wall time minus ours, as far as it is known, in milliseconds. */
  readonly serverOffsetMs: () => number
}

/** Who answers a hello: lets the session accept it, or throws what it has to end with. */
export type Accepting = (hello: Hello, nowMs: number) => Promise<void>

export interface Part {
  readonly initiating?: Initiating
  readonly accepting?: Accepting
  /** What comes from the peer's log. */
  readonly reader: LinkReader
  /** While it is true, our log grows by what the peer need not be sent. */
  readonly isReceiving?: boolean
  /** The next piece of our stream. */
  readonly read: (place: FeedPlace, bytesMax: number) => Feed | Promise<Feed>
  /** Carries out messages of one kind that only some roles are sent. Answers with what the peer is told. */
  readonly take: (messages: readonly Incoming[]) => Promise<Ack | undefined>
  /**
   * After each commit. Throws when this session is about a log, an identity or a home that is no longer what it was; answers
   * with what the peer has to hear.
   */
  readonly committed: () => Ack | undefined
  /** Looks at many rows for the peer, when it may and when it is its turn. Default: at once. */
  readonly show?: <Result>(look: () => Promise<Result>) => Promise<Result>
  /** An initiator's: the peer has dealt with all before this mark of ours, and all that it had is here. */
  readonly marked?: (token: number) => Promise<void>
  /** Why the session ends, where the part knows better. */
  readonly explain?: (reason: TidemarkError | undefined) => TidemarkError | undefined
  /** Nothing is carried out any more. */
  readonly end?: () => void

  // ── Of those who bring changes to a server ──────────────────────────────────────────────────────────────────────────

  /** Why the server takes no more for now. */
  readonly pause?: Shortage | undefined
  /** The pause is over. Answers false while it cannot be. */
  readonly resume?: () => boolean
  /** Takes back what waits for room: see `Link.withdraw`. */
  readonly withdraw?: (choose: (change: Change) => boolean) => Promise<readonly Change[]>

  // ── Of servers ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** There may be room now for what the peer had to keep back: what it is told. */
  readonly offerRoom?: () => Ack | undefined
  /** Which post the peer has, with which store. */
  readonly manning?: Manning | undefined
}

export function linkClosed(): TidemarkError {
  return new TidemarkError('closed', 'the link closed', { retryable: true })
}
