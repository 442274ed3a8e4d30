/**
 * Messages: what the two sides of a session say to each other, in every version of the protocol.
 *
 * Knows: what each message says. Must never know: its bytes, or what a session does with it.
 */
import type { Shortage } from './gate.ts'
import type { ReplicaId } from './names.ts'

export const PROTOCOL_MIN = 1
export const PROTOCOL_MAX = 2
/** From this version on servers pass changes on to each other, and a welcome names the family. */
export const RELAYS_SINCE = 2

/** Where a reader stands in the sender's log. */
export type Resume =
  /** A place it was given before: the handshake is O(1). */
  | { readonly type: 'cursor'; readonly logId: string; readonly epoch: number; readonly position: number }
  /** First contact: everything the reader has. */
  | { readonly type: 'clock'; readonly clock: readonly ClockEntry[] }
  /** In the middle of a snapshot: rows up to this one have arrived. */
  | {
      readonly type: 'snapshot'
      readonly logId: string
      readonly epoch: number
      readonly position: number
      readonly table: string
      readonly id: string
    }

export type ClockEntry = readonly [replica: ReplicaId, seq: number]

export interface Hello {
  readonly type: 'hello'
  readonly versions: readonly [min: number, max: number]
  readonly tenant: string
  readonly replica: ReplicaId
  /** True: the peers admit for themselves, and each reads the other's log. */
  readonly isMesh: boolean
  readonly ownSeq: number
  /** Own changes up to here were answered before. */
  readonly ackedSeq: number
  /** Of the last own change; empty without one. */
  readonly fingerprint: Uint8Array
  readonly resume: Resume
  readonly tables: readonly TableRecord[]
  /** A relay's: its own log, which the acceptor is going to read, where that ends, and its post. Since version 2. */
  readonly relay?: RelayLog | undefined
}

/** Name and fingerprint of a table definition. */
export type TableRecord = readonly [name: string, fingerprint: string]

export interface RelayLog {
  readonly logId: string
  readonly epoch: number
  readonly position: number
  /** The name under which it answers; before it has met an upstream it has none. */
  readonly post?: string | undefined
}

export interface Welcome {
  readonly type: 'welcome'
  readonly version: number
  readonly replica: ReplicaId
  readonly logId: string
  readonly epoch: number
  /** The end of the sender's log. */
  readonly position: number
  /** What the sender has of the peer's own changes. */
  readonly yourSeq: number
  /** Of the peer's change `yourSeq`, as the sender has it; empty without one, or when it is void. */
  readonly fingerprint: Uint8Array
  /** The peer's changes above its `ackedSeq` that were refused. */
  readonly refusals: readonly RefusalRecord[]
  /** Where reading starts: this position of the log, or a snapshot. */
  readonly from: { readonly type: 'log'; readonly position: number } | { readonly type: 'snapshot' }
  /** The sender's wall time, Unix milliseconds. */
  readonly time: number
  /** To mesh peers and relays: where the sender stands in the peer's log. */
  readonly resume: Resume | undefined
  /** Since version 2: the log at the root of the servers that pass changes on to each other. */
  readonly family?: string | undefined
  /** To relays: the definitions that count. */
  readonly tables?: readonly TableRecord[] | undefined
  /** To a relay its post; to a client the sender's, where it is not named after its log. */
  readonly post?: string | undefined
}

export type RefusalRecord = readonly [seq: number, code: string]

/** Blocks of the sender's log: positions [from, to). Blocks that the reader wrote itself may be left out. */
export interface Changes {
  readonly type: 'changes'
  readonly from: number
  readonly to: number
  readonly blocks: readonly Uint8Array[]
}

/** Own changes of the sender, for admission. */
export interface Push {
  readonly type: 'push'
  readonly blocks: readonly Uint8Array[]
}

/** Every change of the reader up to `throughSeq` is durable at the sender, but those refused. */
export interface Ack {
  readonly type: 'ack'
  readonly throughSeq: number
  readonly refusals: readonly RefusalRecord[]
  /** There is no room for what follows: it was not looked at, and is to come again after that time. */
  readonly pause: Shortage | undefined
  /** The server's wall time in Unix milliseconds, where a change was refused because of it. */
  readonly time: number | undefined
}

/** The reader has dealt with that many bytes: so many more may be under way. */
export interface Credit {
  readonly type: 'credit'
  readonly bytes: number
}

export interface SnapshotBegin {
  readonly type: 'snapshot-begin'
  /** Where in the log the snapshot began: reading goes on from there afterwards. */
  readonly position: number
  readonly clock: readonly ClockEntry[]
}

/** All rows of a table whose ids lie in (after, through]; `undefined` is the end of the table on that side. */
export interface SnapshotRows {
  readonly type: 'snapshot-rows'
  readonly table: string
  readonly after: string | undefined
  readonly through: string | undefined
  /** The sender's indexes that the rows use. */
  readonly replicas: readonly (readonly [index: number, replica: ReplicaId])[]
  readonly names: readonly (readonly [index: number, name: string])[]
  readonly rows: readonly SnapshotRow[]
}

export interface SnapshotRow {
  readonly id: string
  readonly row: Uint8Array
}

export interface SnapshotEnd {
  readonly type: 'snapshot-end'
}

/** Asks where the end of the peer's log is now. */
export interface Mark {
  readonly type: 'mark'
  readonly token: number
}

export interface Marked {
  readonly type: 'marked'
  readonly token: number
  readonly position: number
}

/** Asks whether the rows of a table with ids in (after, through] are the same there. */
export interface Compare {
  readonly type: 'compare'
  readonly token: number
  readonly table: string
  readonly after: string | undefined
  readonly through: string | undefined
  /** 16 hexadecimal digits over the asker's rows. */
  readonly hash: string
}

export interface Compared {
  readonly type: 'compared'
  readonly token: number
  readonly isSame: boolean
  /** The stretch in parts, in order; empty when it is the same or its rows are sent. */
  readonly parts: readonly RangePart[]
  /** A `snapshot-rows` frame, when the rows are few. */
  readonly chunk: Uint8Array | undefined
}

export interface RangePart {
  readonly through: string | undefined
  readonly hash: string
  readonly rows: number
}

/** Why the sender ends the session. */
export interface Refuse {
  readonly type: 'refuse'
  readonly code: string
  readonly message: string
  readonly retryable: boolean
}

export type Frame =
  | Hello
  | Welcome
  | Changes
  | Push
  | Ack
  | Credit
  | SnapshotBegin
  | SnapshotRows
  | SnapshotEnd
  | Mark
  | Marked
  | Refuse
  | Compare
  | Compared
