/**
 * Why a tenant is not served, in the words of whoever asks: clients of theirs, operators of ours.
 *
 * Knows: records, plans. Must never know: stores, sessions.
 *
 * Invariant RF1: a client learns nothing of a tenant that is not served: not whether there is one, nor what failed here.
 */
import { isTidemarkError, quote, type TenantName, TidemarkError } from '../core/index.ts'
import { hasFeature, type Plan } from './plan.ts'
import { hasLeft, isBeingCut, type TenantRecord } from './registry.ts'

/** Undefined when it may be served. */
export function refusalOf(record: TenantRecord | undefined, planOf: (name: string) => Plan): TidemarkError | undefined {
  if (record === undefined || record.state === 'erasing') return unknownTenant()
  if (record.state === 'founding' || record.state === 'arriving') return unavailable(undefined)
  const { departure } = record
  if (departure !== undefined && hasLeft(record)) return moved(departure.address)
  if (record.state === 'suspended') return suspended(record)
  if (isBeingCut(record)) return moving()
  if (hasFeature(planOf(record.plan), 'sync')) return undefined
  return new TidemarkError('forbidden', `the plan ${quote(record.plan)} does not include sync`, {
    remedy: 'Move the tenant to a plan that does',
  })
}

/** Says nothing about whether there is such a tenant, or ever was. */
export function unknownTenant(): TidemarkError {
  return new TidemarkError('forbidden', 'this server does not serve that tenant')
}

export function suspended({ reason }: TenantRecord): TidemarkError {
  return new TidemarkError('forbidden', `the tenant is suspended${reason === '' ? '' : `: ${reason}`}`, {
    remedy: 'Talk to whoever runs the server',
  })
}

export function moving(): TidemarkError {
  return new TidemarkError('unavailable', 'the tenant is being moved to another place', {
    retryable: true,
    remedy: 'Connect again in a moment',
  })
}

export function redefined(): TidemarkError {
  return new TidemarkError('unavailable', 'a table was defined anew', {
    retryable: true,
    remedy: 'Connect again in a moment',
  })
}

function moved(url: string): TidemarkError {
  return new TidemarkError('moved', `the tenant lives on another server: ${url}`, {
    remedy: 'Connect there; with `onMoved` a link does so by itself',
    details: { url },
  })
}

/** What a client is told: that it is our side, and nothing of why. */
export function unavailable(cause: unknown): TidemarkError {
  if (isTidemarkError(cause) && cause.code === 'unavailable') return cause
  return new TidemarkError('unavailable', 'the tenant cannot be opened now', { retryable: true, cause })
}

export function taken(name: TenantName): TidemarkError {
  return new TidemarkError('bad-option', `there is a tenant ${name} already, or a store that was one`, {
    remedy: 'Use another name, erase it first, or adopt its store',
  })
}

export function notNow({ name, state }: TenantRecord): TidemarkError {
  return new TidemarkError('bad-option', `tenant ${name} is ${state}`, { remedy: 'Finish that first' })
}
