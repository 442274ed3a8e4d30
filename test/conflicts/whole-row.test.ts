/**
 * Update against delete: whichever side wins, the row is whole or gone, also after the delete met the update on a third
 * replica first.
 */
import { describe, expect, test } from 'vitest'
import {
  causal,
  custom,
  deleteWins,
  firstWriteWins,
  lastWriteWins,
  type Policy,
  type Replica,
  updateWins,
} from '../../core/index.ts'
import { openStar, openTrio, sync, syncAll } from './group.ts'
import { type Note, notesBy } from './note.ts'

const POLICIES: readonly Policy[] = [
  lastWriteWins(),
  causal(),
  firstWriteWins(),
  deleteWins(),
  updateWins(),
  custom('restore', 1, (versions) => versions.find(({ row }) => row !== undefined)?.row ?? null),
]
const CASES = POLICIES.flatMap((policy) =>
  (['fields', 'row'] as const).flatMap((granularity) =>
    (['update first', 'delete first', 'at once'] as const).map((order) => [policy, granularity, order] as const),
  ),
)

type Notes = ReturnType<typeof notesBy>
const NOTE: Note = { id: 'n', title: 'Pump', body: 'whole', votes: 3 }

/** Who comes to the server in which order, and who has a snapshot of it then. Everybody syncs afterwards. */
const ROUTES: Readonly<Record<string, readonly string[]>> = {
  'the delete to a third first': ['deleter', 'third', 'updater', 'third'],
  'the update to a third first': ['updater', 'third', 'deleter', 'third'],
  'both at once to a third': ['updater', 'deleter', 'third'],
  'the delete by snapshot, then the update': ['deleter', 'snapshot', 'updater', 'third'],
  'the update, then the delete by snapshot': ['updater', 'third', 'deleter', 'snapshot'],
  'both by snapshot': ['updater', 'deleter', 'snapshot', 'third'],
}

/** Ann updates what Bob deletes. */
async function actIn(order: string, ann: Replica<Notes>, bob: Replica<Notes>, tick: () => void): Promise<void> {
  if (order !== 'delete first') await ann.table('notes').update('n', { title: 'kept' })
  if (order !== 'at once') tick()
  await bob.table('notes').delete('n')
  if (order === 'delete first') {
    tick()
    await ann.table('notes').update('n', { title: 'kept' })
  }
}

describe.each(CASES)('under $name, by %s, %s', (policy, granularity, order) => {
  test.each(Object.entries(ROUTES))('%s: the row is whole or gone, and the same everywhere', async (_name, route) => {
    for (const isSwapped of [false, true]) {
      const { clock, ann, bob, cas, meet, restore } = await openStar(notesBy({ policy, granularity }))
      await cas.table('notes').insert({ ...NOTE, body: 'first' })
      await meet(cas)
      await cas.table('notes').update('n', { body: 'whole' })
      await meet(cas, ann, bob)
      clock.tick()
      const [updater, deleter] = isSwapped ? [bob, ann] : [ann, bob]
      await actIn(order, updater, deleter, () => clock.tick())
      for (const who of route) {
        if (who === 'snapshot') await restore(cas)
        else await meet(who === 'updater' ? updater : who === 'deleter' ? deleter : cas)
      }
      await meet(ann, bob, cas, ann, bob)
      const rows = await Promise.all([ann, bob, cas].map((replica) => replica.table('notes').get('n')))
      expect([undefined, { ...NOTE, title: 'kept' }]).toContainEqual(rows[0])
      expect(rows[1]).toEqual(rows[0])
      expect(rows[2]).toEqual(rows[0])
      expect(rows[0] !== undefined).toBe(survives(policy, order, updater.id > deleter.id))
    }
  })
})

function survives({ name }: Policy, order: string, isUpdaterHigher: boolean): boolean {
  if (name === 'deleteWins') return false
  if (name === 'updateWins' || name === 'restore') return true
  const isUpdateLater = order === 'at once' ? isUpdaterHigher : order === 'delete first'
  return name === 'firstWriteWins' ? !isUpdateLater : isUpdateLater
}

test('an update that survives a delete keeps what the deleter had seen of others', async () => {
  const { ann, bob, cas } = await openTrio(notesBy({ policy: updateWins() }))
  await ann.table('notes').insert(NOTE)
  await syncAll(ann, bob, cas)
  await cas.table('notes').update('n', { body: 'by Cas' })
  await sync(bob, cas)
  await bob.table('notes').delete('n')
  await ann.table('notes').update('n', { title: 'by Ann' })
  await syncAll(ann, bob, cas)
  for (const replica of [ann, bob, cas]) {
    expect(await replica.table('notes').get('n')).toEqual({ ...NOTE, title: 'by Ann', body: 'by Cas' })
  }
})

test('an insert over a delete begins anew, and an old update brings back only what it wrote', async () => {
  const { clock, ann, bob } = await openTrio(notesBy())
  await ann.table('notes').insert(NOTE)
  await sync(ann, bob)
  await bob.table('notes').delete('n')
  await bob.table('notes').insert({ id: 'n', title: 'anew' })
  clock.tick()
  await ann.table('notes').update('n', { title: 'old' })
  await sync(ann, bob)
  for (const replica of [ann, bob]) expect(await replica.table('notes').get('n')).toEqual({ id: 'n', title: 'old' })
})
