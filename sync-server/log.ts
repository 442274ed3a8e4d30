/**
 * The server's log: one JSON object a line, for machines.
 *
 * Invariant G1: no value of a row, no token and no text from outside that is not quoted is ever logged.
 */
import { destination, type Logger, pino } from 'pino'
import { isTidemarkError, quote } from '../core/index.ts'

export type { Logger }

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

export { quote }
