/**
 * Small worlds of a counter: every causal shape, every choice of increments, new inserts, deletes and other edits, every order of
 * arrival and every join. What a counter shows is asked of sets: the sum of what no insert among them had seen.
 *
 * As in world.ts, orders are not walked one by one: each closed set is reached by every change that can have arrived last.
 * Knows: shapes, the merge, counting. Must never know: stores, sessions, policies.
 */
import { clockWith, EMPTY_CLOCK, type SparseClock } from '../../core/clock.ts'
import { encodeCounter, sumCounters } from '../../core/counter.ts'
import { beginAnew, goOn } from '../../core/counting.ts'
import { Dictionary } from '../../core/dictionary.ts'
import { applyChange, EMPTY_ROW, joinRows, type RowChange, type RowState, type Stamp } from '../../core/row.ts'
import { encodeRow } from '../../core/row-codec.ts'
import { allShapes, isClosed, lastOf, type Shape, type ShapedChange } from './shapes.ts'

/** `anew` inserts the row with a number, `without` says nothing of the counter. */
export const COUNTING_DEEDS = ['count', 'anew', 'without', 'delete'] as const
export type CountingDeed = (typeof COUNTING_DEEDS)[number]

export interface CountingSize {
  readonly replicas: number
  readonly changes: number
  readonly deeds: readonly CountingDeed[]
}

/** Seconds: what every test run looks at. */
export const SMALL_COUNTING: readonly CountingSize[] = [
  { replicas: 3, changes: 3, deeds: COUNTING_DEEDS },
  { replicas: 3, changes: 4, deeds: ['count', 'anew'] },
  { replicas: 2, changes: 5, deeds: ['count', 'anew'] },
]

export const LARGE_COUNTING: readonly CountingSize[] = [
  { replicas: 3, changes: 4, deeds: COUNTING_DEEDS },
  { replicas: 2, changes: 6, deeds: ['count', 'anew', 'without'] },
  { replicas: 3, changes: 5, deeds: ['count', 'anew', 'without'] },
]

export function describeCounting({ replicas, changes, deeds }: CountingSize): string {
  return `${changes} changes of up to ${replicas} replicas, each ${deeds.join(' or ')}`
}

/** Ids whose order as texts is not that of their numbers. */
const REPLICA_IDS = [5, 1, 3].map((digit) => `${digit}d000000-0000-4000-8000-00000000000${digit}`)
const REPLICAS = new Dictionary()
for (const id of REPLICA_IDS) REPLICAS.intern(id)
const FIELD = 0

export interface CountingCensus {
  worlds: number
  fault: string | undefined
}

export function visitCounting({ replicas, changes, deeds }: CountingSize): CountingCensus {
  const census: CountingCensus = { worlds: 0, fault: undefined }
  for (const shape of allShapes(replicas, changes)) {
    for (let number = 0; number < deeds.length ** changes; number++) {
      const chosen: CountingDeed[] = []
      for (let rest = number, at = 0; at < changes; at++, rest = Math.floor(rest / deeds.length)) {
        chosen.push(deeds[rest % deeds.length] as CountingDeed)
      }
      census.worlds++
      const fault = checkCounting(shape, chosen)
      if (fault === undefined) continue
      census.fault = `${fault}, in the world of\n${describe(shape, chosen)}`
      return census
    }
  }
  return census
}

function checkCounting(shape: Shape, deeds: readonly CountingDeed[]): string | undefined {
  const changes: RowChange[] = []
  const states = new Map<number, RowState>([[0, EMPTY_ROW]])
  const forms = new Map<number, string>()
  for (let mask = 1; mask < 1 << shape.length; mask++) {
    if (!isClosed(shape, mask)) continue
    for (const at of lastOf(shape, mask)) {
      const change = shape[at] as ShapedChange
      changes[at] ??= toChange(shape, at, deeds[at] as CountingDeed, states.get(change.seen) as RowState)
      const state = applyChange(states.get(mask ^ (1 << at)) as RowState, changes[at] as RowChange, 1, REPLICAS)
      const shown = sumCounters(state.versions, REPLICAS)
      const expected = countOf(shape, deeds, mask)
      if (shown !== expected) return `${mask.toString(2)}, ${at} last, shows ${shown} instead of ${expected}`
      const form = formOf(state)
      if ((forms.get(mask) ?? form) !== form) return `${mask.toString(2)} is another row when ${at} comes last`
      forms.set(mask, form)
      states.set(mask, state)
    }
  }
  for (const [left, one] of states) {
    for (const [right, other] of states) {
      const isSame = formOf(joinRows(one, other, REPLICAS)) === forms.get(left | right)
      if (left !== right && !isSame) return `${left.toString(2)} joined with ${right.toString(2)} is another row`
    }
  }
  return undefined
}

function formOf(state: RowState): string {
  return encodeRow({ ...state, position: 1 }).join()
}

function toChange(shape: Shape, at: number, deed: CountingDeed, row: RowState): RowChange {
  const { replica, seq, seen } = shape[at] as ShapedChange
  const stamp: Stamp = { replica, seq, timestamp: shape.length - at }
  let context: SparseClock = EMPTY_CLOCK
  for (const [other, each] of shape.entries()) {
    if ((seen & (1 << other)) !== 0) context = clockWith(context, each.replica, each.seq)
  }
  if (deed === 'delete') return { ...stamp, op: 'delete', context, versions: [] }
  const bytes = encodeCounter(weightOf(at))
  const versions = deed === 'without' ? [] : [{ name: FIELD, stamp, bytes, start: 0, end: bytes.length }]
  if (deed !== 'count') return { ...stamp, op: 'insert', context, versions: beginAnew(versions, row, stamp, REPLICAS) }
  goOn(versions, row, REPLICAS)
  return { ...stamp, op: 'update', context, versions }
}

/** Every sum of some of them is another number. */
function weightOf(at: number): number {
  return 2 ** at
}

function countOf(shape: Shape, deeds: readonly CountingDeed[], mask: number): number {
  let sum = 0
  for (let at = 0; at < shape.length; at++) {
    if ((mask & (1 << at)) === 0 || (deeds[at] !== 'count' && deeds[at] !== 'anew')) continue
    const isUndone = shape.some(({ seen }, other) => {
      const isWhole = deeds[other] === 'anew' || deeds[other] === 'without'
      return isWhole && (mask & (1 << other)) !== 0 && (seen & (1 << at)) !== 0
    })
    if (!isUndone) sum += weightOf(at)
  }
  return sum
}

function describe(shape: Shape, deeds: readonly CountingDeed[]): string {
  return shape
    .map(
      ({ replica, seq, seen }, at) =>
        `  ${at}: replica ${replica}, seq ${seq}, ${deeds[at]} ${weightOf(at)}, had seen ${seen.toString(2)}`,
    )
    .join('\n')
}
