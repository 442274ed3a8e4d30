/**
 * What a report says, on replicas that synced: who wrote what, having seen what, who prevails and why.
 */
import { describe, expect, test } from 'vitest'
import {
  type Conflict,
  causal,
  counter,
  deleteWins,
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
  START_MS,
  sideOf,
  sync,
  syncAll,
  type Trio,
} from './group.ts'
import { type Note, notesBy, seenBy, timestampAfter } from './note.ts'

type Notes = ReturnType<typeof notesBy>
const NOTE: Note = { id: 'n', title: 'Pump', body: 'new' }

/** Ann wrote the note, and everybody has it. */
async function openSharedNote(options: Parameters<typeof notesBy>[0] = {}): Promise<Trio<Notes>> {
  const trio = await openTrio(notesBy(options))
  await trio.ann.table('notes').insert(NOTE)
  await syncAll(trio.ann, trio.bob, trio.cas)
  trio.clock.tick()
  return trio
}

describe('a report', () => {
  test('says who wrote what, when, having seen what, what was there before, who prevails and why', async () => {
    const { clock, ann, bob } = await openSharedNote()
    await ann.table('notes').update('n', { title: 'Pump 4' })
    clock.tick()
    await bob.table('notes').update('n', { title: 'Pump 5' })
    await sync(ann, bob)
    const report = await onlyConflict(ann)
    expect({ ...report, sides: report.sides.map((side) => ({ ...side, context: seenBy(side.context) })) }).toEqual({
      id: `${ann.id}:2~${bob.id}:1@notes/n`,
      type: 'update-update',
      table: 'notes',
      row: 'n',
      sides: [
        {
          dot: { replica: ann.id, seq: 2 },
          op: 'update',
          time: START_MS + 1,
          timestamp: timestampAfter(1),
          values: { title: 'Pump 4' },
          context: { [ann.id]: 1 },
        },
        {
          dot: { replica: bob.id, seq: 1 },
          op: 'update',
          time: START_MS + 2,
          timestamp: timestampAfter(2),
          values: { title: 'Pump 5' },
          context: { [ann.id]: 1 },
        },
      ],
      fields: [{ name: 'title', base: 'Pump', winner: { replica: bob.id, seq: 1 } }],
      policy: 'lastWriteWins@1',
      winner: { replica: bob.id, seq: 1 },
      isProvisional: false,
      reason: `The update of replica ${bob.id} (change 1) wins: it was made later.`,
    })
  })

  test('is the same on every replica, whoever met whom first', async () => {
    const { clock, ann, bob, cas } = await openSharedNote()
    for (const writer of [cas, ann, bob]) {
      await writer.table('notes').update('n', { title: `by ${writer.id}`, body: `of ${writer.id}` })
      clock.tick()
    }
    await sync(bob, cas)
    await sync(ann, bob)
    await syncAll(cas, ann, bob)
    await expectSameReports(3, ann, bob, cas)
  })

  test('is the same on every replica of a server', async () => {
    const { ann, bob, cas, clock, meet } = await openStar(notesBy())
    await ann.table('notes').insert(NOTE)
    await meet(ann, bob, cas)
    clock.tick()
    for (const writer of [ann, bob, cas]) await writer.table('notes').update('n', { title: writer.id })
    await meet(cas, bob, ann, cas, bob)
    await expectSameReports(3, ann, bob, cas)
  })

  test('is the same, but for what only the log knows, where the row came in a snapshot', async () => {
    const { ann, bob, cas, meet, restore } = await openStar(notesBy())
    await ann.table('notes').insert(NOTE)
    await meet(ann, bob)
    await ann.table('notes').update('n', { title: 'Pump 4' })
    await bob.table('notes').delete('n')
    await meet(ann, bob, ann)
    await restore(cas)
    const [whole, partial] = [await onlyConflict(ann), await onlyConflict(cas)]
    const bare = {
      ...whole,
      sides: whole.sides.map(({ context: _, ...side }) => side),
      fields: whole.fields.map(({ base: _, ...field }) => field),
    }
    expect(partial).toEqual(bare)
    expect(await cas.conflicts.get(whole.id)).toEqual(bare)
  })

  test('is the same for a newcomer, to whom the server gives a snapshot because there is too much history', async () => {
    const { ann, bob, cas, meet } = await openStar(notesBy())
    for (const from of [0, 1_000]) {
      await ann.transact((transaction) => {
        const notes = transaction.table('notes')
        for (let row = from; row < from + 1_000; row++) notes.insert({ id: `n${row}`, title: 'Pump' })
      })
    }
    await meet(ann, bob)
    await ann.table('notes').update('n7', { title: 'A' })
    await bob.table('notes').update('n7', { title: 'B' })
    await meet(ann, bob, ann, cas)
    expect(cas.log.stats().end).toBe(1)
    expect(await cas.digest()).toEqual(await ann.digest())
    expect(await onlyConflict(cas)).toMatchObject({ id: (await onlyConflict(ann)).id, type: 'update-update' })
    await cas.conflicts.resolve((await onlyConflict(cas)).id, { value: { title: 'C' } })
    await meet(cas, ann)
    expect(await openConflicts(ann)).toEqual([])
    expect(await ann.table('notes').get('n7')).toEqual({ id: 'n7', title: 'C' })
  })

  test('has all that a side changed while it was alone, not only its last change', async () => {
    const { clock, ann, bob } = await openSharedNote()
    await ann.table('notes').update('n', { title: 'Pump 4' })
    await ann.table('notes').update('n', { body: 'old' })
    clock.tick()
    await bob.table('notes').update('n', { title: 'Pump 5' })
    await sync(ann, bob)
    const report = await onlyConflict(bob)
    expect(sideOf(report, ann)).toMatchObject({ dot: { seq: 3 }, values: { title: 'Pump 4', body: 'old' } })
    expect(report.fields).toEqual([{ name: 'title', base: 'Pump', winner: sideOf(report, bob).dot }])
  })

  test('knows what was there before, when the two had seen two different values there', async () => {
    const { clock, ann, bob, cas } = await openSharedNote()
    await ann.table('notes').update('n', { title: 'A' })
    clock.tick()
    await bob.table('notes').update('n', { title: 'B' })
    await sync(ann, bob)
    await sync(cas, bob)
    clock.tick()
    await ann.table('notes').update('n', { title: 'AA' })
    await bob.table('notes').update('n', { title: 'BB' })
    await syncAll(ann, bob, cas)
    for (const replica of [ann, bob, cas]) {
      expect((await onlyConflict(replica)).fields).toMatchObject([{ name: 'title', base: 'B' }])
    }
  })

  test('names no value before where the log does not reach back to all of it, rather than another one', async () => {
    const { clock, ann, bob, cas, meet, restore } = await openStar(notesBy())
    await ann.table('notes').insert(NOTE)
    await meet(ann, bob, cas)
    await bob.table('notes').update('n', { title: 'by Bob' })
    await meet(bob, cas)
    clock.tick()
    await ann.table('notes').update('n', { title: 'by Ann' })
    await meet(ann, bob)
    await restore(cas)
    clock.tick()
    await ann.table('notes').update('n', { title: 'A' })
    await bob.table('notes').update('n', { title: 'B' })
    await meet(ann, bob, ann, cas)
    expect((await onlyConflict(ann)).fields).toMatchObject([{ name: 'title', base: 'by Ann' }])
    expect((await onlyConflict(cas)).fields).toEqual([{ name: 'title', winner: expect.anything() }])
  })

  test('names no value before where only one side had seen it', async () => {
    const { ann, bob } = await openTrio(notesBy())
    for (const { table } of [ann, bob].map((replica) => ({ table: replica.table('notes') }))) {
      await table.insert({ id: 'n', title: 'first' })
      await table.update('n', { title: `second of ${table.name}` })
    }
    await ann.table('notes').update('n', { title: 'third' })
    await sync(ann, bob)
    expect((await onlyConflict(ann)).fields).toEqual([{ name: 'title', winner: expect.anything() }])
  })

  test('calls two changes inserts when their writers have no common past of the row, however often they updated', async () => {
    const { ann, bob } = await openTrio(notesBy())
    await ann.table('notes').insert({ id: 'n', title: 'A' })
    await bob.table('notes').insert({ id: 'n', title: 'B' })
    await bob.table('notes').update('n', { title: 'B2' })
    await sync(ann, bob)
    const report = await onlyConflict(ann)
    expect(report.type).toBe('insert-insert')
    expect(report.sides.map(({ op }) => op)).toEqual(['insert', 'insert'])
  })

  test('comes for every pair of three, and lists tables one at a time when asked', async () => {
    const { ann, bob, cas } = await openTrio({ ...notesBy(), drafts: notesBy().notes })
    for (const replica of [ann, bob, cas]) {
      await replica.table('notes').insert({ id: 'n', title: replica.id })
      await replica.table('drafts').insert({ id: 'd', title: replica.id })
    }
    await syncAll(ann, bob, cas)
    expect(await openConflicts(ann)).toHaveLength(6)
    const drafts: Conflict[] = []
    for await (const conflict of ann.conflicts.open({ table: 'drafts' })) drafts.push(conflict)
    expect(new Set(drafts.map(({ table }) => table))).toEqual(new Set(['drafts']))
    expect(drafts).toHaveLength(3)
  })

  test('is found by its id, open or settled, and not by anything else', async () => {
    const { ann, bob } = await openSharedNote()
    await ann.table('notes').update('n', { title: 'A' })
    await bob.table('notes').update('n', { title: 'B' })
    await sync(ann, bob)
    const report = await onlyConflict(ann)
    expect(await ann.conflicts.get(report.id)).toEqual(report)
    const { id } = report
    const strangers = ['', 'n', id.replace('notes', 'other'), id.replace('/n', '/m'), id.replace(bob.id, ann.id)]
    for (const stranger of [...strangers, id.replace(':1@', ':9@'), id.replace(':1@', ':0@')]) {
      expect(await ann.conflicts.get(stranger), stranger).toBeUndefined()
    }
    // The note as Ann first wrote it was seen by Bob: no conflict.
    expect(await ann.conflicts.get(`${ann.id}:1~${bob.id}:1@notes/n`)).toBeUndefined()
  })
})

async function expectSameReports(count: number, ...peers: readonly Peer[]): Promise<void> {
  const [first, ...others] = await Promise.all(peers.map(openConflicts))
  expect(first).toHaveLength(count)
  for (const other of others) expect(other).toEqual(first)
}

// ── Settled reports ─────────────────────────────────────────────────────────────────────────────────────────────────

describe('the report of a settled conflict', () => {
  const edits: Readonly<Record<string, (replica: Replica<Notes>) => Promise<unknown>>> = {
    update: (replica) => replica.table('notes').update('n', { title: replica.id }),
    'two updates': async (replica) => {
      await replica.table('notes').update('n', { title: replica.id })
      await replica.table('notes').update('n', { body: replica.id })
    },
    delete: (replica) => replica.table('notes').delete('n'),
    'new insert': async (replica) => {
      await replica.table('notes').delete('n')
      await replica.table('notes').insert({ id: 'n', title: replica.id })
    },
  }
  const pairs = Object.keys(edits).flatMap((left) => Object.keys(edits).map((right) => [left, right] as const))

  test.each(pairs.filter(([left, right]) => left !== 'delete' || right !== 'delete'))(
    'says what it said while it was open: %s against %s',
    async (left, right) => {
      for (const granularity of ['fields', 'row'] as const) {
        const { clock, ann, bob } = await openSharedNote({ granularity })
        await edits[left]?.(ann)
        clock.tick()
        await edits[right]?.(bob)
        await sync(ann, bob)
        const open = await onlyConflict(ann)
        await bob.conflicts.resolve(open.id, { value: { title: 'agreed' } })
        await sync(ann, bob)
        for (const replica of [ann, bob]) {
          expect(await openConflicts(replica)).toEqual([])
          expect(await replica.conflicts.get(open.id)).toEqual(open)
          expect(await replica.conflicts.journal()).toMatchObject([{ conflict: { ...open }, isOpen: false }])
        }
      }
    },
  )

  test('has what a side changed while it was alone, and nothing of what it did not know', async () => {
    const { clock, ann, bob, cas } = await openSharedNote()
    await cas.table('notes').update('n', { body: 'by Cas' })
    await ann.table('notes').update('n', { title: 'A1' })
    await ann.table('notes').update('n', { title: 'A2' })
    clock.tick()
    await bob.table('notes').update('n', { title: 'B' })
    await syncAll(ann, bob, cas)
    const open = (await openConflicts(ann)).find(({ type }) => type === 'update-update') as Conflict
    await cas.conflicts.accept(open.id)
    await syncAll(ann, bob, cas)
    const settled = await ann.conflicts.get(open.id)
    expect(settled?.sides.map(({ values }) => values)).toEqual([{ title: 'A2' }, { title: 'B' }])
    expect(settled?.fields).toEqual([{ name: 'title', base: 'Pump', winner: { replica: bob.id, seq: 1 } }])
  })
})

// ── All nine pairs ──────────────────────────────────────────────────────────────────────────────────────────────────

type Op = 'insert' | 'update' | 'delete'
const OPS: readonly Op[] = ['insert', 'update', 'delete']

/** What each does to a note that both have: an insert comes after a delete. */
async function act(replica: Replica<Notes>, op: Op): Promise<void> {
  const notes = replica.table('notes')
  if (op === 'update') await notes.update('n', { title: `${op} by ${replica.id}` })
  else await notes.delete('n')
  if (op === 'insert') await notes.insert({ id: 'n', title: `${op} by ${replica.id}` })
}

const TYPES: Readonly<Record<string, string | undefined>> = {
  'insert insert': 'insert-insert',
  'insert update': 'update-update',
  'insert delete': 'update-delete',
  'update insert': 'update-update',
  'update update': 'update-update',
  'update delete': 'update-delete',
  'delete insert': 'delete-update',
  'delete update': 'delete-update',
  'delete delete': undefined,
}

describe('of two people who did not know of each other', () => {
  test.each(OPS.flatMap((left) => OPS.map((right) => [left, right] as const)))(
    'regressions 7 and 8: %s and then %s have one class on all replicas, mirrored when they change places',
    async (left, right) => {
      for (const granularity of ['fields', 'row'] as const) {
        for (const isSwapped of [false, true]) {
          const { clock, ann, bob, cas } = await openSharedNote({ granularity })
          const [early, late] = isSwapped ? [bob, ann] : [ann, bob]
          await act(early, left)
          clock.tick()
          await act(late, right)
          await syncAll(ann, bob, cas)
          const type = TYPES[`${left} ${right}`]
          for (const replica of [ann, bob, cas]) {
            const reports = await openConflicts(replica)
            expect(reports.map((report) => report.type)).toEqual(type === undefined ? [] : [type])
            if (type === undefined) expect(await replica.table('notes').get('n')).toBeUndefined()
            else expect(reports.map(({ sides }) => sides[0].dot.replica)).toEqual([early.id])
          }
        }
      }
    },
  )

  test.each([
    ['deleteWins', deleteWins(), false],
    ['updateWins', updateWins(), true],
    ['firstWriteWins', firstWriteWins(), undefined],
    ['causal', causal(), undefined],
  ] as const)(
    'regression 8: update and delete have one outcome under %s, whoever did which, and whoever reads',
    async (name, policy, isAlive) => {
      for (const [isUpdateFirst, isSwapped] of [
        [true, true],
        [true, false],
        [false, true],
        [false, false],
      ]) {
        const { clock, ann, bob, cas } = await openSharedNote({ policy })
        const [updater, deleter] = isSwapped ? [bob, ann] : [ann, bob]
        if (isUpdateFirst) await updater.table('notes').update('n', { title: 'kept' })
        else await deleter.table('notes').delete('n')
        clock.tick()
        if (isUpdateFirst) await deleter.table('notes').delete('n')
        else await updater.table('notes').update('n', { title: 'kept' })
        await sync(updater, cas)
        await syncAll(ann, bob, cas)
        const expected = isAlive ?? (name === 'firstWriteWins') === isUpdateFirst
        for (const replica of [ann, bob, cas]) {
          const report = await onlyConflict(replica)
          expect(report.type).toBe(isUpdateFirst ? 'update-delete' : 'delete-update')
          expect(report.winner).toEqual(sideOf(report, expected ? updater : deleter).dot)
          expect(report.isProvisional).toBe(name === 'causal')
          expect(await replica.table('notes').get('n')).toEqual(expected ? { ...NOTE, title: 'kept' } : undefined)
        }
      }
    },
  )

  test('changes that say the same are agreement, and nothing is reported', async () => {
    const { ann, bob, cas } = await openSharedNote()
    for (const replica of [ann, bob]) {
      await replica.table('notes').update('n', { title: 'Pump 4', body: 'same' })
      await replica.table('notes').insert({ id: 'm', title: 'also' })
    }
    await syncAll(ann, bob, cas)
    for (const replica of [ann, bob, cas]) expect(await openConflicts(replica)).toEqual([])
    expect(await ann.conflicts.journal()).toEqual([])
  })

  test('changes of different fields are merged: both are in the row, and nobody lost', async () => {
    for (const policy of [causal(), firstWriteWins(), deleteWins()]) {
      const { ann, bob } = await openSharedNote({ policy })
      await ann.table('notes').update('n', { title: 'Pump 4' })
      await bob.table('notes').update('n', { body: 'old' })
      await sync(ann, bob)
      expect(await onlyConflict(ann)).toMatchObject({
        type: 'merged',
        winner: undefined,
        fields: [],
        isProvisional: false,
        reason: 'Both sides changed different fields of the row, so both edits are kept.',
      })
      expect(await bob.table('notes').get('n')).toEqual({ id: 'n', title: 'Pump 4', body: 'old' })
    }
  })

  test('increments of one counter are merged, and the reason says that they add up', async () => {
    const { ann, bob } = await openSharedNote({ fields: { votes: counter() } })
    await ann.table('notes').update('n', { votes: increment(1) })
    await bob.table('notes').update('n', { votes: increment(2) })
    await sync(ann, bob)
    expect(await onlyConflict(ann)).toMatchObject({
      type: 'merged',
      reason: 'Both sides counted, and increments add up: both edits are kept.',
    })
    expect(await bob.table('notes').get('n')).toMatchObject({ votes: 3 })
  })

  test('a field whose own policy escalates waits for a decision, in a table whose policy does not', async () => {
    const { clock, ann, bob } = await openSharedNote({ fields: { title: causal() } })
    await ann.table('notes').update('n', { title: 'Pump 4', body: 'old' })
    clock.tick()
    await bob.table('notes').update('n', { title: 'Pump 5', body: 'older' })
    await sync(ann, bob)
    const report = await onlyConflict(ann)
    expect(report.isProvisional).toBe(true)
    expect(report.reason).toMatch(/somebody has to decide\.$/)
    await ann.conflicts.accept(report.id)
    await ann.table('notes').update('n', { body: 'mine' })
    await bob.table('notes').update('n', { body: 'yours' })
    await sync(ann, bob)
    const other = await onlyConflict(bob)
    expect(other.isProvisional).toBe(false)
    expect(other.reason).not.toContain('decide')
  })

  test('the same two changes are a conflict where the row is one register', async () => {
    const { clock, ann, bob } = await openSharedNote({ granularity: 'row' })
    await ann.table('notes').update('n', { title: 'Pump 4' })
    clock.tick()
    await bob.table('notes').update('n', { body: 'old' })
    await sync(ann, bob)
    expect(await onlyConflict(ann)).toMatchObject({ type: 'update-update', winner: { replica: bob.id } })
    expect(await ann.table('notes').get('n')).toEqual({ id: 'n', title: 'Pump', body: 'old' })
  })
})
