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
  type TableDefinition,
  type TableOptions,
  table,
} from '../../core/index.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import { HandClock, openMember, openStar, sync, TENANT } from './group.ts'
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
