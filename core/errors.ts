/**
 * The one error class for operating failures, and its stable codes.
 *
 * Knows: what went wrong, whether trying again can help, and what to do. Expected outcomes (conflict, duplicate,
 * refusal of one change) are values, never errors; bugs throw `InvariantError` and end a session, not the process.
 */

export const ERROR_CODES = [
  // what the caller handed in
  'bad-value',
  'bad-name',
  'bad-id',
  'bad-tenant',
  'bad-option',
  'too-large',
  'invalid-row',
  'row-exists',
  'row-missing',
  'unknown-table',
  'transaction-conflict',
  'too-many-heads',
  'conflict-unknown',
  'conflict-closed',
  // the log and its cursors
  'truncated',
  'foreign-cursor',
  'not-written-yet',
  // the store
  'store-full',
  'store-failed',
  'store-closed',
  'store-busy',
  'store-foreign',
  // the session
  'bad-frame',
  'protocol-version',
  'forbidden',
  'gap',
  'unknown-context',
  'void-context',
  'dot-conflict',
  'clock-skew',
  'replica-fenced',
  'replica-restored',
  'replica-cloned',
  'server-restored',
  'not-home',
  'schema-mismatch',
  'unauthenticated',
  'auth-expired',
  'revoked',
  'quota-exceeded',
  'rate-limited',
  'unavailable',
  'moved',
  'timeout',
  'offline',
  'closed',
] as const

export type ErrorCode = (typeof ERROR_CODES)[number]

export interface ErrorOptions {
  /** What the reader can do about it. */
  readonly remedy?: string
  /** True when the same call may succeed later without any change. */
  readonly retryable?: boolean
  /** Machine-readable particulars: limits, sizes, names. Never row values. */
  readonly details?: Readonly<Record<string, unknown>>
  readonly cause?: unknown
}

/** An operating failure. `code` is API: it never changes its meaning. */
export class TidemarkError extends Error {
  override readonly name: string = 'TidemarkError'
  readonly code: ErrorCode
  readonly retryable: boolean
  readonly remedy: string | undefined
  /** The message without the remedy. */
  readonly what: string
  readonly details: Readonly<Record<string, unknown>>

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(
      options.remedy === undefined ? message : `${message}. ${options.remedy}`,
      options.cause === undefined ? undefined : { cause: options.cause },
    )
    this.code = code
    this.what = message
    this.retryable = options.retryable ?? false
    this.remedy = options.remedy
    this.details = options.details ?? {}
  }

  /** The same failure with more said about where it happened; `prefix` goes before the message. */
  at(details: Readonly<Record<string, unknown>>, prefix = ''): TidemarkError {
    return new TidemarkError(this.code, prefix + this.what, {
      ...(this.remedy === undefined ? {} : { remedy: this.remedy }),
      retryable: this.retryable,
      details: { ...this.details, ...details },
      cause: this,
    })
  }
}

/** A broken invariant: a bug of ours (or of an adapter), never the caller's fault. */
export class InvariantError extends Error {
  override readonly name: string = 'InvariantError'
}

export function invariant(condition: boolean, what: string): asserts condition {
  if (!condition) throw new InvariantError(`invariant broken: ${what}`)
}

const CODES: ReadonlySet<string> = new Set(ERROR_CODES)

export function isErrorCode(code: string): code is ErrorCode {
  return CODES.has(code)
}

export function isTidemarkError(error: unknown): error is TidemarkError {
  return error instanceof TidemarkError
}
