/**
 * The second door of core: what only servers and their operators do with a ledger. Apps enter by index.ts, and load none of it.
 */
export { type CountedConflict, countConflicts } from './conflict-count.ts'
export { listDefinitions, rememberedTables } from './definitions.ts'
export { BecomeRelay } from './family.ts'
export type { Answered } from './link-admitter.ts'
export { relayRole } from './link-relay.ts'
export { serverRole } from './link-server.ts'
export { readingReplica } from './reading.ts'
export { BeginEpoch, EndRecovery } from './recovery.ts'
export { Redefine } from './redefine.ts'
export { listWriters, NotePlace, type WriterQuery } from './writers.ts'
