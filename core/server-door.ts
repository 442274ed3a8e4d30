/**
 * The second door of core: what only servers and their operators do with a ledger. Apps enter by index.ts, and load none of it.
 */
export { type CountedConflict, countConflicts } from './conflict-count.ts'
export { listDefinitions, rememberedTables } from './definitions.ts'
export { BecomeRelay, joinFamily } from './family.ts'
export { readingReplica } from './reading.ts'
export { BeginEpoch, EndRecovery } from './recovery.ts'
export { Redefine } from './redefine.ts'
export { findStraggler, listWriters, NotePlace, type Straggler, type WriterQuery } from './writers.ts'
