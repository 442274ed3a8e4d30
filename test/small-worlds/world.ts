/**
 * Worlds: a causal shape with operations and timestamps, and every way in which its changes can arrive.
 *
 * Orders are not walked one by one. Let S(D) be the row after the changes of a closed set D. If, for every D and every
 * change c that can arrive last, S(D without c) followed by c is S(D), then by induction every order gives the same row:
 * the lattice of closed sets has all orders as its paths. A change that comes again has to leave S(D) as it is, for every D
 * and every change in D; a join of S(D) and S(E) has to be S(D ∪ E).
 *
 * Knows: the merge, settling and reporting of core; what a row must be, by sets. Must never know: stores and sessions.
 */
import { clockWith, EMPTY_CLOCK, type SparseClock } from '../../core/clock.ts'
import { type Conflict, rowConflicts } from '../../core/conflict.ts'
import { Dictionary } from '../../core/dictionary.ts'
import { causal, deleteWins, firstWriteWins, lastWriteWins, type Policy, updateWins } from '../../core/policy.ts'
import { applyChange, EMPTY_ROW, type HeadOp, joinRows, type RowChange, type RowState } from '../../core/row.ts'
import { decodeVersions, settleRow } from '../../core/settle.ts'
import { type TableDefinition, table } from '../../core/table.ts'
import { encodeValue } from '../../core/value.ts'
import { isClosed, lastOf, type Shape, type ShapedChange } from './shapes.ts'

/** What a change does: its operation, and which of the two fields it writes. */
export interface Deed {
  readonly op: HeadOp
  readonly fields: readonly ('a' | 'b')[]
}

export const DEEDS: Readonly<Record<'insert' | 'a' | 'b' | 'ab' | 'delete', Deed>> = {
  insert: { op: 'insert', fields: ['a', 'b'] },
  a: { op: 'update', fields: ['a'] },
  b: { op: 'update', fields: ['b'] },
  ab: { op: 'update', fields: ['a', 'b'] },
  delete: { op: 'delete', fields: [] },
}

/** `causal`: later than all that was seen, so equal where concurrent. `reverse`: a broken clock. `equal`: one for all. */
export type Times = 'causal' | 'reverse' | 'equal'

export interface World {
  readonly shape: Shape
  readonly deeds: readonly Deed[]
  readonly times: Times
}

/** What went wrong in a world; undefined when nothing did. */
export type Fault = string | undefined

/** Ids whose order as texts is not that of their numbers: ties are broken by the text. */
const REPLICA_IDS = [5, 1, 3].map((digit) => `${digit}c000000-0000-4000-8000-00000000000${digit}`)
const POLICIES: readonly Policy[] = [lastWriteWins(), causal(), firstWriteWins(), deleteWins(), updateWins()]
const RULES: readonly TableDefinition[] = POLICIES.flatMap((policy) => [
  table({ policy }),
  table({ policy, granularity: 'row' }),
])

/** Dictionaries of one store; two of them know the same things under other numbers. */
class Numbering {
  readonly replicas = new Dictionary()
  readonly names = new Dictionary()

  constructor(isReversed: boolean) {
    const ids = isReversed ? [...REPLICA_IDS].reverse() : REPLICA_IDS
    for (const id of ids) this.replicas.intern(id)
    for (const name of isReversed ? ['b', 'a'] : ['a', 'b']) this.names.intern(name)
  }
}

const NUMBERINGS = [new Numbering(false), new Numbering(true)] as const

/** Looks at every arrival in a world. */
export function checkWorld(world: World): Fault {
  const [straight, reversed] = NUMBERINGS
  const changes = changesOf(world, straight)
  const states = new Map<number, RowState>([[0, EMPTY_ROW]])
  const all = (1 << world.shape.length) - 1
  for (let mask = 1; mask <= all; mask++) {
    if (!isClosed(world.shape, mask)) continue
    const fault = checkArrivals(world, changes, states, mask)
    if (fault !== undefined) return fault
  }
  return checkJoins(states, straight) ?? checkViews(world, changes, states, reversed)
}

/** All ways to come to one closed set: the same state, the one that the sets ask for, and nothing by coming again. */
function checkArrivals(
  { shape, deeds, times }: World,
  changes: readonly RowChange[],
  states: Map<number, RowState>,
  mask: number,
): Fault {
  const [{ replicas }] = NUMBERINGS
  const expected = expectedRow({ shape, deeds, times }, mask)
  for (const at of lastOf(shape, mask)) {
    const before = states.get(mask ^ (1 << at)) as RowState
    const state = applyChange(before, changes[at] as RowChange, 1, replicas)
    const form = formOf(state)
    if (form !== expected) return `after ${nameOf(mask)}, ${at} last: ${form} instead of ${expected}`
    states.set(mask, state)
  }
  const state = states.get(mask) as RowState
  for (let at = 0; at < changes.length; at++) {
    if ((mask & (1 << at)) === 0) continue
    if (applyChange(state, changes[at] as RowChange, 2, replicas) !== state)
      return `${at} comes again to ${nameOf(mask)}`
  }
  return undefined
}

function checkJoins(states: ReadonlyMap<number, RowState>, { replicas }: Numbering): Fault {
  const forms = new Map([...states].map(([mask, state]) => [mask, formOf(state)]))
  for (const [left, leftState] of states) {
    for (const [right, rightState] of states) {
      const joined = formOf(joinRows(leftState, rightState, replicas))
      const expected = forms.get(left | right)
      if (joined !== expected) return `${nameOf(left)} joined with ${nameOf(right)}: ${joined} instead of ${expected}`
    }
  }
  return undefined
}

/** Values and reports of the last state, under every policy and with other numbers for the same names; by every way to it. */
function checkViews(
  world: World,
  changes: readonly RowChange[],
  states: ReadonlyMap<number, RowState>,
  reversed: Numbering,
): Fault {
  const { shape } = world
  const [straight] = NUMBERINGS
  const all = (1 << shape.length) - 1
  const state = states.get(all) as RowState
  const elsewhere = changesOf(world, reversed).reduce(
    (row, change) => applyChange(row, change, 1, reversed.replicas),
    EMPTY_ROW,
  )
  for (const rules of state.heads.length === 1 ? RULES.slice(0, 1) : RULES) {
    const reports = reportsOf(elsewhere, rules, reversed)
    const expected = viewOf(elsewhere, rules, reversed, reports)
    const view = viewOf(state, rules, straight, reportsOf(state, rules, straight))
    const under = `under ${rules.policy.name} by ${rules.granularity}`
    if (view !== expected) return `${under}: ${view} instead of ${expected}`
    const pairs = reports.map(({ type, sides }) => `${type} ${sides.map(({ dot }) => dotName(dot))}`).join('; ')
    const asked = expectedPairs(world, rules.granularity)
    if (pairs !== asked) return `${under}: reported ${pairs} instead of ${asked}`
  }
  const [rules] = RULES as readonly [TableDefinition]
  const views = lastOf(shape, all).map((at) => {
    const before = states.get(all ^ (1 << at)) as RowState
    const after = applyChange(before, changes[at] as RowChange, 1, straight.replicas)
    return viewOf(after, rules, straight, reportsOf(after, rules, straight))
  })
  return views.every((view) => view === views[0]) ? undefined : `views differ: ${views.join(' and ')}`
}

// ── What core makes of it ───────────────────────────────────────────────────────────────────────────────────────────

function changesOf({ shape, deeds, times }: World, { replicas, names }: Numbering): RowChange[] {
  return shape.map((change, at) => {
    const { op, fields } = deeds[at] as Deed
    const stamp = {
      replica: replicas.find(REPLICA_IDS[change.replica] as string),
      seq: change.seq,
      timestamp: timeOf(shape, at, times),
    }
    const versions = fields.map((field) => {
      const bytes = encodeValue(writtenBy(at))
      return { name: names.find(field), stamp, bytes, start: 0, end: bytes.length }
    })
    const context = contextOf(shape, change, replicas)
    return { ...stamp, op, context, versions: versions.sort((left, right) => left.name - right.name) }
  })
}

/** Sometimes two write the same: then they agree. */
function writtenBy(at: number): number {
  return at % 2
}

function contextOf(shape: Shape, { seen }: ShapedChange, replicas: Dictionary): SparseClock {
  let context: SparseClock = EMPTY_CLOCK
  for (const [at, { replica, seq }] of shape.entries()) {
    if ((seen & (1 << at)) === 0) continue
    context = clockWith(context, replicas.find(REPLICA_IDS[replica] as string), seq)
  }
  return context
}

function timeOf(shape: Shape, at: number, times: Times): number {
  if (times === 'equal') return 7
  if (times === 'reverse') return shape.length - at
  const { seen } = shape[at] as ShapedChange
  let latest = 0
  for (let other = 0; other < at; other++) {
    if ((seen & (1 << other)) !== 0) latest = Math.max(latest, timeOf(shape, other, times))
  }
  return latest + 1
}

/** Heads and versions by dot, and the clock, as text. */
function formOf({ clock, heads, versions }: RowState): string {
  const dots = heads.map(({ replica, seq, op }) => `${replica}.${seq} ${op}`)
  const fields = versions.map(({ name, stamp }) => `${name}=${stamp.replica}.${stamp.seq}`)
  return `[${dots}] [${fields}] [${clock}]`
}

function viewOf(state: RowState, rules: TableDefinition, numbering: Numbering, reports: readonly Conflict[]): string {
  const { isAlive, versions } = settleRow(state, rules, numbering)
  // Names are in the order of their numbers, which is another one elsewhere.
  const row = isAlive ? Object.entries(decodeVersions(versions, numbering)).sort() : undefined
  return JSON.stringify([row, reports])
}

function reportsOf(state: RowState, rules: TableDefinition, dictionaries: Numbering): readonly Conflict[] {
  return rowConflicts({ table: 't', row: 'r', state, rules, dictionaries })
}

function dotName({ replica, seq }: { readonly replica: string; readonly seq: number }): string {
  return `${replica.slice(0, 1)}.${seq}`
}

// ── What the sets ask for ───────────────────────────────────────────────────────────────────────────────────────────

/** In canonical order: timestamp, then replica id, then seq. */
function inOrder({ shape, times }: World, places: readonly number[]): number[] {
  const idOf = (at: number): string => REPLICA_IDS[(shape[at] as ShapedChange).replica] as string
  return [...places].sort((left, right) => {
    const difference = timeOf(shape, left, times) - timeOf(shape, right, times)
    if (difference !== 0) return difference
    if (idOf(left) !== idOf(right)) return idOf(left) < idOf(right) ? -1 : 1
    return (shape[left] as ShapedChange).seq - (shape[right] as ShapedChange).seq
  })
}

/** Those of a set whose effect nobody in it took away who had seen it. */
function standing(
  world: World,
  mask: number,
  takesAway: (later: Deed) => boolean,
  has: (deed: Deed) => boolean,
): number[] {
  const { shape, deeds } = world
  const places: number[] = []
  for (let at = 0; at < shape.length; at++) {
    if ((mask & (1 << at)) === 0 || !has(deeds[at] as Deed)) continue
    const isGone = shape.some(
      ({ seen }, other) => (mask & (1 << other)) !== 0 && (seen & (1 << at)) !== 0 && takesAway(deeds[other] as Deed),
    )
    if (!isGone) places.push(at)
  }
  return inOrder(world, places)
}

function headsOf(world: World, mask: number): number[] {
  return standing(
    world,
    mask,
    () => true,
    () => true,
  )
}

function expectedRow(world: World, mask: number): string {
  const [{ replicas, names }] = NUMBERINGS
  const { shape, deeds } = world
  const dotOf = (at: number): string => {
    const { replica, seq } = shape[at] as ShapedChange
    return `${replicas.find(REPLICA_IDS[replica] as string)}.${seq}`
  }
  const heads = headsOf(world, mask).map((at) => `${dotOf(at)} ${(deeds[at] as Deed).op}`)
  const fields = (['a', 'b'] as const).flatMap((field) => {
    const writes = (deed: Deed): boolean => deed.fields.includes(field)
    const visible = standing(world, mask, (later) => later.op === 'insert' || writes(later), writes)
    return visible.map((at) => `${names.find(field)}=${dotOf(at)}`)
  })
  const clock = REPLICA_IDS.flatMap((_, replica) => {
    const seqs = shape
      .filter((change, at) => change.replica === replica && (mask & (1 << at)) !== 0)
      .map(({ seq }) => seq)
    return seqs.length === 0 ? [] : [replica, Math.max(...seqs)]
  })
  return `[${heads}] [${fields}] [${clock}]`
}

/** Which pairs of heads are reported, and as what. */
function expectedPairs(world: World, granularity: TableDefinition['granularity']): string {
  const all = (1 << world.shape.length) - 1
  const heads = headsOf(world, all)
  const reports: string[] = []
  for (let right = 1; right < heads.length; right++) {
    for (let left = 0; left < right; left++) {
      const type = expectedType(world, heads[left] as number, heads[right] as number, granularity)
      if (type !== undefined) reports.push(`${type} ${dotAt(world, heads[left])},${dotAt(world, heads[right])}`)
    }
  }
  return reports.join('; ')
}

function dotAt({ shape }: World, at: number | undefined): string {
  const { replica, seq } = shape[at ?? 0] as ShapedChange
  return dotName({ replica: REPLICA_IDS[replica] as string, seq })
}

function expectedType(
  world: World,
  left: number,
  right: number,
  granularity: TableDefinition['granularity'],
): string | undefined {
  const leftDeed = deedAgainst(world, left, right)
  const rightDeed = deedAgainst(world, right, left)
  if (leftDeed === 'delete' && rightDeed === 'delete') return undefined
  if (leftDeed === 'delete') return 'delete-update'
  if (rightDeed === 'delete') return 'update-delete'
  const leftNews = newsOf(world, left, right)
  const rightNews = newsOf(world, right, left)
  if (JSON.stringify(leftNews.map(withoutDot)) === JSON.stringify(rightNews.map(withoutDot))) return undefined
  if (leftDeed === 'insert' && rightDeed === 'insert') return 'insert-insert'
  const isCommon = leftNews.some(({ field }) => rightNews.some((other) => other.field === field))
  return isCommon || granularity === 'row' ? 'update-update' : 'merged'
}

/** An update of a row that both have no common past of is an insert to the other. */
function deedAgainst({ shape, deeds }: World, at: number, other: number): HeadOp {
  const { op } = deeds[at] as Deed
  const past = (place: number): number => (shape[place] as ShapedChange).seen | (1 << place)
  const replicasIn = (mask: number): Set<number> =>
    new Set(shape.filter((_, place) => (mask & (1 << place)) !== 0).map(({ replica }) => replica))
  const others = replicasIn(past(other))
  const isShared = [...replicasIn(past(at))].some((replica) => others.has(replica))
  return op === 'update' && !isShared ? 'insert' : op
}

interface News {
  readonly field: string
  readonly value: number
}

function withoutDot({ field, value }: News): News {
  return { field, value }
}

/** What stands of the writes that one side had seen and the other had not. */
function newsOf(world: World, at: number, other: number): News[] {
  const { shape, deeds } = world
  if ((deeds[at] as Deed).op === 'delete') return []
  const all = (1 << shape.length) - 1
  const knows = (place: number, change: number): boolean =>
    place === change || ((shape[place] as ShapedChange).seen & (1 << change)) !== 0
  return (['a', 'b'] as const).flatMap((field) => {
    const writes = (deed: Deed): boolean => deed.fields.includes(field)
    return standing(world, all, (later) => later.op === 'insert' || writes(later), writes)
      .filter((change) => knows(at, change) && !knows(other, change))
      .map((change) => ({ field, value: writtenBy(change) }))
  })
}

function nameOf(mask: number): string {
  return `{${[...mask.toString(2)].reverse().flatMap((bit, at) => (bit === '1' ? [at] : []))}}`
}

/** A world as a person reads it. */
export function describeWorld({ shape, deeds, times }: World): string {
  const lines = shape.map(({ replica, seq, seen }, at) => {
    const { op, fields } = deeds[at] as Deed
    return `  ${at}: replica ${replica}, seq ${seq}, ${op} ${fields}, at ${timeOf(shape, at, times)}, had seen ${nameOf(seen)}`
  })
  return lines.join('\n')
}
