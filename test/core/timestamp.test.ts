/** The hybrid logical clock: strictly growing whatever the wall clock does, and never more than a tie-breaker. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Dictionary } from '../../core/dictionary.ts'
import { applyChange, EMPTY_ROW, type RowChange, type RowState } from '../../core/row.ts'
import { msToTimestamp, nextTimestamp, TICKS_PER_MS, timestampToMs } from '../../core/timestamp.ts'

const NOW = Date.UTC(2026, 0, 1)

describe('a timestamp', () => {
  test('T1: is greater than everything given out or seen before, whatever the wall clock and the peers do', async () => {
    const wall = fc.oneof(
      fc.integer({ min: NOW - 5, max: NOW + 5 }),
      fc.integer({ min: -(10 ** 6), max: 4_000_000_000_000 }),
      fc.double({ min: -1e6, max: 4e12, noNaN: true }),
    )
    const event = fc.oneof(
      { weight: 4, arbitrary: fc.record({ type: fc.constant('write' as const), wall }) },
      { weight: 1, arbitrary: fc.record({ type: fc.constant('receive' as const), wall }) },
    )
    await fc.assert(
      fc.property(fc.array(event, { maxLength: 60 }), (events) => {
        let last = 0
        for (const { type, wall: now } of events) {
          if (type === 'receive') last = Math.max(last, msToTimestamp(now))
          else {
            const next = nextTimestamp(last, now)
            expect(next).toBeGreaterThan(last)
            expect(Number.isSafeInteger(next)).toBe(true)
            // Not ahead of the wall without a reason: another timestamp, exactly one tick before it.
            expect(next === msToTimestamp(now) || next === last + 1).toBe(true)
            last = next
          }
        }
      }),
      { numRuns: 3_000 },
    )
  })

  test('T1: regression 6: two writes of one replica in the same millisecond never tie', () => {
    const first = nextTimestamp(0, NOW)
    const second = nextTimestamp(first, NOW)
    expect(second).toBe(first + 1)
    expect(timestampToMs(second)).toBe(NOW)
  })

  test('T1: grows while the wall clock goes back by an hour, and follows it again when it has caught up', () => {
    const before = nextTimestamp(0, NOW)
    const back = nextTimestamp(before, NOW - 3_600_000)
    expect(back).toBe(before + 1)
    expect(nextTimestamp(back, NOW + 1)).toBe(msToTimestamp(NOW + 1))
  })

  test('T1: is at least 1, also when the wall clock stands at 1970 or before', () => {
    expect(nextTimestamp(0, 0)).toBe(1)
    expect(nextTimestamp(0, -NOW)).toBe(1)
  })

  test('T2: moves on to the next millisecond when 2048 were given out in one', () => {
    let last = nextTimestamp(0, NOW)
    for (let count = 1; count < TICKS_PER_MS; count++) last = nextTimestamp(last, NOW)
    expect(timestampToMs(last)).toBe(NOW)
    const next = nextTimestamp(last, NOW)
    expect(next).toBe(last + 1)
    expect(timestampToMs(next)).toBe(NOW + 1)
    expect(nextTimestamp(next, NOW + 1)).toBe(next + 1)
  })

  test('T2: is a safe integer through the year 2108', () => {
    const end = Date.UTC(2108, 11, 31, 23, 59, 59, 999)
    const last = msToTimestamp(end) + TICKS_PER_MS - 1
    expect(Number.isSafeInteger(last)).toBe(true)
    expect(timestampToMs(last)).toBe(end)
    expect(timestampToMs(Number.MAX_SAFE_INTEGER)).toBeGreaterThan(Date.UTC(2109, 0, 1))
  })

  test('T2: gives back its millisecond', async () => {
    await fc.assert(
      fc.property(fc.integer({ min: 0, max: 4_390_000_000_000 }), fc.integer({ min: 0, max: 2047 }), (ms, counter) => {
        expect(timestampToMs(msToTimestamp(ms) + counter)).toBe(ms)
      }),
      { numRuns: 2_000 },
    )
  })

  test('T2: drops the fraction of a wall clock that has one, and what is before 1970', () => {
    expect(msToTimestamp(5.9)).toBe(5 * TICKS_PER_MS)
    expect(msToTimestamp(-1)).toBe(0)
  })
})

describe('T3: what was seen', () => {
  const replicas = new Dictionary()
  const early = replicas.intern('a0000000-0000-4000-8000-000000000000')
  const late = replicas.intern('b0000000-0000-4000-8000-000000000000')
  const write = (replica: number, timestamp: number, context: readonly number[], value: number): RowChange => {
    const stamp = { replica, seq: 1, timestamp }
    return {
      ...stamp,
      op: 'update',
      context,
      versions: [{ stamp, name: 0, bytes: new Uint8Array([value]), start: 0, end: 1 }],
    }
  }
  const shown = (row: RowState): readonly number[] =>
    row.versions.map((version) => version.bytes[version.start] as number)

  test('is overwritten by a change with a lower timestamp', () => {
    const seen = applyChange(EMPTY_ROW, write(early, 1_000, [], 1), 1, replicas)
    const over = applyChange(seen, write(late, 1, seen.clock, 2), 2, replicas)
    expect(shown(over)).toEqual([2])
    expect(over.heads.map((head) => head.timestamp)).toEqual([1])
  })

  test('is all that is overwritten: equal timestamps of two replicas stay side by side, by replica id', () => {
    const one = write(late, 5, [], 2)
    const other = write(early, 5, [], 1)
    for (const order of [
      [one, other],
      [other, one],
    ]) {
      const row = order.reduce((state, change, at) => applyChange(state, change, at + 1, replicas), EMPTY_ROW)
      expect(shown(row)).toEqual([1, 2])
      expect(row.heads.map((head) => head.replica)).toEqual([early, late])
    }
  })
})
