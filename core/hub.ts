/**
 * The hub: what the sessions of one ledger share. The feeds they read from, and who is there.
 *
 * Invariants:
 * B2  Of two live sessions of one replica the older one is fenced.
 * B3  A session that has lost its transport is waited for, while it carries out what has come, before another one says what
 *     there is.
 */
import { TidemarkError } from './errors.ts'
import { Feeds } from './feeds.ts'
import type { Ledger } from './ledger.ts'
import type { Link } from './link.ts'
import type { ReplicaId } from './names.ts'
import type { SessionRole } from './session.ts'
import { SharedPast } from './shared-past.ts'

export class Hub {
  readonly ledger: Ledger
  readonly feeds: Feeds
  readonly past: SharedPast = new SharedPast()
  readonly #links = new Map<ReplicaId, Link>()
  readonly #ending = new Set<Link>()

  constructor(ledger: Ledger) {
    this.ledger = ledger
    this.feeds = new Feeds(ledger)
  }

  /** Sessions of replicas that have been met. */
  get links(): ReadonlyMap<ReplicaId, Link> {
    return this.#links
  }

  enter(link: Link): void {
    if (link.peer === undefined) return
    const older = this.#links.get(link.peer)
    this.#links.set(link.peer, link)
    older?.fail(new TidemarkError('replica-fenced', 'a newer session of the same replica has taken over'))
  }

  /** The link has lost its transport, and not yet carried out what came. */
  linger(link: Link): void {
    this.#ending.add(link)
  }

  /** Resolves when the links that linger now have left: those to one peer, or all of them (B3). */
  async othersLeft(peer?: ReplicaId): Promise<void> {
    const waited = [...this.#ending].filter((link) => peer === undefined || link.peer === peer)
    await Promise.all(waited.map((link) => link.left))
  }

  /** Whether a relay with another store than this is here in a post. */
  isManned(post: string, logId: string): boolean {
    for (const { manning } of this.#links.values()) if (manning?.post === post && manning.logId !== logId) return true
    return false
  }

  /** Ends sessions, but for one of them, so that new ones find out what has changed. */
  renew(roles: readonly SessionRole[], error: TidemarkError, but: Link): void {
    for (const link of [...this.#links.values()]) if (link !== but && roles.includes(link.role)) link.fail(error)
  }

  leave(link: Link): void {
    this.#ending.delete(link)
    if (link.peer !== undefined && this.#links.get(link.peer) === link) this.#links.delete(link.peer)
  }
}
