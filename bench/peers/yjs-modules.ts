/**
 * One copy of Yjs for all. The server of y-websocket is CommonJS, and Yjs refuses documents of another copy of
 * itself, so everything that touches a document is loaded with `require`.
 */
import { createRequire } from 'node:module'
import type * as HocuspocusClient from '@hocuspocus/provider'
import type * as HocuspocusServer from '@hocuspocus/server'
import type * as SyncProtocol from 'y-protocols/sync'
import type * as YWebsocket from 'y-websocket'
import type * as Yjs from 'yjs'

const require = createRequire(import.meta.url)

export const Y = require('yjs') as typeof Yjs
export const { readSyncMessage, writeSyncStep1 } = require('y-protocols/sync') as typeof SyncProtocol

export type YWebsocketServer = {
  readonly setupWSConnection: (socket: object, request: object) => void
  readonly getYDoc: (name: string) => Yjs.Doc
}
export const loadYWebsocketServer = (): YWebsocketServer => require('y-websocket/bin/utils')
export const loadYWebsocket = (): typeof YWebsocket => require('y-websocket')
export const loadHocuspocusServer = (): typeof HocuspocusServer => require('@hocuspocus/server')
export const loadHocuspocusClient = (): typeof HocuspocusClient => require('@hocuspocus/provider')
