/** Some seconds of load with faults. `npm run load` is the long form. */
import { expect, test } from 'vitest'
import { loadWithFaults } from './load.ts'

test('replicas under load, whose processes die and whose networks fail, end equal with all that was acknowledged', {
  timeout: 240_000,
}, async () => {
  const { kills, faults, kept, wrong } = await loadWithFaults({
    seconds: 8,
    troublesMin: 3,
    seed: 5,
    replicas: 3,
    pauseMs: 10,
  })
  expect(wrong).toEqual([])
  // On a busy machine one of them may take most of the time.
  expect(kills + faults).toBeGreaterThan(0)
  expect(kept).toBeGreaterThan(10)
})
