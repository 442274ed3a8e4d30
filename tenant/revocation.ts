/**
 * Revocations: tokens that are void before they expire, one by one, all that a subject had, or all of a tenant that was erased,
 * and replicas that nobody may use any more, whatever the token.
 *
 * Knows: names and times. Must never know: where the list is kept, or any session.
 *
 * Invariants:
 * TV1  An entry outlives every token it is about, and not by much: the list is bounded by what is issued.
 * TV2  A full list refuses to take more. It never forgets an entry that still counts.
 * TV4  A token does not outlive its tenant: it opens none that is registered by the same name later, and learns of none.
 * TV3  No tenant fills the list for others: who administers one may revoke there, and has a share of its own.
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
}

export type RevocationName = Pick<Revocation, 'type' | 'tenant' | 'name'>

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
  expectRoom({ type, tenant, name }: RevocationName, nowMs: number): void {
    if (this.#entries.has(keyOf(type, tenant, name))) return
    this.forget(nowMs)
    if (this.list(tenant).length >= this.#tenantEntriesMax) throw full(`of tenant ${tenant}`, this.#tenantEntriesMax)
    if (this.#entries.size >= this.#entriesMax) throw full('of all tenants', this.#entriesMax)
  }

  /** Takes effect with the next frame of any session. */
  add(entry: Revocation): void {
    const key = keyOf(entry.type, entry.tenant, entry.name)
    const known = this.#entries.get(key)
    const entered = known === undefined ? entry : laterOf(known, entry)
    this.#entries.set(key, entered)
    if (known?.issuedThroughMs !== entered.issuedThroughMs || known.untilMs !== entered.untilMs) this.#version++
  }

  /** Takes one back. Answers whether it was there. */
  lift({ type, tenant, name }: RevocationName): boolean {
    return this.#remove(keyOf(type, tenant, name))
  }

  /** All that there are, to be given to `keepOnly` with what a registry holds. */
  snapshot(): ReadonlySet<Revocation> {
    return new Set(this.#entries.values())
  }

  /** Of the entries that were there before, drops those that others have lifted meanwhile. */
  keepOnly(held: readonly Revocation[], before: ReadonlySet<Revocation>): void {
    const keys = new Set(held.map(({ type, tenant, name }) => keyOf(type, tenant, name)))
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
    return this.#entries.size > 0 && this.#entries.has(keyOf('replica', tenant, replica))
  }

  has({ tenant, subject, tokenId, issuedAtMs }: Principal): boolean {
    if (this.#entries.size === 0) return false
    if (tokenId !== undefined && this.#entries.has(keyOf('token', tenant, tokenId))) return true
    const whole = this.#entries.get(keyOf('subject', tenant, subject))
    return whole !== undefined && issuedAtMs <= whole.issuedThroughMs
  }

  /** True of a token for an earlier tenant of the same name. */
  isOutlived({ tenant, issuedAtMs }: Principal): boolean {
    if (this.#entries.size === 0) return false
    const erased = this.#entries.get(keyOf('tenant', tenant, ''))
    // Who says nothing of when is asked about each time that somebody connects: nothing is left of anybody.
    return erased !== undefined && issuedAtMs > 0 && issuedAtMs <= erased.issuedThroughMs
  }
}

/** No tenant name holds a slash, so that no two entries share a key. */
function keyOf(type: Revocation['type'], tenant: string, name: string): string {
  return `${type}/${tenant}/${name}`
}

function laterOf(left: Revocation, right: Revocation): Revocation {
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
