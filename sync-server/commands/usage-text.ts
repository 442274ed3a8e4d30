/**
 * Usage as people read it: a table of tenants, or one tenant with everything that is known of what it uses and was refused.
 *
 * Knows: usage as the admin port tells it. Must never know: how it is asked for, what to do about it.
 */
import type { TenantUsage, Traffic } from '../admin/views.ts'
import { adviceOn, filledOf, hintOn, showRate } from './advice.ts'
import { formatColumns, showBytes, showCount, showTime } from './printing.ts'

type Refusals = Readonly<Record<string, number>>

const TITLES = [
  ...['TENANT', 'PLAN', 'STATE', 'ROWS', 'STORED', 'REPLICAS', 'ONLINE', 'CHANGES', 'A MINUTE', 'IN', 'OUT'],
  ...['BEHIND', 'CONFLICTS', 'REFUSED', 'SHARE'],
]

export function usagesToText(usages: readonly TenantUsage[]): string {
  if (usages.length === 0) return 'There is no such tenant.'
  return [formatColumns(TITLES, usages.map(toRow)), ...usages.flatMap(adviceOn)].join('\n')
}

function toRow(usage: TenantUsage): string[] {
  const { tenant, plan, state, stored, connections, traffic, furthestBehind, conflictedRows } = usage
  const [most] = filledOf(usage)
  return [
    tenant,
    plan,
    state,
    stored === undefined ? '?' : showCount(stored.rows.used),
    stored === undefined ? '?' : showBytes(stored.storedBytes.used),
    stored === undefined ? '?' : showCount(stored.replicas.used),
    showCount(connections.used),
    showCount(traffic?.changes ?? 0),
    showCount(traffic?.lastMinute.changes ?? 0),
    showBytes(traffic?.bytesIn ?? 0),
    showBytes(traffic?.bytesOut ?? 0),
    furthestBehind === undefined ? '?' : showCount(furthestBehind?.entries ?? 0),
    conflictedRows === undefined ? '?' : showCount(conflictedRows),
    showRefused(traffic),
    most === undefined ? '' : `${Math.round(most.share * 100)} % of ${most.resource}`,
  ]
}

/** All that was refused of a tenant: changes, sessions and connections. */
export function refusedOf(traffic: Traffic | undefined): number {
  return refusalsOf(traffic).reduce((total, [, codes]) => total + sum(codes), 0)
}

function showRefused(traffic: Traffic | undefined): string {
  const counts = new Map<string, number>()
  for (const [, codes] of refusalsOf(traffic)) {
    for (const [code, count] of Object.entries(codes)) counts.set(code, (counts.get(code) ?? 0) + count)
  }
  const [most] = [...counts].sort(([, left], [, right]) => right - left)
  return most === undefined ? '0' : `${showCount(refusedOf(traffic))} ${most[0]}`
}

function refusalsOf(traffic: Traffic | undefined): readonly (readonly [what: string, codes: Refusals])[] {
  if (traffic === undefined) return []
  const { refusedChanges, failedSessions, refusedConnections } = traffic
  return [
    ['changes', refusedChanges],
    ['sessions', failedSessions],
    ['connections', refusedConnections],
  ]
}

// ── One tenant ──────────────────────────────────────────────────────────────────────────────────────────────────────

export function usageToText(usage: TenantUsage): string {
  return [usagesToText([usage]), '', ...limitLines(usage), ...behindLines(usage), ...refusalLines(usage)].join('\n')
}

function limitLines(usage: TenantUsage): string[] {
  const { plan, stored, connections, bytes, rates, traffic, isOpen, mode } = usage
  const { heldFrames = 0, pauses = 0, lastMinute = { changes: 0, bytes: 0 } } = traffic ?? {}
  const quotas = [...Object.entries(stored ?? {}), ['connections', connections] as const].map(
    ([resource, { used, limit }]) => {
      const show = resource === 'storedBytes' ? showBytes : showCount
      const parts = `log ${showBytes(bytes?.log ?? 0)}, which only grows; rows ${showBytes(bytes?.rows ?? 0)}`
      return [resource, show(used), showRate(limit, show), resource === 'storedBytes' ? parts : '']
    },
  )
  const perSecond = (count: number): number => Math.round(count / 6) / 10
  const held = `${showCount(heldFrames)} frames had to wait`
  const rows = [
    ...quotas,
    ['changes a second', String(perSecond(lastMinute.changes)), showRate(rates.changes, showCount), held],
    ['bytes a second', showBytes(Math.round(lastMinute.bytes / 60)), showRate(rates.bytes, showBytes), ''],
  ]
  const pausing = `Writers found no room ${showCount(pauses)} times; ${showCount(usage.pausedWriters)} wait now.`
  const place = `It is ${isOpen ? 'open' : 'closed'}, in ${mode} stores.`
  return [formatColumns([`PLAN ${plan.toUpperCase()}`, 'USED', 'OF', ''], rows), `${pausing} ${place}`]
}

function behindLines({ tenant, furthestBehind, conflictedRows = 0, traffic }: TenantUsage): string[] {
  const lines: string[] = []
  if (furthestBehind != null) {
    const { replica, entries, lastSeenMs } = furthestBehind
    const seen = lastSeenMs === null ? 'connected' : `last seen ${showTime(lastSeenMs)}`
    lines.push(`Replica ${replica} is furthest behind: ${showCount(entries)} entries, ${seen}.`)
  }
  if (conflictedRows > 0) {
    lines.push(`${showCount(conflictedRows)} rows are in conflict: tidemark tenants conflicts ${tenant}`)
  }
  const arisen = Object.entries(traffic?.conflicts ?? {}).map(([kind, count]) => `${showCount(count)} ${kind}`)
  if (arisen.length > 0) lines.push(`Conflicts since the start: ${arisen.join(', ')}.`)
  return lines
}

function refusalLines({ tenant, traffic }: TenantUsage): string[] {
  const rows = refusalsOf(traffic).flatMap(([what, codes]) =>
    Object.entries(codes).map(([code, count]) => [what, code, showCount(count), hintOn(code, tenant)]),
  )
  return rows.length === 0 ? [] : ['', formatColumns(['REFUSED', 'CODE', 'TIMES', ''], rows)]
}

function sum(counts: Refusals): number {
  return Object.values(counts).reduce((total, each) => total + each, 0)
}
