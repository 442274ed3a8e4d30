/**
 * Names and ids: tenants, replicas, tables, fields, rows; each branded, each with the one function that validates it.
 *
 * Knows: what each may look like. Must never know: what they name.
 */
import { v4 } from 'uuid'
import { TidemarkError } from './errors.ts'
import { DEFAULT_LIMITS } from './limits.ts'

export type TenantName = string & { readonly brand: 'tenant' }
/** A UUID in lower case. One linear stream of writes; not a device. */
export type ReplicaId = string & { readonly brand: 'replica' }

const TENANT = /^[a-z0-9][a-z0-9_-]{0,62}$/
const NAME = /^[A-Za-z][A-Za-z0-9_]*$/
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/
/** Keys that reach Object.prototype in careless code, here or in an app. */
const POISONED = new Set(['__proto__', 'constructor', 'prototype'])

export function parseTenantName(text: unknown): TenantName {
  if (typeof text === 'string' && TENANT.test(text)) return text as TenantName
  throw new TidemarkError('bad-tenant', `${quote(text)} is not a tenant name`, {
    remedy: 'Use 1 to 63 of a-z, 0-9, "_" and "-", starting with a letter or digit',
  })
}

export function parseReplicaId(text: unknown): ReplicaId {
  if (typeof text === 'string' && UUID.test(text)) return text as ReplicaId
  throw new TidemarkError('bad-id', `${quote(text)} is not a replica id`, { remedy: 'Use a UUID in lower case' })
}

export function createReplicaId(): ReplicaId {
  return v4() as ReplicaId
}

export function isName(text: string): boolean {
  return text.length <= DEFAULT_LIMITS.nameBytesMax && NAME.test(text) && !POISONED.has(text)
}

/** A table or field name. */
export function parseName(text: unknown, what: 'table' | 'field'): string {
  if (typeof text === 'string' && isName(text)) return text
  throw new TidemarkError('bad-name', `${quote(text)} is not a ${what} name`, {
    remedy: `Use a letter, then letters, digits and "_", ${DEFAULT_LIMITS.nameBytesMax} at most; not ${[...POISONED].join(', ')}`,
  })
}

export function isPoisonedKey(key: string): boolean {
  return POISONED.has(key)
}

/** Text from outside, made safe for a message or a log line. */
export function quote(text: unknown): string {
  let shown = `a value of type ${typeof text}`
  if (typeof text === 'string') shown = JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text)
  else if (text === null) shown = 'null'
  else if (typeof text !== 'object' && typeof text !== 'function') shown = String(text)
  return shown.replace(/[\u007f-\u009f\u2028\u2029]/g, '\ufffd')
}
