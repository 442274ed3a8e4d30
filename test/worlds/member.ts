/**
 * A member of a world: a replica with a disk and a wall clock of its own, and an app that follows its events.
 *
 * Knows: how it is founded, opened again and followed. Must never know: what happens in the world.
 */
import {
  type Conflict,
  DEFAULT_LIMITS,
  openReplica,
  parseTenantName,
  type Replica,
  type ReplicaId,
  type Store,
  type TableDefinition,
} from '../../core/index.ts'
import { createMeta, LedgerState } from '../../core/ledger-state.ts'
import { readSnapshotProgress } from '../../core/snapshot.ts'
import { msToTimestamp } from '../../core/timestamp.ts'
import { type Cell, FIELDS, spell } from './values.ts'

export const TENANT = 'acme'
export const START_MS = 1_800_000_000_000

export type Cells = { readonly cells: TableDefinition<Cell> }
type Journal = TableDefinition['journal']

/** What each member remembers, by its number: everything; nothing of what is settled; a month; no values. */
const JOURNALS: readonly Journal[] = [
  { isKept: true, isRedacted: false },
  { isKept: true, isRedacted: false },
  { isKept: false, isRedacted: false },
  { isKept: true, isRedacted: true, keptDays: 30 },
]

export class Member {
  readonly name: string
  readonly journal: Journal
  readonly store: Store
  readonly #authority: 'server' | 'self'
  /** Where its wall clock stands, in milliseconds after the start. */
  ms = 0
  #replica: Replica<Cells> | undefined
  #follower: Follower | undefined
  /** True once it was told to forget what was settled. */
  hasErased = false

  private constructor(number: number, store: Store, authority: 'server' | 'self') {
    this.name = `replica ${number}`
    this.journal = JOURNALS[number % JOURNALS.length] as Journal
    this.store = store
    this.#authority = authority
  }

  static async found(
    number: number,
    store: Store,
    authority: 'server' | 'self',
    definition: TableDefinition<Cell>,
  ): Promise<Member> {
    const found = foundLedger({ number, authority: authority === 'self' ? 1 : 0, pastChanges: 0 })
    await store.commit({ expectedHead: 0, ...found })
    const member = new Member(number, store, authority)
    await member.open(definition)
    return member
  }

  get replica(): Replica<Cells> {
    if (this.#replica === undefined) throw new Error('it is not open')
    return this.#replica
  }

  /** What its app has made of the events so far. */
  get follower(): Follower {
    if (this.#follower === undefined) throw new Error('it is not open')
    return this.#follower
  }

  readonly now = (): number => START_MS + this.ms

  /** Opens the store, again or for the first time. */
  async open(definition: TableDefinition<Cell>): Promise<void> {
    await this.#replica?.close()
    const tables: Cells = { cells: { ...definition, journal: this.journal } }
    const { store, now } = this
    this.#replica = await openReplica({ tenant: TENANT, store, tables, authority: this.#authority, now })
    this.#follower = await Follower.begin(this.#replica)
  }

  async erase(): Promise<void> {
    this.hasErased = true
    await this.replica.conflicts.eraseJournal()
  }

  /** Nothing of it waits for an answer, and its rows are what its clock says. */
  async isSettled(): Promise<boolean> {
    const { ledger, pending } = this.replica
    if (pending > 0) return false
    return (await readSnapshotProgress(ledger)) === undefined
  }
}

/** An app that goes by events alone. */
export class Follower {
  readonly rows = new Map<string, string>()
  readonly open = new Map<string, Conflict>()

  private constructor() {}

  static async begin(replica: Replica<Cells>): Promise<Follower> {
    const follower = new Follower()
    for await (const row of replica.table('cells').scan()) follower.rows.set(row.id, spell(row))
    for await (const conflict of replica.conflicts.open()) follower.open.set(conflict.id, conflict)
    replica.subscribe({ table: 'cells' }, ({ id, row }) => {
      if (row === undefined) follower.rows.delete(id)
      else follower.rows.set(id, spell(row))
    })
    replica.conflicts.subscribe(({ type, conflict }) => {
      if (type === 'closed') follower.open.delete(conflict.id)
      else follower.open.set(conflict.id, conflict)
    })
    return follower
  }
}

export interface Founding {
  readonly number: number
  readonly authority: 0 | 1 | 2
  /** How many changes the log says it held before: with many, newcomers get a snapshot. */
  readonly pastChanges: number
}

/** The first commit of a store: ids go by number, and names and replicas have other indexes in each store. */
export function foundLedger({
  number,
  authority,
  pastChanges,
}: Founding): Pick<Parameters<Store['commit']>[0], 'puts' | 'deletes'> {
  const meta = createMeta(parseTenantName(TENANT), authority)
  meta.logId = idOf(number, 'a')
  meta.replicaId = idOf(number, '8')
  meta.changes = pastChanges
  // One tick before its counter runs over into the next millisecond.
  if (number % 2 === 1) meta.lastTimestamp = msToTimestamp(START_MS + 1) - 2
  const state = new LedgerState(meta, DEFAULT_LIMITS)
  const names = ['cells', ...FIELDS].sort((a, b) => turn(a, number) - turn(b, number))
  for (const name of names) state.internName(name)
  state.internReplica(meta.replicaId)
  return { puts: [state.metaEntry(), state.replicaEntry(0), ...names.map((_, at) => state.nameEntry(at))], deletes: [] }
}

const turn = (name: string, number: number): number => (name.charCodeAt(0) * 7 + number * 3) % 5

/** Ids in the order of numbers: of two that write at the same time the lower one loses. */
export function idOf(number: number, kind: '8' | '9' | 'a'): ReplicaId {
  return `${String(number).padStart(8, '0')}-0000-4000-${kind}000-000000000000` as ReplicaId
}
