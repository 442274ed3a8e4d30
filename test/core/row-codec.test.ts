/**
 * Rows as bytes: in a store, where they come back as they were, and from another store, whose numbers and honesty differ.
 * The states come from random histories (merge-history.ts).
 */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ByteWriter } from '../../core/bytes.ts'
import { clockGet } from '../../core/clock.ts'
import { isTidemarkError } from '../../core/errors.ts'
import { applyChange, EMPTY_ROW, type RowState } from '../../core/row.ts'
import { decodeRow, encodeRow, readRowPosition, rowSeqOf } from '../../core/row-codec.ts'
import {
  change,
  expectedForm,
  expectSame,
  formOf,
  historyArbitrary,
  live,
  type Moment,
  REPLICA_IDS,
  type RowForm,
  RowStore,
} from './merge-history.ts'
import { createPicker } from './value-arbitrary.ts'

const RUNS = 2_500

describe('a row as bytes', () => {
  test('comes back as it was, with its position', async () => {
    await fc.assert(
      fc.property(historyArbitrary, fc.maxSafeNat(), (history, position) => {
        for (const { store, state } of live(history).moments) {
          const before = formOf(state, store)
          const bytes = encodeRow({ ...state, position })
          const decoded = decodeRow(bytes)
          expect(readRowPosition(bytes)).toBe(position)
          expect(decoded.position).toBe(position)
          expect(decoded.clock).toEqual(state.clock)
          expectSame(decoded.heads, state.heads)
          expectSame(formOf(decoded, store), before)
          // M6: the versions of the encoded state have moved onto the bytes, with the same content.
          expectSame(formOf(state, store), before)
          expect(Buffer.compare(encodeRow(decoded), bytes)).toBe(0)
          for (const [index, id] of REPLICA_IDS.entries()) {
            const replica = store.replicas.find(id)
            expect(rowSeqOf(decoded, replica), `${index}`).toBe(store.namedClock(state.clock)[id] ?? 0)
          }
        }
      }),
      { numRuns: RUNS },
    )
  })

  test('M4: reads the same in a store that numbers replicas and names differently', async () => {
    await fc.assert(
      fc.property(historyArbitrary, fc.nat(4), (history, turn) => {
        for (const { store, state, known } of live(history).moments) {
          const other = new RowStore(turn)
          const imported = other.import(state, store)
          expectSame(formOf(imported, other), expectedForm(known))
          expect(imported.versions.map(({ name }) => name)).toEqual(imported.versions.map(({ name }) => name).sort())
          for (const { fields } of imported.heads) expect(fields).toEqual([...fields].sort())
          expect(imported.clock.filter((_, at) => at % 2 === 0)).toEqual(
            imported.clock.filter((_, at) => at % 2 === 0).sort(),
          )
        }
      }),
      { numRuns: RUNS },
    )
  })

  test('keeps values of every size, one after the other in shared memory', () => {
    const store = new RowStore()
    const rows: [Uint8Array, RowForm][] = []
    for (const size of [0, 10, 300, 5_000, 16_300, 16_384, 17_000, 70_000, 3, 200_000, 1]) {
      const writer = new ByteWriter()
      writer.raw(Uint8Array.of(0xc6, 0, size >> 16, (size >> 8) & 0xff, size & 0xff))
      writer.raw(new Uint8Array(size).fill(size & 0xff))
      const stamp = { replica: 0, seq: 1, timestamp: 1 }
      const version = { stamp, name: 0, bytes: writer.toBytes(), start: 0, end: writer.length }
      const state = applyChange(
        EMPTY_ROW,
        { ...stamp, op: 'insert', context: [], versions: [version] },
        1,
        store.replicas,
      )
      const form = formOf(state, store)
      rows.push([encodeRow(state), form])
      expectSame(formOf(state, store), form)
    }
    for (const [bytes, form] of rows) expectSame(formOf(decodeRow(bytes), store), form)
  })

  test.each([
    [1, Number.MAX_SAFE_INTEGER],
    [Number.MAX_SAFE_INTEGER, 0],
    [2 ** 52 + 1, 0],
    [0, 2 ** 52 + 1],
  ])('comes back when its stamps are as far apart as timestamps can be: %i and %i', (first, second) => {
    const seen = { [REPLICA_IDS[0] as string]: 1 }
    const inserted = change(0, 'insert', { a: 1, b: 1 }, first)
    for (const next of [change(1, 'delete', {}, second), change(1, 'update', { a: 2 }, second, seen)]) {
      const store = new RowStore()
      store.apply(inserted)
      const state = store.apply(next)
      expectSame(formOf(decodeRow(encodeRow(state)), store), formOf(state, store))
    }
  })

  test('comes back when every number in it is as large as it can be', () => {
    const largest = Number.MAX_SAFE_INTEGER
    const names = Array.from({ length: 256 }, (_, at) => largest - 256 + at)
    const stamps = Array.from({ length: 64 }, (_, at) => ({
      replica: largest - 64 + at,
      seq: largest,
      timestamp: largest - at,
    }))
    const clock = names.flatMap((name) => [name, largest])
    const heads = stamps.map((stamp) => ({ ...stamp, op: 'update' as const, fields: names, clock }))
    const versions = names.map((name, at) => {
      const stamp = { replica: at, seq: largest - at, timestamp: largest - 1_000 - at }
      return { name, stamp, bytes: Uint8Array.of(at & 0x7f), start: 0, end: 1 }
    })
    for (const state of [
      { position: largest, clock, heads, versions },
      { position: largest, clock, heads, versions: [] },
      { position: largest, clock, heads: [], versions },
      { position: largest, clock, heads: [], versions: [] },
    ] satisfies RowState[]) {
      const bytes = encodeRow(state)
      const decoded = decodeRow(bytes)
      expect(decoded.heads).toEqual(state.heads)
      expect(decoded.versions.map(({ name, stamp }) => [name, stamp])).toEqual(
        state.versions.map(({ name, stamp }) => [name, stamp]),
      )
      for (const name of names) expect(clockGet(decoded.clock, name)).toBe(largest)
      expect(Buffer.compare(encodeRow({ ...decoded, clock }), bytes)).toBe(0)
    }
  })

  test('has these bytes for ever', () => {
    const store = new RowStore()
    store.apply(change(0, 'insert', { a: 1, b: 2 }, 10))
    store.apply(change(1, 'update', { a: 3 }, 12, { [REPLICA_IDS[0] as string]: 1 }))
    const state = store.apply(change(2, 'delete', {}, 9, { [REPLICA_IDS[0] as string]: 1 }), 300)
    const expected = [
      'ac02', // position 300
      '03', // stamps: replica, seq, timestamp
      '02 01 00000000000009',
      '01 01 06',
      '00 01 02',
      '00', // clock entries beyond the stamps
      '02', // heads: the delete, and its clock; the update of field 0, and its clock
      '02 02 00 01 02 01',
      '09 01 00 02 00 01 01 01',
      '02', // versions: name, stamp, length, bytes
      '00 01 01 03',
      '01 02 01 02',
    ]
    expect(Buffer.from(encodeRow(state)).toString('hex')).toBe(expected.join('').replaceAll(' ', ''))
  })

  test('from another store is refused as a bad frame when anything in it was changed to what no row is', async () => {
    const map = { replica: (index: number) => index, name: (index: number) => index }
    let accepted = 0
    await fc.assert(
      fc.property(historyArbitrary, fc.nat(), (history, seed) => {
        const { moments } = live(history)
        const pick = createPicker(seed)
        const bytes = encodeRow((moments[pick(moments.length)] as Moment).state).slice()
        for (let round = 0; round < 20; round++) {
          const mutated = bytes.slice(0, pick(4) === 0 ? pick(bytes.length) : bytes.length)
          mutated[pick(Math.max(1, mutated.length))] = pick(256)
          try {
            const { heads, clock } = decodeRow(mutated, map)
            accepted++
            for (const head of heads) expect(head.seq >= 1 && Number.isSafeInteger(head.timestamp)).toBe(true)
            expect(clock.every(Number.isSafeInteger)).toBe(true)
          } catch (error) {
            expect(isTidemarkError(error) && error.code, String(error)).toBe('bad-frame')
          }
        }
      }),
      { numRuns: 2_000 },
    )
    expect(accepted).toBeGreaterThan(1_000)
  })

  test.each([
    // Position 0, no stamps, one clock entry (replica 4, seq 0), no heads, no versions.
    ['its clock', [0, 0, 1, 4, 0, 0, 0]],
    // Position 0, two stamps, no more clock, two deletes, of which the first has a clock of (replica 4, seq 0), no versions.
    ['the clock of a head', [0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 5, 1, 1, 0, 0, 2, 2, 1, 4, 0, 10, 0, 0]],
  ])('C1: from another store is refused when %s covers a seq of 0: nobody has such a change', (_, bytes) => {
    const map = { replica: (index: number) => index, name: (index: number) => index }
    expect(() => decodeRow(Uint8Array.from(bytes), map)).toThrow(/malformed/)
  })
})
