/** Time as a process had it. */
import { expect, test } from 'vitest'
import { OwnTime } from './own-time.ts'

test('the clock of a process goes with its turns, and stands while it does not get any', async () => {
  const own = new OwnTime()
  try {
    const startedAt = performance.now()
    while (performance.now() < startedAt + 300);
    expect(own.now()).toBe(0)
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(own.now()).toBeGreaterThan(0)
    expect(own.now()).toBeLessThanOrEqual(performance.now() - startedAt - 290)
  } finally {
    own.stop()
  }
})
