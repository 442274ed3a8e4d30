/** Every crash point of the scripted run, with the disk of the crashed party in memory. */
import { expect, test } from 'vitest'
import { memoryAdapter } from './adapters.ts'
import { crashPointsOf, describePoint, sufferCrash } from './aftermath.ts'
import { crashEverywhere } from './every-point.ts'
import { recordRun } from './script.ts'

test('whoever crashes in memory, at whatever moment, loses and doubles nothing, and all end equal', {
  timeout: 240_000,
}, async () => {
  const { points, wrong } = await crashEverywhere(await recordRun(), memoryAdapter)
  expect(wrong).toEqual([])
  expect(points).toBeGreaterThanOrEqual(500)
})

test('a disk that lost what was acknowledged is noticed, or the tests above could not fail', {
  timeout: 240_000,
}, async () => {
  const recording = await recordRun()
  const commits = recording.commitsOf('a')
  const unnoticed: string[] = []
  let points = 0
  for (const point of crashPointsOf(recording, 'a')) {
    const from = commits[point.commits - 1]?.at ?? 0
    const isTold = recording.acknowledgements.some(({ at, party }) => party === 'a' && at > from && at <= point.at)
    if (!isTold) continue
    // Its last commit never reached the disk.
    const disk = await memoryAdapter()
    for (const commit of commits.slice(0, point.commits - 1)) await disk.play(commit)
    const { store, end } = await disk.copy()
    points++
    if ((await sufferCrash(recording, point, store)).length === 0) unnoticed.push(describePoint(point))
    await end()
  }
  expect(points).toBeGreaterThan(20)
  expect(unnoticed).toEqual([])
})
