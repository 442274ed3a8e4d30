/**
 * Deciding conflicts: keep a side, give a value, accept what is shown, bring back what lost. Every way is an ordinary write
 * over all heads of the row, so that it closes the conflict wherever it arrives.
 */
import type { StandardSchemaV1 } from '@standard-schema/spec'
import { describe, expect, test } from 'vitest'
import {
  type Conflict,
  counter,
  custom,
  type Decision,
  deleteWins,
  type ErrorCode,
  firstWriteWins,
  increment,
  type Replica,
  updateWins,
} from '../../core/index.ts'
import {
  onlyConflict,
  openConflicts,
  openStar,
  openTrio,
  type Peer,
  sideOf,
  sync,
  syncAll,
  type Trio,
} from './group.ts'
import { type Note, notesBy } from './note.ts'

type Notes = ReturnType<typeof notesBy>
const NOTE: Note = { id: 'n', title: 'Pump', body: 'new' }

/** Ann changed the title, then Bob did, and all three know of it. */
async function openContested(options: Parameters<typeof notesBy>[0] = {}): Promise<Trio<Notes>> {
  const trio = await openTrio(notesBy(options))
  const { clock, ann, bob, cas } = trio
  await ann.table('notes').insert(NOTE)
  await syncAll(ann, bob, cas)
  clock.tick()
  await ann.table('notes').update('n', { title: 'A' })
  clock.tick()
  await bob.table('notes').update('n', { title: 'B' })
  await syncAll(ann, bob, cas)
  clock.tick()
  return trio
}

/** Ann changed the title, then Bob deleted the note, and all three know of it. */
async function openHalfDeleted(options: Parameters<typeof notesBy>[0] = {}): Promise<Trio<Notes>> {
  const trio = await openTrio(notesBy(options))
  const { clock, ann, bob, cas } = trio
  await ann.table('notes').insert(NOTE)
  await syncAll(ann, bob, cas)
  clock.tick()
  await ann.table('notes').update('n', { title: 'A' })
  clock.tick()
  await bob.table('notes').delete('n')
  await syncAll(ann, bob, cas)
  clock.tick()
  return trio
}

/** The note on all three, which know of no open conflict any more. */
async function agreedNote({ ann, bob, cas }: Trio<Notes>): Promise<Note | undefined> {
  await syncAll(ann, bob, cas)
  const rows = await Promise.all([ann, bob, cas].map((replica) => replica.table('notes').get('n')))
  for (const replica of [ann, bob, cas]) expect(await openConflicts(replica)).toEqual([])
  expect(rows[1]).toEqual(rows[0])
  expect(rows[2]).toEqual(rows[0])
  return rows[0]
}

async function codeOf(work: Promise<unknown>): Promise<ErrorCode | undefined> {
  return work.then(
    () => undefined,
    (error: { code?: ErrorCode }) => error.code,
  )
}

describe.each(['fields', 'row'] as const)(
  'with granularity %s, resolving on any replica closes it on all',
  (granularity) => {
    test.each<[string, (report: Conflict, trio: Trio<Notes>) => Decision, Note | undefined]>([
      ['keep the side that won', (report, { bob }) => ({ keep: sideOf(report, bob).dot }), { ...NOTE, title: 'B' }],
      ['keep the side that lost', (report, { ann }) => ({ keep: sideOf(report, ann).dot }), { ...NOTE, title: 'A' }],
      ['give some fields', () => ({ value: { title: 'C' } }), { ...NOTE, title: 'C' }],
      ['give the whole row', () => ({ value: { title: 'C', body: 'old' } }), { id: 'n', title: 'C', body: 'old' }],
      ['delete the row', () => ({ value: null }), undefined],
      [
        'merge both with a function',
        () => ({ merge: ({ sides }) => ({ title: sides.map(({ values }) => String(values.title)).join(' and ') }) }),
        { ...NOTE, title: 'A and B' },
      ],
      ['merge to nothing', () => ({ merge: () => null }), undefined],
    ])('%s', async (_name, decide, expected) => {
      for (const decider of ['ann', 'bob', 'cas'] as const) {
        const trio = await openContested({ granularity })
        const report = await onlyConflict(trio[decider])
        await trio[decider].conflicts.resolve(report.id, decide(report, trio))
        expect(await agreedNote(trio)).toEqual(expected)
      }
    })

    test('keep either side of an update against a delete, whichever of them won', async () => {
      for (const policy of [updateWins(), deleteWins()]) {
        for (const kept of ['ann', 'bob'] as const) {
          const trio = await openHalfDeleted({ granularity, policy })
          const report = await onlyConflict(trio.cas)
          await trio.cas.conflicts.resolve(report.id, { keep: sideOf(report, trio[kept]).dot })
          expect(await agreedNote(trio)).toEqual(kept === 'ann' ? { ...NOTE, title: 'A' } : undefined)
        }
      }
    })

    test('give some fields of a row that is deleted: the others come back from beneath the delete', async () => {
      const trio = await openHalfDeleted({ granularity, policy: deleteWins() })
      await trio.bob.conflicts.resolve((await onlyConflict(trio.bob)).id, { value: { title: 'C' } })
      expect(await agreedNote(trio)).toEqual({ ...NOTE, title: 'C' })
    })

    test('accept what is shown, as it stands', async () => {
      for (const [open, policy, expected] of [
        [openContested, undefined, { ...NOTE, title: 'B' }],
        [openContested, firstWriteWins(), { ...NOTE, title: 'A' }],
        [openHalfDeleted, updateWins(), { ...NOTE, title: 'A' }],
        [openHalfDeleted, deleteWins(), undefined],
      ] as const) {
        const trio = await open({ granularity, ...(policy === undefined ? {} : { policy }) })
        await trio.cas.conflicts.accept((await onlyConflict(trio.cas)).id)
        expect(await agreedNote(trio)).toEqual(expected)
      }
    })

    test('accept closes all pairs of three at once', async () => {
      const { ann, bob, cas } = await openTrio(notesBy({ granularity }))
      for (const replica of [ann, bob, cas]) await replica.table('notes').insert({ id: 'n', title: replica.id })
      await syncAll(ann, bob, cas)
      const [first] = await openConflicts(bob)
      await bob.conflicts.accept(first?.id ?? '')
      expect(await agreedNote({ ann, bob, cas } as Trio<Notes>)).toEqual({ id: 'n', title: cas.id })
    })

    test('restore brings back the side that lost, while the conflict is open', async () => {
      const trio = await openContested({ granularity })
      await trio.ann.conflicts.restore((await onlyConflict(trio.ann)).id)
      expect(await agreedNote(trio)).toEqual({ ...NOTE, title: 'A' })
    })

    test('restore brings back the side that lost, long after it was settled, on a third replica', async () => {
      const trio = await openContested({ granularity })
      const { id } = await onlyConflict(trio.ann)
      await trio.bob.table('notes').update('n', { title: 'B2' })
      await syncAll(trio.ann, trio.bob, trio.cas)
      expect(await openConflicts(trio.cas)).toEqual([])
      await trio.cas.conflicts.restore(id)
      expect(await agreedNote(trio)).toEqual({ ...NOTE, title: 'A' })
    })

    test('restore brings back a whole row that a delete had won against, and the delete that had lost', async () => {
      const lost = await openHalfDeleted({ granularity })
      const { id } = await onlyConflict(lost.ann)
      await lost.bob.conflicts.accept(id)
      expect(await agreedNote(lost)).toBeUndefined()
      await lost.ann.conflicts.restore(id)
      expect(await agreedNote(lost)).toEqual({ ...NOTE, title: 'A' })

      const kept = await openHalfDeleted({ granularity, policy: updateWins() })
      await kept.cas.conflicts.restore((await onlyConflict(kept.cas)).id)
      expect(await agreedNote(kept)).toBeUndefined()
    })
  },
)

describe('restoring', () => {
  test('the side that had won, after the other was brought back, changes the mind again', async () => {
    for (const granularity of ['fields', 'row'] as const) {
      const { ann, bob, cas } = await openContested({ granularity })
      const shown = await ann.table('notes').get('n')
      const { id, winner } = await onlyConflict(ann)
      await ann.conflicts.restore(id)
      await syncAll(ann, bob, cas)
      expect(await cas.table('notes').get('n')).not.toEqual(shown)
      await cas.conflicts.restore(id, winner)
      await syncAll(ann, bob, cas)
      for (const replica of [ann, bob, cas]) expect(await replica.table('notes').get('n')).toEqual(shown)
    }
  })

  test('writes what the side lost and leaves later changes of other fields alone', async () => {
    const trio = await openTrio(notesBy())
    const { clock, ann, bob, cas } = trio
    await ann.table('notes').insert(NOTE)
    await sync(ann, bob)
    await ann.table('notes').update('n', { title: 'A', body: 'by Ann' })
    clock.tick()
    await bob.table('notes').update('n', { title: 'B' })
    await sync(ann, bob)
    const { id } = await onlyConflict(ann)
    await bob.table('notes').update('n', { body: 'by Bob, later' })
    await syncAll(ann, bob, cas)
    await ann.conflicts.restore(id)
    expect(await agreedNote(trio)).toEqual({ id: 'n', title: 'A', body: 'by Bob, later' })
  })

  test('asks which side to bring back where each lost something, and brings back that', async () => {
    const trio = await openTrio(notesBy({ fields: { body: firstWriteWins() } }))
    const { clock, ann, bob } = trio
    await ann.table('notes').insert(NOTE)
    await sync(ann, bob)
    await ann.table('notes').update('n', { title: 'A', body: 'A' })
    clock.tick()
    await bob.table('notes').update('n', { title: 'B', body: 'B' })
    await sync(ann, bob)
    const report = await onlyConflict(bob)
    expect(report.winner).toBeUndefined()
    await bob.conflicts.accept(report.id)
    await sync(ann, bob)
    expect(await codeOf(ann.conflicts.restore(report.id))).toBe('bad-option')
    await ann.conflicts.restore(report.id, sideOf(report, ann).dot)
    expect(await agreedNote(trio)).toEqual({ id: 'n', title: 'A', body: 'A' })
  })

  test('is refused where both sides are kept anyway', async () => {
    const { ann, bob } = await openTrio(notesBy())
    await ann.table('notes').insert(NOTE)
    await sync(ann, bob)
    await ann.table('notes').update('n', { title: 'A' })
    await bob.table('notes').update('n', { body: 'B' })
    await sync(ann, bob)
    expect(await codeOf(ann.conflicts.restore((await onlyConflict(ann)).id))).toBe('bad-option')
  })
})

describe('two who decide at the same time', () => {
  test('and differ, are in conflict again, with the two decisions as its sides', async () => {
    const trio = await openContested()
    const { ann, bob, cas, clock } = trio
    const { id } = await onlyConflict(ann)
    await ann.conflicts.resolve(id, { value: { title: 'Ann says' } })
    clock.tick()
    await bob.conflicts.resolve(id, { value: { title: 'Bob says' } })
    await syncAll(ann, bob, cas)
    for (const replica of [ann, bob, cas]) {
      const again = await onlyConflict(replica)
      expect(again.id).not.toBe(id)
      expect(again).toMatchObject({ type: 'update-update', winner: { replica: bob.id } })
      expect(sideOf(again, ann).values).toEqual({ title: 'Ann says' })
      expect(await replica.table('notes').get('n')).toEqual({ ...NOTE, title: 'Bob says' })
      const { isOpen } = (await replica.conflicts.journal()).find((entry) => entry.conflict.id === id) ?? {}
      expect(isOpen).toBe(false)
    }
    await cas.conflicts.resolve((await onlyConflict(cas)).id, { keep: sideOf(await onlyConflict(cas), ann).dot })
    expect(await agreedNote(trio)).toEqual({ ...NOTE, title: 'Ann says' })
  })

  test.each<[string, (report: Conflict) => Decision]>([
    ['keep the same side', ({ sides }) => ({ keep: sides[0].dot })],
    ['give the same value', () => ({ value: { title: 'same' } })],
    ['delete the row', () => ({ value: null })],
  ])('and both %s, agree', async (_name, decide) => {
    for (const granularity of ['fields', 'row'] as const) {
      const trio = await openContested({ granularity })
      for (const replica of [trio.ann, trio.bob, trio.cas]) {
        const report = await onlyConflict(replica)
        await replica.conflicts.resolve(report.id, decide(report))
      }
      await agreedNote(trio)
    }
  })

  test('and one keeps the row while the other deletes it, are in conflict again', async () => {
    const { ann, bob } = await openContested()
    const report = await onlyConflict(ann)
    await ann.conflicts.resolve(report.id, { keep: sideOf(report, ann).dot })
    await bob.conflicts.resolve(report.id, { value: null })
    await sync(ann, bob)
    expect(['update-delete', 'delete-update']).toContain((await onlyConflict(ann)).type)
  })
})

describe('a decision is refused', () => {
  test('about a conflict that is settled, unknown, or of a table that the replica does not have', async () => {
    const { ann, bob } = await openContested()
    const { id } = await onlyConflict(ann)
    await ann.conflicts.accept(id)
    expect(await codeOf(ann.conflicts.accept(id))).toBe('conflict-closed')
    expect(await codeOf(ann.conflicts.resolve(id, { value: { title: 'late' } }))).toBe('conflict-closed')
    for (const stranger of ['x', id.replace('/n', '/m'), id.replace('@notes', '@drafts')]) {
      expect(await codeOf(ann.conflicts.accept(stranger))).toBe('conflict-unknown')
      expect(await codeOf(ann.conflicts.restore(stranger))).toBe('conflict-unknown')
    }
    expect(await bob.table('notes').get('n')).toEqual({ ...NOTE, title: 'B' })
  })

  test('for a side that the conflict does not have', async () => {
    const { ann, cas } = await openContested()
    const { id } = await onlyConflict(ann)
    const keep = { replica: cas.id, seq: 1 }
    expect(await codeOf(ann.conflicts.resolve(id, { keep }))).toBe('bad-option')
  })

  test('when what it gives is no row', async () => {
    const { ann } = await openContested()
    const { id } = await onlyConflict(ann)
    for (const value of ['title', 5, [], undefined] as unknown as (null | { readonly title: string })[]) {
      expect(await codeOf(ann.conflicts.resolve(id, { value }))).toBe('bad-value')
    }
    expect(await codeOf(ann.conflicts.resolve(id, { value: { title: () => 'x' } }))).toBe('bad-value')
    expect(await openConflicts(ann)).toHaveLength(1)
  })

  test('when the row changed after it was decided and before that was written', async () => {
    const { ann } = await openContested()
    const { id } = await onlyConflict(ann)
    let writing: Promise<unknown> = Promise.resolve()
    const merge = (): Readonly<Record<string, unknown>> => {
      writing = ann.table('notes').update('n', { title: 'meanwhile' })
      return { title: 'decided' }
    }
    expect(await codeOf(ann.conflicts.resolve(id, { merge }))).toBe('transaction-conflict')
    await writing
    expect(await ann.table('notes').get('n')).toEqual({ ...NOTE, title: 'meanwhile' })
  })

  test('when it makes a row that the table’s validator refuses', async () => {
    for (const granularity of ['fields', 'row'] as const) {
      const trio = await openContested({ granularity, schema: shortTitles })
      const { id } = await onlyConflict(trio.ann)
      expect(await codeOf(trio.ann.conflicts.resolve(id, { value: { title: 'much too long' } }))).toBe('invalid-row')
      expect(await openConflicts(trio.ann)).toHaveLength(1)
      const dead = await openHalfDeleted({ granularity, schema: shortTitles })
      const closed = await onlyConflict(dead.ann)
      expect(await codeOf(dead.ann.conflicts.resolve(closed.id, { value: { title: 'much too long' } }))).toBe(
        'invalid-row',
      )
    }
  })
})

const shortTitles: StandardSchemaV1<unknown, Note> = {
  '~standard': {
    version: 1,
    vendor: 'test',
    validate: (value) =>
      (value as Note).title.length <= 6 ? { value: value as Note } : { issues: [{ message: 'too long' }] },
  },
}

test('a transaction runs again when a snapshot changed a row that it read', async () => {
  const { ann, bob, meet, restore } = await openStar(notesBy())
  await ann.table('notes').insert(NOTE)
  await meet(ann, bob)
  await ann.table('notes').update('n', { title: 'A' })
  await meet(ann)
  const seen: (string | undefined)[] = []
  await bob.transact(async (transaction) => {
    const notes = transaction.table('notes')
    const note = await notes.get('n')
    seen.push(note?.title)
    if (seen.length === 1) await restore(bob)
    notes.update('n', { title: `${note?.title} and B` })
  })
  expect(seen).toEqual(['Pump', 'A'])
  await meet(bob, ann)
  expect(await ann.table('notes').get('n')).toEqual({ ...NOTE, title: 'A and B' })
  expect(await openConflicts(ann)).toEqual([])
})

// ── Tables with more to them ────────────────────────────────────────────────────────────────────────────────────────

describe('deciding in a table', () => {
  test('with a counter keeps what has been counted', async () => {
    const counted = { fields: { votes: counter() } }
    for (const decide of [
      (report: Conflict, replica: Replica<Notes>, loser: Peer): Promise<void> =>
        replica.conflicts.resolve(report.id, { keep: sideOf(report, loser).dot }),
      (report: Conflict, replica: Replica<Notes>): Promise<void> => replica.conflicts.restore(report.id),
    ]) {
      const trio = await openTrio(notesBy(counted))
      const { clock, ann, bob } = trio
      await ann.table('notes').insert({ ...NOTE, votes: 10 })
      await sync(ann, bob)
      await ann.table('notes').update('n', { title: 'A', votes: increment(1) })
      clock.tick()
      await bob.table('notes').update('n', { title: 'B', votes: increment(5) })
      await sync(ann, bob)
      await decide(await onlyConflict(bob), bob, ann)
      expect(await agreedNote(trio)).toEqual({ ...NOTE, title: 'A', votes: 16 })
    }
  })

  test('with a counter brings a deleted row back with the whole count', async () => {
    const trio = await openTrio(notesBy({ fields: { votes: counter() }, policy: deleteWins() }))
    const { clock, ann, bob, cas } = trio
    await ann.table('notes').insert({ ...NOTE, votes: 10 })
    await syncAll(ann, bob, cas)
    await cas.table('notes').update('n', { votes: increment(3) })
    await sync(ann, cas)
    await ann.table('notes').update('n', { title: 'A', votes: increment(1) })
    clock.tick()
    await bob.table('notes').delete('n')
    await sync(ann, bob)
    expect(await ann.table('notes').get('n')).toBeUndefined()
    const report = (await openConflicts(ann)).find(({ type }) => type === 'update-delete') as Conflict
    await ann.conflicts.resolve(report.id, { keep: sideOf(report, ann).dot })
    expect(await agreedNote(trio)).toEqual({ ...NOTE, title: 'A', votes: 14 })
  })

  test('with a policy of its own accepts what that policy made', async () => {
    const joined = custom('joined', 1, (versions) => {
      const rows = versions.flatMap(({ row }) => (row === undefined ? [] : [row]))
      return { title: rows.map((row) => String(row.title)).join('+') }
    })
    for (const granularity of ['fields', 'row'] as const) {
      const trio = await openContested({ policy: joined, granularity })
      expect(await trio.cas.table('notes').get('n')).toEqual({ id: 'n', title: 'A+B' })
      await trio.cas.conflicts.accept((await onlyConflict(trio.cas)).id)
      expect(await agreedNote(trio)).toEqual({ id: 'n', title: 'A+B' })
    }
  })

  test('whose reports are redacted still keeps and restores what was written', async () => {
    for (const isKept of [true, false]) {
      const kept = await openContested({ journal: { isRedacted: true, isKept } })
      const report = await onlyConflict(kept.ann)
      expect(report.sides.map(({ values }) => values)).toEqual([{}, {}])
      await kept.ann.conflicts.resolve(report.id, { keep: sideOf(report, kept.ann).dot })
      expect(await agreedNote(kept)).toEqual({ ...NOTE, title: 'A' })

      const restored = await openContested({ journal: { isRedacted: true, isKept } })
      await restored.cas.conflicts.restore((await onlyConflict(restored.cas)).id)
      expect(await agreedNote(restored)).toEqual({ ...NOTE, title: 'A' })
    }
  })
})
