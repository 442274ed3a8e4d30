/**
 * Plans: what a schedule consists of. A plan is data: it can be printed, kept, shortened and run again.
 *
 * Knows: words for topologies, work and faults. Must never know: how any of it is carried out.
 */
import type { Value } from '../../core/value.ts'
import type { TableRules } from './history.ts'

export interface TablePlan extends TableRules {
  readonly name: string
}

export interface PlanOptions {
  readonly seed: string
  /**
   * `star`: a server and its clients. `mesh`: replicas that admit for themselves. `relays`: a server, relays in a tree below it, and
   * clients at each.
   */
  readonly topology: 'star' | 'mesh' | 'relays'
  readonly tenants: readonly string[]
  /** Clients of each tenant; in a mesh, its replicas. */
  readonly clients: number
  /** Mesh: who dials whom, by number. */
  readonly edges: readonly (readonly [from: number, to: number])[]
  /** Relays: the upstream of each, by number; −1 is the server. */
  readonly upstreams?: readonly number[]
  /** Relays: where each client begins, by number; −1 is the server. */
  readonly homes?: readonly number[]
  /** Machines that speak version 1 of the protocol only. */
  readonly old?: readonly string[]
  readonly tables: readonly TablePlan[]
  readonly durationMs: number
  /** Newcomers get a snapshot and not the whole log. */
  readonly hasSnapshots: boolean
  /** Servers refuse about one change in so many; `isMoody`: not always the same ones; `isCommon`: all of them the same ones. */
  readonly judge: { readonly oneIn: number; readonly isMoody: boolean; readonly isCommon?: boolean } | undefined
  readonly network: { readonly latencyMs: number; readonly jitterMs: number; readonly bandwidth: number }
  readonly disk: { readonly flushMs: number; readonly slowReads: number; readonly readMs: number }
  /** Bytes under way in each direction of a session. */
  readonly creditBytes: number
  /** Every connection breaks after so many bytes in a direction, until all replicas are equal. */
  readonly lineBytes?: number
  /** Who hears that its store was restored or copied goes on under a new id; otherwise it stays away. */
  readonly renews?: boolean
  /** How likely a process waits between two pieces of work; not at all: 0 or undefined. */
  readonly turnWait?: number
  /** Values are filled up to so many characters. */
  readonly valueLength?: number
}

export interface PlannedOp {
  readonly kind: 'insert' | 'update' | 'upsert' | 'delete'
  readonly table: string
  readonly row: string
  readonly values: Readonly<Record<string, Value>>
}

/** The work that apps do. */
export type WorkEvent =
  | { readonly type: 'write'; readonly node: string; readonly op: PlannedOp }
  | { readonly type: 'transaction'; readonly node: string; readonly ops: readonly PlannedOp[] }
  /** Reads a row and writes what it found, in one transaction. */
  | { readonly type: 'rewrite'; readonly node: string; readonly op: PlannedOp }
  | { readonly type: 'read'; readonly node: string; readonly table: string; readonly row: string }
  | { readonly type: 'settle'; readonly node: string }
  /** Takes back about one in so many of its changes that wait for room, now or when it is paused next. */
  | { readonly type: 'withdraw'; readonly node: string; readonly oneIn: number }
  /** A second process on the same store writes. */
  | { readonly type: 'sibling-write'; readonly node: string; readonly op: PlannedOp }
  /** The machine is switched on for the first time. */
  | { readonly type: 'join'; readonly node: string }

type Direction = 'up' | 'down'

/** What happens to a process, and to the identity that lives on its disk. */
export type ProcessFault =
  | { readonly type: 'crash'; readonly node: string; readonly downMs: number; readonly isSilent: boolean }
  | { readonly type: 'pause'; readonly node: string; readonly forMs: number }
  | { readonly type: 'back-up'; readonly node: string }
  /** The store comes from its backup; `isTail`: a recent one, so that only its last commits are lost. */
  | { readonly type: 'restore'; readonly node: string; readonly downMs: number; readonly isTail?: boolean }
  /** The server goes on from its backup, and its operator says so. */
  | { readonly type: 'restore-server'; readonly node: string; readonly downMs: number }
  | { readonly type: 'clone'; readonly node: string; readonly as: string }
  | { readonly type: 'vanish'; readonly node: string; readonly downMs: number }

export type NetworkFault =
  | { readonly type: 'cut'; readonly node: string; readonly lateMs: number }
  | { readonly type: 'cut-after'; readonly node: string; readonly direction: Direction; readonly bytes: number }
  | { readonly type: 'clog'; readonly node: string; readonly direction: Direction; readonly forMs: number }
  | { readonly type: 'one-way'; readonly node: string; readonly direction: Direction; readonly forMs: number }
  | { readonly type: 'half-open'; readonly node: string; readonly direction: Direction }
  /** A second connection beside the first. */
  | { readonly type: 'overlap'; readonly node: string }
  /** A client goes to another server of its family; `isHasty`: before it has taken leave of the last one. */
  | { readonly type: 'roam'; readonly node: string; readonly to: string; readonly isHasty: boolean }
  /** A knock at the door of another tenant. */
  | { readonly type: 'stray'; readonly node: string }

/** What happens between several machines. */
export type WideFault =
  | { readonly type: 'partition'; readonly nodes: readonly string[]; readonly forMs: number }
  | { readonly type: 'storm'; readonly times: number; readonly everyMs: number }

export type LocalFault =
  /** A server takes nothing but deletes: the tenant is over a quota. */
  /** The server may have so many rows, or for none nothing but deletes is taken. */
  | { readonly type: 'no-room'; readonly node: string; readonly rows?: number; readonly forMs: number }
  | { readonly type: 'disk-full'; readonly node: string; readonly forMs: number }
  | { readonly type: 'disk-fails'; readonly node: string; readonly forMs: number }
  | { readonly type: 'flush-fails'; readonly node: string; readonly isKept: boolean }
  | { readonly type: 'slow-disk'; readonly node: string; readonly factor: number; readonly forMs: number }
  | { readonly type: 'clock-step'; readonly node: string; readonly offsetMs: number }
  | { readonly type: 'clock-drift'; readonly node: string; readonly drift: number }

export type FaultEvent = ProcessFault | NetworkFault | WideFault | LocalFault

export type PlanEvent = (WorkEvent | FaultEvent) & { readonly at: number }

export interface Plan {
  readonly options: PlanOptions
  /** In the order of their times. */
  readonly events: readonly PlanEvent[]
}

const WORK: ReadonlySet<string> = new Set([
  'write',
  'transaction',
  'rewrite',
  'read',
  'settle',
  'withdraw',
  'sibling-write',
  'join',
])

export function isWork(event: PlanEvent): event is WorkEvent & { readonly at: number } {
  return WORK.has(event.type)
}

export const SERVER = 'server'

/** The machine of a relay, or of the server for −1. */
export function serverName(number: number): string {
  return number < 0 ? SERVER : `relay-${number}`
}

/** Whether others are its clients. */
export function isServing(node: string): boolean {
  return node === SERVER || node.startsWith('relay-')
}

/** Whose machine it is: that of a copied disk belongs to whoever has the first. */
export function ownerOf(node: string): string {
  return node.replace(/-twin$/, '')
}

/** The machine of a client, or of a replica in a mesh. */
export function nodeName(tenant: string, number: number): string {
  return `${tenant}-${number}`
}
