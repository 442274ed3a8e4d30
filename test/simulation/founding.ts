/**
 * Founding a store by hand, so that ids come from the seed and not from the machine's randomness.
 *
 * The only place of the simulator that writes what core usually writes itself: the first commit of a new ledger.
 */
import { createMeta, LedgerState } from '../../core/ledger-state.ts'
import { DEFAULT_LIMITS } from '../../core/limits.ts'
import { parseTenantName, type ReplicaId } from '../../core/names.ts'
import type { StoreCommit } from '../../core/store.ts'
import type { Random } from './random.ts'

export interface Founding {
  readonly tenant: string
  /** `self`: the replica admits for itself. */
  readonly authority: 'server' | 'self'
  /** How many changes the log says it held before: with many, newcomers get a snapshot. */
  readonly pastChanges: number
}

export function foundStore({ tenant, authority, pastChanges }: Founding, random: Random): StoreCommit {
  const meta = createMeta(parseTenantName(tenant), authority === 'self' ? 1 : 0)
  meta.logId = random.uuid()
  meta.replicaId = random.uuid() as ReplicaId
  meta.changes = pastChanges
  const state = new LedgerState(meta, DEFAULT_LIMITS)
  const index = state.internReplica(meta.replicaId)
  return { expectedHead: 0, puts: [state.metaEntry(), state.replicaEntry(index)], deletes: [] }
}
