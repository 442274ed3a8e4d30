/**
 * Forgetting: what is erased, too old, switched off or redacted is told by no way any more; and what remains in the log.
 */
import { describe, expect, test } from 'vitest'
import { type Conflict, customField, openReplica, type Replica, table } from '../../core/index.ts'
import { createMemoryDisk } from '../../core/stores/memory.ts'
import type { TableOptions } from '../../core/table.ts'
import { HandClock, onlyConflict, openConflicts, openTrio, sync, TENANT, type Trio } from './group.ts'
import { type Note, notesBy } from './note.ts'

const DAY_MS = 86_400_000
type Notes = ReturnType<typeof notesBy>
type Tables = Notes & { readonly drafts: Notes['notes'] }

const tablesBy = (options: TableOptions<Note> = {}): Tables => ({ ...notesBy(options), drafts: notesBy().notes })

/** Ann and Bob write the same row; both know of the conflict. */
async function disagree({ ann, bob }: Trio<Tables>, name: keyof Tables, id: string): Promise<Conflict> {
  for (const replica of [ann, bob]) await replica.table(name).upsert({ id, title: `secret of ${replica.id}` })
  await sync(ann, bob)
  const found = (await openConflicts(ann)).find((conflict) => conflict.table === name && conflict.row === id)
  if (found === undefined) throw new Error('they do not disagree')
  return found
}

async function settle({ ann, bob }: Trio<Tables>, { id }: Conflict): Promise<void> {
  await ann.conflicts.accept(id)
  await sync(ann, bob)
}

async function expectForgotten({ conflicts }: Replica<Tables>, { id, table: name }: Conflict): Promise<void> {
  expect(await conflicts.get(id)).toBeUndefined()
  expect((await conflicts.journal({ table: name })).map(({ conflict }) => conflict.id)).not.toContain(id)
  await expect(conflicts.restore(id)).rejects.toMatchObject({ code: 'conflict-unknown' })
  await expect(conflicts.accept(id)).rejects.toMatchObject({ code: 'conflict-unknown' })
}

describe('after the journal was erased', () => {
  test('a settled conflict is told of no more, also to somebody who has its id; elsewhere it is', async () => {
    const trio = await openTrio(tablesBy())
    const report = await disagree(trio, 'notes', 'n')
    await settle(trio, report)
    expect(await trio.ann.conflicts.eraseJournal()).toBe(1)
    await expectForgotten(trio.ann, report)
    expect(await trio.bob.conflicts.get(report.id)).toMatchObject({ id: report.id })
  })

  test('one that is open stays open, can be decided, and is forgotten then', async () => {
    const trio = await openTrio(tablesBy())
    const report = await disagree(trio, 'notes', 'n')
    await trio.ann.conflicts.eraseJournal()
    expect(await onlyConflict(trio.ann)).toEqual(report)
    expect(await trio.ann.conflicts.get(report.id)).toEqual(report)
    await settle(trio, report)
    await expectForgotten(trio.ann, report)
  })

  test('those of other tables, and those that come later, are told of', async () => {
    const trio = await openTrio(tablesBy())
    const [gone, other] = [await disagree(trio, 'notes', 'n'), await disagree(trio, 'drafts', 'n')]
    for (const report of [gone, other]) await settle(trio, report)
    expect(await trio.ann.conflicts.eraseJournal({ table: 'notes' })).toBe(1)
    const later = await disagree(trio, 'notes', 'n')
    await settle(trio, later)
    await expectForgotten(trio.ann, gone)
    for (const report of [other, later]) {
      expect(await trio.ann.conflicts.get(report.id)).toMatchObject({ id: report.id })
    }
    expect((await trio.ann.conflicts.journal()).map(({ conflict }) => conflict.id)).toEqual([other.id, later.id])
    await trio.ann.conflicts.restore(later.id)
  })

  test('one of which only one side was there at the time is told of: it was not a conflict yet', async () => {
    const trio = await openTrio(tablesBy())
    await trio.bob.table('notes').insert({ id: 'n', title: 'early' })
    await trio.bob.conflicts.eraseJournal()
    const { ann } = trio
    await ann.table('notes').insert({ id: 'n', title: 'late' })
    await sync(ann, trio.bob)
    const report = await onlyConflict(trio.bob)
    await settle(trio, report)
    expect(await trio.bob.conflicts.get(report.id)).toMatchObject({ id: report.id })
  })

  test('nothing comes back when the replica is opened again, nor does erasing again bring anything back', async () => {
    const { now } = new HandClock()
    const disk = createMemoryDisk()
    const options = { tenant: TENANT, tables: tablesBy(), authority: 'self', now } as const
    const ann = await openReplica({ ...options, store: disk.open() })
    const trio = { ...(await openTrio(tablesBy())), ann }
    const report = await disagree(trio, 'notes', 'n')
    await settle(trio, report)
    await ann.conflicts.eraseJournal({ table: 'notes' })
    expect(await ann.conflicts.eraseJournal({ table: 'drafts' })).toBe(0)
    expect(await ann.conflicts.eraseJournal({ table: 'nobody knows it' })).toBe(0)
    await ann.close()
    await expectForgotten(await openReplica({ ...options, store: disk.open() }), report)
  })

  test('the changes are in the log still, and in the history of the row: that is what docs/conflicts.md says', async () => {
    const trio = await openTrio(tablesBy())
    const report = await disagree(trio, 'notes', 'n')
    await settle(trio, report)
    await trio.ann.conflicts.eraseJournal()
    expect(await trio.ann.history('notes', 'n')).toHaveLength(3)
  })
})

test('a table whose journal is off tells of a conflict while it is open, and never again', async () => {
  const trio = await openTrio(tablesBy({ journal: { isKept: false } }))
  const report = await disagree(trio, 'notes', 'n')
  expect(await trio.ann.conflicts.get(report.id)).toEqual(report)
  await settle(trio, report)
  for (const replica of [trio.ann, trio.bob]) await expectForgotten(replica, report)
})

describe('a table that keeps its conflicts for some days', () => {
  test('forgets them then, by every way, and those of other tables never', async () => {
    const trio = await openTrio(tablesBy({ journal: { keptDays: 30 } }))
    const { ann, clock } = trio
    const [first, other] = [await disagree(trio, 'notes', 'a'), await disagree(trio, 'drafts', 'a')]
    clock.tick(20 * DAY_MS)
    const second = await disagree(trio, 'notes', 'b')
    for (const report of [first, other, second]) await settle(trio, report)
    expect(await ann.conflicts.journal()).toHaveLength(3)
    clock.tick(10 * DAY_MS - 1)
    expect(await ann.conflicts.get(first.id)).toBeDefined()
    clock.tick()
    await expectForgotten(ann, first)
    expect((await ann.conflicts.journal()).map(({ conflict }) => conflict.id)).toEqual([other.id, second.id])
    clock.tick(20 * DAY_MS)
    await expectForgotten(ann, second)
    expect((await ann.conflicts.journal()).map(({ conflict }) => conflict.id)).toEqual([other.id])
    expect(await ann.conflicts.get(other.id)).toBeDefined()
  })

  test('forgets without being asked for the journal, and remembers what opened meanwhile', async () => {
    const trio = await openTrio(tablesBy({ journal: { keptDays: 1 } }))
    const first = await disagree(trio, 'notes', 'a')
    await settle(trio, first)
    trio.clock.tick(DAY_MS)
    const second = await disagree(trio, 'notes', 'b')
    await settle(trio, second)
    expect(await trio.bob.conflicts.get(first.id)).toBeUndefined()
    expect(await trio.bob.conflicts.get(second.id)).toMatchObject({ id: second.id })
  })

  test('leaves those that are open open, however old', async () => {
    const trio = await openTrio(tablesBy({ journal: { keptDays: 1 } }))
    const report = await disagree(trio, 'notes', 'a')
    trio.clock.tick(3 * DAY_MS)
    expect(await trio.ann.conflicts.journal()).toEqual([])
    expect(await onlyConflict(trio.ann)).toEqual(report)
    await settle(trio, report)
    await expectForgotten(trio.ann, report)
  })

  test.each([0, -1, Number.NaN, Number.POSITIVE_INFINITY])('must say how many: not %s', (keptDays) => {
    expect(() => table({ journal: { keptDays } })).toThrow(/keptDays must be a positive number/)
  })
})

test('a redacted table tells no value that the row does not show: not in explanations, nor what policies threw', async () => {
  const quoting = customField('quoting', 1, (versions) => {
    throw new Error(`cannot decide (between ${versions.map(({ value }) => String(value)).join(' and ')})`)
  })
  const trio = await openTrio(tablesBy({ journal: { isRedacted: true }, fields: { body: quoting } }))
  const { ann, bob, clock } = trio
  await ann.table('notes').insert({ id: 'n', title: 'secret before', body: 'secret before' })
  await sync(ann, bob)
  for (const [replica, name] of [
    [ann, 'Ann'],
    [bob, 'Bob'],
  ] as const) {
    clock.tick()
    await replica.table('notes').update('n', { title: `secret of ${name}`, body: `secret of ${name}` })
  }
  const events: unknown[] = []
  ann.conflicts.subscribe((event) => events.push(event))
  await sync(ann, bob)
  const report = await onlyConflict(ann)
  expect(report.fallback).toBe('policy quoting failed, so the last write is shown')
  const explanation = await ann.explain('notes', 'n')
  expect(explanation.fields.map(({ name, value }) => [name, value])).toEqual([
    ['body', 'secret of Bob'],
    ['title', 'secret of Bob'],
  ])
  expect(explanation.fields[0]?.reason).toBe('The policy quoting failed, so the last write is shown.')
  expect(explanation.fields[0]?.competedWith).toMatchObject([{ value: undefined, dot: { replica: ann.id } }])
  const told = JSON.stringify([report, events, explanation, await ann.conflicts.journal()])
  expect(told).not.toContain('secret of Ann')
  expect(told).not.toContain('secret before')
})
