/**
 * The door of core: everything an app or another room may use.
 */

export type { Change } from './change.ts'
export { type ClockOrder, type Dot, VectorClock } from './clock.ts'
export {
  CONFLICT_TYPES,
  type Conflict,
  type ConflictField,
  type ConflictSide,
  type ConflictType,
} from './conflict.ts'
export type { ConflictEvent, Decision, JournalEntry, JournalQuery, ReplicaConflicts } from './conflicts.ts'
export { type Increment, increment } from './counter.ts'
export { type Digest, digestRows } from './digest.ts'
export { type DirectLink, syncDirectly } from './direct.ts'
export { ERROR_CODES, type ErrorCode, InvariantError, isTidemarkError, TidemarkError } from './errors.ts'
export type { ExplainedField, ExplainedValue, Explanation } from './explain.ts'
export { decodeFrame, encodeFrame } from './frame.ts'
export { type Gate, type Growth, type Proposal, pausedBy, quotaExceeded, type Shortage, type Usage } from './gate.ts'
export { Hub } from './hub.ts'
export type { Renewal, RenewalReason } from './identity.ts'
export { Ledger } from './ledger.ts'
export { DEFAULT_LIMITS, type Limits, parseLimits } from './limits.ts'
export { Link, type LinkOptions, type Transport } from './link.ts'
export { clientRole } from './link-client.ts'
export type { Role } from './link-part.ts'
export { type Frame, PROTOCOL_MAX, PROTOCOL_MIN, type Resume } from './message.ts'
export { createReplicaId, parseReplicaId, parseTenantName, quote, type ReplicaId, type TenantName } from './names.ts'
export { AUTH_EVENT, FRAME_EVENT, packetParser } from './packet.ts'
export {
  type ConcurrentRow,
  type ConcurrentValue,
  causal,
  counter,
  custom,
  customField,
  type DecideField,
  type DecideRow,
  deleteWins,
  FIELD_POLICIES,
  type FieldPolicy,
  firstWriteWins,
  type Granularity,
  lastWriteWins,
  longestText,
  max,
  min,
  POLICIES,
  type Policy,
  union,
  updateWins,
} from './policy.ts'
export {
  openReplica,
  type RejectedChange,
  Replica,
  type ReplicaOptions,
  type RowEvent,
  type ScanOptions,
  type Table,
  type Written,
} from './replica.ts'
export type { LogQuery, LogStats, ReplicaLog } from './replica-log.ts'
export type { ChangeOp } from './row.ts'
export type { AskForTurn } from './slices.ts'
export type { Store, StoreCommit, StoreCommitResult, StoreEntry, StoreRange } from './store.ts'
export {
  type JournalOptions,
  type RowPatch,
  type RowShape,
  type TableDefinition,
  type TableOptions,
  table,
} from './table.ts'
export { nextTimestamp, timestampToMs } from './timestamp.ts'
export type { Transaction, TransactionTable } from './transaction.ts'
export type { Value } from './value.ts'
export type { RowDifference, VerifyReport } from './verify.ts'
