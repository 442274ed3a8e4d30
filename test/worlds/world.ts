/**
 * A world: replicas, and a server where there is one, that take the steps of a plan.
 *
 * Knows: how a step is taken with the real engine. Must never know: what should come out.
 *
 * Invariant: a step that the engine refuses with a typed error is taken in vain; any other error is a fault of the engine.
 */

import { RenewIdentity } from '../../core/identity.ts'
import {
  type Conflict,
  clientRole,
  type Gate,
  Hub,
  isTidemarkError,
  Ledger,
  parseLimits,
  parseTenantName,
  type Replica,
  type Role,
  type Store,
  type TableDefinition,
} from '../../core/index.ts'
import { tableKey } from '../../core/keys.ts'
import { meshAcceptor, meshInitiator } from '../../core/link-mesh.ts'
import { readingReplica, serverRole } from '../../core/server-door.ts'
import { BeginSnapshot, EndSnapshot, placeAfter, ReceiveRows, type SnapshotPlace } from '../../core/snapshot.ts'
import { readSnapshotRows } from '../../core/snapshot-feed.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import { definitionOf } from './definitions.ts'
import { type Cells, foundLedger, idOf, Member, START_MS, TENANT } from './member.ts'
import type { Part, Step, WorldDecision, WorldPlan } from './plan.ts'
import { type Cell, type Fields, IDS, type IdName, toValues, VALUES } from './values.ts'
import { converse, type WireEnd } from './wire.ts'

const SERVER_NUMBER = 50
const PAST_CHANGES = 10_000
const SNAPSHOT_BYTES = 300
const DAY_MS = 86_400_000
/** Rounds after which everybody has everything: a refusal, its answer, what is issued again, and its answer. */
const ROUNDS = 6

/** A new place for a replica. */
export type CreateStore = () => Store | Promise<Store>

const GATE: Gate = {
  mayRead: () => true,
  mayWrite: () => true,
  judge: ({ values }) => (Object.values(values).includes(VALUES.refused) ? 'forbidden' : undefined),
}

type StepOf<Type extends Step['type']> = Extract<Step, { readonly type: Type }>

export class World {
  readonly plan: WorldPlan
  readonly members: Member[] = []
  readonly hub: Hub | undefined
  /** Every conflict that anybody ever had. */
  readonly ids = new Set<string>()
  #definition: string
  #ids = 0
  #days = 0
  readonly #createStore: CreateStore

  private constructor(plan: WorldPlan, hub: Hub | undefined, createStore: CreateStore) {
    this.plan = plan
    this.hub = hub
    this.#definition = plan.definition
    this.#createStore = createStore
  }

  static async begin(plan: WorldPlan, createStore: CreateStore = openMemoryStore): Promise<World> {
    const hub = plan.topology === 'star' ? await openServer(plan) : undefined
    const world = new World(plan, hub, createStore)
    for (let number = 0; number < plan.replicas; number++) await world.#addMember()
    return world
  }

  get definition(): TableDefinition<Cell> {
    return definitionOf(this.#definition)
  }

  readonly now = (): number => START_MS + this.#days * DAY_MS

  /** The server's rows as its operator sees them. */
  viewOfServer(definition: TableDefinition): Replica<Cells> | undefined {
    return this.hub && asCells(readingReplica(this.hub.ledger, new Map([['cells', definition]]), this.now))
  }

  async take(step: Step): Promise<void> {
    await this.#take(step)
    await this.#noteConflicts()
  }

  async #take(step: Step): Promise<void> {
    switch (step.type) {
      case 'put':
        return this.#write(step, (replica) => put(replica, step.id, step.fields))
      case 'replace':
        return this.#write(step, (replica) =>
          replica.table('cells').upsert({ id: IDS[step.id], ...toValues(step.fields) }),
        )
      case 'delete':
        return this.#write(step, (replica) => replica.table('cells').delete(IDS[step.id]))
      case 'burst':
        return this.#burst(step)
      case 'transact':
        return this.#write(step, (replica) => transact(replica, step.parts))
      case 'crowd':
        return this.#crowd(step)
      case 'decide':
        return this.#write(step, (replica) => decide(replica, [...this.ids], step.decision))
      case 'race':
        await this.#write(step, (replica) => decide(replica, [...this.ids], step.decision))
        return this.#write({ who: step.other, ms: step.ms }, (replica) =>
          decide(replica, [...this.ids], step.otherDecision),
        )
      case 'sync':
        return this.#sync(this.#member(step.who), this.#member(step.other), step.frames)
      case 'snapshot':
        return this.#sendSnapshot(step)
      case 'repair':
        return this.#repair(step)
      case 'erase':
        return this.#member(step.who).erase()
      case 'restart':
        return this.#member(step.who).open(this.definition)
      case 'renew':
        return this.#renew(this.#member(step.who))
      case 'newcomer':
        return this.#addMember()
      case 'redefine':
        return this.#redefine(step.to)
      case 'wait':
        return this.#wait(step.days)
    }
  }

  /** Everybody gets everything. */
  async settle(): Promise<void> {
    for (let round = 0; round < ROUNDS; round++) {
      for (const member of this.members) await this.#sync(member, this.#member(0))
      await this.#noteConflicts()
    }
  }

  async #noteConflicts(): Promise<void> {
    for (const { replica } of this.members) {
      for await (const { id } of replica.conflicts.open()) this.ids.add(id)
    }
  }

  #member(number: number): Member {
    return this.members[number % this.members.length] as Member
  }

  async #addMember(): Promise<void> {
    const authority = this.hub === undefined ? 'self' : 'server'
    const member = await Member.found(this.members.length, await this.#createStore(), authority, this.definition)
    member.ms = this.#days * DAY_MS
    this.members.push(member)
  }

  // ── Writing ───────────────────────────────────────────────────────────────────────────────────────────────────────

  async #write(
    { who, ms }: { readonly who: number; readonly ms: number },
    work: (replica: Replica<Cells>) => Promise<unknown>,
  ): Promise<void> {
    const member = this.#member(who)
    member.ms = this.#days * DAY_MS + ms
    try {
      await work(member.replica)
    } catch (error) {
      if (!isTidemarkError(error) || error.code === 'store-failed') throw error
    }
  }

  async #burst({ who, id, times, ms }: StepOf<'burst'>): Promise<void> {
    for (let time = 0; time < times; time++) {
      await this.#write({ who, ms }, (replica) => put(replica, id, { a: time % 2 === 0 ? 'one' : 'two', n: 'oneMore' }))
    }
  }

  async #crowd({ id, field, ms }: StepOf<'crowd'>): Promise<void> {
    for (const [who] of this.members.entries()) {
      await this.#write({ who, ms }, (replica) => put(replica, id, { [field]: who % 2 === 0 ? 'one' : 'two' }))
    }
  }

  // ── Syncing ───────────────────────────────────────────────────────────────────────────────────────────────────────

  async #sync(left: Member, right: Member, frames?: number, work?: Parameters<typeof converse>[3]): Promise<void> {
    if (this.hub !== undefined) return converse(this.#clientEnd(left), this.#serverEnd(this.hub), frames, work)
    if (left !== right) return converse(meshEnd(left, meshInitiator), meshEnd(right, meshAcceptor), frames, work)
  }

  #clientEnd({ replica, now }: Member): WireEnd {
    return { hub: replica.hub, role: clientRole, tables: replica.tables, now }
  }

  #serverEnd(hub: Hub): WireEnd {
    return { hub, role: serverRole({ gate: GATE }), tables: new Map(), now: this.now }
  }

  /** Without a server nobody sends one. */
  async #sendSnapshot({ who, pieces = Number.POSITIVE_INFINITY }: StepOf<'snapshot'>): Promise<void> {
    if (this.hub === undefined) return
    const { ledger: server } = this.hub
    const member = this.#member(who)
    const { ledger } = member.replica
    // A snapshot comes after a welcome, which says what the server has of the replica.
    await this.#sync(member, member)
    const clock = server.durableClock()
    const cursor = { logId: server.state.meta.logId, epoch: server.state.meta.epoch, position: server.durablePosition }
    await ledger.submit(new BeginSnapshot(cursor, [...clock.entries()]))
    let place: SnapshotPlace | undefined
    for (let left = pieces; left > 0; left--) {
      const chunk = await readSnapshotRows(server, place, SNAPSHOT_BYTES)
      if (chunk === undefined) {
        await ledger.submit(new EndSnapshot(cursor, clock))
        return
      }
      await ledger.submit(new ReceiveRows(chunk, cursor, clock))
      place = placeAfter(chunk)
    }
  }

  /** As the documents say: first everything is exchanged, then rows are compared, and joined where they differ. */
  #repair({ who, other }: StepOf<'repair'>): Promise<void> {
    return this.#sync(this.#member(who), this.#member(other), undefined, (link) => link.verify(['cells'], true))
  }

  // ── What happens to stores ────────────────────────────────────────────────────────────────────────────────────────

  async #renew({ replica }: Member): Promise<void> {
    // With refusals among what is issued again, the engine is known to differ (docs/simulation.md).
    if (replica.ledger.state.meta.rejected > 0) return
    if (replica.ledger.state.meta.authority === 1) return
    await replica.ledger.submit(new RenewIdentity('replica-cloned', () => idOf(++this.#ids, '9')))
    replica.ledger.log.forget()
  }

  /** A new version of the app, on all replicas at once. */
  async #redefine(to: string): Promise<void> {
    this.#definition = to
    await this.hub?.ledger.submit({
      weight: 1,
      prepare: () => {},
      apply: (draft) => draft.delete(tableKey('cells')),
    })
    for (const member of this.members) await member.open(this.definition)
  }

  async #wait(days: number): Promise<void> {
    this.#days += days
    for (const member of this.members) member.ms = this.#days * DAY_MS
  }
}

function meshEnd({ replica, now }: Member, role: Role): WireEnd {
  return { hub: replica.hub, role, tables: replica.tables, now }
}

async function openServer({ headsMax, hasPast }: WorldPlan): Promise<Hub> {
  const store = openMemoryStore()
  const founding = { number: SERVER_NUMBER, authority: 2, pastChanges: hasPast ? PAST_CHANGES : 0 } as const
  await store.commit({ expectedHead: 0, ...foundLedger(founding) })
  const tenant = parseTenantName(TENANT)
  return new Hub(await Ledger.open({ tenant, store, limits: parseLimits({ headsPerRowMax: headsMax }), authority: 2 }))
}

const asCells = (replica: Replica): Replica<Cells> => replica as unknown as Replica<Cells>

async function put(replica: Replica<Cells>, id: IdName, fields: Fields): Promise<void> {
  const cells = replica.table('cells')
  const values = toValues(fields)
  if ((await cells.get(IDS[id])) === undefined) await cells.insert({ id: IDS[id], ...values })
  else await cells.update(IDS[id], values)
}

async function transact(replica: Replica<Cells>, parts: readonly Part[]): Promise<void> {
  await replica.transact(async (transaction) => {
    const cells = transaction.table('cells')
    for (const { id, fields } of parts) {
      const before = await cells.get(IDS[id])
      if (fields !== undefined) cells.upsert({ id: IDS[id], ...toValues(fields) })
      else if (before !== undefined) {
        cells.delete(IDS[id])
        cells.insert({ ...before, id: IDS[id] })
      }
    }
  })
}

/** Decides one of the open conflicts, or brings back what was lost in any that there ever was. */
async function decide(
  { conflicts }: Replica<Cells>,
  ids: readonly string[],
  { how, pick, side, fields }: WorldDecision,
): Promise<void> {
  const open: Conflict[] = []
  for await (const conflict of conflicts.open()) open.push(conflict)
  const isRestoring = how === 'restore' || how === 'restore side'
  const among = isRestoring ? ids : open.map(({ id }) => id).sort()
  const id = among[pick % Math.max(1, among.length)]
  if (id === undefined) return
  const conflict = await conflicts.get(id)
  const dot = conflict?.sides[side === 0 ? 0 : 1].dot
  switch (how) {
    case 'keep':
      return dot && conflicts.resolve(id, { keep: dot })
    case 'value':
      return conflicts.resolve(id, { value: toValues(fields) })
    case 'merge':
      return conflicts.resolve(id, { merge: ({ sides }) => ({ ...sides[0].values, ...sides[1].values }) })
    case 'erase':
      return conflicts.resolve(id, { value: null })
    case 'accept':
      return conflicts.accept(id)
    case 'restore':
      return conflicts.restore(id)
    case 'restore side':
      return conflicts.restore(id, dot)
  }
}
