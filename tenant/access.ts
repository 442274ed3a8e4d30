/**
 * Access: whom a session speaks for, and what that lets it do.
 *
 * Knows: scopes, tables, and a rule of the app's own. Must never know: how a principal proved itself, or any socket.
 *
 * Invariants:
 * TA1  Each scope grants itself and nothing else: `read` does not let push, `write` does not let read, and `admin` is
 *      about tenants, not about rows.
 * TA2  Whatever the app's own rule does but answer `true`, the change is refused.
 */
import { type Proposal, quote, type TenantName, TidemarkError } from '../core/index.ts'

/** `relay`: what it passes on of other replicas is taken without judging it again. `admin`: may use the admin port, for its own tenant. */
export const SCOPES = ['read', 'write', 'relay', 'admin'] as const
export type Scope = (typeof SCOPES)[number]

/** Whom a session speaks for. The only place its tenant comes from. */
export interface Principal {
  readonly tenant: TenantName
  /** Who it is within the tenant. */
  readonly subject: string
  /** True: nobody has signed in yet. Its replicas belong to whoever does. */
  readonly isAnonymous?: boolean
  readonly scopes: ReadonlySet<Scope>
  /** The tables it may read and write; undefined: all of them. With some only, it cannot read: the log has all of them. */
  readonly tables: ReadonlySet<string> | undefined
  /** The tables it may write, whatever it may read; undefined: all of them. */
  readonly writeTables: ReadonlySet<string> | undefined
  /** Unix milliseconds; 0 when the token does not say. */
  readonly issuedAtMs: number
  /** Unix milliseconds. */
  readonly expiresAtMs: number
  /** Names the token, so that it can be revoked alone. */
  readonly tokenId: string | undefined
}

export function hasScope(principal: Principal, scope: Scope): boolean {
  return principal.scopes.has(scope)
}

/** Throws `forbidden` without the scope. */
export function expectScope(principal: Principal, scope: Scope): void {
  if (hasScope(principal, scope)) return
  throw new TidemarkError('forbidden', `the token has no ${scope} scope`, {
    remedy: `Ask for a token with the scope ${scope}`,
    details: { scope },
  })
}

export function mayRead(principal: Principal, table: string): boolean {
  return hasScope(principal, 'read') && hasTable(principal, table)
}

export function mayWrite(principal: Principal, table: string): boolean {
  const { writeTables } = principal
  return hasScope(principal, 'write') && hasTable(principal, table) && (writeTables?.has(table) ?? true)
}

/** True when all of the log may be sent to it as it is. */
export function mayReadLog(principal: Principal): boolean {
  return hasScope(principal, 'read') && principal.tables === undefined
}

/** True when changes of others are taken from it: it is trusted with all that `judge` would ask about. */
export function mayRelay(principal: Principal): boolean {
  const { tables, writeTables } = principal
  return hasScope(principal, 'relay') && tables === undefined && writeTables === undefined
}

function hasTable({ tables }: Principal, table: string): boolean {
  return tables === undefined || tables.has(table)
}

// ── Every change ────────────────────────────────────────────────────────────────────────────────────────────────────

/**
 * The app's own rule. Must be synchronous, and a function of what it is given: with several servers on one store it may
 * be asked again for the same change.
 */
export type Authorize = (change: Proposal, principal: Principal, row: Proposal['row']) => boolean

export interface JudgeOptions {
  /** Whom the session speaks for now: a renewed token may say more or less than the first. */
  readonly principal: () => Principal
  readonly authorize?: Authorize
  /** Told what the rule threw, or that it answered with something else than a boolean. */
  readonly onFault?: (error: unknown) => void
}

/** What a session's changes are judged by: `forbidden`, or undefined for one that may go on. */
export function createJudge(options: JudgeOptions): (change: Proposal) => 'forbidden' | undefined {
  const { principal: current, authorize, onFault } = options
  return (change) => {
    const principal = current()
    if (!mayWrite(principal, change.table)) return 'forbidden'
    if (authorize === undefined) return undefined
    try {
      const answer: unknown = authorize(change, principal, change.row)
      if (answer === true) return undefined
      if (answer !== false) throw new TidemarkError('bad-option', `authorize answered ${quote(typeof answer)}`)
    } catch (error) {
      onFault?.(error)
    }
    return 'forbidden'
  }
}
