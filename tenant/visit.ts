/**
 * A visit: one principal in one tenant, from admission to the end of its connection. Everything that may stop it is
 * asked here, so that a server asks in one place.
 *
 * Knows: the lease, the seat, the guard, the gate. Must never know: sockets, frames, timers.
 *
 * Invariants:
 * TZ1  The tenant of a visit is its principal's, and never changes.
 * TZ2  `check` is asked before each frame in either direction. After it has said `end`, it says nothing else.
 * TZ3  What a visit holds is given back once, however it ends.
 */
import { type Gate, quotaExceeded, type ReplicaId, type Shortage } from '../core/index.ts'
import type { Authorize, Principal } from './access.ts'
import { createJudge, hasScope, mayReadLog, mayRelay, mayWrite } from './access.ts'
import { type GuardAnswer, revoked, SessionGuard } from './guard.ts'
import type { TenantManager } from './manager.ts'
import type { Lease, OpenTenant } from './open-tenant.ts'
import type { Seat } from './quota.ts'
import { unknownTenant } from './refusal.ts'
import type { Revocation } from './revocation.ts'
import type { Sender } from './traffic.ts'

export interface VisitOptions {
  readonly manager: TenantManager
  readonly principal: Principal
  /** The app's own rule about changes. */
  readonly authorize?: Authorize
  /** Told what that rule threw. */
  readonly onFault?: (error: unknown) => void
}

/** Opens the tenant and takes a seat in it. Throws what the client has to be told. */
export async function openVisit(options: VisitOptions): Promise<Visit> {
  const { manager, principal } = options
  const { revocations } = manager
  if (revocations.isOutlived(principal)) throw unknownTenant()
  if (revocations.has(principal)) throw revoked()
  const lease = await manager.lease(principal.tenant)
  const answer = lease.tenant.connect(principal.subject)
  if (answer.type === 'seated') return new Visit(options, lease, answer.seat)
  lease.release()
  throw quotaExceeded(answer.shortage)
}

export class Visit {
  readonly tenant: OpenTenant
  readonly gate: Gate
  readonly #guard: SessionGuard
  readonly #lease: Lease
  readonly #revocations: TenantManager['revocations']
  readonly #seat: Seat

  /** Use `openVisit`. */
  constructor({ manager, principal, ...rules }: VisitOptions, lease: Lease, seat: Seat) {
    const { tenant } = lease
    const { revocations } = manager
    let replica: ReplicaId | undefined
    const isReplicaRevoked = (): boolean => replica !== undefined && revocations.hasReplica(tenant.name, replica)
    const guard = new SessionGuard(
      principal,
      (whom) => revocations.has(whom) || revocations.isOutlived(whom) || isReplicaRevoked(),
    )
    this.tenant = tenant
    this.#guard = guard
    this.#revocations = revocations
    this.#lease = lease
    this.#seat = seat
    this.gate = {
      mayRead: () => mayReadLog(guard.principal),
      mayWrite: () => hasScope(guard.principal, 'write'),
      mayRelay: () => mayRelay(guard.principal),
      mayMeet: (met) => {
        // One that is not met is refused by the handshake, and has to be told so.
        if (revocations.hasReplica(tenant.name, met)) return false
        replica = met
        return true
      },
      subject: () => (guard.principal.isAnonymous ? undefined : guard.principal.subject),
      readSnapshot: (read) => tenant.seats.inBuild(() => tenant.plan, read),
      mayDefine: (table) => mayWrite(guard.principal, table),
      judge: createJudge({ ...rules, principal: () => guard.principal }),
      weigh: (usage, growth) => tenant.weigh(usage, growth),
    }
  }

  /** Whom it speaks for now. */
  get principal(): Principal {
    return this.#guard.principal
  }

  /** Whose traffic it is. */
  get sender(): Sender {
    return { tenant: this.tenant.name, subject: this.principal.subject, plan: this.tenant.plan }
  }

  /** Why it has to give its seat back, after the plan of its tenant has changed. */
  get overstay(): Shortage | undefined {
    return this.tenant.seats.overstay(this.tenant.plan, this.principal.subject)
  }

  /** When to ask `check` although no frame comes, Unix milliseconds. */
  get dueAtMs(): number {
    return this.#guard.dueAtMs
  }

  /** Whether it may go on. `nowMs`: Unix milliseconds. */
  check(nowMs: number): GuardAnswer {
    const error = this.tenant.end
    return error === undefined ? this.#guard.check(nowMs) : { type: 'end', error }
  }

  /** Goes on under a new token; throws when it is not for the same tenant and subject, or comes too late. */
  renew(principal: Principal, nowMs: number): void {
    this.#guard.renew(principal, nowMs)
  }

  /** Another number after whatever changes what is revoked. */
  get revocationsVersion(): number {
    return this.#revocations.version
  }

  /** What is revoked in its tenant. */
  listRevocations(): readonly Revocation[] {
    return this.#revocations.list(this.tenant.name)
  }

  /** Gives back what it holds. */
  close(): void {
    this.#seat.release()
    this.#lease.release()
  }
}
