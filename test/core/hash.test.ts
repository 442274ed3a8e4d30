/**
 * The hash behind fingerprints and comparisons. Replicas of different versions compare what it gives, so it never changes.
 */
import { expect, test } from 'vitest'
import { addHashes, hashBytes, hashToText, textToHash, ZERO_HASH } from '../../core/hash.ts'

const bytesOf = (length: number): Uint8Array => Uint8Array.from({ length }, (_, at) => (at * 37 + 1) & 0xff)

test.each([
  [0, 'db6e264e3e6c3d3e'],
  [1, '1e22dfce1f53a966'],
  [2, '6098bc7f9b6362b6'],
  [3, 'c568d4cfca9ac5a1'],
  [4, 'e0e36eb4fa83754c'],
  [5, '29797acfc3c4a7dc'],
  [7, 'a84ef50e2fa5c474'],
  [8, '7fc4f9ca7e3760b9'],
  [100, '81d7a147600be706'],
])('the hash of %i bytes is what it has always been, wherever they stand', (length, text) => {
  const bytes = bytesOf(length)
  expect(hashToText(hashBytes(bytes))).toBe(text)
  const within = new Uint8Array(length + 5)
  within.set(bytes, 3)
  expect(hashToText(hashBytes(within, 3, 3 + length))).toBe(text)
  expect(textToHash(text)).toEqual(hashBytes(bytes))
})

test('hashes add up to the same in any order, with carry', () => {
  const [one, other] = [
    { high: 1, low: 0xffffffff },
    { high: 0xffffffff, low: 2 },
  ]
  expect(addHashes(one, other)).toEqual({ high: 1, low: 1 })
  expect(addHashes(other, one)).toEqual({ high: 1, low: 1 })
  expect(addHashes(one, ZERO_HASH)).toEqual(one)
})
