/**
 * The door of sync-client: a replica's line to its sync server.
 */

export type { Backoff } from './backoff.ts'
export { type ConnectOptions, connect, type SettleOptions, type SyncLink, type VerifyOptions } from './connect.ts'
export type { TokenSource, TransportName } from './connection.ts'
export type { SyncState, SyncStatus } from './status.ts'
