/**
 * The plan of a world: who is in it, and what happens, step by step. Plain data: it can be drawn, shrunk, printed as code and
 * kept.
 *
 * Knows: steps, and how to draw them. Must never know: replicas.
 */
import fc from 'fast-check'
import { DEFINITION_NAMES } from './definitions.ts'
import { FIELDS, type Fields, ID_NAMES, type IdName, VALUE_NAMES, type ValueName } from './values.ts'

/** `who` and `other` are replicas by number; a number that nobody has stands for somebody all the same. */
export type Step =
  /** Inserts the row, or updates it where it is. `ms`: what the writer's wall clock shows then. */
  | { readonly type: 'put'; readonly who: number; readonly id: IdName; readonly fields: Fields; readonly ms: number }
  | {
      readonly type: 'replace'
      readonly who: number
      readonly id: IdName
      readonly fields: Fields
      readonly ms: number
    }
  | { readonly type: 'delete'; readonly who: number; readonly id: IdName; readonly ms: number }
  /** Many updates of a row, one after the other. */
  | { readonly type: 'burst'; readonly who: number; readonly id: IdName; readonly times: number; readonly ms: number }
  /** Several rows at once; where `fields` are left out, the row is deleted and inserted anew. */
  | { readonly type: 'transact'; readonly who: number; readonly parts: readonly Part[]; readonly ms: number }
  /** Everybody writes the same row, and nobody knows of the others. */
  | { readonly type: 'crowd'; readonly id: IdName; readonly field: keyof Fields; readonly ms: number }
  | { readonly type: 'decide'; readonly who: number; readonly decision: WorldDecision; readonly ms: number }
  /** Two decide the same conflict, each for itself. */
  | {
      readonly type: 'race'
      readonly who: number
      readonly other: number
      readonly decision: WorldDecision
      readonly otherDecision: WorldDecision
      readonly ms: number
    }
  /** With another replica, or with the server; the connection breaks after so many frames. */
  | { readonly type: 'sync'; readonly who: number; readonly other: number; readonly frames?: number }
  /** A server sends all its rows; the connection breaks after so many pieces. */
  | { readonly type: 'snapshot'; readonly who: number; readonly pieces?: number }
  | { readonly type: 'repair'; readonly who: number; readonly other: number }
  | { readonly type: 'erase'; readonly who: number }
  | { readonly type: 'restart'; readonly who: number }
  | { readonly type: 'renew'; readonly who: number }
  | { readonly type: 'newcomer' }
  | { readonly type: 'redefine'; readonly to: string }
  /** Days go by. */
  | { readonly type: 'wait'; readonly days: number }

export interface Part {
  readonly id: IdName
  readonly fields?: Fields
}

export interface WorldDecision {
  readonly how: 'keep' | 'value' | 'merge' | 'erase' | 'accept' | 'restore' | 'restore side'
  /** Which of the conflicts that are known, which side. */
  readonly pick: number
  readonly side: number
  readonly fields: Fields
}

export interface WorldPlan {
  /** `mesh`: replicas sync with each other; `star`: with a server. */
  readonly topology: 'mesh' | 'star'
  readonly replicas: number
  readonly definition: string
  /** Other definitions that everything is looked at with, in the end. */
  readonly views: readonly string[]
  /** Heads that the server allows in a row. */
  readonly headsMax: number
  /** The server gives newcomers a snapshot. */
  readonly hasPast: boolean
  readonly steps: readonly Step[]
}

const who = fc.nat(3)
const ms = fc.oneof(
  { weight: 8, arbitrary: fc.nat(2) },
  { weight: 1, arbitrary: fc.constantFrom(-5_000, 5_000, 59_000) },
)
/** Beyond what a server admits: the change is refused, and issued again. */
const wildMs = fc.oneof({ weight: 12, arbitrary: ms }, { weight: 1, arbitrary: fc.constant(90_000) })
const id = fc.oneof(
  { weight: 8, arbitrary: fc.constant<IdName>('x') },
  { weight: 2, arbitrary: fc.constantFrom(...ID_NAMES) },
)
const value: fc.Arbitrary<ValueName> = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom<ValueName>('one', 'two', 'text') },
  { weight: 2, arbitrary: fc.constantFrom(...VALUE_NAMES) },
)
const count = fc.constantFrom<ValueName>('oneMore', 'one', 'two', 'manyLess', 'most')
const fields: fc.Arbitrary<Fields> = fc
  .record({ a: value, b: value, c: value, n: count }, { requiredKeys: [] })
  .map((record) => ({ ...record }))
const decision: fc.Arbitrary<WorldDecision> = fc.record({
  how: fc.constantFrom(
    ...(['keep', 'value', 'merge', 'erase', 'accept', 'restore', 'restore', 'restore side'] as const),
  ),
  pick: fc.nat(3),
  side: fc.nat(1),
  fields,
})
const part: fc.Arbitrary<Part> = fc
  .record({ id, fields: fc.option(fields, { nil: undefined, freq: 3 }) })
  .map((drawn) => (drawn.fields === undefined ? { id: drawn.id } : { id: drawn.id, fields: drawn.fields }))
const cut = fc.option(fc.integer({ min: 1, max: 12 }), { nil: undefined, freq: 3 })

function step<Type extends Step['type']>(
  weight: number,
  type: Type,
  parts: { readonly [Name in Exclude<keyof Extract<Step, { type: Type }>, 'type'>]: fc.Arbitrary<unknown> },
): { readonly weight: number; readonly arbitrary: fc.Arbitrary<Step> } {
  const arbitrary = fc
    .record(parts as Record<string, fc.Arbitrary<unknown>>)
    .map((drawn) => Object.fromEntries(Object.entries({ type, ...drawn }).filter(([, each]) => each !== undefined)))
  return { weight, arbitrary: arbitrary as unknown as fc.Arbitrary<Step> }
}

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  step(30, 'put', { who, id, fields, ms: wildMs }),
  step(4, 'replace', { who, id, fields, ms }),
  step(7, 'delete', { who, id, ms }),
  step(1, 'burst', { who, id, times: fc.integer({ min: 2, max: 12 }), ms }),
  step(5, 'transact', { who, parts: fc.array(part, { minLength: 1, maxLength: 3 }), ms }),
  step(2, 'crowd', { id, field: fc.constantFrom(...FIELDS), ms }),
  step(12, 'decide', { who, decision, ms }),
  step(4, 'race', { who, other: who, decision, otherDecision: decision, ms }),
  step(28, 'sync', { who, other: who, frames: cut }),
  step(3, 'snapshot', { who, pieces: cut }),
  step(2, 'repair', { who, other: who }),
  step(1, 'erase', { who }),
  step(3, 'restart', { who }),
  step(1, 'renew', { who }),
  step(1, 'newcomer', {}),
  step(1, 'redefine', { to: fc.constantFrom(...DEFINITION_NAMES) }),
  step(1, 'wait', { days: fc.constantFrom(1, 31) }),
)

export function planArbitrary(stepsMax: number): fc.Arbitrary<WorldPlan> {
  return fc.record({
    topology: fc.constantFrom('mesh' as const, 'star' as const),
    replicas: fc.integer({ min: 2, max: 4 }),
    definition: fc.constantFrom(...DEFINITION_NAMES),
    views: fc.array(fc.constantFrom(...DEFINITION_NAMES), { maxLength: 2 }),
    headsMax: fc.constantFrom(64, 64, 64, 3),
    hasPast: fc.boolean(),
    steps: fc.array(anyStep, { minLength: 4, maxLength: stepsMax, size: 'max' }),
  })
}
