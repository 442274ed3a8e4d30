/**
 * New identities: what a replica takes with it when it goes on under another id, and what it must leave behind.
 */

import { describe, expect, test, vi } from 'vitest'
import { TakeAnswer } from '../../core/answer.ts'
import {
  clientRole,
  counter,
  type Gate,
  type Hub,
  increment,
  Link,
  openReplica,
  type Replica,
  type Store,
} from '../../core/index.ts'
import { serverRole } from '../../core/server-door.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import { Withdraw } from '../../core/withdraw.ts'
import { HandClock, meetServer, openClients, openHub, TENANT } from '../conflicts/group.ts'
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

/** What a backup of the store is now. */
async function backUp(replica: Pick<Client, 'ledger'>): Promise<Store> {
  const { store } = replica.ledger
  const copy = openMemoryStore()
  const puts = await store.range({ from: new Uint8Array(0), to: Uint8Array.of(255), limit: Number.POSITIVE_INFINITY })
  await copy.commit({ expectedHead: 0, puts, deletes: [] })
  return copy
}

describe('a store from a backup whose changes the server has taken since', () => {
  const COUNTED = notesBy({ fields: { votes: counter() } })

  async function openCounted(store: Store, now: () => number): Promise<Replica<typeof COUNTED>> {
    return openReplica({ tenant: TENANT, store, tables: COUNTED, now })
  }

  test('D3: hears of their answers before it goes on under a new id, and issues none of them again', async () => {
    const { clock, hub } = await openStage()
    const bob = await openCounted(openMemoryStore(), clock.now)
    const ann = await openCounted(openMemoryStore(), clock.now)
    await ann.table('notes').insert({ id: 'n', title: 'Pump', votes: 0 })
    await ann.table('notes').update('n', { votes: increment(5) })
    await ann.table('notes').insert({ id: 'no', title: 'no' })
    const backup = await backUp(ann)
    await meetServer(hub, ann, clock.now, GATE)
    await ann.table('notes').update('n', { votes: increment(10) })
    await meetServer(hub, ann, clock.now, GATE)
    const restored = await openCounted(backup, clock.now)
    await expect(meetServer(hub, restored, clock.now, GATE)).rejects.toMatchObject({ code: 'replica-restored' })
    const { reissued } = await restored.renewIdentity('replica-restored')
    expect(reissued).toBe(0)
    await restored.table('notes').insert({ id: 'm', title: 'new' })
    for (const replica of [restored, bob, restored]) await meetServer(hub, replica, clock.now, GATE)
    expect(await restored.table('notes').get('n')).toMatchObject({ votes: 15 })
    expect(await restored.table('notes').get('no')).toBeUndefined()
    expect((await restored.rejected()).map(({ code }) => code)).toEqual(['forbidden'])
    expect((await restored.digest()).hash).toBe((await bob.digest()).hash)
  })

  test('U4: finds out in a few sessions how much of it is shared, when it has written something else since', async () => {
    for (const [shared, ahead] of [
      [3, 2],
      [20, 0],
      [20, 5],
      [1, 9],
      [0, 3],
    ] as const) {
      const { clock, hub } = await openStage()
      const [ann, bob] = [
        await openCounted(openMemoryStore(), clock.now),
        await openCounted(openMemoryStore(), clock.now),
      ]
      const notes = ann.table('notes')
      await notes.insert({ id: 'n', title: 'Pump', votes: 0 })
      await meetServer(hub, ann, clock.now, GATE)
      for (let vote = 0; vote < shared; vote++) await notes.update('n', { votes: increment(1) })
      const backup = await backUp(ann)
      clock.tick()
      for (let vote = 0; vote < ahead + 1; vote++) await notes.update('n', { votes: increment(100) })
      await meetServer(hub, ann, clock.now, GATE)
      const restored = await openCounted(backup, clock.now)
      clock.tick()
      for (let vote = 0; vote < 3; vote++) await restored.table('notes').update('n', { votes: increment(10_000) })
      const codes: string[] = []
      for (let session = 0; session < 12 && codes.at(-1)?.startsWith('replica-') !== true; session++) {
        await meetServer(hub, restored, clock.now, GATE).catch(({ code }) => codes.push(code))
      }
      expect(codes.at(-1)).toBe(ahead + 1 > 3 ? 'replica-restored' : 'replica-cloned')
      expect(codes.slice(0, -1).every((code) => code === 'unavailable')).toBe(true)
      expect(codes.length).toBeLessThan(7)
      expect((await restored.renewIdentity('replica-cloned')).reissued).toBe(3)
      for (const replica of [restored, bob, restored, ann]) await meetServer(hub, replica, clock.now, GATE)
      const votes = shared + 100 * (ahead + 1) + 30_000
      for (const replica of [ann, bob, restored]) expect(await replica.table('notes').get('n')).toMatchObject({ votes })
      expect((await restored.digest()).hash).toBe((await bob.digest()).hash)
    }
  })

  test('U4: finds it out also where one of them is a void whose content nobody tells', async () => {
    for (const kept of [0, 1, 3]) {
      const { clock, hub, ann, bob } = await openStage()
      for (let at = 0; at < 4 + kept; at++) await ann.table('notes').insert({ id: `n${at}`, title: 'shared' })
      await ann.ledger.submit(
        new Withdraw(
          ({ id }) => id === 'n3',
          () => true,
        ),
      )
      const copy = await openReplica({ tenant: TENANT, store: await backUp(ann), tables: TABLES, now: clock.now })
      clock.tick()
      await ann.table('notes').insert({ id: 'hers', title: 'written after the copy' })
      await meetServer(hub, ann, clock.now)
      await copy.table('notes').insert({ id: 'its own', title: 'written after the copy' })
      const codes: string[] = []
      for (let session = 0; session < 12 && codes.at(-1)?.startsWith('replica-') !== true; session++) {
        await meetServer(hub, copy, clock.now).catch(({ code }) => codes.push(code))
      }
      expect(codes.at(-1)).toBe('replica-cloned')
      expect((await copy.renewIdentity('replica-cloned')).reissued).toBe(1)
      for (const replica of [copy, bob, ann]) await meetServer(hub, replica, clock.now)
      const notes = [...Array(4 + kept).keys()].filter((at) => at !== 3).map((at) => `n${at}`)
      expect(await titlesOf(bob, 'n3', 'hers', 'its own', ...notes)).toEqual([
        undefined,
        'written after the copy',
        'written after the copy',
        ...notes.map(() => 'shared'),
      ])
      expect((await copy.digest()).hash).toBe((await bob.digest()).hash)
      expect((await ann.digest()).hash).toBe((await bob.digest()).hash)
    }
  })

  test('A4: under a new id hears once more of what it has withdrawn, after the answer to it, and goes on', async () => {
    const { clock, hub, ann } = await openStage()
    await ann.table('notes').insert({ id: 'a', title: 'taken back' })
    await ann.ledger.submit(
      new Withdraw(
        () => true,
        () => true,
      ),
    )
    await ann.renewIdentity('replica-cloned')
    await meetServer(hub, ann, clock.now)
    expect(ann.ledger.pending).toBe(0)
    // A welcome that was under way when the answer came.
    await ann.ledger.submit(new TakeAnswer(1, [{ seq: 1, code: 'quota-exceeded' }], ann.id))
    expect(await ann.rejected()).toHaveLength(1)
  })

  test('U2: is told from one that has pushed what it has withdrawn', async () => {
    const { clock, hub, ann, bob } = await openStage()
    for (const id of ['a', 'b']) await ann.table('notes').insert({ id, title: 'shared' })
    const copy = await openReplica({ tenant: TENANT, store: await backUp(ann), tables: TABLES, now: clock.now })
    await ann.ledger.submit(
      new Withdraw(
        ({ id }) => id === 'b',
        () => true,
      ),
    )
    await meetServer(hub, copy, clock.now)
    const codes: string[] = []
    for (let session = 0; session < 9 && codes.at(-1)?.startsWith('replica-') !== true; session++) {
      await meetServer(hub, ann, clock.now).catch(({ code }) => codes.push(code))
    }
    expect(codes.at(-1)).toBe('replica-cloned')
    expect((await ann.renewIdentity('replica-cloned')).reissued).toBe(0)
    for (const replica of [ann, bob]) await meetServer(hub, replica, clock.now)
    expect(await titlesOf(ann, 'a', 'b')).toEqual(['shared', 'shared'])
    expect((await ann.digest()).hash).toBe((await bob.digest()).hash)
  })

  test('U2: is told from one that has withdrawn what it has not', async () => {
    const { clock, hub, ann, bob } = await openStage()
    await ann.table('notes').insert({ id: 'a', title: 'shared' })
    await meetServer(hub, ann, clock.now)
    const copy = await openReplica({ tenant: TENANT, store: await backUp(ann), tables: TABLES, now: clock.now })
    for (const id of ['b', 'c']) await ann.table('notes').insert({ id, title: 'hers' })
    await ann.ledger.submit(
      new Withdraw(
        ({ id }) => id === 'c',
        () => true,
      ),
    )
    await meetServer(hub, ann, clock.now)
    clock.tick()
    for (const id of ['d', 'e']) await copy.table('notes').insert({ id, title: 'its own' })
    const codes: string[] = []
    for (let session = 0; session < 9 && codes.at(-1)?.startsWith('replica-') !== true; session++) {
      await meetServer(hub, copy, clock.now).catch(({ code }) => codes.push(code))
    }
    expect(codes.at(-1)).toBe('replica-cloned')
    await copy.renewIdentity('replica-cloned')
    for (const replica of [copy, bob, ann]) await meetServer(hub, replica, clock.now)
    expect(await titlesOf(bob, 'a', 'b', 'c', 'd', 'e')).toEqual(['shared', 'hers', undefined, 'its own', 'its own'])
  })

  test('A4: hears of all that was refused, however much that is', async () => {
    const { clock, hub, ann } = await openStage()
    const count = 5_000
    for (let at = 0; at < count; at += 500) {
      await ann.transact((transaction) => {
        for (let id = at; id < at + 500; id++) transaction.table('notes').insert({ id: `n${id}`, title: 'no' })
      })
    }
    const backup = await backUp(ann)
    await meetServer(hub, ann, clock.now, GATE)
    expect(await ann.rejected()).toHaveLength(count)
    const restored = await openReplica({ tenant: TENANT, store: backup, tables: TABLES, now: clock.now })
    await meetServer(hub, restored, clock.now, GATE)
    expect(await restored.rejected()).toHaveLength(count)
    expect(restored.ledger.pending).toBe(0)
    expect((await restored.digest()).hash).toBe((await ann.digest()).hash)
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

describe('answers that a replica did not hear', () => {
  const ACK_FRAME = 5

  /** A session that brings no answers but keeps them, until it is told to `answer`. */
  function openDeafSession(hub: Hub, { hub: own, tables }: Client, now: () => number) {
    const answers: Uint8Array[] = []
    const client: Link = new Link({
      ...{ hub: own, role: clientRole, tables, now },
      transport: { send: (frame) => queueMicrotask(() => server.receive(frame)), close: () => server.end() },
    })
    const deliver = (frame: Uint8Array): void => {
      if (frame[1] === ACK_FRAME) answers.push(frame)
      else queueMicrotask(() => client.receive(frame))
    }
    const server: Link = new Link({
      ...{ hub, role: serverRole(), tables: new Map(), now },
      transport: { send: deliver, close: () => {} },
    })
    client.start()
    const answer = (): void => {
      for (const frame of answers.splice(0)) client.receive(frame)
    }
    return { answers, answer, end: () => client.end() }
  }

  test('D5: what the server took meanwhile is read again after a renewal, although the log was read beyond it', async () => {
    const { clock, hub, ann, bob } = await openStage()
    const before = ann.id
    await ann.table('notes').insert({ id: 'own', title: 'taken' })
    const session = openDeafSession(hub, ann, clock.now)
    await vi.waitUntil(() => session.answers.length > 0)
    await bob.table('notes').insert({ id: 'other', title: 'behind it' })
    await meetServer(hub, bob, clock.now)
    await vi.waitUntil(() => ann.clock.get(bob.id) === 1)
    session.end()
    await ann.renewIdentity('replica-cloned')
    for (const replica of [ann, bob]) await meetServer(hub, replica, clock.now)
    expect(ann.clock.get(before)).toBe(1)
    expect((await ann.digest()).hash).toBe((await bob.digest()).hash)
  })

  test('D6: count for nothing under another id', async () => {
    const { clock, hub, ann, bob } = await openStage()
    await ann.table('notes').insert({ id: 'own', title: 'taken' })
    const session = openDeafSession(hub, ann, clock.now)
    await vi.waitUntil(() => session.answers.length > 0)
    const renewing = ann.renewIdentity('replica-cloned')
    session.answer()
    await renewing
    await ann.ledger.catchUp()
    expect(ann.ledger.pending).toBe(1)
    session.end()
    for (const replica of [ann, bob]) await meetServer(hub, replica, clock.now)
    expect((await ann.digest()).hash).toBe((await bob.digest()).hash)
  })
})
