/**
 * Revocations: tokens that are void before they expire, one by one, all that a subject had, or all of a tenant that was erased,
 * and replicas that nobody may use any more, whatever the token.
 *
 * Knows: names and times. Must never know: where the list is kept, or any session.
 *
 * Invariants:
 * TV1  An entry outlives every token it is about, and not by much: the list is bounded by what is issued.
 * TV2  A full list refuses to take more. It never forgets an entry that still counts.
 * TV3  No tenant fills the list for others: who administers one may revoke there, and has a share of its own.
 * TV4  What the upstream of a relay revokes stands beside what is revoked here, under the same name too: each is lifted alone,
 *      and neither takes the other's room.
 * TV5  A token does not outlive its tenant: it opens none that is registered by the same name later, and learns of none.
 */
import { TidemarkError } from '../core/index.ts'
import type { Principal } from './access.ts'

export const REVOCATION_TYPES = ['token', 'subject', 'replica', 'tenant'] as const
export type RevocationType = (typeof REVOCATION_TYPES)[number]

/** Of a replica: no token that it comes with changes anything. */
export const FOR_EVER: number = Number.MAX_SAFE_INTEGER

export interface Revocation {
  readonly type: RevocationType
  readonly tenant: string
  /** The token's id, the subject, or the replica's id; nothing where it is about the whole tenant. */
  readonly name: string
  /** Of a subject or a tenant: tokens issued up to here are void. Those that are issued later are good. Unix milliseconds. */
  readonly issuedThroughMs: number
  /** Every token that this is about has expired by then. Unix milliseconds. */
  readonly untilMs: number
  /** A relay's: the upstream revoked it, and lifts it. */
  readonly isInherited?: boolean
}

export type RevocationName = Pick<Revocation, 'type' | 'tenant' | 'name' | 'isInherited'>

/** About 20 MB. More than this means that tokens live too long. */
const ENTRIES_MAX = 100_000
/** Of one tenant. Single tokens and lost devices, not a way to manage users. */
const TENANT_ENTRIES_MAX = 1_000

export class Revocations {
  readonly #entriesMax: number
  readonly #tenantEntriesMax: number
  readonly #entries = new Map<string, Revocation>()
  #version = 0

  constructor(entriesMax: number = ENTRIES_MAX, tenantEntriesMax: number = TENANT_ENTRIES_MAX) {
    this.#entriesMax = entriesMax
    this.#tenantEntriesMax = tenantEntriesMax
  }

  /** Another number after each change. */
  get version(): number {
    return this.#version
  }

  get size(): number {
    return this.#entries.size
  }

  /** Throws `too-large` when there is no room for it. To be asked before it is kept anywhere. */
  expectRoom(revocation: RevocationName, nowMs: number): void {
    if (this.#entries.has(revocationKey(revocation))) return
    const { tenant, isInherited = false } = revocation
    this.forget(nowMs)
    const own = this.list(tenant).filter((entry) => !(entry.isInherited ?? false))
    if (!isInherited && own.length >= this.#tenantEntriesMax) {
      throw full(`of tenant ${tenant}`, this.#tenantEntriesMax)
    }
    if (this.#entries.size >= this.#entriesMax) throw full('of all tenants', this.#entriesMax)
  }

  /** Takes effect with the next frame of any session. */
  add(entry: Revocation): void {
    const key = revocationKey(entry)
    const known = this.#entries.get(key)
    const entered = known === undefined ? entry : laterOf(known, entry)
    this.#entries.set(key, entered)
    if (known?.issuedThroughMs !== entered.issuedThroughMs || known.untilMs !== entered.untilMs) this.#version++
  }

  /** Takes one back. Answers whether it was there. */
  lift(revocation: RevocationName): boolean {
    return this.#remove(revocationKey(revocation))
  }

  /** All that there are, to be given to `keepOnly` with what a registry holds. */
  snapshot(): ReadonlySet<Revocation> {
    return new Set(this.#entries.values())
  }

  /** Of the entries that were there before, drops those that others have lifted meanwhile. */
  keepOnly(held: readonly Revocation[], before: ReadonlySet<Revocation>): void {
    const keys = new Set(held.map(revocationKey))
    for (const [key, entry] of this.#entries) if (before.has(entry) && !keys.has(key)) this.#remove(key)
  }

  #remove(key: string): boolean {
    const wasThere = this.#entries.delete(key)
    if (wasThere) this.#version++
    return wasThere
  }

  /** Drops what no token can be about any more. */
  forget(nowMs: number): void {
    for (const [key, { untilMs }] of this.#entries) if (untilMs <= nowMs) this.#entries.delete(key)
  }

  /** Those of one tenant that still count. */
  list(tenant: string): Revocation[] {
    return [...this.#entries.values()].filter((entry) => entry.tenant === tenant)
  }

  hasReplica(tenant: string, replica: string): boolean {
    return this.#find('replica', tenant, replica).length > 0
  }

  has({ tenant, subject, tokenId, issuedAtMs }: Principal): boolean {
    if (tokenId !== undefined && this.#find('token', tenant, tokenId).length > 0) return true
    return this.#find('subject', tenant, subject).some(({ issuedThroughMs }) => issuedAtMs <= issuedThroughMs)
  }

  #find(type: RevocationType, tenant: string, name: string): readonly Revocation[] {
    if (this.#entries.size === 0) return NOTHING
    const [own, inherited] = [false, true].map((isInherited) =>
      this.#entries.get(revocationKey({ type, tenant, name, isInherited })),
    )
    if (own === undefined && inherited === undefined) return NOTHING
    return [own, inherited].filter((entry) => entry !== undefined)
  }

  /** True of a token for an earlier tenant of the same name. */
  isOutlived({ tenant, issuedAtMs }: Principal): boolean {
    // Who says nothing of when is asked about each time that somebody connects: nothing is left of anybody.
    if (issuedAtMs === 0) return false
    return this.#find('tenant', tenant, '').some(({ issuedThroughMs }) => issuedAtMs <= issuedThroughMs)
  }
}

const NOTHING: readonly Revocation[] = []

/** No tenant name holds a slash and no type a caret, so that no two entries share a key. */
export function revocationKey({ type, tenant, name, isInherited = false }: RevocationName): string {
  return `${isInherited ? '^' : ''}${type}/${tenant}/${name}`
}

/** What both say, of entries of one name. */
export function laterOf(left: Revocation, right: Revocation): Revocation {
  return {
    ...right,
    issuedThroughMs: Math.max(left.issuedThroughMs, right.issuedThroughMs),
    untilMs: Math.max(left.untilMs, right.untilMs),
  }
}

function full(whose: string, most: number): TidemarkError {
  return new TidemarkError('too-large', `the list of revocations ${whose} is full, with ${most}`, {
    remedy:
      'Revoke by subject instead of by token, lift what is not needed, or change the key that tokens are signed with',
  })
}
