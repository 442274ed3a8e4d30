/**
 * Counters: increments by all replicas add up, whatever way and however often they arrive.
 */
import type { StandardSchemaV1 } from '@standard-schema/spec'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { counter, increment, openReplica, type Replica, table } from '../../core/index.ts'
import { createMemoryDisk } from '../../core/stores/memory.ts'
import { HandClock, openConflicts, openStar, openTrio, sync, syncAll, TENANT, type Trio } from './group.ts'
import { type Note, notesBy } from './note.ts'

const COUNTING = notesBy({ fields: { votes: counter() } })
type Counting = typeof COUNTING

async function openCounted(votes = 10): Promise<Trio<Counting>> {
  const trio = await openTrio(COUNTING)
  await trio.ann.table('notes').insert({ id: 'n', title: 'Pump', votes })
  await syncAll(trio.ann, trio.bob, trio.cas)
  return trio
}

async function votesOf(...replicas: readonly Replica<Counting>[]): Promise<(number | undefined)[]> {
  const notes = await Promise.all(replicas.map((replica) => replica.table('notes').get('n')))
  return notes.map((note) => note?.votes)
}

function vote(replica: Replica<Counting>, by = 1): Promise<unknown> {
  return replica.table('notes').update('n', { votes: increment(by) })
}

describe('a counter', () => {
  test('adds up what three replicas counted without knowing of each other', async () => {
    const { ann, bob, cas } = await openCounted()
    await vote(ann, 1)
    await vote(bob, 20)
    await vote(bob, 300)
    await vote(cas, -4)
    expect(await votesOf(ann, bob, cas)).toEqual([11, 330, 6])
    await syncAll(ann, bob, cas)
    expect(await votesOf(ann, bob, cas)).toEqual([327, 327, 327])
    await vote(cas)
    await syncAll(ann, bob, cas)
    expect(await votesOf(ann, bob, cas)).toEqual([328, 328, 328])
  })

  test('adds up over a server, and counts nothing twice when a replica comes back', async () => {
    const { ann, bob, cas, meet } = await openStar(COUNTING)
    await ann.table('notes').insert({ id: 'n', title: 'Pump', votes: 0 })
    await meet(ann, bob, cas)
    for (const [index, replica] of [ann, bob, cas].entries()) await vote(replica, 10 ** index)
    for (let round = 0; round < 3; round++) await meet(cas, bob, ann)
    expect(await votesOf(ann, bob, cas)).toEqual([111, 111, 111])
  })

  test('counts nothing twice when the same changes come by log and by snapshot, again and again', async () => {
    const { ann, bob, cas, meet, restore } = await openStar(COUNTING)
    await ann.table('notes').insert({ id: 'n', title: 'Pump', votes: 0 })
    await meet(ann, bob, cas)
    for (let round = 0; round < 3; round++) {
      await vote(ann, 5)
      await vote(bob, 7)
      await meet(ann)
      await restore(bob, cas)
      await meet(bob)
      await restore(ann, cas)
      await meet(cas, ann)
      await restore(ann, bob, cas)
    }
    expect(await votesOf(ann, bob, cas)).toEqual([36, 36, 36])
  })

  test('starts from zero when the row is inserted anew, or from the number it is inserted with', async () => {
    const { ann, bob, cas } = await openCounted()
    await vote(bob, 5)
    await syncAll(ann, bob, cas)
    await cas.table('notes').delete('n')
    await cas.table('notes').insert({ id: 'n', title: 'Pump', votes: 0 })
    await syncAll(ann, bob, cas)
    await vote(ann, 2)
    await vote(bob, 3)
    await syncAll(ann, bob, cas)
    expect(await votesOf(ann, bob, cas)).toEqual([5, 5, 5])
    await bob.table('notes').delete('n')
    await bob.table('notes').insert({ id: 'n', title: 'Pump' })
    await syncAll(ann, bob, cas)
    expect(await votesOf(ann, bob, cas)).toEqual([0, 0, 0])
    await vote(ann)
    await syncAll(ann, bob, cas)
    expect(await votesOf(ann, bob, cas)).toEqual([1, 1, 1])
  })

  test('keeps of what was counted beside a new insert only what that insert had not seen', async () => {
    const { ann, bob, cas } = await openCounted()
    await vote(ann, 5)
    await vote(cas, 7)
    await syncAll(ann, bob, cas)
    await bob.table('notes').delete('n')
    await bob.table('notes').insert({ id: 'n', title: 'Anew', votes: 100 })
    await vote(ann, 1)
    await vote(bob, 20)
    await sync(bob, cas)
    await vote(cas, 300)
    await syncAll(ann, bob, cas)
    expect(await votesOf(ann, bob, cas)).toEqual([421, 421, 421])
    await cas.table('notes').delete('n')
    await cas.table('notes').insert({ id: 'n', title: 'Once more' })
    await vote(ann, 1)
    await vote(bob, 2)
    await syncAll(ann, bob, cas)
    expect(await votesOf(ann, bob, cas)).toEqual([3, 3, 3])
  })

  test('counts nothing twice when a replica goes on under a new id', async () => {
    const { ann, bob, cas, meet } = await openStar(COUNTING)
    await ann.table('notes').insert({ id: 'n', title: 'Pump', votes: 100 })
    await meet(ann, bob)
    await vote(bob, 1)
    await meet(bob, ann)
    for (const by of [10, 20]) await vote(bob, by)
    await bob.table('notes').insert({ id: 'm', title: 'Valve', votes: 7 })
    await bob.table('notes').update('m', { votes: increment(5) })
    await bob.renewIdentity('replica-cloned')
    expect(await votesOf(bob)).toEqual([131])
    await vote(bob, 1_000)
    await meet(bob, ann, cas)
    expect(await votesOf(ann, bob, cas)).toEqual([1_131, 1_131, 1_131])
    expect((await cas.table('notes').get('m'))?.votes).toBe(12)
  })

  test('goes on where a row survives a delete', async () => {
    const { clock, ann, bob, cas } = await openCounted()
    await vote(ann, 1)
    await bob.table('notes').delete('n')
    clock.tick()
    await vote(cas, 2)
    await syncAll(ann, bob, cas)
    expect(await votesOf(ann, bob, cas)).toEqual([13, 13, 13])
  })

  test('is not a conflict, whoever counts; other fields are', async () => {
    const { ann, bob } = await openCounted()
    await vote(ann)
    await vote(bob)
    await sync(ann, bob)
    expect(await openConflicts(ann)).toMatchObject([{ type: 'merged', fields: [] }])
    await ann.table('notes').update('n', { title: 'A', votes: increment(1) })
    await bob.table('notes').update('n', { title: 'B', votes: increment(1) })
    await sync(ann, bob)
    expect(await openConflicts(ann)).toMatchObject([{ type: 'update-update', fields: [{ name: 'title' }] }])
    expect(await votesOf(ann, bob)).toEqual([14, 14])
  })

  test('two increments by the same number are two, not an agreement', async () => {
    const { ann, bob } = await openCounted()
    await vote(ann, 1)
    await vote(bob, 1)
    await sync(ann, bob)
    expect(await votesOf(ann, bob)).toEqual([12, 12])
  })

  test('says who counted what in an explanation', async () => {
    const { ann, bob, cas } = await openCounted()
    await vote(bob, 5)
    await syncAll(ann, bob, cas)
    const { fields } = await cas.explain('notes', 'n')
    const votes = fields.find(({ name }) => name === 'votes')
    expect(votes?.value).toBe(15)
    expect(votes?.competedWith.map(({ value, dot }) => [value, dot.replica])).toEqual(
      expect.arrayContaining([
        [10, ann.id],
        [5, bob.id],
      ]),
    )
    expect(votes?.reason).toContain('the sum of 2')
  })
})

describe('a write to a counter', () => {
  test('is an increment by a whole number; only an insert gives a number to start from', async () => {
    const { ann } = await openCounted()
    const notes = ann.table('notes')
    for (const votes of [5, '5', null]) {
      await expect(notes.update('n', { votes: votes as number })).rejects.toMatchObject({ code: 'bad-value' })
    }
    for (const by of [0.5, Number.NaN, 2 ** 53]) expect(() => increment(by)).toThrow(/whole numbers/)
    await expect(notes.insert({ id: 'm', title: '', votes: 0.5 })).rejects.toMatchObject({ code: 'bad-value' })
    await expect(ann.table('notes').update('n', { title: increment(1) as unknown as string })).rejects.toMatchObject({
      code: 'bad-value',
    })
    expect(await votesOf(ann)).toEqual([10])
  })

  test('adds up within a transaction, which reads what it has counted itself', async () => {
    const { ann } = await openCounted()
    await ann.transact(async (transaction) => {
      const notes = transaction.table('notes')
      notes.update('n', { votes: increment(1) })
      expect(await notes.get('n')).toMatchObject({ votes: 11 })
      notes.update('n', { votes: increment(2) })
      expect(await notes.get('n')).toMatchObject({ votes: 13 })
      notes.delete('n')
      notes.insert({ id: 'n', title: 'anew', votes: 1 })
      notes.update('n', { votes: increment(2) })
      expect(await notes.get('n')).toEqual({ id: 'n', title: 'anew', votes: 3 })
    })
    expect(await votesOf(ann)).toEqual([3])
  })

  test('that would pass the last exact integer is refused, and what others count beyond it does not break the row', async () => {
    const { ann, bob } = await openCounted(Number.MAX_SAFE_INTEGER)
    await expect(vote(ann)).rejects.toMatchObject({ code: 'bad-value' })
    await vote(bob, Number.MAX_SAFE_INTEGER)
    await sync(ann, bob)
    expect(await votesOf(ann, bob)).toEqual([Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER])
    await vote(bob, -Number.MAX_SAFE_INTEGER)
    await vote(ann, -1)
    await sync(ann, bob)
    expect(await votesOf(ann, bob)).toEqual([Number.MAX_SAFE_INTEGER - 1, Number.MAX_SAFE_INTEGER - 1])
  })

  test('is validated as the number that will show, not as the part of one replica', async () => {
    const schema: StandardSchemaV1<unknown, Note> = {
      '~standard': {
        version: 1,
        vendor: 'test',
        validate: (value) =>
          Number((value as Note).votes) >= 0 ? { value: value as Note } : { issues: [{ message: 'below zero' }] },
      },
    }
    const { ann, bob } = await openTrio({ notes: table<Note>({ schema, fields: { votes: counter() } }) })
    await ann.table('notes').insert({ id: 'n', title: 'Pump', votes: 2 })
    await sync(ann, bob)
    await bob.table('notes').update('n', { votes: increment(-2) })
    expect(await bob.table('notes').get('n')).toMatchObject({ votes: 0 })
    await expect(bob.table('notes').update('n', { votes: increment(-1) })).rejects.toMatchObject({
      code: 'invalid-row',
    })
    await bob.table('notes').update('n', { title: 'at zero' })
  })
})

test('a field that becomes a counter goes on from the number that was there', async () => {
  const { now } = new HandClock()
  const disk = createMemoryDisk()
  const options = { tenant: TENANT, authority: 'self', now } as const
  const before = await openReplica({ ...options, store: disk.open(), tables: notesBy() })
  await before.table('notes').insert({ id: 'n', title: 'Pump', votes: 7 })
  await before.close()
  const ann = await openReplica({ ...options, store: disk.open(), tables: COUNTING })
  const { bob } = await openTrio(COUNTING)
  await sync(ann, bob)
  await vote(ann, 1)
  await vote(bob, 3)
  await sync(ann, bob)
  expect(await votesOf(ann, bob)).toEqual([11, 11])
})

test('any votes over any ways of sync add up to the sum of all of them', async () => {
  const step = fc.oneof(
    fc.record({ type: fc.constant('vote'), who: fc.nat(2), by: fc.integer({ min: -100, max: 100 }) }),
    fc.record({ type: fc.constantFrom('meet', 'restore'), who: fc.nat(2), by: fc.constant(0) }),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25, size: 'max' }), async (steps) => {
      const { ann, bob, cas, meet, restore } = await openStar(COUNTING)
      await ann.table('notes').insert({ id: 'n', title: 'Pump', votes: 0 })
      await meet(ann, bob, cas)
      const all = [ann, bob, cas]
      let sum = 0
      for (const { type, who, by } of steps) {
        const replica = all[who] as Replica<Counting>
        sum += by
        if (type === 'vote') await vote(replica, by)
        else await (type === 'meet' ? meet(replica) : restore(replica))
      }
      await meet(...all, ...all)
      expect(await votesOf(...all)).toEqual([sum, sum, sum])
      expect(new Set(await Promise.all(all.map(async (each) => (await each.digest()).hash))).size).toBe(1)
    }),
    { numRuns: 100 },
  )
})
