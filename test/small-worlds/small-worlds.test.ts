/**
 * Every small world: all orders of arrival of up to six changes of one row give the row, the values and the reports that
 * sets of changes ask for. `tsx test/small-worlds/run.ts` has the larger sizes.
 */
import { describe, expect, test } from 'vitest'
import { EMPTY_CLOCK } from '../../core/clock.ts'
import { Dictionary } from '../../core/dictionary.ts'
import { applyChange, EMPTY_ROW, type RowChange } from '../../core/row.ts'
import { decodeRow, encodeRow } from '../../core/row-codec.ts'
import { describeCounting, SMALL_COUNTING, visitCounting } from './counting.ts'
import { allShapes, countOrders } from './shapes.ts'
import { describeSize, SMALL_SIZES, visitWorlds } from './worlds.ts'

describe('shapes', () => {
  test('are counted as by hand', () => {
    // Of two changes by two replicas: both of one, twice; one of each, concurrent or seen by either.
    expect(allShapes(2, 2)).toHaveLength(5)
    // Two changes of one replica have one order; two concurrent ones have two.
    expect(allShapes(2, 2).map(countOrders).sort()).toEqual([1, 1, 1, 1, 2])
    // Six concurrent changes would need six replicas; three and three of two replicas have 20 orders.
    expect(Math.max(...allShapes(2, 6).map(countOrders))).toBe(20)
  })
})

describe('in every world of', () => {
  test.each(SMALL_SIZES.map((size) => [describeSize(size), size] as const))(
    '%s, all arrivals end equal',
    { timeout: 60_000 },
    (_, size) => {
      const { fault, worlds, orders } = visitWorlds(size)
      expect(fault).toBeUndefined()
      console.log(`${worlds.toLocaleString('en')} worlds, ${orders.toLocaleString('en')} orders of arrival`)
    },
  )
})

describe('in every world of a counter of', () => {
  test.each(SMALL_COUNTING.map((size) => [describeCounting(size), size] as const))(
    '%s, it shows what no insert had seen',
    { timeout: 60_000 },
    (_, size) => {
      const { fault, worlds } = visitCounting(size)
      expect(fault).toBeUndefined()
      console.log(`${worlds.toLocaleString('en')} worlds of a counter`)
    },
  )
})

// Regression 21: more writers than any fixed size of a clock.
test('a row that twelve replicas wrote knows each of them, also after it was stored', () => {
  const replicas = new Dictionary()
  const insertBy = (replica: number): RowChange => ({
    replica,
    seq: 1,
    timestamp: 1,
    op: 'insert',
    context: EMPTY_CLOCK,
    versions: [],
  })
  const writers = Array.from({ length: 12 }, (_, at) =>
    replicas.intern(`${at.toString(16)}0000000-0000-4000-8000-000000000000`),
  )
  let row = EMPTY_ROW
  for (const replica of writers) row = applyChange(row, insertBy(replica), 1, replicas)
  expect(row.heads).toHaveLength(12)
  const last: RowChange = { replica: 0, seq: 2, timestamp: 2, op: 'delete', context: row.clock, versions: [] }
  row = decodeRow(encodeRow(applyChange(decodeRow(encodeRow(row)), last, 2, replicas)))
  expect(row.heads.map(({ replica, seq }) => [replica, seq])).toEqual([[0, 2]])
  for (const replica of writers) expect(applyChange(row, insertBy(replica), 3, replicas)).toBe(row)
})
