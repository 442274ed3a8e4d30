/**
 * Worlds in which replicas with equal clocks once said different things, each with a sentence.
 */
import type { WorldPlan } from './plan.ts'

export interface KeptWorld {
  readonly why: string
  readonly plan: WorldPlan
}

const MESH = {
  topology: 'mesh',
  replicas: 2,
  definition: 'lastWriteWins by fields',
  views: [],
  headsMax: 64,
  hasPast: false,
} as const

export const KEPT_WORLDS: readonly KeptWorld[] = [
  {
    why: 'the fields of a row came in the order in which each store had learned of their names',
    plan: {
      ...MESH,
      steps: [
        { type: 'put', who: 0, id: 'x', fields: { c: 'one' }, ms: 0 },
        { type: 'put', who: 0, id: 'x', fields: { n: 'most' }, ms: 0 },
      ],
    },
  },
  {
    why: 'what a value had overwritten went by the part of the past that one log had nearest',
    plan: {
      ...MESH,
      views: ['byIdentity by fields'],
      steps: [
        { type: 'transact', who: 0, parts: [{ id: 'long', fields: { n: 'two' } }], ms: 1 },
        { type: 'crowd', id: 'long', field: 'a', ms: 0 },
        { type: 'sync', who: 0, other: 1 },
        { type: 'put', who: 0, id: 'long', fields: { a: 'two' }, ms: 0 },
      ],
    },
  },
]
