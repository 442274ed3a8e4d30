/**
 * The door of sync-server: the sync server as part of a Node program.
 */

export type { Authenticate, Handshake, Identity } from './admission.ts'
export type { AuthOptions } from './auth.ts'
export type { Logger } from './log.ts'
export type { ServerOptions } from './options.ts'
export { createSyncServer, type SyncServer } from './server.ts'
export type { OpenTenantInfo } from './tenancy.ts'
