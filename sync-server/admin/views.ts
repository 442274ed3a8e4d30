/**
 * What an operator sees of a tenant: what it uses of its plan, its replicas, its open conflicts.
 *
 * Knows: ledgers, plans, tallies, connections. Must never know: HTTP.
 *
 * Invariant AV1: looking changes nothing that a tenant holds, and no values of rows are shown: an operator runs the server,
 * and has no business in the rows.
 */

import {
  isTidemarkError,
  type Ledger,
  type TableDefinition,
  type TenantName,
  table,
  type Usage,
} from '../../core/index.ts'
import {
  type CountedConflict,
  listDefinitions,
  listWriters,
  parseTableFingerprint,
  readingReplica,
  rememberedTables,
  type Straggler,
  type WriterQuery,
} from '../../core/server-door.ts'
import type { TenantRecord } from '../../tenant/index.ts'
import type { SessionFigures } from '../connection.ts'
import { standingOf, stragglerOf } from '../standings.ts'
import type { Counts, Passed, RefusedDefinition, Tally } from '../tally.ts'
import type { UpstreamStatus } from '../upstream.ts'
import type { AdminTarget } from './route.ts'

const TENANTS_PAGE = 1_000

/** `limit`: null where the plan sets none. */
export interface Share {
  readonly used: number
  readonly limit: number | null
}

export interface TenantUsage {
  readonly tenant: string
  readonly plan: string
  readonly state: string
  readonly mode: string
  readonly isOpen: boolean
  /** Undefined when the tenant cannot be opened; `error` says why. */
  readonly stored: Readonly<Record<keyof Usage, Share>> | undefined
  /** What `storedBytes` is made of. The log only grows; of rows less is kept when their values are smaller. */
  readonly bytes: { readonly log: number; readonly rows: number } | undefined
  /** Rows that are in conflict. */
  readonly conflictedRows: number | undefined
  /** The replica that is furthest behind, of those that are connected or came within 30 days; null when none is behind. */
  readonly furthestBehind: Behind | null | undefined
  readonly connections: Share
  /** Connected writers that wait for room, or for what was lost. */
  readonly pausedWriters: number
  /** What its plan lets it send in a second; null where it sets no limit. */
  readonly rates: { readonly changes: number | null; readonly bytes: number | null }
  /** Since the server started. */
  readonly traffic: Traffic | undefined
  /** Of a tenant that is relayed. */
  readonly upstream: UpstreamStatus | undefined
  readonly error: string | undefined
}

export interface Behind {
  readonly replica: string
  /** Entries of the log that it was not sent. */
  readonly entries: number
  /** Unix milliseconds; null while it is connected. */
  readonly lastSeenMs: number | null
}

export interface Traffic {
  readonly connections: number
  readonly changes: number
  readonly bytesIn: number
  readonly bytesOut: number
  readonly snapshots: number
  readonly pauses: number
  /** Frames that came faster than the plan or the subject may send, and had to wait. */
  readonly heldFrames: number
  /** In the last minute, or up to ten seconds more. */
  readonly lastMinute: Passed
  readonly conflicts: Readonly<Record<string, number>>
  readonly refusedChanges: Readonly<Record<string, number>>
  readonly failedSessions: Readonly<Record<string, number>>
  readonly refusedConnections: Readonly<Record<string, number>>
}

export async function usageOfTenant(target: AdminTarget, record: TenantRecord): Promise<TenantUsage> {
  const { name, plan, state, mode } = record
  const { quotas } = target.manager.planOf(record)
  const isOpen = target.manager.open.some((tenant) => tenant.name === name)
  const tally = target.tallies.find(name)
  const connections = connectionsOf(target, name)
  return {
    tenant: name,
    plan,
    state,
    mode,
    isOpen,
    ...(await holdingsOf(target, record, connections)),
    connections: shareOf(connections.length, quotas.connections),
    pausedWriters: connections.filter(({ isPaused }) => isPaused).length,
    rates: { changes: limitOf(quotas.changesPerSecond), bytes: limitOf(quotas.bytesPerSecond) },
    traffic: tally && trafficOf(tally),
    upstream: target.upstreamOf(name),
  }
}

type Holdings = Pick<TenantUsage, 'stored' | 'bytes' | 'conflictedRows' | 'furthestBehind' | 'error'>

async function holdingsOf(
  target: AdminTarget,
  record: TenantRecord,
  connections: readonly SessionFigures[],
): Promise<Holdings> {
  const { manager, now } = target
  const { quotas } = manager.planOf(record)
  try {
    return await manager.inspect(record.name, async (ledger) => {
      const { rows, storedBytes, replicas, logBytes, conflictedRows } = standingOf(ledger)
      const straggler = await stragglerOf(record.name, ledger, connections, now())
      return {
        stored: {
          rows: shareOf(rows, quotas.rows),
          storedBytes: shareOf(storedBytes, quotas.storedBytes),
          replicas: shareOf(replicas, quotas.replicas),
        },
        bytes: { log: logBytes, rows: storedBytes - logBytes },
        conflictedRows,
        furthestBehind: furthestBehind(straggler, connections),
        error: undefined,
      }
    })
  } catch (cause) {
    if (!isTidemarkError(cause)) throw cause
    const error = cause.message
    return { stored: undefined, bytes: undefined, conflictedRows: undefined, furthestBehind: undefined, error }
  }
}

function furthestBehind(straggler: Straggler | undefined, connections: readonly SessionFigures[]): Behind | null {
  let furthest: Behind | null = null
  if (straggler !== undefined) {
    const { replica, behind, lastSeenMs } = straggler
    furthest = { replica, entries: behind, lastSeenMs }
  }
  for (const { replica, lag } of connections) {
    if (replica !== undefined && lag > (furthest?.entries ?? 0)) furthest = { replica, entries: lag, lastSeenMs: null }
  }
  return furthest
}

function shareOf(used: number, limit: number): Share {
  return { used, limit: limitOf(limit) }
}

function limitOf(quota: number): number | null {
  return quota === Number.POSITIVE_INFINITY ? null : quota
}

function trafficOf(tally: Tally): Traffic {
  const { connections, changes, bytesIn, bytesOut, snapshots, pauses, heldFrames, lastMinute } = tally
  return {
    ...{ connections, changes, bytesIn, bytesOut, snapshots, pauses, heldFrames, lastMinute },
    conflicts: toRecord(tally.conflicts),
    refusedChanges: toRecord(tally.refusedChanges),
    failedSessions: toRecord(tally.failures),
    refusedConnections: toRecord(tally.refusedConnections),
  }
}

function toRecord(counts: Counts): Readonly<Record<string, number>> {
  return Object.fromEntries(counts.entries())
}

function connectionsOf(target: AdminTarget, tenant: TenantName): readonly SessionFigures[] {
  return target.connections().filter((connection) => connection.tenant === tenant)
}

// ── Plans ───────────────────────────────────────────────────────────────────────────────────────────────────────────

export interface PlanView {
  readonly name: string
  /** False: tenants have it, and nobody defines it; it allows nothing. */
  readonly isKnown: boolean
  readonly features: readonly string[]
  /** Null where it sets no limit. */
  readonly quotas: Readonly<Record<string, number | null>>
  readonly tenants: number
}

/** Those in force, and those that tenants have although nobody defines them. */
export async function listPlans({ manager }: AdminTarget): Promise<PlanView[]> {
  const tenantsByPlan = new Map<string, number>(manager.plans.names.map((name) => [name, 0]))
  for (let after = ''; ; ) {
    const page = await manager.list({ after, limit: TENANTS_PAGE })
    for (const { plan } of page) tenantsByPlan.set(plan, (tenantsByPlan.get(plan) ?? 0) + 1)
    const last = page.at(-1)
    if (last === undefined) break
    after = last.name
  }
  return [...tenantsByPlan].map(([name, tenants]) => {
    const { features, quotas } = manager.plans.get(name)
    const limits = Object.entries(quotas).map(
      ([quota, limit]) => [quota, Number.isFinite(limit) ? limit : null] as const,
    )
    return {
      name,
      isKnown: manager.plans.has(name),
      features: [...features],
      quotas: Object.fromEntries(limits),
      tenants,
    }
  })
}

// ── Replicas ────────────────────────────────────────────────────────────────────────────────────────────────────────

export interface ReplicaView {
  readonly replica: string
  readonly changes: number
  readonly refused: number
  /** By its own clock, Unix milliseconds; null when it has written nothing. */
  readonly lastChangeMs: number | null
  /** Unix milliseconds; null when none of its sessions has ended yet. */
  readonly lastSeenMs: number | null
  /** Whose it is; null while nobody has signed in with it. */
  readonly subject: string | null
  /** Entries of the log that were not sent to it yet; null when that is not known, as after a backup was restored. */
  readonly lag: number | null
  /** Null while it is not connected. */
  readonly session: SessionView | null
}

export interface SessionView {
  readonly subject: string
  readonly tokenId: string | null
  readonly address: string
  readonly sinceMs: number
  /** Entries of the log that were not sent to it yet. */
  readonly lag: number
  /** How far its clock was ahead when it last wrote; null when it has not, or was behind. */
  readonly aheadMs: number | null
  readonly waitingBytes: number
}

export async function listReplicas(
  target: AdminTarget,
  tenant: TenantName,
  query: WriterQuery,
): Promise<ReplicaView[]> {
  const writers = await target.manager.inspect(tenant, (ledger) => listWriters(ledger, query))
  const connections = connectionsOf(target, tenant)
  return writers.map(({ replica, subject, changes, refused, lastChangeMs, lastSeenMs, behind }) => {
    const connection = connections.find((each) => each.replica === replica)
    return {
      replica,
      subject: subject ?? connection?.subject ?? null,
      lag: connection?.lag ?? behind ?? null,
      changes,
      refused,
      lastChangeMs: lastChangeMs ?? null,
      lastSeenMs: connection === undefined ? (lastSeenMs ?? null) : target.now(),
      session: connection === undefined ? null : toSession(connection),
    }
  })
}

function toSession(connection: SessionFigures): SessionView {
  const { subject, tokenId, address, sinceMs, lag, aheadMs, waitingBytes } = connection
  return {
    subject,
    tokenId: tokenId ?? null,
    address,
    sinceMs,
    lag,
    aheadMs: aheadMs > 0 ? aheadMs : null,
    waitingBytes,
  }
}

// ── Definitions of tables ───────────────────────────────────────────────────────────────────────────────────────────

export interface DefinitionView {
  readonly table: string
  /** In force. */
  readonly definition: string
  /** Who told it first; null when it came from an operator or an upstream. */
  readonly replica: string | null
  readonly sinceMs: number | null
  /** The last other one that a replica came with since the server started, and was refused for. */
  readonly refused: RefusedDefinition | null
}

export async function listTables(target: AdminTarget, tenant: TenantName): Promise<DefinitionView[]> {
  const definitions = await target.manager.inspect(tenant, listDefinitions)
  const refused = target.tallies.find(tenant)?.refusedDefinitions
  return definitions.map(({ table: name, text, replica, sinceMs }) => ({
    table: name,
    definition: text,
    replica: replica ?? null,
    sinceMs: sinceMs ?? null,
    refused: refused?.get(name) ?? null,
  }))
}

// ── Conflicts ───────────────────────────────────────────────────────────────────────────────────────────────────────

export interface ConflictView {
  readonly id: string
  readonly type: CountedConflict['type']
  readonly table: string
  readonly row: string
  readonly policy: string
  readonly fields: readonly string[]
  /** When each side was written, Unix milliseconds. */
  readonly timesMs: readonly [number, number]
  readonly replicas: readonly [string, string]
}

/** Those that are open. Who wrote what is for `tidemark conflicts`, on a replica of the tenant. */
export async function listConflicts(target: AdminTarget, tenant: TenantName, limit: number): Promise<ConflictView[]> {
  return target.manager.inspect(tenant, async (ledger) => {
    const views: ConflictView[] = []
    if (limit === 0) return views
    const replica = readingReplica(ledger, await definitionsOf(ledger), target.now)
    for await (const { id, type, table: name, row, policy, fields, sides } of replica.conflicts.open()) {
      const [left, right] = sides
      views.push({
        ...{ id, type, table: name, row, policy },
        fields: fields.map((field) => field.name),
        timesMs: [left.time, right.time],
        replicas: [left.dot.replica, right.dot.replica],
      })
      if (views.length >= limit) break
    }
    return views
  })
}

/** As replicas told them. What an app's own code settles is looked at as the last write wins. */
async function definitionsOf(ledger: Ledger): Promise<ReadonlyMap<string, TableDefinition>> {
  const definitions = new Map<string, TableDefinition>()
  for (const [name, fingerprint] of await rememberedTables(ledger)) {
    definitions.set(name, parseTableFingerprint(fingerprint) ?? table())
  }
  return definitions
}
