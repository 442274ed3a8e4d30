/** Some real kills. `npm run kills` is the long form. */
import { expect, test } from 'vitest'
import { killAll } from './killing.ts'

test('processes on LMDB that are killed under load have everything they said was kept, and end equal', {
  timeout: 240_000,
}, async () => {
  const { kills, kept, increments, answered, wrong } = await killAll({ kills: 8, seed: 7 })
  expect(wrong).toEqual([])
  expect(kills).toBeGreaterThanOrEqual(8)
  // Or there was nothing that could have been lost.
  expect(kept).toBeGreaterThan(20)
  expect(increments).toBeGreaterThan(2)
  expect(answered).toBeGreaterThan(20)
})
