/**
 * The door of sync-server: the sync server as part of a Node program.
 */

export type { Handshake, Principal } from './admission.ts'
export type { Logger } from './log.ts'
export type { ServerOptions } from './options.ts'
export { createSyncServer, type SyncServer } from './server.ts'
export type { OpenTenantInfo } from './tenants.ts'
