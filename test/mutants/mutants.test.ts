/**
 * The harness for planted bugs, tested with a few of them; `npm run mutants` has them all.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CI_SEED, complaintOf, HUNT_SCHEDULES, type Hunt, hunt, isCaught } from './hunt.ts'
import { type Mutant, whyUnfit } from './mutant.ts'
import { MUTANTS } from './mutants.ts'
import { createScratch, ROOT, type Scratch } from './scratch.ts'

const QUICK = ['delete clears fields', 'replica clock as context', 'acknowledge before flush', 'doubled apply']
const OPTIONS = { isThorough: false, schedules: HUNT_SCHEDULES }
const HARMLESS: Mutant = {
  name: 'harmless',
  file: 'core/hub.ts',
  find: 'const older = ',
  replace: '/* All is well. */ const older = ',
  breaks: 'nothing',
  tests: [],
  bySimulator: true,
}

test('every planted bug fits the line that it makes wrong', () => {
  expect(MUTANTS.map((mutant) => whyUnfit(mutant, ROOT)).filter((why) => why !== undefined)).toEqual([])
  expect(new Set(MUTANTS.map(({ name }) => name)).size).toBe(MUTANTS.length)
  expect(MUTANTS.length).toBeGreaterThanOrEqual(15)
})

test('bugs are hunted with the first of the schedules that every test run has', () => {
  const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>
  }
  const [, schedules, seed] = /--schedules (\d+) --seed (\w+)$/.exec(scripts['simulate:ci'] ?? '') ?? []
  expect(Number(schedules)).toBeGreaterThanOrEqual(HUNT_SCHEDULES)
  expect(seed).toBe(CI_SEED)
})

describe('the hunt', () => {
  let scratch: Scratch
  beforeAll(() => {
    scratch = createScratch()
  })
  afterAll(() => scratch.remove())

  const start = (mutant: Mutant | undefined, schedules = HUNT_SCHEDULES): Promise<Hunt> => {
    if (mutant === undefined) throw new Error('there is no such planted bug')
    return hunt(mutant, scratch.path, { ...OPTIONS, schedules })
  }

  test.each(QUICK)('finds: %s', { timeout: 240_000 }, async (name) => {
    const done = await start(MUTANTS.find((mutant) => mutant.name === name))
    expect([done.flaw, isCaught(done)]).toEqual([undefined, true])
  })

  test('says so when a bug survives', { timeout: 240_000 }, async () => {
    const path = join(scratch.path, HARMLESS.file)
    const before = readFileSync(path, 'utf8')
    const done = await start(HARMLESS, 5)
    expect([done.flaw, complaintOf(done, OPTIONS)]).toEqual([undefined, 'SURVIVES'])
    expect(readFileSync(path, 'utf8')).toBe(before)
  })

  test('does not count what the compiler finds', { timeout: 60_000 }, async () => {
    const done = await start({ ...HARMLESS, replace: 'const elder = ' })
    expect(complaintOf(done, OPTIONS)).toContain('does not compile')
  })
})
