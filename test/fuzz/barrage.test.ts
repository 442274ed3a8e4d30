/**
 * Everything made by hand, fired at a real port while a well-behaved pair works there.
 */
import { expect, test } from 'vitest'
import { fireAssaults, fireKillers } from './barrage.ts'

const TIMEOUT_MS = 240_000
/** Of the floods: still far above every bound that they meet. `npm run fuzz` sends them whole. */
const FLOOD_SHARE = 1 / 10

test('frames made by hand hurt neither the server nor anybody who works there', { timeout: TIMEOUT_MS }, async () => {
  expect(await fireKillers('lmdb')).toEqual([])
})

test('assaults of many messages hurt neither the server nor anybody who works there', {
  timeout: TIMEOUT_MS,
}, async () => {
  expect(await fireAssaults('lmdb', FLOOD_SHARE)).toEqual([])
})
