/**
 * Replicas with equal clocks say the same, word for word: the smallest cases in which they once did not, most of them found by
 * `npm run worlds`.
 */
import { describe, expect, test } from 'vitest'
import { custom, max, type Replica, type TableDefinition, table } from '../../core/index.ts'
import { HandClock, onlyConflict, openMember, openStar, openTrio, sendSnapshot, sync, syncAll } from './group.ts'
import { notesBy } from './note.ts'

interface Pair {
  readonly id: string
  readonly a?: number
  readonly b?: number
}
type Pairs = { readonly pairs: TableDefinition<Pair> }

/** Two replicas that write in the order in which their ids are. */
async function openPair(definition: TableDefinition<Pair>): Promise<[Replica<Pairs>, Replica<Pairs>, HandClock]> {
  const { ann, bob, clock } = await openTrio({ pairs: definition })
  return [ann, bob, clock]
}

test('the fields of a row stand in the order of their names, in whatever order a replica learned of them', async () => {
  const [ann, bob] = await openPair(table<Pair>())
  await ann.table('pairs').insert({ id: 'p', a: 1 })
  await bob.table('pairs').insert({ id: 'q', b: 2 })
  await sync(ann, bob)
  await ann.table('pairs').update('p', { b: 2 })
  await sync(ann, bob)
  for (const replica of [ann, bob]) {
    expect(JSON.stringify(await replica.table('pairs').get('p'))).toBe('{"id":"p","a":1,"b":2}')
  }
})

describe('what is said of a policy that failed', () => {
  test('does not quote what the language says: every browser says it in its own way', async () => {
    const careless = custom('careless', 1, (versions) => (versions[7] as (typeof versions)[0]).row ?? null)
    const [ann, bob] = await openPair(table<Pair>({ policy: careless }))
    await ann.table('pairs').insert({ id: 'p', a: 1 })
    await bob.table('pairs').insert({ id: 'p', a: 2 })
    await sync(ann, bob)
    const { fallback } = await onlyConflict(ann)
    expect(fallback).toBe('policy careless failed (its code threw a TypeError), so the last write is shown')
  })

  test('quotes what the policy itself says, and what the engine does', async () => {
    const strict = custom('strict', 1, () => {
      throw new Error('two at once')
    })
    const [ann, bob] = await openPair(table<Pair>({ policy: strict }))
    const [cas, dan] = await openPair(table<Pair>({ fields: { a: max() } }))
    for (const [one, other] of [
      [ann, bob],
      [cas, dan],
    ] as const) {
      await one.table('pairs').insert({ id: 'p', a: 1 })
      await other.table('pairs').insert({ id: 'p', a: 'one' as unknown as number })
      await sync(one, other)
    }
    expect((await onlyConflict(ann)).fallback).toContain('(two at once)')
    expect((await onlyConflict(cas)).fallback).toContain('(values of different types have no order)')
  })
})

test('a policy finds a version again that it has found before', async () => {
  const others = custom('others', 1, (versions) => {
    const best = versions[1] ?? versions[0]
    return { a: versions.filter((version) => version !== best).length, b: best ? versions.indexOf(best) : -1 }
  })
  const [ann, bob] = await openPair(table<Pair>({ policy: others }))
  await ann.table('pairs').insert({ id: 'p', a: 7, b: 7 })
  await bob.table('pairs').insert({ id: 'p', a: 8, b: 8 })
  await sync(ann, bob)
  expect(await ann.table('pairs').get('p')).toEqual({ id: 'p', a: 1, b: 1 })
})

test('a change that the server refused is no side of a conflict, also for who wrote it', async () => {
  const { ann, bob, clock, hub, meet } = await openStar(notesBy())
  await ann.table('notes').insert({ id: 'n', title: 'Pump' })
  await meet(ann, bob)
  // Too far ahead of the server for it.
  clock.tick(90_000)
  await bob.table('notes').update('n', { title: 'Pump 5' })
  clock.tick(-90_000)
  await ann.table('notes').update('n', { title: 'Pump 4' })
  await meet(ann)
  await bob.table('notes').update('n', { body: 'behind it' })
  await meet(bob, ann)
  const [refused] = await bob.rejected()
  expect(refused).toMatchObject({ code: 'clock-skew' })
  const id = `${ann.id}:2~${bob.id}:${refused?.change.dot.seq}@notes/n`
  for (const replica of [ann, bob]) expect(await replica.conflicts.get(id)).toBeUndefined()
  const known = async (replica: typeof ann): Promise<string[]> =>
    (await replica.conflicts.journal()).map(({ conflict }) => conflict.id)
  expect(await known(bob)).not.toContain(id)
  expect(hub.ledger.state.meta.voids).toBeGreaterThan(0)
})

describe('under a policy of an app’s own', () => {
  const sum = custom('sum', 1, (versions) => {
    let total = 0
    for (const { row } of versions) total += Number(row?.b ?? 0)
    return { a: total, b: total }
  })

  test('what a value overwrote, and what was there before a conflict, is what was shown', async () => {
    const { ann, bob, cas } = await openTrio({ pairs: table<Pair>({ policy: sum }) })
    await ann.table('pairs').insert({ id: 'p', a: 0, b: 1 })
    await syncAll(ann, bob, cas)
    await ann.table('pairs').update('p', { a: 10 })
    await bob.table('pairs').update('p', { a: 20 })
    await syncAll(ann, bob, cas)
    // Everybody is shown a: 2, which nobody wrote, and which comes from the other field.
    await cas.table('pairs').update('p', { a: 5 })
    await syncAll(ann, bob, cas)
    for (const replica of [ann, bob, cas]) {
      const { fields } = await replica.explain('pairs', 'p')
      expect(fields.find(({ name }) => name === 'a')).toMatchObject({ value: 5, overwrote: { value: 2 } })
    }
    await ann.table('pairs').update('p', { a: 6 })
    await cas.table('pairs').delete('p')
    await syncAll(ann, bob, cas)
    await bob.table('pairs').upsert({ id: 'p', a: 1, b: 3 })
    await cas.table('pairs').upsert({ id: 'p', a: 2, b: 4 })
    await syncAll(ann, bob, cas)
    for (const replica of [ann, bob, cas]) {
      const { fields } = await onlyConflict(replica)
      expect(fields.map(({ name, base }) => [name, base])).toEqual([
        ['a', 1],
        ['b', 1],
      ])
    }
  })
})

describe('a report that is made from the log', () => {
  const MANY = 1_100

  test('is whole on every replica however much one side wrote, and whatever happened to the row since', async () => {
    const { now } = new HandClock()
    const [ann, bob] = await Promise.all([openMember(notesBy(), now), openMember(notesBy(), now)])
    await ann.table('notes').insert({ id: 'n', title: 'Pump', body: 'new' })
    await sync(ann, bob)
    await ann.table('notes').update('n', { title: 'Pump 4' })
    for (let votes = 1; votes <= MANY; votes++) await ann.table('notes').update('n', { votes })
    await bob.table('notes').update('n', { title: 'Pump 5' })
    await sync(ann, bob)
    const open = await onlyConflict(ann)
    const side = open.sides.find(({ dot }) => dot.replica === ann.id)
    expect(side?.values).toEqual({ title: 'Pump 4', votes: MANY })
    await bob.conflicts.resolve(open.id, { value: { body: 'seen' } })
    for (let votes = 1; votes <= MANY; votes++) await bob.table('notes').update('n', { votes })
    await sync(ann, bob)
    for (const replica of [ann, bob]) expect(await replica.conflicts.get(open.id)).toEqual(open)
  })

  test('says that it is partial where a snapshot brought some of what a side did', async () => {
    const { ann, bob, cas, hub, meet } = await openStar(notesBy())
    await ann.table('notes').insert({ id: 'n', title: 'Pump', body: 'new' })
    await meet(ann, bob)
    await ann.table('notes').update('n', { title: 'Pump 4' })
    await meet(ann)
    await sendSnapshot(hub.ledger, cas)
    await ann.table('notes').update('n', { body: 'mended' })
    await bob.table('notes').update('n', { title: 'Pump 5' })
    await meet(ann, bob, ann, cas)
    const open = await onlyConflict(ann)
    expect(open).toMatchObject({ type: 'update-update', fields: [{ name: 'title' }] })
    expect(open).not.toHaveProperty('isPartial')
    expect(await cas.conflicts.get(open.id)).toMatchObject({ type: 'update-update', fields: [{ name: 'title' }] })
    await ann.conflicts.accept(open.id)
    await meet(ann, bob, cas)
    expect(await bob.conflicts.get(open.id)).toEqual(open)
    expect(await cas.conflicts.get(open.id)).toMatchObject({ isPartial: true })
  })
})
