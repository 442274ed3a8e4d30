/** Which rows stay in memory, and as what. */
import { describe, expect, test } from 'vitest'
import { Dictionary } from '../../core/dictionary.ts'
import { applyChange, EMPTY_ROW } from '../../core/row.ts'
import { RowCache, RowEntry } from '../../core/row-cache.ts'

const KIB = 1_024

/** A group that loads rows, or finds them here. Answers with how many it found. */
function use(cache: RowCache, ids: readonly string[], bytes: number): number {
  let found = 0
  for (const id of ids) {
    const known = cache.get(0, id)
    if (known !== undefined) found++
    const entry = known ?? new RowEntry(0, id)
    if (known === undefined) {
      cache.add(entry)
      cache.keep(entry)
    }
    entry.overwrite(new Uint8Array(bytes), true)
  }
  cache.endGroup()
  return found
}

const idsOf = (count: number): string[] => Array.from({ length: count }, (_, at) => `row-${at}`)
/** Each looked at by itself, which makes none of them stay. */
const heldOf = (cache: RowCache, ids: readonly string[]): number =>
  ids.filter((id) => cache.get(0, id) !== undefined).length

describe('K2: what stays in memory', () => {
  test('is bounded in rows', () => {
    const cache = new RowCache(100, 1_000 * KIB)
    for (const id of idsOf(1_000)) use(cache, [id], 10)
    expect(heldOf(cache, idsOf(1_000))).toBeLessThanOrEqual(100)
    expect(heldOf(cache, idsOf(1_000))).toBeGreaterThan(40)
  })

  test('is bounded in bytes', () => {
    const cache = new RowCache(1_000, 1_000 * KIB)
    for (const id of idsOf(500)) use(cache, [id], 50 * KIB)
    expect(heldOf(cache, idsOf(500)) * 50).toBeLessThanOrEqual(1_000)
    expect(heldOf(cache, idsOf(500))).toBeGreaterThan(0)
  })

  test('is bounded in bytes also where rows were small when they came, and have grown since', () => {
    const cache = new RowCache(1_000, 1_000 * KIB)
    use(cache, idsOf(200), 10)
    expect(use(cache, idsOf(200), 10)).toBe(200)
    for (const id of idsOf(200)) use(cache, [id], 50 * KIB)
    expect(heldOf(cache, idsOf(200)) * 50).toBeLessThanOrEqual(1_000)
  })

  test('counts a row once, however often it is used', () => {
    const cache = new RowCache(1_000, 1_000 * KIB)
    for (let turn = 0; turn < 100; turn++) use(cache, ['row-0'], 50 * KIB)
    expect(use(cache, idsOf(5), 50 * KIB)).toBe(1)
    expect(heldOf(cache, idsOf(5))).toBe(5)
  })
})

test('K3: a row that stays is decoded anew by the next group that looks', () => {
  const cache = new RowCache(100, KIB)
  const entry = new RowEntry(0, 'row')
  const change = { op: 'insert', replica: 0, seq: 1, timestamp: 1, context: [], versions: [] } as const
  entry.become(applyChange(EMPTY_ROW, change, 1, new Dictionary()))
  cache.add(entry)
  cache.keep(entry)
  const { state } = entry
  expect(entry.state).toBe(state)
  cache.endGroup()
  expect(cache.get(0, 'row')?.state).not.toBe(state)
})
