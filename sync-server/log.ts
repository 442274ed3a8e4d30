/**
 * The server's log: one JSON object a line, for machines.
 *
 * Invariant G1: no value of a row, no token and no text from outside that is not quoted is ever logged.
 */
import { destination, pino } from 'pino'
import { isTidemarkError } from '../core/index.ts'

/** What the server writes its log with; pino is one. */
export interface Logger {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
  /** A logger that adds these fields to every line. */
  child(fields: Record<string, unknown>): Logger
}

export function createLogger(level: string): Logger {
  // Written at once: a line that is lost in a crash is the one that mattered.
  return pino({ level, base: null }, destination({ sync: true }))
}

/** An error as fields of a log line. */
export function errorFields(error: unknown): Record<string, unknown> {
  if (isTidemarkError(error)) return { code: error.code, error: quoteLong(error.message) }
  return { error: quoteLong(error instanceof Error ? (error.stack ?? error.message) : String(error)) }
}

/** `quote` keeps 80 characters; messages and stacks of our own may be longer. */
function quoteLong(text: string): string {
  const printable = text.replace(/\p{Cc}/gu, (control) => (control === '\n' ? control : '\ufffd'))
  return printable.length > 2_000 ? `${printable.slice(0, 2_000)}…` : printable
}
