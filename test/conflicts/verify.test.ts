/**
 * Verifying: replicas whose clocks are equal and whose rows are not, because a store was damaged. What differs is found, few
 * questions are asked, and repair adds what was missing and nothing else.
 */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Replica, syncDirectly } from '../../core/index.ts'
import { EMPTY_ROW, type RowState } from '../../core/row.ts'
import { type Answer, type Ask, askLedger, findDiffering, tablesWithRows } from '../../core/server-door.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import { verifyTables } from '../../core/verify.ts'
import { damage } from './damage.ts'
import { HandClock, meetServer, openClients, openHub, openMember, sync } from './group.ts'
import { notesBy } from './note.ts'

const TABLES = notesBy({})
type Notes = typeof TABLES

interface Pair {
  readonly clock: HandClock
  readonly ann: Replica<Notes>
  readonly bob: Replica<Notes>
}

const idOf = (n: number): string => `n${String(n).padStart(6, '0')}`

/** Two replicas that hold the same rows. */
async function openPair(rows: number): Promise<Pair> {
  const clock = new HandClock()
  const [ann, bob] = [await openMember(TABLES, clock.now), await openMember(TABLES, clock.now)]
  for (let first = 0; first < rows; first += 500) {
    await ann.transact((transaction) => {
      const notes = transaction.table('notes')
      for (let n = first; n < Math.min(rows, first + 500); n++) notes.insert({ id: idOf(n), title: `note ${n}` })
    })
  }
  await sync(ann, bob)
  return { clock, ann, bob }
}

const lose = (): RowState => EMPTY_ROW

test('replicas that are equal say so after one question for each table', async () => {
  const { ann, bob } = await openPair(1_000)
  const { link, close } = connect(ann, bob)
  expect(await link.verify()).toEqual({ rows: 1_000, questions: 1, differing: [] })
  close()
})

function connect(
  ann: Replica<Notes>,
  bob: Replica<Notes>,
): { readonly link: ReturnType<typeof syncDirectly>; readonly close: () => void } {
  const link = syncDirectly(ann as unknown as Replica, bob as unknown as Replica)
  return { link, close: () => link.close() }
}

test('exactly the rows that differ are found, on whichever side they were lost, and repair brings back what the peer has', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 0, max: 300 }),
      fc.uniqueArray(fc.nat(299), { maxLength: 12 }),
      fc.uniqueArray(fc.nat(299), { maxLength: 12 }),
      async (rows, lostHere, lostThere) => {
        const { ann, bob } = await openPair(rows)
        const here = lostHere.filter((n) => n < rows).map(idOf)
        const there = lostThere.filter((n) => n < rows && !here.includes(idOf(n))).map(idOf)
        for (const id of here) await damage(ann, 'notes', id, lose)
        for (const id of there) await damage(bob, 'notes', id, lose)
        const { link, close } = connect(ann, bob)
        await link.settled()
        const found = async (repair: boolean): Promise<Record<string, string[]>> => {
          const byWhat: Record<string, string[]> = {}
          for (const { id, what, isRepaired } of (await link.verify(repair)).differing) {
            const key = isRepaired ? `${what}, repaired` : what
            byWhat[key] = [...(byWhat[key] ?? []), id].sort()
          }
          return byWhat
        }
        const expected = (key: string, ids: readonly string[]): Record<string, string[]> =>
          ids.length === 0 ? {} : { [key]: [...ids].sort() }
        const missing = expected('missing-there', there)
        expect(await found(false)).toEqual({ ...expected('missing-here', here), ...missing })
        expect(await found(true)).toEqual({ ...expected('missing-here, repaired', here), ...missing })
        expect(await found(true)).toEqual(missing)
        for (const id of here) expect(await ann.table('notes').get(id)).toMatchObject({ id })
        close()
      },
    ),
    { numRuns: 30 },
  )
})

test.each([
  [5_000, 3],
  [80_000, 4],
])('one difference among %i rows takes %i questions', { timeout: 60_000 }, async (rows, questions) => {
  const { ann, bob } = await openPair(rows)
  await damage(ann, 'notes', idOf(Math.floor(rows / 3)), lose)
  const { link, close } = connect(ann, bob)
  const report = await link.verify()
  expect(report.differing).toHaveLength(1)
  expect(report.questions).toBe(questions)
  close()
})

describe('repair', () => {
  test('never overrules a merge: a row that the peer has not heard of the latest change of stays as it is', async () => {
    const { clock, ann, bob } = await openPair(3)
    clock.tick()
    await ann.table('notes').update(idOf(1), { title: 'later' })
    const report = await verifyTables(ann.ledger, ['notes'], askLedger(bob.ledger), true)
    expect(report.differing).toEqual([{ table: 'notes', id: idOf(1), what: 'differs', isRepaired: false }])
    expect(await ann.table('notes').get(idOf(1))).toMatchObject({ title: 'later' })
  })

  test('leaves rows alone that contradict each other: no merge could have left them so, and a join would drop both', async () => {
    const { clock, ann, bob } = await openPair(1)
    clock.tick()
    await ann.table('notes').update(idOf(0), { title: 'by Ann' })
    await bob.table('notes').update(idOf(0), { title: 'by Bob' })
    await sync(ann, bob)
    await damage(ann, 'notes', idOf(0), (row) => ({ ...row, heads: row.heads.slice(0, 1) }))
    await damage(bob, 'notes', idOf(0), (row) => ({ ...row, heads: row.heads.slice(1) }))
    const report = await verifyTables(ann.ledger, ['notes'], askLedger(bob.ledger), true)
    expect(report.differing).toEqual([{ table: 'notes', id: idOf(0), what: 'differs', isRepaired: false }])
    expect(await ann.table('notes').get(idOf(0))).toBeDefined()
  })

  test('holds when the server then refuses what was written over the repaired row', async () => {
    const clock = new HandClock()
    const { ann, bob } = await openClients(TABLES, clock)
    const hub = await openHub(openMemoryStore())
    await ann.table('notes').insert({ id: 'n', title: 'first', body: 'whole' })
    for (const peer of [ann, bob]) await meetServer(hub, peer, clock.now)
    await damage(bob, 'notes', 'n', lose)
    clock.tick(3_600_000)
    await bob.table('notes').upsert({ id: 'n', title: 'too far ahead' })
    await verifyTables(bob.ledger, ['notes'], askLedger(hub.ledger), true)
    clock.tick(-3_600_000)
    await meetServer(hub, bob, clock.now)
    // It is issued again at once, over what was agreed: without the repair there, `body` would be gone.
    expect(await bob.rejected()).toMatchObject([{ code: 'clock-skew', reissuedAs: { replica: bob.id } }])
    expect(await bob.table('notes').get('n')).toMatchObject({ title: 'too far ahead', body: 'whole' })
    expect((await verifyTables(bob.ledger, ['notes'], askLedger(hub.ledger), false)).differing).toEqual([])
  })
})

describe('a side that does not answer properly', () => {
  const nothing: Answer = { isSame: false, parts: [], chunk: undefined }
  test.each<[string, (answer: Answer) => Answer]>([
    ['says neither what it has nor that it is the same', () => nothing],
    ['leaves out the end', (answer) => ({ ...answer, parts: answer.parts.slice(0, -1) })],
    ['goes on for ever', () => ({ ...nothing, parts: [{ through: undefined, hash: '0'.repeat(16), rows: 1 }] })],
  ])('that %s is an error, and never passes for equal', async (_what, spoil) => {
    const { ann, bob } = await openPair(200)
    await damage(ann, 'notes', idOf(9), lose)
    const theirs: Ask = async (question) => spoil(await askLedger(bob.ledger)(question))
    await expect(verifyTables(ann.ledger, ['notes'], theirs, false)).rejects.toMatchObject({ code: 'bad-frame' })
  })
})

test('how far it is, is told in rows, and ends where all rows are dealt with', async () => {
  const { ann, bob } = await openPair(700)
  for (const n of [3, 350, 699]) await damage(bob, 'notes', idOf(n), lose)
  const steps: [number, number][] = []
  const sides = { ours: askLedger(ann.ledger), theirs: askLedger(bob.ledger) }
  const stretches = findDiffering(['notes'], sides, (done, total) => steps.push([done, total]))
  for await (const { stretch } of stretches) expect(stretch.table).toBe('notes')
  expect(steps.at(-1)).toEqual([700, 700])
  expect(steps).toEqual([...steps].sort(([a], [b]) => a - b))
})

test('the tables that rows are known of can be told from a store alone', async () => {
  const { ann } = await openPair(2)
  expect(await tablesWithRows(ann.ledger)).toEqual(['notes'])
})
