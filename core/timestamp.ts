/**
 * Timestamps: a hybrid logical clock in one safe integer, wall milliseconds × 2048 + counter.
 *
 * Source: Kulkarni et al., "Logical Physical Clocks and Consistent Snapshots in Globally Distributed Databases" (2014).
 * Invariants:
 * T1  A timestamp given out is greater than every timestamp given out or seen before by this replica.
 * T2  When the counter runs over, the millisecond moves on; the number stays a safe integer until the year 2109.
 * T3  Timestamps only order concurrent versions. Happens-before is decided by clocks alone.
 */

/** Timestamps per millisecond. */
export const TICKS_PER_MS = 2048

export function msToTimestamp(ms: number): number {
  return Math.max(0, Math.floor(ms)) * TICKS_PER_MS
}

/** Unix milliseconds. */
export function timestampToMs(timestamp: number): number {
  return Math.floor(timestamp / TICKS_PER_MS)
}

/** The next timestamp of a replica whose last given or seen one is `last`, at wall time `nowMs`. */
export function nextTimestamp(last: number, nowMs: number): number {
  return Math.max(last + 1, msToTimestamp(nowMs))
}
