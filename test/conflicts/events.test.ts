/**
 * Events: a conflict opens, changes, closes; whoever caused it, after it is durable.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { ConflictEvent } from '../../core/index.ts'
import { onlyConflict, openConflicts, openStar, openTrio, type Peer, sideOf, sync, syncAll } from './group.ts'
import { type Note, notesBy } from './note.ts'

const NOTE: Note = { id: 'n', title: 'Pump', body: 'new' }

/** Gathers what a replica tells from now on. */
function listen({ conflicts }: Peer): ConflictEvent[] {
  const events: ConflictEvent[] = []
  conflicts.subscribe((event) => events.push(event))
  return events
}

test('a conflict opens on every replica that learns of it, and closes on every replica that learns of its end', async () => {
  const { clock, ann, bob, cas } = await openTrio(notesBy())
  await ann.table('notes').insert(NOTE)
  await syncAll(ann, bob, cas)
  const heard = [ann, bob, cas].map(listen)
  await ann.table('notes').update('n', { title: 'A' })
  clock.tick()
  await bob.table('notes').update('n', { title: 'B' })
  expect(heard).toEqual([[], [], []])
  await syncAll(ann, bob, cas)
  const report = await onlyConflict(ann)
  const { base: _, ...field } = report.fields[0] ?? { name: '', winner: undefined }
  const opened = { type: 'opened', conflict: expect.objectContaining({ id: report.id, fields: [field] }) }
  expect(heard).toEqual([[opened], [opened], [opened]])
  await cas.conflicts.accept(report.id)
  await syncAll(ann, bob, cas)
  const closed = { type: 'closed', conflict: expect.objectContaining({ id: report.id }) }
  expect(heard).toEqual([
    [opened, closed],
    [opened, closed],
    [opened, closed],
  ])
})

test('a conflict closes by any write over both sides, a delete for instance', async () => {
  const { ann, bob } = await openTrio(notesBy())
  await ann.table('notes').insert({ id: 'n', title: 'A' })
  await bob.table('notes').insert({ id: 'n', title: 'B' })
  await sync(ann, bob)
  const events = listen(bob)
  await ann.table('notes').delete('n')
  await sync(ann, bob)
  expect(events.map(({ type }) => type)).toEqual(['closed'])
})

test('a side that writes on without the other closes one conflict and opens the next', async () => {
  const { clock, ann, bob, cas, meet } = await openStar(notesBy())
  await ann.table('notes').insert(NOTE)
  await meet(ann, bob, cas)
  await ann.table('notes').update('n', { title: 'A' })
  clock.tick()
  await bob.table('notes').update('n', { title: 'B' })
  // Bob brings his change before Ann brings hers, and hears nothing of it.
  await meet(bob, ann, cas)
  const events = listen(cas)
  await bob.table('notes').update('n', { body: 'B too' })
  await meet(bob, cas)
  expect(events.map(({ type, conflict }) => [type, sideOf(conflict, bob).values])).toEqual([
    ['closed', { title: 'B' }],
    ['opened', { title: 'B', body: 'B too' }],
  ])
})

test('a conflict changes when a third writer takes something away that one side had brought', async () => {
  const { clock, ann, bob, cas } = await openTrio(notesBy())
  await ann.table('notes').insert(NOTE)
  await syncAll(ann, bob, cas)
  await ann.table('notes').update('n', { body: 'A' })
  await sync(ann, cas)
  clock.tick()
  await ann.table('notes').update('n', { title: 'A' })
  await bob.table('notes').update('n', { title: 'B', body: 'B' })
  await sync(ann, bob)
  const [heardByAnn, heardByBob] = [listen(ann), listen(bob)]
  clock.tick()
  // Cas has seen what Ann wrote to the body, and nothing of the two that are in conflict.
  await cas.table('notes').update('n', { body: 'C' })
  await syncAll(ann, bob, cas)
  for (const events of [heardByAnn, heardByBob]) {
    const changed = events.filter(({ type }) => type === 'changed')
    expect(changed.map(({ conflict }) => conflict.sides.map(({ values }) => values))).toEqual([
      [{ title: 'A' }, { body: 'B', title: 'B' }],
    ])
    expect(changed[0]?.conflict.fields.map(({ name }) => name)).toEqual(['title'])
    expect(events.map(({ type }) => type).sort()).toEqual(['changed', 'opened', 'opened'])
  }
})

test('events come of snapshots as well', async () => {
  const { ann, bob, cas, meet, restore } = await openStar(notesBy())
  await ann.table('notes').insert({ id: 'n', title: 'A' })
  await bob.table('notes').insert({ id: 'n', title: 'B' })
  await meet(ann, bob, ann)
  const events = listen(cas)
  await restore(cas)
  await ann.conflicts.accept((await onlyConflict(ann)).id)
  await meet(ann)
  await restore(cas)
  expect(events.map(({ type }) => type)).toEqual(['opened', 'closed'])
  expect(await openConflicts(cas)).toEqual([])
})

test('a conflict closes where the server refused one of its sides, and opens when that is issued again', async () => {
  const { clock, ann, bob, meet } = await openStar(notesBy())
  await ann.table('notes').insert(NOTE)
  await meet(ann, bob)
  await ann.table('notes').update('n', { title: 'A' })
  await meet(ann)
  clock.tick(3_600_000)
  await bob.table('notes').update('n', { title: 'from tomorrow' })
  clock.tick(-3_600_000)
  const events = listen(bob)
  await meet(bob)
  expect(events.map(({ type }) => type)).toEqual(['opened', 'closed', 'opened'])
  const [rejected] = await bob.rejected()
  expect(rejected).toMatchObject({ code: 'clock-skew', reissuedAs: { replica: bob.id } })
  const { sides, winner } = await onlyConflict(bob)
  expect(sides.map(({ dot }) => dot)).toContainEqual(rejected?.reissuedAs)
  expect(winner).toEqual(rejected?.reissuedAs)
  expect(await bob.table('notes').get('n')).toEqual({ ...NOTE, title: 'from tomorrow' })
})

test('reports in events are redacted where the table says so', async () => {
  const { ann, bob } = await openTrio(notesBy({ journal: { isRedacted: true } }))
  await ann.table('notes').insert({ id: 'n', title: 'A' })
  await bob.table('notes').insert({ id: 'n', title: 'B' })
  const events = listen(ann)
  await sync(ann, bob)
  expect(events.map(({ conflict }) => conflict.sides.map(({ values }) => values))).toEqual([[{}, {}]])
})

test('nobody is told after unsubscribing', async () => {
  const { ann, bob } = await openTrio(notesBy())
  const events: ConflictEvent[] = []
  const stop = ann.conflicts.subscribe((event) => events.push(event))
  stop()
  await ann.table('notes').insert({ id: 'n', title: 'A' })
  await bob.table('notes').insert({ id: 'n', title: 'B' })
  await sync(ann, bob)
  expect(events).toEqual([])
})

describe('a listener that throws', () => {
  const uncaught: unknown[] = []
  const note = (error: unknown): void => {
    uncaught.push(error)
  }
  let others: NodeJS.UncaughtExceptionListener[] = []

  beforeEach(() => {
    uncaught.length = 0
    others = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException').on('uncaughtException', note)
  })

  afterEach(() => {
    process.removeAllListeners('uncaughtException')
    for (const other of others) process.on('uncaughtException', other)
  })

  test('is heard of as uncaught, and disturbs neither the others nor the sync', async () => {
    const { ann, bob } = await openTrio(notesBy())
    const failure = new Error('of the app')
    ann.conflicts.subscribe(() => {
      throw failure
    })
    const events = listen(ann)
    await ann.table('notes').insert({ id: 'n', title: 'A' })
    await bob.table('notes').insert({ id: 'n', title: 'B' })
    await sync(ann, bob)
    await new Promise(setImmediate)
    expect(events.map(({ type }) => type)).toEqual(['opened'])
    expect(uncaught).toEqual([failure])
    expect(await ann.digest()).toEqual(await bob.digest())
  })
})
