/**
 * Recovery: a server whose store came from a backup begins a new epoch, and waits for what it lost.
 *
 * What the store lost, its writers still have, and push again under the same dots; other replicas hold it as accepted. So for
 * a time the server refuses nothing that it may have accepted before, and nothing that builds on what is still to come: the
 * writer pauses there instead. See docs/decisions/restored-server.md.
 *
 * Knows: what an epoch is, what may have been lost. Must never know: backups, who restores them.
 *
 * Invariants:
 * V1  No cursor of an earlier epoch counts, and no session of one goes on: either may stand in the part that was lost.
 * V2  An epoch writes under a replica id of its own: clients may hold changes of the old id that its store has lost.
 * V3  A dot that a server has accepted never becomes void, while recovering or later: other replicas hold its content.
 * V4  What a client claims ends nobody's session and renames nobody: clients may lie. It only makes the server wait.
 */
import type { Dot } from './clock.ts'
import { invariant, TidemarkError } from './errors.ts'
import { hasRelatives } from './family.ts'
import type { Shortage } from './gate.ts'
import { hashBytes, hashToText } from './hash.ts'
import type { Job, Ledger } from './ledger.ts'
import type { LedgerState } from './ledger-state.ts'
import { RECOVERY_MS } from './limits.ts'
import type { Hello } from './message.ts'
import { parseReplicaId, type ReplicaId } from './names.ts'
import { note } from './note.ts'
import { packRecord } from './packing.ts'

/** What a pause says is short while changes are missing that a restored server lost. */
export const LOST_CHANGES = 'lost-changes'
/** A writer is told when what it waits for has come; this is for whoever did not hear it. */
const RETRY_MS = 60_000

/** Begins an epoch: for operators, who know that the store came from a backup. */
export function beginEpoch(atMs: number): Job<void> {
  const nowMs = Math.floor(atMs)
  const begin = note((draft) => {
    const { state } = draft
    const { meta } = state
    invariant(meta.authority !== 0, 'only who admits changes begins an epoch')
    // A backup may be restored twice: a mere count would name two epochs alike.
    meta.epoch = Math.max(meta.epoch + 1, nowMs)
    meta.recoveringUntilMs = nowMs + RECOVERY_MS
    meta.replicaId = replicaIdOf(meta.replicaId, meta.epoch)
    state.internReplica(meta.replicaId)
    meta.ownSeq = 0
    meta.ackedSeq = 0
    draft.touchMeta()
  })
  return { ...begin, startsGroup: true }
}

/** Begins to wait without an epoch: a client says that something is missing, and nobody else does (V4). */
export function beginRecovery(atMs: number): Job<void> {
  const nowMs = Math.floor(atMs)
  return note((draft) => {
    if (isRecovering(draft.state, nowMs)) return
    draft.state.meta.recoveringUntilMs = nowMs + RECOVERY_MS
    draft.touchMeta()
  })
}

/** Ends the wait: what is missing is gone, and what builds on it is refused. */
export function endRecovery(): Job<void> {
  return note((draft) => {
    const { meta } = draft.state
    if (meta.recoveringUntilMs === 0) return
    meta.recoveringUntilMs = 0
    draft.touchMeta()
  })
}

/** Another for each epoch of each store, and nobody's otherwise. */
function replicaIdOf(before: ReplicaId, epoch: number): ReplicaId {
  const [left = '', right = ''] = [0, 1].map((half) => hashToText(hashBytes(packRecord([before, epoch, half]))))
  // The form of a UUID of version 8: made of what its maker likes.
  return parseReplicaId(
    `${left.slice(0, 8)}-${left.slice(8, 12)}-8${left.slice(13)}-a${right.slice(1, 4)}-${right.slice(4)}`,
  )
}

/**
 * True when a hello shows that our store lost something, if it is true: its changes were answered beyond what we hold, or its
 * cursor is of this very log and epoch and stands beyond the end. Whoever stands where the log was written over is not told
 * from others, so operators do not rely on it. Who comes from another server of the family may have been answered there.
 */
export function showsLoss(
  { state, durablePosition }: Ledger,
  ourSeq: number,
  { resume, ackedSeq, relay }: Hello,
): boolean {
  const { logId, epoch } = state.meta
  // Who comes without a cursor may be telling of a loss that an earlier epoch began with.
  const isOurs = resume.type === 'clock' ? epoch === 1 : resume.logId === logId && resume.epoch === epoch
  const isBeyond = resume.type !== 'clock' && resume.position > durablePosition
  const isAnswered = ackedSeq > ourSeq && relay === undefined && !hasRelatives(state)
  return isOurs && (isBeyond || isAnswered)
}

/** Sessions of an epoch end with it (V1). */
export function expectEpoch({ state }: Ledger, epoch: number): void {
  if (state.meta.epoch === epoch) return
  throw new TidemarkError(
    'unavailable',
    'the server’s log has begun a new epoch: a new session finds out what it lacks',
    {
      retryable: true,
    },
  )
}

export function isRecovering({ meta }: LedgerState, nowMs: number): boolean {
  return nowMs < meta.recoveringUntilMs
}

/** Why a writer pauses: for a change of another replica, or for what it had itself been answered. */
export function lostChanges(awaited: Dot | undefined, held: number): Shortage {
  return { resource: LOST_CHANGES, limit: awaited?.seq ?? 0, used: held, retryAfterMs: RETRY_MS }
}

/** Said once it has come. */
export function isHere(awaited: Dot | undefined): Shortage {
  return { ...lostChanges(awaited, awaited?.seq ?? 0), retryAfterMs: 0 }
}
