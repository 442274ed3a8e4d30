/**
 * How long to wait before the next attempt: exponential backoff with full jitter, so that the clients of a server that
 * comes back are spread evenly instead of arriving in waves (M. Brooker, "Exponential Backoff And Jitter", AWS 2015).
 */
import { TidemarkError } from '../core/index.ts'

export interface Backoff {
  /** The first wait is anything below this. */
  readonly baseMs: number
  /** No wait is longer than this. */
  readonly capMs: number
}

const DEFAULT_BACKOFF: Backoff = {
  // Ten thousand clients that lose their server at once come back at ten a millisecond.
  baseMs: 1_000,
  // What a person waits for at most after the server is up again.
  capMs: 30_000,
}

export function parseBackoff({ baseMs, capMs }: Partial<Backoff> = {}): Backoff {
  const backoff = { baseMs: baseMs ?? DEFAULT_BACKOFF.baseMs, capMs: capMs ?? DEFAULT_BACKOFF.capMs }
  for (const [name, value] of Object.entries(backoff)) {
    if (Number.isFinite(value) && value > 0) continue
    throw new TidemarkError('bad-option', `backoff.${name} must be a positive number of milliseconds, not ${value}`)
  }
  return backoff
}

/** `failures`: attempts in a row that came to nothing, from 0. `random`: in [0, 1). */
export function delayMsAfter(failures: number, { baseMs, capMs }: Backoff, random: () => number): number {
  return random() * Math.min(capMs, baseMs * 2 ** failures)
}
