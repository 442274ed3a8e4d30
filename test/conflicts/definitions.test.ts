/**
 * Definitions: replicas that would settle a table differently are told before they exchange a row.
 */
import { describe, expect, test } from 'vitest'
import {
  causal,
  counter,
  custom,
  customField,
  max,
  min,
  openReplica,
  type Replica,
  type TableDefinition,
  type TableOptions,
  table,
} from '../../core/index.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import { HandClock, onlyConflict, openMember, openStar, sync, TENANT } from './group.ts'
import { type Note, notesBy } from './note.ts'

const lower = custom('own', 1, () => null)
const higher = custom('own', 2, () => null)

const DIFFERENT: readonly (readonly [string, TableOptions<Note>, string, TableOptions<Note>, string])[] = [
  ['granularity', {}, 'fields lastWriteWins@1', { granularity: 'row' }, 'row lastWriteWins@1'],
  ['the policy', {}, 'fields lastWriteWins@1', { policy: causal() }, 'fields causal@1'],
  ['the version of a policy', { policy: lower }, 'fields own@1', { policy: higher }, 'fields own@2'],
  [
    'the policy of a field',
    { fields: { votes: max() } },
    'fields lastWriteWins@1 votes:max@1',
    { fields: { votes: min() } },
    'fields lastWriteWins@1 votes:min@1',
  ],
  [
    'whether a field counts',
    { fields: { votes: counter() } },
    'fields lastWriteWins@1 votes:counter@1',
    {},
    'fields lastWriteWins@1',
  ],
  [
    'the version of a field’s policy',
    { fields: { body: customField('own', 1, () => 0), votes: max() } },
    'fields lastWriteWins@1 body:own@1 votes:max@1',
    { fields: { votes: max(), body: customField('own', 3, () => 0) } },
    'fields lastWriteWins@1 body:own@3 votes:max@1',
  ],
]

function notesOf(options: TableOptions<Note>): { readonly notes: TableDefinition<Note> } {
  return { notes: table<Note>(options) }
}

describe.each(DIFFERENT)('two replicas that differ in %s', (_name, left, leftText, right, rightText) => {
  test('cannot sync directly: both are told, with both fingerprints, and no row has moved', async () => {
    const { now } = new HandClock()
    for (const isSwapped of [false, true]) {
      const [ann, bob] = await Promise.all([openMember(notesOf(left), now), openMember(notesOf(right), now)])
      await ann.table('notes').insert({ id: 'n', title: 'Pump' })
      const error: unknown = await (isSwapped ? sync(bob, ann) : sync(ann, bob)).catch((reason: unknown) => reason)
      expect(error).toMatchObject({ code: 'schema-mismatch', message: expect.stringContaining(leftText) })
      expect(error).toMatchObject({ message: expect.stringContaining(rightText) })
      expect(await bob.table('notes').get('n')).toBeUndefined()
      expect(bob.clock.size).toBe(0)
    }
  })

  test('cannot both sync with one server: it remembers whom it met first', async () => {
    const { clock, ann, meet } = await openStar(notesOf(left))
    await ann.table('notes').insert({ id: 'n', title: 'Pump' })
    await meet(ann)
    const tables = notesOf(right)
    const other = await openReplica({ tenant: TENANT, store: openMemoryStore(), tables, now: clock.now })
    const error: unknown = await meet(other).catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'schema-mismatch', message: expect.stringContaining(leftText) })
    expect(error).toMatchObject({ message: expect.stringContaining(rightText) })
    expect(other.clock.size).toBe(0)
    await meet(ann)
  })
})

test('what a table remembers and how it is validated is each replica’s own affair', async () => {
  const { now } = new HandClock()
  const [ann, bob] = await Promise.all([
    openMember(notesOf({ journal: { isKept: false, isRedacted: true } }), now),
    openMember(notesOf({}), now),
  ])
  await ann.table('notes').insert({ id: 'n', title: 'Pump' })
  await sync(ann, bob)
  expect(await bob.table('notes').get('n')).toEqual({ id: 'n', title: 'Pump' })
})

test('tables that only one of the two defines travel all the same', async () => {
  const { now } = new HandClock()
  const [ann, bob] = await Promise.all([openMember(notesBy(), now), openMember({ drafts: table<Note>() }, now)])
  const cas = await openMember(notesBy(), now)
  await ann.table('notes').insert({ id: 'n', title: 'Pump' })
  await sync(ann, bob)
  await sync(bob, cas)
  expect(await cas.table('notes').get('n')).toEqual({ id: 'n', title: 'Pump' })
})

describe('a table that was settled by fields, and is settled as a whole since the app was renewed', () => {
  /** Two replicas of the old app, and how they are opened by the new one. */
  async function openOld(): Promise<{
    readonly old: readonly Replica<ReturnType<typeof notesBy>>[]
    readonly renew: () => Promise<Replica<ReturnType<typeof notesBy>>[]>
  }> {
    const { now } = new HandClock()
    const stores = [openMemoryStore(), openMemoryStore()]
    const open = (options: TableOptions<Note>): Promise<Replica<ReturnType<typeof notesBy>>[]> =>
      Promise.all(
        stores.map((store) => openReplica({ tenant: TENANT, store, tables: notesOf(options), authority: 'self', now })),
      )
    return { old: await open({}), renew: () => open({ granularity: 'row' }) }
  }

  test('shows its rows as they were, though their last change wrote one field; the next one keeps the others', async () => {
    const { old, renew } = await openOld()
    const [ann, bob] = old as [(typeof old)[0], (typeof old)[0]]
    await ann.table('notes').insert({ id: 'n', title: 'Pump', body: 'new' })
    await ann.table('notes').update('n', { title: 'Pump 4' })
    await sync(ann, bob)
    for (const replica of await renew()) {
      expect(await replica.table('notes').get('n')).toEqual({ id: 'n', title: 'Pump 4', body: 'new' })
    }
    const [renewed, other] = (await renew()) as [(typeof old)[0], (typeof old)[0]]
    await renewed.table('notes').update('n', { votes: 1 })
    await sync(renewed, other)
    expect(await other.table('notes').get('n')).toEqual({ id: 'n', title: 'Pump 4', body: 'new', votes: 1 })
  })

  test('tells of its conflicts with whole rows, open and settled, and brings back a whole one', async () => {
    const { old, renew } = await openOld()
    const [ann, bob] = old as [(typeof old)[0], (typeof old)[0]]
    await ann.table('notes').insert({ id: 'n', title: 'Pump', body: 'new' })
    await sync(ann, bob)
    await ann.table('notes').update('n', { title: 'Pump 4' })
    await bob.table('notes').update('n', { title: 'Pump 5' })
    await sync(ann, bob)
    const [one, other] = (await renew()) as [(typeof old)[0], (typeof old)[0]]
    const report = await onlyConflict(one)
    const titles = report.sides.map(({ values }) => values.title)
    expect(report.sides.map(({ values }) => values)).toEqual(titles.map((title) => ({ title, body: 'new' })))
    await one.conflicts.accept(report.id)
    await sync(one, other)
    expect(await other.conflicts.get(report.id)).toEqual(report)
    await other.conflicts.restore(report.id)
    await sync(one, other)
    const loser = report.sides.find(({ dot }) => dot.replica !== report.winner?.replica)
    expect(await one.table('notes').get('n')).toEqual({ id: 'n', title: loser?.values.title, body: 'new' })
  })
})
