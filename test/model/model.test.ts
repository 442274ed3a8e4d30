/**
 * What is around the models, without Spin: it may not be installed, and `npm run model` is what runs them.
 */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { compareStates } from './agreement.ts'
import { MODELS } from './models.ts'

const textOf = (file: string): string => readFileSync(new URL(file, import.meta.url), 'utf8')

test('every event that a model may meet is asked for, and no other', () => {
  for (const { file, expected } of MODELS) {
    if (expected.type !== 'holds' || expected.meets.length === 0) continue
    const written = [...textOf(file).matchAll(/ meet\(\d+, "([^"]+)"/g)].map(([, event]) => event)
    expect([...expected.meets].sort()).toEqual(written.sort())
  }
})

test('every condition that a model can do without has to fail', () => {
  for (const file of ['merge.pml', 'collection.pml', 'collection-log.pml']) {
    const skipped = new Set(textOf(file).match(/\bSKIP_[A-Z]\b/g))
    const failing = MODELS.filter((model) => model.file === file && model.expected.type === 'fails')
    for (const condition of skipped) expect(failing.some(({ defines }) => defines.includes(condition))).toBe(true)
    expect(failing.length).toBeGreaterThan(0)
  }
})

// Node, held, inserts, deletes, what each of six changes had seen, heads, versions, clock of three members.
const FIRST_WROTE = 'state 0 1 1 0 0 0 0 0 0 0 1 1 1 0 0'
const LAST_WROTE = 'state 2 16 16 0 0 0 0 0 0 0 16 16 0 0 1'
const SERVER_HAS_IT = 'state 3 1 1 0 0 0 0 0 0 0 1 1 1 0 0'

test('states that differ in who is who are the same', () => {
  expect(compareStates(new Set([FIRST_WROTE]), new Set([LAST_WROTE]))).toEqual({
    common: 1,
    onlyLeft: [],
    onlyRight: [],
  })
})

test('a state that only one model has is told', () => {
  const { common, onlyLeft, onlyRight } = compareStates(
    new Set([FIRST_WROTE]),
    new Set([FIRST_WROTE, SERVER_HAS_IT, 'state 0 1 1 0 0 0 0 0 0 0 0 0 0 0 0']),
  )
  expect([common, onlyLeft.length, onlyRight.length]).toEqual([1, 0, 2])
})
