/**
 * Advice: what is worth an operator's attention in the usage of a tenant, and what to do about it.
 *
 * Knows: usage as the admin port tells it, the commands that help. Must never know: how it is asked for.
 *
 * Invariant AC1: whatever is refused, held or paused is named with its cause and a way out.
 */
import type { Share, TenantUsage } from '../admin/views.ts'
import { showBytes, showCount } from './printing.ts'

export interface Filled {
  readonly resource: string
  readonly used: number
  readonly limit: number
  readonly share: number
}

/** From here on somebody should do something. */
export const NEAR = 0.8
/** Of its rate: a tenant that sends so much sends more than it may now and then. */
const FAST = 0.8
const SECONDS = 60

/** How much of each quota is used up, the fullest first. */
export function filledOf({ stored, connections }: TenantUsage): Filled[] {
  const shares: readonly (readonly [string, Share])[] = [...Object.entries(stored ?? {}), ['connections', connections]]
  return shares
    .flatMap(([resource, { used, limit }]) => {
      if (limit === null) return []
      return [{ resource, used, limit, share: limit === 0 ? (used > 0 ? 1 : 0) : used / limit }]
    })
    .sort((left, right) => right.share - left.share)
}

export function isNear(usage: TenantUsage): boolean {
  return usage.pausedWriters > 0 || isFast(usage) || filledOf(usage).some(({ share }) => share >= NEAR)
}

/** What cannot wait. */
export function adviceOn(usage: TenantUsage): string[] {
  const { tenant, error, stored, pausedWriters, upstream, rates, traffic } = usage
  if (error !== undefined && stored === undefined) return [`! ${tenant} cannot be looked into: ${error}`]
  const lines = filledOf(usage)
    .filter(({ share }) => share >= NEAR)
    .map(({ resource, used, limit }) => {
      return `! ${tenant} has used ${showCount(used)} of ${showCount(limit)} ${resource}: ${wayOutOf(resource, usage)}`
    })
  if (pausedWriters > 0) {
    const why = lines.length > 0 ? 'what they write needs more than is left' : 'tidemark tenants replicas shows who'
    lines.push(`! ${tenant} has writers that wait for room (${showCount(pausedWriters)}): ${why}`)
  }
  if (isFast(usage)) {
    const { changes, bytes } = traffic?.lastMinute ?? { changes: 0, bytes: 0 }
    const sent = `${showCount(Math.round(changes / SECONDS))} changes and ${showBytes(Math.round(bytes / SECONDS))} a second`
    const may = `${showRate(rates.changes, showCount)} and ${showRate(rates.bytes, showBytes)}`
    lines.push(
      `! ${tenant} sends as fast as its plan lets it, ${sent} of ${may}: others do not wait for it; ${larger(tenant)}`,
    )
  }
  if (upstream !== undefined && upstream.state !== 'live') {
    const { url, lagUp, lastError } = upstream
    lines.push(
      `! ${tenant} does not reach its upstream ${url} (${lastError ?? 'no error'}): ${showCount(lagUp)} entries wait`,
    )
  }
  if (upstream?.pause != null) {
    const { resource, used, limit } = upstream.pause
    lines.push(
      `! ${tenant} is full at its upstream: ${showCount(used)} of ${showCount(limit)} ${resource}; make room there`,
    )
  }
  return lines
}

export function wayOutOf(resource: string, { tenant, bytes }: TenantUsage): string {
  switch (resource) {
    case 'rows':
      return `its users delete, or ${larger(tenant)}`
    case 'storedBytes':
      return `${larger(tenant)}; deletes give back no bytes, ${showBytes(bytes?.log ?? 0)} are its log`
    case 'connections':
      return `${larger(tenant)}, or see who is connected (tidemark tenants replicas ${tenant})`
    default:
      return larger(tenant)
  }
}

/** A refusal code as operators meet it, with the resource where a quota is used up. */
export function hintOn(refusal: string, tenant: string): string {
  const [code, resource] = refusal.split(' ')
  switch (code) {
    case 'clock-skew':
      return `a clock is ahead; REFUSED and AHEAD of \`tidemark tenants replicas ${tenant}\` show whose. Nothing is lost`
    case 'quota-exceeded':
      if (resource === 'connections') return `too many at once for its plan; ${larger(tenant)}`
      if (resource === undefined) return `it has as many replicas as its plan lets it have; ${larger(tenant)}`
      return `more devices of one person at once than its plan lets in; \`tidemark tenants replicas ${tenant}\` shows whose`
    case 'rate-limited':
      return 'more was sent than its plan lets wait; a larger plan, or an app that sends less'
    case 'forbidden':
      return 'a token without the scope or table for what was tried, or the rule of the app (authorize) said no'
    case 'revoked':
      return `see \`tidemark tenants revocations ${tenant}\``
    case 'auth-expired':
      return 'apps whose tokens ran out and were not renewed'
    case 'schema-mismatch':
      return `apps of two versions; see \`tidemark tenants tables ${tenant}\``
    case 'dot-conflict':
    case 'replica-cloned':
    case 'replica-restored':
      return 'stores that were copied or restored; they go on under new ids by themselves, unless they come again and again'
    case 'bad-frame':
      return 'a foreign program, a broken proxy, or a bug'
    case 'unavailable':
      return 'its store, or a move; see the log'
    default:
      return 'see docs/errors.md'
  }
}

function isFast({ rates, traffic }: TenantUsage): boolean {
  const { changes, bytes } = traffic?.lastMinute ?? { changes: 0, bytes: 0 }
  const isOver = (sent: number, limit: number | null): boolean => limit !== null && sent / SECONDS >= limit * FAST
  return (traffic?.heldFrames ?? 0) > 0 && (isOver(changes, rates.changes) || isOver(bytes, rates.bytes))
}

function larger(tenant: string): string {
  return `a larger plan (tidemark tenants plan ${tenant} PLAN)`
}

export function showRate(limit: number | null, show: (value: number) => string): string {
  return limit === null ? 'no limit' : show(limit)
}
