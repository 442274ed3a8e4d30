/**
 * The second door of core: what only servers and their operators do with a ledger. Apps enter by index.ts, and load none of it.
 */
export { type CountedConflict, countConflicts } from './conflict-count.ts'
export { listDefinitions, rememberedTables } from './definitions.ts'
export { becomeRelay } from './family.ts'
export type { Answered } from './link-admitter.ts'
export { relayRole } from './link-relay.ts'
export { serverRole } from './link-server.ts'
export { readingReplica } from './reading.ts'
export { beginEpoch, endRecovery } from './recovery.ts'
export { Redefine } from './redefine.ts'
export { listWriters, notePlace, type WriterQuery } from './writers.ts'
