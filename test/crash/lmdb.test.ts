/** Every crash point of the scripted run, with the disk of the crashed party on LMDB. */
import { expect, test } from 'vitest'
import { lmdbAdapter } from './adapters.ts'
import { crashEverywhere } from './every-point.ts'
import { recordRun } from './script.ts'

test('whoever crashes on LMDB, at whatever moment, loses and doubles nothing, and all end equal', {
  timeout: 240_000,
}, async () => {
  const { points, wrong } = await crashEverywhere(await recordRun(), lmdbAdapter)
  expect(wrong).toEqual([])
  expect(points).toBeGreaterThanOrEqual(500)
})
