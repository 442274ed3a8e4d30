/**
 * The journal: which conflicts there were, also after they are settled; bounded, erasable, and silent where a table says so.
 */
import { describe, expect, test } from 'vitest'
import { type JournalEntry, openReplica, type Replica } from '../../core/index.ts'
import { JOURNAL_RECORDS_MAX } from '../../core/journal.ts'
import { createMemoryDisk } from '../../core/stores/memory.ts'
import {
  HandClock,
  onlyConflict,
  openConflicts,
  openStar,
  openTrio,
  type Peer,
  START_MS,
  sideOf,
  sync,
  syncAll,
  TENANT,
} from './group.ts'
import { notesBy } from './note.ts'

type Notes = ReturnType<typeof notesBy>
const TABLES = { ...notesBy(), drafts: notesBy().notes }

/** Both insert a row by this id. */
async function insertBoth(left: Replica<Notes>, right: Replica<Notes>, id: string): Promise<void> {
  await left.table('notes').insert({ id, title: `${id} of ${left.id}` })
  await right.table('notes').insert({ id, title: `${id} of ${right.id}` })
}

const rowsOf = (entries: readonly JournalEntry[]): string[] => entries.map(({ conflict }) => conflict.row)

describe('the journal', () => {
  test('remembers a conflict when it opened here, and that it is settled', async () => {
    const { clock, ann, bob } = await openTrio(notesBy())
    await insertBoth(ann, bob, 'n')
    clock.tick(500)
    await sync(ann, bob)
    const report = await onlyConflict(ann)
    expect(await ann.conflicts.journal()).toEqual([{ number: 1, time: START_MS + 500, conflict: report, isOpen: true }])
    await bob.conflicts.accept(report.id)
    await sync(ann, bob)
    for (const replica of [ann, bob]) {
      expect(await replica.conflicts.journal()).toEqual([
        { number: 1, time: START_MS + 500, conflict: report, isOpen: false },
      ])
    }
  })

  test('has a conflict that was settled before it came here, with the value that lost', async () => {
    const { ann, bob, cas } = await openTrio(notesBy())
    await insertBoth(ann, bob, 'n')
    await sync(ann, bob)
    const report = await onlyConflict(bob)
    await bob.conflicts.accept(report.id)
    await sync(bob, cas)
    expect(await openConflicts(cas)).toEqual([])
    const [entry] = await cas.conflicts.journal()
    expect(entry).toMatchObject({ isOpen: false, conflict: { id: report.id, type: 'insert-insert' } })
    expect(sideOf(entry?.conflict ?? report, ann).values).toEqual({ title: `n of ${ann.id}` })
  })

  test('has one entry for many edits that one side made alone', async () => {
    const { ann, bob, cas } = await openTrio(notesBy())
    await ann.table('notes').insert({ id: 'n', title: 'new' })
    await syncAll(ann, bob, cas)
    await ann.table('notes').update('n', { title: 'A' })
    for (let edit = 1; edit <= 20; edit++) await bob.table('notes').update('n', { title: `B${edit}` })
    await sync(ann, bob)
    await sync(ann, cas)
    for (const replica of [ann, cas]) {
      expect((await replica.conflicts.journal()).map(({ conflict }) => conflict.id)).toEqual([
        (await onlyConflict(ann)).id,
      ])
    }
  })

  test('is read in pages, by table and by class', async () => {
    const { ann, bob } = await openTrio(TABLES)
    for (const id of ['a', 'b', 'c', 'd']) await insertBoth(ann, bob, id)
    await ann.table('drafts').insert({ id: 'x', title: 'A' })
    await bob.table('drafts').insert({ id: 'x', title: 'B' })
    await sync(ann, bob)
    await ann.table('notes').upsert({ id: 'a', title: 'A' })
    await sync(ann, bob)
    await ann.table('notes').update('a', { title: 'AA' })
    await bob.table('notes').delete('a')
    await sync(ann, bob)
    const { conflicts } = ann
    const first = await conflicts.journal({ limit: 2 })
    expect(rowsOf(first)).toEqual(['a', 'b'])
    const rest = await conflicts.journal({ since: first.at(-1)?.number ?? 0 })
    expect(rowsOf(rest)).toEqual(['c', 'd', 'x', 'a'])
    expect(await conflicts.journal({ since: rest.at(-1)?.number ?? 0 })).toEqual([])
    expect(rowsOf(await conflicts.journal({ table: 'drafts' }))).toEqual(['x'])
    expect(rowsOf(await conflicts.journal({ type: 'update-delete' }))).toHaveLength(
      (await openConflicts(ann)).filter(({ type }) => type === 'update-delete').length,
    )
    expect(rowsOf(await conflicts.journal({ type: 'insert-insert', table: 'notes', limit: 3 }))).toEqual([
      'a',
      'b',
      'c',
    ])
    expect(await conflicts.journal({ table: 'unknown' })).toEqual([])
  })

  test('has conflicts that came in a snapshot', async () => {
    const { ann, bob, cas, meet, restore } = await openStar(notesBy())
    await insertBoth(ann, bob, 'n')
    await meet(ann, bob, ann)
    await restore(cas)
    expect((await cas.conflicts.journal()).map(({ conflict }) => conflict.id)).toEqual([(await onlyConflict(ann)).id])
  })

  test('is there again when the replica is opened again', async () => {
    const { now } = new HandClock()
    const disk = createMemoryDisk()
    const options = { tenant: TENANT, tables: notesBy(), authority: 'self', now } as const
    const before = await openReplica({ ...options, store: disk.open() })
    const { bob } = await openTrio(notesBy())
    await insertBoth(before, bob, 'n')
    await sync(before, bob)
    const [entries, open] = [await before.conflicts.journal(), await openConflicts(before)]
    await before.close()
    const after = await openReplica({ ...options, store: disk.open() })
    expect(entries).toHaveLength(1)
    expect(await after.conflicts.journal()).toEqual(entries)
    expect(await openConflicts(after)).toEqual(open)
  })

  test.each([
    ['at once', [JOURNAL_RECORDS_MAX + 50]],
    ['one after the other', [6_000, JOURNAL_RECORDS_MAX - 5_950]],
  ])('J3: regression 29: is bounded, and forgets the oldest first, when they come %s', async (_name, counts) => {
    const { ann, bob } = await openTrio(notesBy())
    let count = 0
    for (const more of counts) {
      for (const replica of [ann, bob]) await insertMany(replica, count, count + more)
      await sync(ann, bob)
      count += more
    }
    const [first] = await ann.conflicts.journal({ limit: 1 })
    expect(first?.number).toBe(51)
    expect(await ann.conflicts.journal({ since: count - 1 })).toMatchObject([{ number: count }])
    expect(await ann.conflicts.eraseJournal()).toBe(JOURNAL_RECORDS_MAX)
    expect(ann.log.stats().conflicts).toBe(count)
  })
})

/** Inserts the rows from one number up to, not including, another. */
async function insertMany(replica: Replica<Notes>, first: number, end: number): Promise<void> {
  for (let from = first; from < end; from += 1_000) {
    await replica.transact((transaction) => {
      const notes = transaction.table('notes')
      for (let row = from; row < Math.min(end, from + 1_000); row++) {
        notes.insert({ id: `n${String(row).padStart(6, '0')}`, title: replica.id })
      }
    })
  }
}

describe('a table', () => {
  test('whose journal is off leaves no entry, and its open conflicts are found all the same', async () => {
    const { ann, bob } = await openTrio(notesBy({ journal: { isKept: false } }))
    await insertBoth(ann, bob, 'n')
    await sync(ann, bob)
    const report = await onlyConflict(ann)
    expect(await ann.conflicts.journal()).toEqual([])
    await ann.conflicts.restore(report.id)
    await sync(ann, bob)
    expect(await bob.conflicts.journal()).toEqual([])
    expect(await openConflicts(bob)).toEqual([])
  })

  test('that is redacted shows no value of any conflict, open or settled, by any way', async () => {
    const { ann, bob } = await openTrio(notesBy({ journal: { isRedacted: true } }))
    await ann.table('notes').insert({ id: 'n', title: 'secret of both' })
    await sync(ann, bob)
    await ann.table('notes').update('n', { title: 'secret of Ann' })
    await bob.table('notes').update('n', { title: 'secret of Bob' })
    await sync(ann, bob)
    const report = await onlyConflict(ann)
    expect(report).toMatchObject({ type: 'update-update', fields: [{ name: 'title' }] })
    const shown = async (replica: Peer): Promise<string> =>
      JSON.stringify([
        await openConflicts(replica),
        await replica.conflicts.get(report.id),
        await replica.conflicts.journal(),
      ])
    expect(await shown(ann)).not.toContain('secret')
    await bob.conflicts.accept(report.id)
    await sync(ann, bob)
    for (const replica of [ann, bob]) expect(await shown(replica)).not.toContain('secret')
    expect(await ann.conflicts.journal()).toMatchObject([{ conflict: { id: report.id, winner: report.winner } }])
  })
})

describe('erasing', () => {
  test('removes the entries of one table, or all, for good', async () => {
    const { ann, bob } = await openTrio(TABLES)
    await insertBoth(ann, bob, 'a')
    await insertBoth(ann, bob, 'b')
    await ann.table('drafts').insert({ id: 'x', title: 'A' })
    await bob.table('drafts').insert({ id: 'x', title: 'B' })
    await sync(ann, bob)
    expect(await ann.conflicts.eraseJournal({ table: 'notes' })).toBe(2)
    expect(rowsOf(await ann.conflicts.journal())).toEqual(['x'])
    expect(rowsOf(await bob.conflicts.journal())).toEqual(['a', 'b', 'x'])
    expect(await ann.conflicts.eraseJournal()).toBe(1)
    expect(await ann.conflicts.eraseJournal()).toBe(0)
    expect(await ann.conflicts.journal()).toEqual([])
    // New ones have new numbers: who reads on from an old one misses nothing.
    await insertBoth(ann, bob, 'c')
    await sync(ann, bob)
    expect((await ann.conflicts.journal({ since: 3 })).map(({ number, conflict }) => [number, conflict.row])).toEqual([
      [4, 'c'],
    ])
  })

  test('leaves open conflicts open', async () => {
    const { ann, bob } = await openTrio(notesBy())
    await insertBoth(ann, bob, 'n')
    await sync(ann, bob)
    await ann.conflicts.eraseJournal()
    const report = await onlyConflict(ann)
    await ann.conflicts.accept(report.id)
    expect(await openConflicts(ann)).toEqual([])
  })
})
