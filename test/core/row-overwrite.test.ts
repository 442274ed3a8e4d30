/**
 * The short way of the merge against the long one: over random histories, every state meets every change.
 */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { SparseClock } from '../../core/clock.ts'
import { applyChange, type RowChange, type RowState } from '../../core/row.ts'
import { decodeRow, encodeRow, readRowHeader } from '../../core/row-codec.ts'
import { overwriteRow } from '../../core/row-overwrite.ts'
import { historyArbitrary, live, type RowStore } from './merge-history.ts'

const NO_ROW = new Uint8Array(0)
const bytesOf = (row: RowState): Uint8Array => (row.heads.length === 0 ? NO_ROW : encodeRow(row))

/** True when the short way was taken. */
function compareWays(store: RowStore, state: RowState, change: RowChange, position: number): boolean {
  const short = overwriteRow(bytesOf(state), change, position)
  if (short === undefined) return false
  const long = bytesOf(applyChange(state, change, position, store.replicas))
  expect(Buffer.compare(short, long)).toBe(0)
  return true
}

/** By how much each entry of a context is too low. */
const missingArbitrary = fc.array(fc.nat(2), { minLength: 5, maxLength: 5 })
/** A seq that no history reaches, and one that the context may cover although the change itself has it. */
const seqArbitrary = fc.constantFrom(1_000, 2)

/** The clock with some entries lower, or gone. */
function lowered(clock: SparseClock, missing: readonly number[]): SparseClock {
  const context: number[] = []
  for (let at = 0; at < clock.length; at += 2) {
    const seq = (clock[at + 1] as number) - (missing[(at / 2) % missing.length] as number)
    if (seq > 0) context.push(clock[at] as number, seq)
  }
  return context
}

/** The change under another seq and over another context. */
function over(change: RowChange, seq: number, context: SparseClock): RowChange {
  const stamp = { replica: change.replica, seq, timestamp: change.timestamp }
  return { ...change, ...stamp, context, versions: change.versions.map((version) => ({ ...version, stamp })) }
}

describe('a row that is overwritten as bytes', () => {
  test('M7: is what merging and encoding make of it', () => {
    let taken = 0
    let declined = 0
    fc.assert(
      fc.property(historyArbitrary, fc.maxSafeNat(), (history, position) => {
        const { changes, moments } = live(history)
        for (const { store, state } of moments) {
          for (const travelling of changes) {
            if (travelling.row !== 'x') continue
            if (compareWays(store, state, store.toChange(travelling), position)) taken++
            else declined++
          }
        }
      }),
      { numRuns: 2_500 },
    )
    expect(taken).toBeGreaterThan(10_000)
    expect(declined).toBeGreaterThan(10_000)
  })

  test('M7: also for contexts that no writer can have seen', () => {
    fc.assert(
      fc.property(historyArbitrary, missingArbitrary, seqArbitrary, (history, missing, seq) => {
        const { changes, moments } = live(history)
        for (const { store, state } of moments) {
          const context = lowered(state.clock, missing)
          for (const travelling of changes) {
            if (travelling.row !== 'x') continue
            compareWays(store, state, over(store.toChange(travelling), seq, context), 1)
          }
        }
      }),
      { numRuns: 1_000 },
    )
  })

  test('M7: every change that its writer made over one head takes the short way, but of counters', () => {
    fc.assert(
      fc.property(historyArbitrary, (history) => {
        const { replicas, changes } = live(history)
        const [store] = replicas
        if (store === undefined) return
        for (const travelling of changes) {
          const isOwn = travelling.oracle.replica === store.id && travelling.row === 'x'
          if (!isOwn || Object.values(travelling.oracle.fields).some((value) => value.startsWith('#'))) continue
          const before = store.log.slice(0, store.log.indexOf(travelling))
          let row: RowState = decodeRow(NO_ROW)
          for (const earlier of before) {
            if (earlier.row === 'x') row = applyChange(row, store.toChange(earlier), 1, store.replicas)
          }
          if (row.heads.length < 2) expect(compareWays(store, row, store.toChange(travelling), 1)).toBe(true)
        }
      }),
      { numRuns: 500 },
    )
  })

  test('has a header that says what the row says', () => {
    fc.assert(
      fc.property(historyArbitrary, (history) => {
        for (const { state } of live(history).moments) {
          const { position, clock, heads, op } = readRowHeader(bytesOf(state))
          if (state.heads.length === 0) continue
          expect({ position, clock, heads }).toEqual({
            position: state.position,
            clock: state.clock,
            heads: state.heads.length,
          })
          expect(op).toBe(state.heads.length === 1 ? state.heads[0]?.op : undefined)
        }
      }),
      { numRuns: 500 },
    )
  })
})
