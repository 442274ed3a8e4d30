/**
 * The simulator of tidemark/testing: a user's own policies are judged by it.
 */
import fc from 'fast-check'
import {
  type ConcurrentRow,
  causal,
  counter,
  custom,
  customField,
  type DecideField,
  table,
  union,
  type Value,
} from 'tidemark/core'
import { describe, expect, test } from 'vitest'
import { type SimulatedTables, simulate } from '../testing.ts'
import { createJournal, type Mistake } from './journal-place.ts'

const rows = fc.record({ title: fc.constantFrom('a', 'b', 'c'), votes: fc.integer({ min: 0, max: 9 }) })

type Row = Readonly<Record<string, Value>>

/** One table whose field `votes` is settled by a user's function, or a fresh one for each process. */
function deciding(create: () => DecideField): () => SimulatedTables {
  return () => ({ tasks: { table: table({ fields: { votes: customField('mine', 1, create()) } }), rows } })
}

/** What this process heard of first. */
function firstToCome(): DecideField {
  const order: string[] = []
  return (versions) => {
    for (const { dot } of versions) if (!order.includes(dot.replica)) order.push(dot.replica)
    return [...versions].sort((a, b) => order.indexOf(a.dot.replica) - order.indexOf(b.dot.replica))[0]?.value ?? null
  }
}

describe('a simulation of tables with good policies', () => {
  test('holds, and says what it went through', async () => {
    const seen: number[] = []
    const result = await simulate({
      schedules: 60,
      seed: 'good',
      tables: {
        tasks: { table: table({ fields: { votes: customField('sum', 1, sum), labels: union() } }), rows: labelled },
        plans: { table: table({ granularity: 'row', policy: custom('mostVotes', 1, mostVotes) }), rows },
        stock: { table: table({ fields: { votes: counter() }, policy: causal() }), rows },
      },
      onProgress: ({ done }) => seen.push(done),
    })
    expect(result.failure?.text).toBeUndefined()
    expect(result).toMatchObject({ held: true, schedules: 60 })
    expect(seen).toHaveLength(60)
    expect(result.conflicted).toBeGreaterThan(10)
    expect(result.faults.crash).toBeGreaterThan(10)
  })

  test('holds without a word, with the tables of the engine', async () => {
    expect(await simulate({ schedules: 5 })).toMatchObject({ held: true, schedules: 5 })
  })
})

const labelled = fc.record({
  votes: fc.integer({ min: 0, max: 9 }),
  labels: fc.array(fc.constantFrom('x', 'y', 'z'), { maxLength: 2 }),
})

const sum: DecideField = (versions) => versions.reduce((total, { value }) => total + Number(value), 0)

const mostVotes = (sides: readonly ConcurrentRow[]): Row | null => {
  const rows = sides.flatMap(({ row }) => (row === undefined ? [] : [row]))
  const [first] = rows
  return first === undefined
    ? null
    : rows.reduce((best, row) => (Number(row.votes) > Number(best.votes) ? row : best), first)
}

describe('a simulation finds a policy that', () => {
  test.each<[string, string, () => DecideField]>([
    ['looks at the clock', 'one', () => (versions) => versions[Date.now() % versions.length]?.value ?? null],
    ['looks at the calendar', 'one', () => () => new Date().getHours()],
    ['remembers in which order changes came', 'one', firstToCome],
    ['throws dice', 'one', () => (versions) => versions[Math.floor(Math.random() * versions.length)]?.value ?? null],
    [
      'cannot decide',
      'answers',
      () =>
        ([first]) => {
          if (Number(first?.value) > 4) throw new RangeError('too many votes')
          return 0
        },
    ],
  ])('%s, and tells it in a few events', async (_what, promise, create) => {
    const tables = deciding(create)
    const { held, failure } = await simulate({ schedules: 200, seed: 'bad', tables })
    expect(held).toBe(false)
    expect(failure?.promise).toBe(promise)
    expect(failure?.text).toMatch(/^BROKEN PROMISE: .*\n/)
    expect(failure?.plan.events.length).toBeLessThanOrEqual(20)
    const again = await simulate({ tables, ...(failure === undefined ? {} : { plan: failure.plan }) })
    expect(again).toMatchObject({ held: false, schedules: 1, failure: { promise } })
  })
})

describe('a simulation of stores', () => {
  test('holds with a good adapter, and says what it does not try', async () => {
    const result = await simulate({ schedules: 40, seed: 'stores', stores: () => createJournal() })
    expect(result.failure?.text).toBeUndefined()
    expect(result.held).toBe(true)
    expect(result.faults.crash).toBeGreaterThan(10)
    expect(result.notTried).toHaveLength(3)
  })

  test('does the same twice', async () => {
    const run = () => simulate({ schedules: 3, seed: 'twice', stores: () => createJournal() })
    const [first, second] = [await run(), await run()]
    expect(second.events).toBe(first.events)
    expect(second.faults).toEqual(first.faults)
  })

  test.each<[Mistake, string, RegExp, seed?: string]>([
    ['acknowledges before it syncs', 'stored', /had acknowledged \d+ commits, and holds \d+ after a crash/],
    [
      'loses a key when it starts again',
      'stored',
      /did not hold what it had acknowledged when it was opened: key ".*" was missing/,
    ],
    [
      'takes what is left of a torn line',
      'stored',
      /was given \d+ commits, and says that it holds \d+|had another value|was missing|which nobody had put there/,
      'journal',
    ],
    ['forgets to delete', 'stored', /which nobody had put there/],
    ['ignores the head', 'stored', /answered committed with head \d+/],
  ])('finds an adapter that %s', { timeout: 120_000 }, async (mistake, promise, detail, seed = 'stores') => {
    const stores = () => createJournal(mistake)
    const { failure } = await simulate({ schedules: 300, seed, stores })
    expect(failure?.promise).toBe(promise)
    expect(failure?.detail).toMatch(detail)
    expect(failure?.plan.events.length).toBeLessThanOrEqual(12)
  })
})
