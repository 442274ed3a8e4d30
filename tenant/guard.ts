/**
 * The guard of a session: whether the one it speaks for may still go on.
 *
 * Asked before every frame, in either direction, and at `dueAtMs` when no frame comes.
 *
 * Knows: a principal, the time, what was revoked. Must never know: frames, sockets, timers.
 *
 * Invariants:
 * TG1  60 s before its token expires the session is warned, once for each token. From 5 s after that time on, nothing is
 *      let through.
 * TG2  A renewed token keeps tenant and subject. What it may do can change with it.
 * TG3  An end is final: a session that has expired or was revoked is not renewed, it connects anew.
 */
import { TidemarkError } from '../core/index.ts'
import type { Principal } from './access.ts'

export type GuardState = 'fresh' | 'warned' | 'expired' | 'revoked'

export type GuardAnswer =
  | { readonly type: 'pass' }
  /** Pass, and tell the peer. */
  | { readonly type: 'warn'; readonly expiresAtMs: number }
  | { readonly type: 'end'; readonly error: TidemarkError }

export const EXPIRY_WARNING_MS = 60_000
export const EXPIRY_GRACE_MS = 5_000

const PASS: GuardAnswer = { type: 'pass' }

export class SessionGuard {
  readonly #isRevoked: (principal: Principal) => boolean
  #principal: Principal
  #state: GuardState = 'fresh'

  constructor(principal: Principal, isRevoked: (principal: Principal) => boolean) {
    this.#principal = principal
    this.#isRevoked = isRevoked
  }

  /** Whom the session speaks for now. */
  get principal(): Principal {
    return this.#principal
  }

  get state(): GuardState {
    return this.#state
  }

  /** When to ask although no frame has come, Unix milliseconds; `Infinity` after the end. */
  get dueAtMs(): number {
    const { expiresAtMs } = this.#principal
    if (this.#state === 'fresh') return expiresAtMs - EXPIRY_WARNING_MS
    return this.#state === 'warned' ? expiresAtMs + EXPIRY_GRACE_MS : Number.POSITIVE_INFINITY
  }

  /** `nowMs`: Unix milliseconds. */
  check(nowMs: number): GuardAnswer {
    const { expiresAtMs } = this.#principal
    if (this.#isOpen() && this.#isRevoked(this.#principal)) this.#state = 'revoked'
    if (this.#isOpen() && nowMs >= expiresAtMs + EXPIRY_GRACE_MS) this.#state = 'expired'
    switch (this.#state) {
      case 'revoked':
        return { type: 'end', error: revoked() }
      case 'expired':
        return { type: 'end', error: expired() }
      case 'warned':
        return PASS
      case 'fresh':
        if (nowMs < expiresAtMs - EXPIRY_WARNING_MS) return PASS
        this.#state = 'warned'
        return { type: 'warn', expiresAtMs }
    }
  }

  /** Goes on under a new token. Throws, and goes on as before, when it is not for the same tenant and subject. */
  renew(principal: Principal, nowMs: number): void {
    const answer = this.check(nowMs)
    if (answer.type === 'end') throw answer.error
    if (principal.tenant !== this.#principal.tenant || principal.subject !== this.#principal.subject) {
      throw new TidemarkError('forbidden', 'the new token is for another tenant or subject', {
        remedy: 'Connect anew with it',
      })
    }
    if (this.#isRevoked(principal)) throw revoked()
    if (nowMs >= principal.expiresAtMs) throw expired()
    this.#principal = principal
    this.#state = 'fresh'
  }

  #isOpen(): boolean {
    return this.#state === 'fresh' || this.#state === 'warned'
  }
}

export function revoked(): TidemarkError {
  return new TidemarkError('revoked', 'the token or replica was revoked', {
    remedy: 'Sign in again; a revoked replica begins with an empty store',
  })
}

function expired(): TidemarkError {
  return new TidemarkError('auth-expired', 'the token has expired', { remedy: 'Ask for a new one, and connect anew' })
}
