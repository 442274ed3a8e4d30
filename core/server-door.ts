/**
 * The second door of core: what only servers and their operators do with a ledger. Apps enter by index.ts, and load none of it.
 */
export {
  type Answer,
  type Ask,
  type ComparedRow,
  type DifferingRow,
  differingRows,
  findDiffering,
} from './comparison.ts'
export { type CountedConflict, countConflicts } from './conflict-count.ts'
export { listDefinitions, rememberedTables } from './definitions.ts'
export { becomeRelay } from './family.ts'
export { readCursor } from './handshake.ts'
export type { Answered } from './link-admitter.ts'
export { relayRole } from './link-relay.ts'
export { serverRole } from './link-server.ts'
export { readingReplica } from './reading.ts'
export { beginEpoch, endRecovery } from './recovery.ts'
export { Redefine } from './redefine.ts'
export { parseTableFingerprint } from './table.ts'
export { askLedger, joinStretch, tablesWithRows } from './verify.ts'
export { findStraggler, listWriters, notePlace, type Straggler, type WriterQuery } from './writers.ts'
