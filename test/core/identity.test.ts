/**
 * New identities: what a replica takes with it when it goes on under another id, and what it must leave behind.
 */
import { describe, expect, test } from 'vitest'
import { TakeAnswer } from '../../core/answer.ts'
import type { Gate, Hub, Replica } from '../../core/index.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import { HandClock, meetServer, openClients, openHub } from '../conflicts/group.ts'
import { notesBy } from '../conflicts/note.ts'

const TABLES = notesBy()
type Client = Replica<typeof TABLES>

interface Stage {
  readonly clock: HandClock
  readonly hub: Hub
  readonly ann: Client
  readonly bob: Client
}

async function openStage(): Promise<Stage> {
  const clock = new HandClock()
  const { ann, bob } = await openClients(TABLES, clock)
  return { clock, hub: await openHub(openMemoryStore()), ann, bob }
}

const OPEN = { mayRead: () => true, mayWrite: () => true }
/** Nothing with this title is let in. */
const GATE: Gate = { ...OPEN, judge: ({ values }) => (values.title === 'no' ? 'forbidden' : undefined) }

async function titlesOf(replica: Client, ...ids: readonly string[]): Promise<(string | undefined)[]> {
  return Promise.all(ids.map(async (id) => (await replica.table('notes').get(id))?.title))
}

describe('a change that builds on a refused one', () => {
  async function renewBesideRefusal({ clock, hub, ann }: Stage): Promise<void> {
    const notes = ann.table('notes')
    await notes.insert({ id: 'x', title: 'yes' })
    await meetServer(hub, ann, clock.now, GATE)
    await notes.update('x', { title: 'no' })
    await notes.update('x', { title: 'on top' })
    await ann.transact((transaction) => {
      transaction.table('notes').update('x', { body: 'beside' })
      transaction.table('notes').insert({ id: 'mate', title: 'of one transaction' })
    })
    await notes.update('mate', { title: 'on top of that' })
    await notes.insert({ id: 'free', title: 'of itself' })
    // The answer to the first of them has come, the others are under way.
    await ann.ledger.submit(new TakeAnswer(2, [{ seq: 2, code: 'forbidden' }]))
  }

  test('D4: is not issued again under a new id, nor is its transaction; it is listed as rejected', async () => {
    const stage = await openStage()
    const { clock, hub, ann, bob } = stage
    await renewBesideRefusal(stage)
    const { reissued } = await ann.renewIdentity('replica-restored')
    expect(reissued).toBe(1)
    expect(await titlesOf(ann, 'x', 'mate', 'free')).toEqual(['yes', undefined, 'of itself'])
    for (const replica of [ann, bob]) await meetServer(hub, replica, clock.now, GATE)
    expect(await titlesOf(bob, 'x', 'mate', 'free')).toEqual(['yes', undefined, 'of itself'])
    expect((await ann.digest()).hash).toBe((await bob.digest()).hash)
    const rejected = (await ann.rejected()).map(({ change, code }) => [change.id, change.values, code])
    expect(rejected).toEqual([
      ['x', { title: 'no' }, 'forbidden'],
      ['x', { title: 'on top' }, 'void-context'],
      ['x', { body: 'beside' }, 'void-context'],
      ['mate', { title: 'of one transaction' }, 'void-context'],
      ['mate', { title: 'on top of that' }, 'void-context'],
    ])
  })

  test('D4: nor when the new id is given up for another one, before or after the server has heard of it', async () => {
    for (const isHeard of [false, true]) {
      const stage = await openStage()
      const { clock, hub, ann, bob } = stage
      await renewBesideRefusal(stage)
      await ann.renewIdentity('replica-restored')
      if (isHeard) await meetServer(hub, ann, clock.now, GATE)
      await ann.table('notes').insert({ id: 'later', title: 'written later' })
      await ann.renewIdentity('replica-cloned')
      for (const replica of [ann, bob, ann]) await meetServer(hub, replica, clock.now, GATE)
      expect(await titlesOf(bob, 'x', 'mate', 'free', 'later')).toEqual([
        'yes',
        undefined,
        'of itself',
        'written later',
      ])
      expect(ann.ledger.pending).toBe(0)
      expect(await ann.rejected()).toHaveLength(5)
      expect((await ann.digest()).hash).toBe((await bob.digest()).hash)
    }
  })
})

test('J3: a block that was answered in part is pushed without the part of the old id', async () => {
  const { clock, hub, ann, bob } = await openStage()
  // Written at the same moment: one block.
  await Promise.all(['a', 'b', 'c'].map((id) => ann.table('notes').insert({ id, title: id })))
  const full: Gate = {
    ...OPEN,
    weigh: ({ rows }) => (rows < 2 ? undefined : { resource: 'rows', limit: 2, used: 2, retryAfterMs: 1 }),
  }
  await expect(meetServer(hub, ann, clock.now, full)).rejects.toMatchObject({ code: 'quota-exceeded' })
  const { reissued } = await ann.renewIdentity('replica-restored')
  expect(reissued).toBe(1)
  for (const replica of [ann, bob]) await meetServer(hub, replica, clock.now)
  expect(await titlesOf(bob, 'a', 'b', 'c')).toEqual(['a', 'b', 'c'])
  expect((await ann.digest()).hash).toBe((await bob.digest()).hash)
})
