/**
 * Mistakes that other systems made, on replicas that sync: each test says its number in the list of them.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  causal,
  deleteWins,
  firstWriteWins,
  lastWriteWins,
  type Policy,
  type Replica,
  updateWins,
  VectorClock,
} from '../../core/index.ts'
import {
  HandClock,
  onlyConflict,
  openConflicts,
  openMember,
  openStar,
  openTrio,
  START_MS,
  sync,
  syncAll,
} from './group.ts'
import { contextOf, type Note, notesBy } from './note.ts'

type Notes = ReturnType<typeof notesBy>
const NOTE: Note = { id: 'n', title: 'Pump', body: 'new' }
const POLICIES: readonly Policy[] = [lastWriteWins(), causal(), firstWriteWins(), deleteWins(), updateWins()]

async function titlesOf(...replicas: readonly Replica<Notes>[]): Promise<(string | undefined)[]> {
  const notes = await Promise.all(replicas.map((replica) => replica.table('notes').get('n')))
  return notes.map((note) => note?.title)
}

test('regression 1: replicas with equal clocks have no conflict, and an entry of zero makes no difference', async () => {
  const { ann, bob } = await openTrio(notesBy())
  await ann.table('notes').insert(NOTE)
  await bob.table('notes').insert({ id: 'm', title: '' })
  await sync(ann, bob)
  for (let round = 0; round < 3; round++) {
    expect(ann.clock.equals(bob.clock)).toBe(true)
    expect(ann.clock.concurrentWith(bob.clock)).toBe(false)
    expect([...(await openConflicts(ann)), ...(await openConflicts(bob))]).toEqual([])
    await sync(bob, ann)
  }
  const stranger = (await openTrio(notesBy())).cas.id
  const padded = new VectorClock([...ann.clock.entries(), [stranger, 0]])
  expect(padded.compare(bob.clock)).toBe('equal')
  expect(padded.concurrentWith(bob.clock)).toBe(false)
})

test('regression 2: receiving does not count as an event of the receiver', async () => {
  const { ann, bob, cas, meet, restore } = await openStar(notesBy())
  for (let row = 0; row < 10; row++) await ann.table('notes').insert({ id: `n${row}`, title: '' })
  await meet(ann, bob)
  await restore(cas)
  expect([bob.clock.get(bob.id), cas.clock.get(cas.id)]).toEqual([0, 0])
  await ann.table('notes').update('n0', { title: 'next' })
  await meet(ann, bob, cas)
  for (const replica of [ann, bob, cas]) {
    expect(await openConflicts(replica)).toEqual([])
    expect(replica.clock.toJSON()).toEqual({ [ann.id]: 11 })
  }
  const { change } = await bob.table('notes').update('n0', { title: 'by Bob' })
  expect(change.dot).toEqual({ replica: bob.id, seq: 1 })
})

test('regression 3: whoever has seen everything conflicts with nobody, however skewed the clocks are', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat(2), fc.integer({ min: -100_000, max: 100_000 }), fc.boolean()), { maxLength: 12 }),
      async (turns) => {
        const { clock, ann, bob, cas } = await openTrio(notesBy())
        await ann.table('notes').insert(NOTE)
        await syncAll(ann, bob, cas)
        for (const [who, ms, isDelete] of turns) {
          clock.ms = START_MS + ms
          const writer = [ann, bob, cas][who] as Replica<Notes>
          if (isDelete && (await writer.table('notes').get('n')) !== undefined) await writer.table('notes').delete('n')
          else await writer.table('notes').upsert({ id: 'n', title: `${who} ${ms}` })
          const shown = await writer.table('notes').get('n')
          await syncAll(ann, bob, cas)
          for (const replica of [ann, bob, cas]) {
            expect(await openConflicts(replica)).toEqual([])
            expect(await replica.table('notes').get('n')).toEqual(shown)
          }
        }
      },
    ),
    { numRuns: 40 },
  )
})

describe('regressions 4 and 5: what its writer had seen decides before timestamps do', () => {
  // Ann wrote at 10. Bob, who had seen that, wrote with a clock that stands at 1. Cas wrote at 5, seeing neither. Pair by
  // pair Bob beats Ann, Ann beats Cas, Cas beats Bob; by wall clock alone Ann's value, which Bob had overwritten, wins.
  const orders = [
    ['ann', 'bob', 'cas'],
    ['ann', 'cas', 'bob'],
    ['cas', 'ann', 'bob'],
  ] as const

  test.each(orders.map((order) => [order.join(', '), order] as const))('delivered as %s', async (_name, order) => {
    for (const policy of POLICIES) {
      const clocks = { ann: new HandClock(), bob: new HandClock(), cas: new HandClock(), eve: new HandClock() }
      clocks.ann.ms += 10_000
      clocks.bob.ms += 1_000
      clocks.cas.ms += 5_000
      const open = (name: keyof typeof clocks): Promise<Replica<Notes>> =>
        openMember(notesBy({ policy }), clocks[name].now)
      const [ann, bob, cas, eve] = await Promise.all([open('ann'), open('bob'), open('cas'), open('eve')])
      await eve.table('notes').insert(NOTE)
      for (const replica of [ann, bob, cas]) await sync(eve, replica)
      await ann.table('notes').update('n', { title: 'A' })
      await sync(ann, bob)
      await bob.table('notes').update('n', { title: 'B' })
      await cas.table('notes').update('n', { title: 'C' })
      const readers = await Promise.all([open('eve'), open('eve')])
      for (const name of order) for (const reader of readers) await sync({ ann, bob, cas }[name], reader)
      await syncAll(...readers, ann, bob, cas, eve)
      // Hybrid clocks put Bob after what he had seen.
      const expected = policy.name === 'firstWriteWins' ? 'C' : 'B'
      expect(await titlesOf(...readers, ann, bob, cas, eve)).toEqual(Array(6).fill(expected))
      expect((await onlyConflict(eve)).sides.map(({ values }) => values.title).sort()).toEqual(['B', 'C'])
    }
  })

  test('a value that its own writer had overwritten is shown nowhere, though its clock went back in between', async () => {
    const { clock, ann, bob } = await openTrio(notesBy())
    await ann.table('notes').insert(NOTE)
    await sync(ann, bob)
    clock.tick(60_000)
    await ann.table('notes').update('n', { title: 'overwritten' })
    clock.tick(-59_000)
    await ann.table('notes').update('n', { title: 'A' })
    clock.tick(1_000)
    await bob.table('notes').update('n', { title: 'B' })
    await sync(ann, bob)
    expect(await titlesOf(ann, bob)).toEqual(['A', 'A'])
    const report = await onlyConflict(ann)
    expect(report.sides.map(({ values }) => values.title).sort()).toEqual(['A', 'B'])
  })
})

test('regression 6: writes of one replica in one millisecond are ordered, and those of two tie the same everywhere', async () => {
  const { ann, bob, cas } = await openTrio(notesBy())
  await ann.table('notes').insert(NOTE)
  const stamps: number[] = []
  for (let write = 0; write < 5; write++) {
    stamps.push((await ann.table('notes').update('n', { title: `A${write}` })).change.timestamp)
  }
  expect(stamps).toEqual([...new Set(stamps)].sort((a, b) => a - b))
  await syncAll(ann, bob, cas)
  expect(await titlesOf(ann, bob, cas)).toEqual(['A4', 'A4', 'A4'])
  for (const replica of [cas, bob, ann]) await replica.table('notes').insert({ id: 'tie', title: replica.id })
  await syncAll(bob, cas, ann)
  for (const replica of [ann, bob, cas]) {
    expect((await replica.table('notes').get('tie'))?.title).toBe(cas.id)
    for (const { sides } of await openConflicts(replica)) {
      expect(sides[0].timestamp).toBe(sides[1].timestamp)
      expect(sides[0].dot.replica < sides[1].dot.replica).toBe(true)
    }
  }
})

test('regression 21: a row that eighty replicas wrote still tells what a late writer had not seen', async () => {
  const { now } = new HandClock()
  const tables = notesBy()
  const late = await openMember(tables, now)
  await late.table('notes').insert(NOTE)
  let last = late
  for (let number = 0; number < 80; number++) {
    const next = await openMember(tables, now)
    await sync(last, next)
    await next.table('notes').update('n', { title: `title ${number}` })
    last = next
  }
  expect(contextOf((await last.history('notes', 'n')).at(-1) as Parameters<typeof contextOf>[0])).toMatchObject({
    [late.id]: 1,
  })
  expect((await last.explain('notes', 'n')).heads).toHaveLength(1)
  // Who saw all of it is no conflict for anybody, with a context of 81 entries.
  const { change } = await last.table('notes').update('n', { body: 'last' })
  expect(change.context.size).toBe(81)
  await late.table('notes').update('n', { title: 'late' })
  await sync(late, last)
  expect(await openConflicts(last)).toMatchObject([{ type: 'update-update', fields: [{ name: 'title' }] }])
  await last.table('notes').update('n', { title: 'all seen' })
  await sync(late, last)
  expect(await openConflicts(late)).toEqual([])
  expect(await titlesOf(late, last)).toEqual(['all seen', 'all seen'])
})
