/**
 * Refusals: what a server says instead of a connection, and whether trying again can help.
 */
import { ERROR_CODES, type ErrorCode, TidemarkError } from '../core/index.ts'

/** The error that a server answered a connection with: `{ code, retryable, retryAfterMs? }`. Unknown codes read as `unavailable`. */
export function readRefusal(message: string, data: unknown): TidemarkError {
  const { code, retryable, ...more } = (data ?? {}) as Readonly<Record<string, unknown>>
  const known = ERROR_CODES.find((each) => each === code)
  return new TidemarkError(known ?? 'unavailable', message, {
    retryable: known === undefined || retryable === true,
    details: { ...more, code, isRemote: true },
  })
}

/** A day: whoever asks for more is wrong, and a timer could not wait for it. */
const WAIT_MS_MAX = 86_400_000

/** How long the server has asked to be left alone, in milliseconds. */
export function askedWaitMs({ retryAfterMs }: Readonly<Record<string, unknown>>): number {
  return typeof retryAfterMs === 'number' && retryAfterMs > 0 ? Math.min(retryAfterMs, WAIT_MS_MAX) : 0
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
  // Whoever took over may go again, and then nobody would sync this replica.
  if (error.code === 'replica-fenced') return true
  if (error.code === 'auth-expired') return hasFreshToken
  return error.details.isRemote === true && PASSING.has(error.code)
}
