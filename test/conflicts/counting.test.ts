/**
 * Counters through the whole engine, against sets: votes, deletes and new inserts, servers that refuse, snapshots, copied stores
 * and new identities. Who shows what is known from who had seen what.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { counter, type Gate, increment, openReplica, type Replica, type Store } from '../../core/index.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import { HandClock, meetServer, openHub, sendSnapshot, TENANT } from './group.ts'
import { type Note, notesBy } from './note.ts'

const TABLES = notesBy({ fields: { votes: counter() } })
const REPLICAS_MAX = 5

/** One write, as the sets have it. */
interface Written {
  readonly by: number
  readonly isWhole: boolean
  readonly isRefused: boolean
  readonly seen: ReadonlySet<number>
}

/** A replica, with what its row holds and what of that the server has not answered. */
interface Member {
  readonly replica: Replica<typeof TABLES>
  readonly store: Store
  /** It has the id of another, and goes on under a new one before it meets anybody. */
  isCopy: boolean
  readonly known: Set<number>
  pending: number[]
}

interface Step {
  readonly type: 'vote' | 'anew' | 'without' | 'meet' | 'restore' | 'renew' | 'copy'
  readonly who: number
  readonly by: number
  /** The server refuses it. */
  readonly isRefused: boolean
}

const step: fc.Arbitrary<Step> = fc.record({
  type: fc.constantFrom<Step['type']>(
    ...([
      'vote',
      'vote',
      'vote',
      'vote',
      'anew',
      'without',
      'meet',
      'meet',
      'meet',
      'restore',
      'renew',
      'copy',
    ] as const),
  ),
  who: fc.nat(REPLICAS_MAX - 1),
  by: fc.integer({ min: -9, max: 9 }),
  isRefused: fc.nat(5).map((luck) => luck === 0),
})

const doing = (type: Step['type'], who: number, by = 0): Step => ({ type, who, by, isRefused: false })

/** 0 counts on without having heard of the new insert by 1, hears of it, and goes on under a new id. */
const RENEWED_BESIDE_AN_INSERT: Step[] = [
  ...[doing('anew', 0, 1), doing('vote', 0, 5), doing('meet', 0), doing('meet', 1)],
  ...[
    doing('anew', 1),
    doing('meet', 1),
    doing('vote', 0, 2),
    doing('restore', 0),
    doing('renew', 0),
    doing('meet', 0),
  ],
]

const REFUSED = 'refused'
const GATE: Gate = {
  mayRead: () => true,
  mayWrite: () => true,
  judge: ({ op, values }) => (op !== 'delete' && values.title === REFUSED ? 'forbidden' : undefined),
}

class World {
  readonly clock = new HandClock()
  readonly members: Member[] = []
  readonly written: Written[] = []
  readonly server = new Set<number>()

  async open(store: Store): Promise<Replica<typeof TABLES>> {
    return openReplica({ tenant: TENANT, store, tables: TABLES, now: this.clock.now })
  }

  async write(member: Member, { type, by, isRefused }: Step): Promise<void> {
    const notes = member.replica.table('notes')
    const title = isRefused ? REFUSED : 'Pump'
    const isThere = (await notes.get('n')) !== undefined
    this.clock.tick()
    const isWhole = type !== 'vote' || !isThere
    if (!isWhole) await notes.update('n', { title, votes: increment(by) })
    else {
      await member.replica.transact((transaction) => {
        const note: Note = { id: 'n', title, ...(type === 'without' ? {} : { votes: by }) }
        if (isThere) transaction.table('notes').delete('n')
        transaction.table('notes').insert(note)
      })
    }
    const number = this.written.push({
      by: type === 'without' ? 0 : by,
      isWhole,
      isRefused,
      seen: new Set(member.known),
    })
    member.known.add(number - 1)
    member.pending.push(number - 1)
  }

  async meet(hub: Awaited<ReturnType<typeof openHub>>, member: Member): Promise<void> {
    if (member.isCopy) await this.renew(member)
    await meetServer(hub, member.replica, this.clock.now, GATE)
    const refused = new Set<number>()
    for (const number of member.pending) {
      const { isRefused, seen } = this.written[number] as Written
      if (isRefused || [...refused].some((earlier) => seen.has(earlier))) refused.add(number)
      else this.server.add(number)
    }
    member.pending = []
    for (const number of refused) member.known.delete(number)
    for (const number of this.server) member.known.add(number)
  }

  async renew(member: Member): Promise<void> {
    await member.replica.renewIdentity('replica-cloned')
    member.isCopy = false
  }

  expected(known: ReadonlySet<number>): number {
    let sum = 0
    for (const number of known) {
      const isUndone = [...known].some((other) => {
        const { isWhole, seen } = this.written[other] as Written
        return isWhole && seen.has(number)
      })
      if (!isUndone) sum += (this.written[number] as Written).by
    }
    return sum
  }
}

async function copyOf(store: Store): Promise<Store> {
  const copy = openMemoryStore()
  const puts = await store.range({ from: new Uint8Array(0), to: Uint8Array.of(255), limit: Number.POSITIVE_INFINITY })
  await copy.commit({ expectedHead: 0, puts, deletes: [] })
  return copy
}

test('G1: what is counted, by whomever and under whatever id, is shown once, but what a new insert had seen', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40, size: 'max' }), async (steps) => {
      const world = new World()
      const hub = await openHub(openMemoryStore())
      for (let at = 0; at < 3; at++) {
        const store = openMemoryStore()
        world.members.push({ replica: await world.open(store), store, isCopy: false, known: new Set(), pending: [] })
      }
      for (const [at, each] of steps.entries()) {
        const member = world.members[each.who % world.members.length] as Member
        if (each.type === 'meet') await world.meet(hub, member)
        else if (each.type === 'restore') {
          if (member.isCopy) continue
          await sendSnapshot(hub.ledger, member.replica)
          for (const number of world.server) member.known.add(number)
        } else if (each.type === 'renew') await world.renew(member)
        else if (each.type === 'copy') {
          if (world.members.length === REPLICAS_MAX) continue
          const store = await copyOf(member.store)
          const replica = await world.open(store)
          // What was not answered is there twice now, under two ids: two writers.
          const renamed = new Map(member.pending.map((number, index) => [number, world.written.length + index]))
          const rename = (number: number): number => renamed.get(number) ?? number
          for (const number of member.pending) {
            const old = world.written[number] as Written
            world.written.push({ ...old, seen: new Set([...old.seen].map(rename)) })
          }
          world.members.push({
            replica,
            store,
            isCopy: true,
            known: new Set([...member.known].map(rename)),
            pending: member.pending.map(rename),
          })
        } else await world.write(member, each)
        for (const { replica, known } of world.members) {
          const note = await replica.table('notes').get('n')
          expect(note?.votes ?? 0, JSON.stringify(steps.slice(0, at + 1))).toBe(world.expected(known))
        }
      }
    }),
    { numRuns: 300, examples: [[RENEWED_BESIDE_AN_INSERT]] },
  )
})
