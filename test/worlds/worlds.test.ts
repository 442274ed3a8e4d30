/**
 * Worlds: nobody can construct two replicas with equal clocks that show, report or explain different things. `npm run worlds`
 * looks for longer.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { EMPTY_CENSUS } from './judge.ts'
import { KEPT_WORLDS } from './kept-worlds.ts'
import { planArbitrary } from './plan.ts'
import { planToCode, tryWorld } from './trial.ts'

const WORLDS = 120
const STEPS_MAX = 25
const SEED = 1
/** It takes six seconds on a machine that is not busy. */
const LIMIT_MS = 120_000

test(
  'replicas with equal clocks say the same, word for word, whatever happened to them',
  async () => {
    const census = { ...EMPTY_CENSUS }
    const found = await fc.check(
      fc.asyncProperty(planArbitrary(STEPS_MAX), (plan) => tryWorld(plan, census)),
      { numRuns: WORLDS, seed: SEED },
    )
    const [plan] = found.counterexample ?? []
    expect(plan === undefined ? 'nothing found' : `${planToCode(plan)}\n${String(found.errorInstance)}`).toBe(
      'nothing found',
    )
    for (const times of Object.values(census)) expect(times).toBeGreaterThan(WORLDS / 10)
  },
  LIMIT_MS,
)

test.each(KEPT_WORLDS)('a world that once broke it: $why', ({ plan }) => tryWorld(plan, { ...EMPTY_CENSUS }))
