/**
 * The fuzzer at the size of a test run: everything made by hand at the decoders, and some mutated frames at a real port.
 *
 * What is made by hand is fired at a port by barrage.test.ts. `npm run fuzz -- --frames 5000000` is the long form.
 */
import { describe, expect, test } from 'vitest'
import { keptKillers } from './corpus.ts'
import { measureCosts, tooDear } from './costs.ts'
import { runJob } from './job.ts'
import { judge } from './judge.ts'
import { allKillers, type Target } from './killers.ts'

const PORT_TIMEOUT_MS = 240_000
const FRAMES = 2_000

const TARGET: Target = {
  tenant: 'acme',
  replica: '0a000000-0000-4000-8000-000000000001',
  nextSeq: 1,
  server: '0b000000-0000-4000-8000-000000000002',
  logId: '0c000000-0000-4000-8000-000000000003',
  epoch: 1,
  position: 10,
}

describe('frames made by hand', { timeout: PORT_TIMEOUT_MS }, () => {
  test('are decoded or refused with a type, in time, and come back the same', () => {
    const verdicts = [...allKillers(), ...keptKillers()].map(({ sentence, frame }) => ({
      sentence,
      ...judge(frame(TARGET)),
    }))
    expect(
      verdicts.flatMap(({ sentence, failure }) => (failure === undefined ? [] : [`${sentence} ${failure}`])),
    ).toEqual([])
    expect(verdicts.filter(({ code }) => code === 'bad-frame').length).toBeGreaterThan(900)
  })

  test('are decoded or refused within 20 ms and 8 MiB; the largest that are taken may need more', {
    timeout: PORT_TIMEOUT_MS,
  }, async () => {
    const costs = await measureCosts(300)
    expect(tooDear(costs)).toEqual([])
    // Or nothing was measured.
    expect(costs.length).toBeGreaterThan(1_000)
    expect(Math.max(...costs.map(({ bytes }) => bytes))).toBeGreaterThan(2 ** 20)
  })
})

test('mutated frames hurt nobody, and change nothing where they are refused', {
  timeout: PORT_TIMEOUT_MS,
}, async () => {
  const tally = await runJob({ seed: 1, from: 0, to: FRAMES, store: 'lmdb' })
  expect(tally.findings).toEqual([])
  expect(tally.frames).toBe(FRAMES)
  // Neither of the two may be missing, or this test could not fail.
  expect(tally.refused).toBeGreaterThan(FRAMES / 2)
  expect(tally.refused).toBeLessThan(FRAMES * 0.95)
  expect(tally.calmWrites).toBeGreaterThan(10)
})
