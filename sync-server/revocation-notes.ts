/**
 * Revocations on their way to a relay: what is revoked at its upstream counts there as well. They travel as texts beside the
 * session, because a session knows nothing of tokens.
 *
 * Knows: the form of a note, what of ours came from the upstream. Must never know: sockets, sessions.
 *
 * Invariants:
 * RN1  The list of a tenant is told whole, in parts. What we have from the upstream and stands in the list no more is lifted,
 *      also when that happened while this relay did not run. What was revoked here stays.
 * RN2  What an upstream says is checked before it counts, and counts for the relayed tenant only.
 */
import type { TenantName } from '../core/index.ts'
import { laterOf, REVOCATION_TYPES, type Revocation, type RevocationType, type TenantManager } from '../tenant/index.ts'

type Told = readonly [type: RevocationType, name: string, issuedThroughMs: number, untilMs: number]

/** A part of the list. */
export interface RevocationNote {
  readonly revocations: readonly Told[]
  readonly isLast: boolean
}

/** A text of the transport holds 16,384 characters, and a token that names somebody not much more than half of that. */
const NOTE_CHARACTERS = 4_096
/** Of one tenant: more is no list of a server. */
const ENTRIES_MAX = 100_000

export function toNotes(list: readonly Revocation[]): RevocationNote[] {
  const byName = new Map<string, Revocation>()
  for (const entry of list) {
    const key = keyOf(entry)
    const known = byName.get(key)
    byName.set(key, known === undefined ? entry : laterOf(known, entry))
  }
  const told = [...byName.values()].map(({ type, name, issuedThroughMs, untilMs }): Told => {
    return [type, name, issuedThroughMs, untilMs]
  })
  const parts: Told[][] = []
  let left = 0
  for (const each of told) {
    const { length } = JSON.stringify(each)
    if (length > left) {
      parts.push([])
      left = NOTE_CHARACTERS
    }
    parts.at(-1)?.push(each)
    left -= length
  }
  // An empty list is told as well: it lifts what stood in the last one.
  if (parts.length === 0) parts.push([])
  return parts.map((revocations, at) => ({ revocations, isLast: at === parts.length - 1 }))
}

export interface InboxOptions {
  readonly tenant: TenantName
  readonly manager: Pick<TenantManager, 'revoke' | 'liftRevocation' | 'revocations'>
  /** What could not be kept. */
  readonly onFault: (error: unknown) => void
}

/** A relay's side. */
export class RevocationInbox {
  readonly #options: InboxOptions
  #arriving: Revocation[] = []
  #working: Promise<void> = Promise.resolve()

  constructor(options: InboxOptions) {
    this.#options = options
  }

  /** A connection has begun: what another one left unfinished counts for nothing. */
  restart(): void {
    this.#arriving = []
  }

  /** Takes a note of the upstream. Answers with false for what is none (RN2). */
  take(said: Readonly<Record<string, unknown>>): boolean {
    const { revocations, isLast } = said
    if (!Array.isArray(revocations) || this.#arriving.length > ENTRIES_MAX) return false
    for (const told of revocations as readonly unknown[]) {
      const entry = readTold(told, this.#options.tenant)
      if (entry === undefined) return false
      this.#arriving.push(entry)
    }
    if (isLast !== true) return true
    const list = this.#arriving
    this.#arriving = []
    this.#working = this.#working.then(() => this.#apply(list)).catch(this.#options.onFault)
    return true
  }

  /** RN1. */
  async #apply(list: readonly Revocation[]): Promise<void> {
    const { manager, tenant } = this.#options
    const inherited = manager.revocations.list(tenant).filter(({ isInherited = false }) => isInherited)
    const held = new Map(inherited.map((entry) => [keyOf(entry), entry]))
    for (const entry of list) if (!covers(held.get(keyOf(entry)), entry)) await manager.revoke(entry)
    const keys = new Set(list.map(keyOf))
    for (const entry of inherited) if (!keys.has(keyOf(entry))) await manager.liftRevocation(entry)
  }
}

function keyOf({ type, name }: Revocation): string {
  return `${type} ${name}`
}

function covers(held: Revocation | undefined, { issuedThroughMs, untilMs }: Revocation): boolean {
  return held !== undefined && held.issuedThroughMs >= issuedThroughMs && held.untilMs >= untilMs
}

function readTold(told: unknown, tenant: TenantName): Revocation | undefined {
  const [type, name, issuedThroughMs, untilMs] = Array.isArray(told) ? (told as readonly unknown[]) : []
  const known = REVOCATION_TYPES.find((each) => each === type)
  if (known === undefined || typeof name !== 'string' || !isTime(issuedThroughMs) || !isTime(untilMs)) return undefined
  return { type: known, tenant, name, issuedThroughMs, untilMs, isInherited: true }
}

function isTime(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}
