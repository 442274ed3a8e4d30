/** How much one row may come to be, told to the bounds by changes alone; and what undo keeps of a row. */
import { describe, expect, test } from 'vitest'
import type { ChangeEntry } from '../../core/block.ts'
import { Dictionary } from '../../core/dictionary.ts'
import { Draft } from '../../core/draft.ts'
import { createMeta, LedgerState } from '../../core/ledger-state.ts'
import { DEFAULT_LIMITS } from '../../core/limits.ts'
import { parseTenantName } from '../../core/names.ts'
import { applyChange, EMPTY_ROW, type RowState } from '../../core/row.ts'
import { ROW_BYTES_MAX, RowBounds } from '../../core/row-bounds.ts'
import { RowEntry } from '../../core/row-cache.ts'
import { encodeValue } from '../../core/value.ts'

const replicas = new Dictionary()
for (let digit = 0; digit < 9; digit++) replicas.intern(`${digit}a000000-0000-4000-8000-000000000000`)

function change(
  seq: number,
  made: Partial<ChangeEntry> & { readonly fields?: readonly [number, number][] },
): ChangeEntry {
  const { fields = [[1, 10]], ...rest } = made
  const stamp = { replica: 1, seq, timestamp: seq }
  const versions = fields.map(([name, length]) => {
    const bytes = encodeValue('x'.repeat(length))
    return { name, stamp, bytes, start: 0, end: bytes.length }
  })
  return { ...stamp, op: 'update', more: false, table: 0, id: 'row', context: [], versions, ...rest }
}

function rowOf(...changes: readonly ChangeEntry[]): RowEntry {
  const row = new RowEntry(0, 'row')
  row.become(changes.reduce((state: RowState, each) => applyChange(state, each, 1, replicas), EMPTY_ROW))
  return row
}

const boundsOf = (changes: number): RowBounds => new RowBounds(replicas, DEFAULT_LIMITS.headsPerRowMax, changes)
const QUARTER = 250_000
const quarters = (count: number): [number, number][] => Array.from({ length: count }, (_, name) => [name, QUARTER])

describe('RB1: within one transaction', () => {
  test('concurrent changes of a row are counted, also of one that nobody has yet', () => {
    for (const row of [undefined, rowOf()]) {
      const bounds = boundsOf(1_000)
      const codes = Array.from({ length: 70 }, (_, at) => bounds.refusalOf(change(at + 1, { context: [] }), row))
      expect(codes.indexOf('too-many-heads')).toBe(DEFAULT_LIMITS.headsPerRowMax)
    }
  })

  test('a row grows with each change, and is too large with one of them', () => {
    const bounds = boundsOf(10)
    const codes = quarters(6).map((field, at) =>
      bounds.refusalOf(change(at + 1, { fields: [field], context: at === 0 ? [] : [1, at] }), rowOf()),
    )
    // Each time it is another row here: nothing adds up.
    expect(codes).toEqual(Array.from({ length: 6 }, () => undefined))
    const row = rowOf()
    const grown = quarters(6).map((field, at) =>
      bounds.refusalOf(change(at + 1, { fields: [field], context: at === 0 ? [] : [1, at] }), row),
    )
    expect(grown.indexOf('too-large')).toBe(4)
  })
})

describe('RB2: a row', () => {
  const full = rowOf(change(1, { fields: quarters(4) }))

  test('that is nearly full takes what replaces as much as it brings, a delete, and nothing more', () => {
    expect(boundsOf(1).refusalOf(change(2, { context: [1, 1], fields: [[2, QUARTER]] }), full)).toBeUndefined()
    expect(boundsOf(1).refusalOf(change(2, { context: [1, 1], op: 'delete', versions: [] }), full)).toBeUndefined()
    expect(boundsOf(1).refusalOf(change(2, { context: [1, 1], fields: [[9, QUARTER]] }), full)).toBe('too-large')
    // Nobody has seen the other: both values stay.
    expect(boundsOf(1).refusalOf(change(2, { replica: 2, fields: [[2, QUARTER]] }), full)).toBe('too-large')
  })

  test('that is too large already, because servers have joined what each of them took, can be made smaller', () => {
    const joined = rowOf(change(1, { fields: quarters(8) }))
    expect(joined.bytes.length).toBeGreaterThan(ROW_BYTES_MAX)
    expect(boundsOf(1).refusalOf(change(2, { context: [1, 1], fields: [[2, 10]] }), joined)).toBeUndefined()
    expect(boundsOf(1).refusalOf(change(2, { context: [1, 1], fields: [[9, 10]] }), joined)).toBe('too-large')
  })

  test('of very many small versions is too large before its bytes are', () => {
    const row = rowOf()
    let state = EMPTY_ROW
    let count = 0
    for (;;) {
      const fields = Array.from({ length: 256 }, (_, at): [number, number] => [count * 256 + at, 1])
      const next = change(count + 1, { fields, context: count === 0 ? [] : [1, count] })
      if (boundsOf(1).refusalOf(next, row) !== undefined) break
      state = applyChange(state, next, 1, replicas)
      row.become(state)
      count++
    }
    expect(row.bytes.length).toBeLessThan(ROW_BYTES_MAX / 8)
    expect(count * 256).toBeLessThan(16_384)
  })
})

test('W4: for undo a row is kept once for each job, and comes back as it was before that', () => {
  const state = new LedgerState(createMeta(parseTenantName('acme'), 2), DEFAULT_LIMITS)
  for (let index = 0; index < replicas.size; index++) state.replicas.intern(replicas.textOf(index))
  const draft = new Draft(state)
  const row = rowOf()
  const write = (from: number, through: number): void => {
    for (let seq = from; seq <= through; seq++) draft.apply(row, change(seq, { context: [1, seq - 1] }), seq, 'remote')
  }
  draft.mark()
  write(1, 100)
  const second = draft.mark()
  const between = row.bytes
  expect(second.touched).toBe(1)
  write(101, 200)
  expect(draft.mark().touched).toBe(2)
  draft.rollBack(second)
  expect(row.bytes).toBe(between)
  write(101, 150)
  draft.rollBack(second)
  expect(row.bytes).toBe(between)
})
