/**
 * Limits that an app or an operator gives.
 */
import { describe, expect, test } from 'vitest'
import { isTidemarkError } from '../../core/errors.ts'
import { DEFAULT_LIMITS, type Limits, parseLimits } from '../../core/limits.ts'

function codeOf(lowered: Partial<Limits>): string | undefined {
  try {
    parseLimits(lowered)
  } catch (error) {
    if (isTidemarkError(error)) return error.code
    throw error
  }
  return undefined
}

describe('a limit', () => {
  test('may be lowered, to 1 at the least, or stay as it is', () => {
    expect(parseLimits({ headsPerRowMax: 1 })).toEqual({ ...DEFAULT_LIMITS, headsPerRowMax: 1 })
    expect(parseLimits({ headsPerRowMax: DEFAULT_LIMITS.headsPerRowMax })).toEqual(DEFAULT_LIMITS)
  })

  test.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, DEFAULT_LIMITS.headsPerRowMax + 1])(
    'is not %s',
    (headsPerRowMax) => {
      expect(codeOf({ headsPerRowMax })).toBe('bad-option')
    },
  )

  test('has a name that is known', () => {
    expect(codeOf({ headsPerRow: 1 } as Partial<Limits>)).toBe('bad-option')
  })

  test('of one change may be raised to what a transaction may have', () => {
    const changeBytesMax = DEFAULT_LIMITS.transactionBytesMax
    expect(parseLimits({ changeBytesMax }).changeBytesMax).toBe(changeBytesMax)
    expect(codeOf({ changeBytesMax: changeBytesMax + 1 })).toBe('bad-option')
  })
})
