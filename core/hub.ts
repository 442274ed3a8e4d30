/**
 * The hub: what the sessions of one ledger share. The feeds they read from, and who is there.
 *
 * Invariant B2: of two live sessions of one replica the older one is fenced.
 */
import { TidemarkError } from './errors.ts'
import { Feeds } from './feeds.ts'
import type { Ledger } from './ledger.ts'
import type { Link } from './link.ts'
import type { ReplicaId } from './names.ts'
import { SharedPast } from './shared-past.ts'

export class Hub {
  readonly ledger: Ledger
  readonly feeds: Feeds
  readonly past: SharedPast = new SharedPast()
  readonly #links = new Map<ReplicaId, Link>()

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

  leave(link: Link): void {
    if (link.peer !== undefined && this.#links.get(link.peer) === link) this.#links.delete(link.peer)
  }
}
