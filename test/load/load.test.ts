/** Some seconds of load with faults. `npm run load` is the long form. */
import { expect, test } from 'vitest'
import { loadWithFaults } from './load.ts'

test('replicas under load, whose processes die and whose networks fail, end equal with all that was acknowledged', {
  timeout: 240_000,
}, async () => {
  const { kills, faults, kept, wrong } = await loadWithFaults({
    seconds: 8,
    troublesMin: 4,
    keptMin: 100,
    seed: 5,
    replicas: 3,
    pauseMs: 10,
  })
  expect(wrong).toEqual([])
  expect(kills + faults).toBeGreaterThanOrEqual(4)
  expect(kept).toBeGreaterThanOrEqual(100)
})
