/**
 * The tree behind the memory store against a sorted list, with nodes so small that a few hundred keys make it deep.
 *
 * Knows: the tree from outside. Must never know: its nodes.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ByteTree } from '../../core/stores/byte-tree.ts'

const END = new Uint8Array(40).fill(255)

/** Keys with long beginnings in common, as rows have, and keys that begin or go on with zeros. */
const key = fc
  .tuple(
    fc.constantFrom([], [0], [0, 0], [108, 0, 0], [114, 0, 0, 0, 1], new Array(12).fill(114), [255, 255]),
    fc.array(fc.oneof(fc.constantFrom(0, 255), fc.nat({ max: 255 })), { maxLength: 4 }),
  )
  .map(([start, end]) => new Uint8Array([...start, ...end]))

const step = fc.oneof(
  fc.record({ type: fc.constant('set' as const), keys: fc.array(key, { minLength: 1, maxLength: 80 }) }),
  fc.record({ type: fc.constant('delete' as const), keys: fc.array(key, { minLength: 1, maxLength: 20 }) }),
  fc.record({
    type: fc.constant('delete from' as const),
    keys: fc.tuple(key),
    count: fc.integer({ min: 1, max: 150 }),
  }),
)

test('T1, T2: whatever comes and goes, a deep tree answers like a sorted list', () => {
  fc.assert(
    fc.property(
      fc.array(step, { minLength: 5, maxLength: 40, size: 'max' }),
      fc.array(key, { maxLength: 8 }),
      (steps, probes) => {
        const tree = new ByteTree(4)
        let model = new Map<string, Uint8Array>()
        for (const next of steps) {
          const gone = next.type === 'delete from' ? keysFrom(model, next.keys[0]).slice(0, next.count) : next.keys
          for (const changed of gone) {
            if (next.type === 'set') tree.set(changed, changed)
            else tree.delete(changed)
            if (next.type === 'set') model.set(textOf(changed), changed)
            else model.delete(textOf(changed))
          }
          model = new Map([...model].sort(([left], [right]) => (left < right ? -1 : 1)))
          expectEqual(tree, model, [new Uint8Array(0), ...probes])
        }
      },
    ),
    { numRuns: 60 },
  )
})

function expectEqual(tree: ByteTree, model: ReadonlyMap<string, Uint8Array>, probes: readonly Uint8Array[]): void {
  for (const from of probes) {
    const expected = keysFrom(model, from).map(textOf)
    expect(scan(tree, from, END, false)).toEqual(expected)
    expect(scan(tree, from, END, true)).toEqual(expected.toReversed())
    expect(tree.get(from)).toBe(model.get(textOf(from)))
    const before = [...model.keys()].slice(0, model.size - expected.length)
    expect(scan(tree, new Uint8Array(0), from, true)).toEqual(before.toReversed())
  }
  for (const [text, value] of model) expect(tree.get(bytesOf(text))).toBe(value)
}

function scan(tree: ByteTree, from: Uint8Array, to: Uint8Array, reverse: boolean): string[] {
  const found: string[] = []
  tree.scan(from, to, reverse, (key) => {
    found.push(textOf(key))
    return true
  })
  return found
}

function keysFrom(model: ReadonlyMap<string, Uint8Array>, from: Uint8Array | undefined): Uint8Array[] {
  const start = textOf(from ?? END)
  return [...model].filter(([text]) => text >= start).map(([, found]) => found)
}

/** Hex sorts like the bytes do. */
function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

function bytesOf(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, 'hex'))
}
