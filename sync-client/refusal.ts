/**
 * Refusals: what a server says instead of a connection, and whether trying again can help.
 */
import { ERROR_CODES, type ErrorCode, TidemarkError } from '../core/index.ts'

/** The error that a server answered a connection with: `{ code, retryable }`. Unknown codes read as `unavailable`. */
export function readRefusal(message: string, data: unknown): TidemarkError {
  const { code, retryable } = (data ?? {}) as { readonly code?: unknown; readonly retryable?: unknown }
  const known = ERROR_CODES.find((each) => each === code)
  return new TidemarkError(known ?? 'unavailable', message, {
    retryable: known === undefined || retryable === true,
    details: { code, isRemote: true },
  })
}

/** States of the other side that pass, whatever the error itself says about the call that met them. */
const PASSING: ReadonlySet<ErrorCode> = new Set([
  'unavailable',
  'timeout',
  'offline',
  'closed',
  'store-closed',
  'store-failed',
  'store-full',
  'store-busy',
])

/**
 * Whether the same replica may get through later, with nothing changed on our side. `hasFreshToken`: the next attempt
 * brings another token.
 */
export function mayRetry(error: TidemarkError, hasFreshToken: boolean): boolean {
  if (error.retryable || error.code === 'unavailable') return true
  if (error.code === 'auth-expired') return hasFreshToken
  return error.details.isRemote === true && PASSING.has(error.code)
}
