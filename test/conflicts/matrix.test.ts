/**
 * The whole matrix: all nine pairs of operations, with fields in common, apart and equal, under every policy that there is and
 * code that misbehaves, by fields and by row. Every cell has an answer, and it is the mirror image when the two change places.
 */
import { expect, test } from 'vitest'
import { rowConflicts } from '../../core/conflict.ts'
import type { Conflict } from '../../core/index.ts'
import { change, REPLICA_IDS, RowStore } from '../core/merge-history.ts'
import type { OracleOp } from '../core/merge-oracle.ts'
import { DEFINITIONS } from '../worlds/definitions.ts'

const OPS: readonly OracleOp[] = ['insert', 'update', 'delete']
const MIRROR: Readonly<Record<string, string>> = { 'update-delete': 'delete-update', 'delete-update': 'update-delete' }

type Fields = Readonly<Record<string, string>>
const CONTENTS: readonly (readonly [what: string, left: Fields, right: Fields])[] = [
  ['a field in common', { a: '1', b: '3' }, { a: '2', b: '3' }],
  ['nothing in common', { a: '1' }, { b: '2' }],
  ['equal content', { a: '1' }, { a: '1' }],
  ['increments', { n: '#1' }, { n: '#2' }],
  ['no fields at all', {}, {}],
]

interface Side {
  readonly op: OracleOp
  readonly fields: Fields
}

const CELLS = OPS.flatMap((left) =>
  OPS.flatMap((right) =>
    CONTENTS.map(([what, mine, theirs]): readonly [string, Side, Side] => [
      `${left} against ${right}, ${what}`,
      { op: left, fields: left === 'delete' ? {} : mine },
      { op: right, fields: right === 'delete' ? {} : theirs },
    ]),
  ),
)

/** The report about two changes of a row that both had seen, the left one made at the first time. */
function reportOf(
  left: Side,
  right: Side,
  times: readonly [number, number],
  definition: string,
  turn: number,
): Conflict | undefined {
  const rules = DEFINITIONS.get(definition)
  if (rules === undefined) throw new RangeError(definition)
  const store = new RowStore(turn)
  const seen = { [REPLICA_IDS[2] as string]: 1 }
  store.apply(change(2, 'insert', { a: '0', b: '0' }, 1))
  store.apply(change(0, left.op, left.fields, times[0], seen))
  store.apply(change(1, right.op, right.fields, times[1], seen))
  const reports = rowConflicts({ table: 'cells', row: 'x', state: store.row('x'), rules, dictionaries: store })
  expect(reports.length).toBeLessThan(2)
  return reports[0]
}

test.each([...DEFINITIONS.keys()])(
  'regressions 7 and 8: under %s every pair has an answer, mirrored when the two change places',
  (definition) => {
    for (const [, left, right] of CELLS) expectMirrored(definition, left, right)
  },
)

function expectMirrored(definition: string, left: Side, right: Side): void {
  const straight = reportOf(left, right, [5, 6], definition, 0)
  const swapped = reportOf(left, right, [6, 5], definition, 3)
  expect(swapped?.type).toBe(straight && (MIRROR[straight.type] ?? straight.type))
  expect(reportOf(left, right, [5, 6], definition, 2)).toEqual(straight)
  if (straight === undefined || swapped === undefined) return
  expect(straight.reason).toMatch(/^[A-Z].*\.$/)
  expect(swapped.id.split('@')[0]?.split('~').reverse().join('~')).toBe(straight.id.split('@')[0])
  const [first, second] = straight.sides
  const [third, fourth] = swapped.sides
  expect([first.dot, first.op, first.values]).toEqual([fourth.dot, fourth.op, fourth.values])
  expect([second.dot, second.op, second.values]).toEqual([third.dot, third.op, third.values])
  expect(straight.fields.map(({ name }) => name)).toEqual(swapped.fields.map(({ name }) => name))
  for (const { winner, sides } of [straight, swapped]) {
    if (winner !== undefined) expect(sides.map(({ dot }) => dot)).toContainEqual(winner)
  }
}

test('deletes agree, and so do equal writes; nothing else goes unreported', () => {
  for (const definition of DEFINITIONS.keys()) {
    for (const [name, left, right] of CELLS) {
      const isAgreed = left.op === 'delete' && right.op === 'delete'
      const isEqual = /equal content|no fields/.test(name) && left.op !== 'delete' && right.op !== 'delete'
      expect([name, reportOf(left, right, [5, 6], definition, 1) === undefined]).toEqual([name, isAgreed || isEqual])
    }
  }
})
