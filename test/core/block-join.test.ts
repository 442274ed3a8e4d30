/**
 * Joined blocks against blocks that were written at once.
 */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { joinBlocks } from '../../core/block-join.ts'
import { changeArbitrary, createDictionaries, encodeBlock, entriesArbitrary, type PlainChange } from './block-entry.ts'

/** Changes that one writer made one by one, alike enough to list the same replicas and names. */
const alikeArbitrary: fc.Arbitrary<readonly PlainChange[]> = fc
  .tuple(changeArbitrary, fc.array(changeArbitrary, { maxLength: 6 }))
  .map(([first, others]) =>
    [first, ...others].map(({ seq, timestamp, id }) => ({ ...first, seq, timestamp, id, more: false })),
  )

describe('blocks of one change each', () => {
  test('B2: are joined to what their changes give when they are written at once', () => {
    fc.assert(
      fc.property(alikeArbitrary, fc.nat(8), (changes, turn) => {
        const dictionaries = createDictionaries(turn)
        const blocks = changes.map((change) => encodeBlock([change], dictionaries))
        const joined = joinBlocks(blocks) ?? new Uint8Array(0)
        expect(Buffer.compare(joined, encodeBlock(changes, dictionaries))).toBe(0)
      }),
      { numRuns: 2_000 },
    )
  })

  test('B2: are left alone where they differ in more', () => {
    fc.assert(
      fc.property(entriesArbitrary, fc.nat(8), (entries, turn) => {
        const dictionaries = createDictionaries(turn)
        const blocks = entries.map((entry) =>
          encodeBlock([entry.op === 'void' ? entry : { ...entry, more: false }], dictionaries),
        )
        const joined = joinBlocks(blocks)
        if (joined === undefined) return
        const single = entries.map((entry) => (entry.op === 'void' ? entry : { ...entry, more: false }))
        expect(Buffer.compare(joined, encodeBlock(single, dictionaries))).toBe(0)
      }),
      { numRuns: 2_000 },
    )
  })
})
