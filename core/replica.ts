/**
 * The replica: what an app embeds. Tables to read and write, transactions, events, the log, conflicts.
 *
 * Knows: table definitions and rows as plain values. Must never know: how they travel.
 * Invariant X1: nothing is shown before it is durable: a write's promise, an event and a later read all follow the flush.
 */
import { readRejection } from './agreed.ts'
import { decodeBlock, type VoidCode } from './block.ts'
import { type Change, toChange } from './change.ts'
import type { Dot, VectorClock } from './clock.ts'
import { ReplicaConflicts } from './conflicts.ts'
import { type Digest, digestRows } from './digest.ts'
import type { TouchedRow } from './draft.ts'
import { TidemarkError } from './errors.ts'
import { type Explanation, explainRow } from './explain.ts'
import type { CounterFields } from './fields.ts'
import { Hub } from './hub.ts'
import { type Renewal, type RenewalReason, RenewIdentity } from './identity.ts'
import { type IdRange, keyAfter, kindRange, parseRowId, rowKeyId, rowRange } from './keys.ts'
import { Ledger, tell } from './ledger.ts'
import { scanRange } from './ledger-state.ts'
import { type Limits, parseLimits, STORED_LIMITS } from './limits.ts'
import { LocalWrite, type ReadRow, type WriteOp, type WriteRules, type WrittenChange } from './local-write.ts'
import { parseTenantName, quote, type ReplicaId, type TenantName } from './names.ts'
import { ReplicaLog } from './replica-log.ts'
import type { RowState } from './row.ts'
import { decodeRow } from './row-codec.ts'
import { decodeVersions, isRowAlive, settleRow } from './settle.ts'
import type { AskForTurn } from './slices.ts'
import type { Store } from './store.ts'
import {
  parseTables,
  type RowOf,
  type RowPatch,
  type RowShape,
  type TableDefinition,
  type TableDefinitions,
  validateRow,
} from './table.ts'
import { DecidingOps, Transaction, type TransactionTable } from './transaction.ts'
import type { Value } from './value.ts'

export interface ReplicaOptions<Tables extends TableDefinitions> {
  readonly tenant: string
  /** An open store of this tenant and replica alone; it stays the caller's to close. */
  readonly store: Store
  readonly tables: Tables
  /**
   * Who admits the changes written here. `server` (default): they are pending until a server has answered.
   * `self`: there is no server; the replica syncs with its peers directly.
   */
  readonly authority?: 'server' | 'self'
  /** Limits lowered from their defaults. */
  readonly limits?: Partial<Limits>
  /** Wall time in Unix milliseconds. */
  readonly now?: () => number
  /** Asked between pieces of work, so that what comes from others does not hold up a page for long. Default: go on. */
  readonly turn?: AskForTurn
}

export interface Written<Row> {
  /** The row as it stands after the write; undefined after a delete. */
  readonly row: Row | undefined
  readonly change: Change
}

export interface RowEvent<Row extends RowShape = RowShape> {
  readonly type: 'insert' | 'update' | 'delete'
  readonly table: string
  readonly id: string
  /** The row now; undefined after a delete. */
  readonly row: Row | undefined
  /** The row before; undefined after an insert. */
  readonly before: Row | undefined
  readonly origin: 'local' | 'remote'
  /** True when the row has concurrent heads. */
  readonly isConflicted: boolean
}

export interface RejectedChange {
  readonly change: Change
  readonly code: VoidCode
  /** What it was issued again as: after `clock-skew` that happens by itself. */
  readonly reissuedAs: Dot | undefined
}

type TableNames<Tables extends TableDefinitions> = Extract<keyof Tables, string>

export type EventOf<Tables extends TableDefinitions, Name extends TableNames<Tables>> = {
  [Each in Name]: RowEvent<RowOf<Tables[Each]>> & { readonly table: Each }
}[Name]

const TRANSACTION_ATTEMPTS_MAX = 16

/** Opens the replica that the store holds, or begins a new one in an empty store. */
export async function openReplica<const Tables extends TableDefinitions>(
  options: ReplicaOptions<Tables>,
): Promise<Replica<Tables>> {
  const tables = parseTables(options.tables)
  const authority = options.authority ?? 'server'
  if (authority !== 'server' && authority !== 'self') {
    throw new TidemarkError('bad-option', `authority must be 'server' or 'self', not ${quote(authority)}`)
  }
  const ledger = await Ledger.open({
    tenant: parseTenantName(options.tenant),
    store: options.store,
    limits: parseLimits(options.limits),
    authority: authority === 'self' ? 1 : 0,
    ...(options.turn === undefined ? {} : { turn: options.turn }),
  })
  if (ledger.state.meta.authority !== (authority === 'self' ? 1 : 0)) {
    throw new TidemarkError('store-foreign', `the store was not written by a replica with authority '${authority}'`, {
      remedy: 'A replica keeps the authority it began with; open an empty store for another one',
    })
  }
  return new Replica(ledger, tables, options.now ?? Date.now)
}

export class Replica<Tables extends TableDefinitions = TableDefinitions> {
  readonly tenant: TenantName
  readonly log: ReplicaLog
  readonly conflicts: ReplicaConflicts
  /** The engine beneath, for the rooms that move changes. */
  readonly ledger: Ledger
  /** What its sessions share. */
  readonly hub: Hub
  readonly tables: ReadonlyMap<string, TableDefinition>
  readonly now: () => number
  readonly #rules = new Map<string, WriteRules>()
  readonly #renewalListeners = new Set<(renewal: Renewal) => void>()
  readonly #counters = new Map<string, CounterFields>()
  readonly #handles = new Map<string, Table<RowShape>>()

  /** Use `openReplica`. */
  constructor(ledger: Ledger, tables: ReadonlyMap<string, TableDefinition>, now: () => number) {
    this.ledger = ledger
    this.hub = new Hub(ledger)
    this.tables = tables
    this.now = now
    this.tenant = ledger.state.meta.tenant
    this.log = new ReplicaLog(ledger)
    this.conflicts = new ReplicaConflicts(this as unknown as Replica)
    for (const [name, definition] of tables) {
      this.#rules.set(name, toRules(name, definition, ledger))
      this.#counters.set(name, countersOf(definition))
      this.#handles.set(name, new Table(this as unknown as Replica, name))
    }
  }

  get id(): ReplicaId {
    return this.ledger.state.meta.replicaId
  }

  /** Everything this replica holds. */
  get clock(): VectorClock {
    return this.ledger.durableClock()
  }

  /** Own changes that no server has answered yet. */
  get pending(): number {
    return this.ledger.pending
  }

  table<Name extends TableNames<Tables>>(name: Name): Table<RowOf<Tables[Name]>> {
    const handle = this.#handles.get(name)
    if (handle === undefined) throw unknownTable(name, this.tables)
    return handle as unknown as Table<RowOf<Tables[Name]>>
  }

  /**
   * Runs `work` and writes everything it wrote in one change set: whole or not at all, here and on every other replica.
   * When a row that it read changed before the commit, it runs again: keep it free of side effects.
   */
  async transact<Result>(work: (transaction: Transaction<Tables>) => Result | Promise<Result>): Promise<Result> {
    for (let attempt = 1; ; attempt++) {
      const transaction = new Transaction<Tables>(this)
      const outcome = work(transaction)
      const result = outcome instanceof Promise ? await outcome : outcome
      const { ops, reads } = transaction.seal()
      if (ops.length === 0) return result
      try {
        await this.write(ops, reads)
        return result
      } catch (error) {
        const isRetried = error instanceof TidemarkError && error.code === 'transaction-conflict'
        if (!isRetried || attempt === TRANSACTION_ATTEMPTS_MAX) throw error
      }
    }
  }

  /** Calls back after every durable change of a row that matches. Answers with the way to stop. */
  subscribe<Name extends TableNames<Tables>>(
    filter: { readonly table?: Name; readonly id?: string },
    listener: (event: EventOf<Tables, Name>) => void,
  ): () => void {
    if (filter.table !== undefined && !this.tables.has(filter.table)) throw unknownTable(filter.table, this.tables)
    return this.ledger.onRows((rows) => {
      for (const touched of rows) {
        if (filter.id !== undefined && filter.id !== touched.entry.id) continue
        const event = this.#toEvent(touched, filter.table)
        if (event !== undefined) tell(() => listener(event as EventOf<Tables, Name>))
      }
    })
  }

  /** Why a row has the value it has, field by field. */
  async explain<Name extends TableNames<Tables>>(name: Name, id: string): Promise<Explanation> {
    const definition = this.tables.get(name)
    if (definition === undefined) throw unknownTable(name, this.tables)
    return explainRow({ ledger: this.ledger, table: name, id, state: await this.readState(name, id), definition })
  }

  /** The changes of a row, oldest first, as far back as the log goes. */
  history<Name extends TableNames<Tables>>(name: Name, id: string): Promise<Change[]> {
    return this.log.query({ table: name, row: id, limit: Number.MAX_SAFE_INTEGER })
  }

  /** Changes of our own that the server refused, oldest first; their rows show the agreed state. */
  async rejected(): Promise<RejectedChange[]> {
    const { state, store } = this.ledger
    const rejected: RejectedChange[] = []
    for await (const { value } of scanRange(store, kindRange('x'))) {
      const { code, bytes, reissuedAs } = readRejection(value)
      const resolver = {
        replica: (id: string): number => state.replicas.find(id),
        name: (name: string): number => state.names.find(name),
      }
      const [entry] = decodeBlock(bytes, resolver, STORED_LIMITS)
      if (entry === undefined || entry.op === 'void') continue
      const change = toChange(entry, 0, state)
      const again = reissuedAs === undefined ? undefined : { ...change.dot, seq: reissuedAs }
      rejected.push({ change, code, reissuedAs: again })
    }
    return rejected
  }

  /** A short text over everything the replica holds: equal digests, equal rows. Reads every row. */
  digest(): Promise<Digest> {
    return digestRows(this.ledger)
  }

  /**
   * Goes on under a new id, after a peer has found that this store was restored, copied or lost commits. Changes that
   * no server has accepted are issued again. `connect` calls this by itself.
   */
  async renewIdentity(reason: RenewalReason): Promise<Renewal> {
    const renewal = await this.ledger.submit(new RenewIdentity(reason))
    this.ledger.log.forget()
    for (const listener of this.#renewalListeners) tell(() => listener(renewal))
    return renewal
  }

  /** Calls back when the replica has gone on under a new id. Answers with the way to stop. */
  onRenewal(listener: (renewal: Renewal) => void): () => void {
    this.#renewalListeners.add(listener)
    return () => this.#renewalListeners.delete(listener)
  }

  /** Waits for what is under way. Safe to call twice. The store stays open. */
  close(): Promise<void> {
    return this.ledger.close()
  }

  /** The counter fields of a table. */
  countersOf(name: string): CounterFields {
    return this.#counters.get(name)
  }

  // ── For the table handles ─────────────────────────────────────────────────────────────────────────────────────────

  write(ops: readonly WriteOp[], reads: readonly ReadRow[]): Promise<WrittenChange | undefined> {
    return this.ledger.submit(
      new LocalWrite({ ops, reads, now: this.now, rulesOf: (name) => this.#rules.get(name) as WriteRules }),
    )
  }

  /** Gathers operations that decide a conflict: they reach rows that do not exist as well. */
  opsOf(name: string): DecidingOps {
    return new DecidingOps(this as unknown as Replica, name)
  }

  async readState(name: string, id: string): Promise<RowState> {
    return this.ledger.readRow(name, parseRowId(id))
  }

  /** The row as the table's policy settles it. */
  toRow(name: string, id: string, state: RowState): Record<string, Value> | undefined {
    const definition = this.tables.get(name)
    if (definition === undefined) return undefined
    const settled = settleRow(state, definition, this.ledger.state)
    if (!settled.isAlive) return undefined
    return Object.assign(Object.create(null), { id }, decodeVersions(settled.versions, this.ledger.state))
  }

  #toEvent({ entry, before, after, origin }: TouchedRow, only: string | undefined): RowEvent | undefined {
    const name = this.ledger.state.names.textOf(entry.table)
    if ((only !== undefined && only !== name) || !this.tables.has(name)) return undefined
    const rules = this.#rules.get(name)
    const wasAlive = rules?.isAlive(before) === true
    const isAlive = rules?.isAlive(after) === true
    if (!wasAlive && !isAlive) return undefined
    const toRow = (state: RowState): RowShape | undefined => this.toRow(name, entry.id, state) as RowShape | undefined
    return {
      type: !wasAlive ? 'insert' : isAlive ? 'update' : 'delete',
      table: name,
      id: entry.id,
      // Decoded when somebody looks: most listeners want one of the two, or only to know that something changed.
      get row() {
        return toRow(after)
      },
      get before() {
        return toRow(before)
      },
      origin,
      isConflicted: after.heads.length > 1,
    }
  }
}

export interface ScanOptions extends IdRange {
  /** Most rows to give. */
  readonly limit?: number
}

const SCAN_PAGE = 256

/** One table of a replica. */
export class Table<Row extends RowShape> {
  readonly name: string
  readonly #replica: Replica

  constructor(replica: Replica, name: string) {
    this.#replica = replica
    this.name = name
  }

  async get(id: string): Promise<Row | undefined> {
    const state = await this.#replica.readState(this.name, id)
    return this.#replica.toRow(this.name, id, state) as unknown as Row | undefined
  }

  /** Rows in the order of their ids, read in pages: rows that change meanwhile may be seen before or after. */
  async *scan(options: ScanOptions = {}): AsyncGenerator<Row> {
    const { ledger } = this.#replica
    await ledger.catchUp()
    const table = ledger.state.names.find(this.name)
    let left = options.limit ?? Number.POSITIVE_INFINITY
    if (table < 0 || left <= 0) return
    let { from, to } = rowRange('r', table, options)
    for (;;) {
      const page = await ledger.store.range({ from, to, limit: SCAN_PAGE })
      for (const { key, value } of page) {
        const row = this.#replica.toRow(this.name, rowKeyId(key), decodeRow(value))
        if (row === undefined) continue
        yield row as unknown as Row
        if (--left <= 0) return
      }
      const last = page[page.length - 1]
      if (last === undefined || page.length < SCAN_PAGE) return
      from = keyAfter(last.key)
    }
  }

  /** Throws `row-exists` when the row is there already. */
  insert(row: Row): Promise<Written<Row>> {
    return this.#writeOne((transaction) => transaction.insert(row))
  }

  /** Changes the given fields. Throws `row-missing` when there is no such row. */
  update(id: string, patch: RowPatch<Row>): Promise<Written<Row>> {
    return this.#writeOne((transaction) => transaction.update(id, patch))
  }

  /** Inserts the row, or writes all its fields over what is there. */
  upsert(row: Row): Promise<Written<Row>> {
    return this.#writeOne((transaction) => transaction.upsert(row))
  }

  /** Throws `row-missing` when there is no such row. */
  delete(id: string): Promise<Written<Row>> {
    return this.#writeOne((transaction) => transaction.delete(id))
  }

  async #writeOne(work: (table: TransactionTable<Row>) => void): Promise<Written<Row>> {
    const transaction = new Transaction(this.#replica)
    work(transaction.table(this.name) as unknown as TransactionTable<Row>)
    const { ops } = transaction.seal()
    const written = await this.#replica.write(ops, [])
    if (written === undefined) throw new TidemarkError('closed', 'nothing was written')
    const { change, position, after } = written
    return {
      row: this.#replica.toRow(this.name, change.id, decodeRow(after)) as unknown as Row | undefined,
      change: toChange(change, position, this.#replica.ledger.state),
    }
  }
}

function countersOf(definition: TableDefinition): CounterFields {
  const counters = [...definition.fields].filter(([, policy]) => 'isCounter' in policy && policy.isCounter === true)
  return counters.length === 0 ? undefined : new Set(counters.map(([name]) => name))
}

function toRules(name: string, definition: TableDefinition, ledger: Ledger): WriteRules {
  const { granularity, schema } = definition
  return {
    isWholeRow: granularity === 'row',
    isAlive: (row) => isRowAlive(row, definition, ledger.state),
    settle: (row) => settleRow(row, definition, ledger.state),
    validate:
      schema === undefined
        ? undefined
        : (id, versions) => validateRow(name, definition, { id, ...decodeVersions(versions, ledger.state) }),
  }
}

function unknownTable(name: string, tables: ReadonlyMap<string, TableDefinition>): TidemarkError {
  return new TidemarkError('unknown-table', `there is no table ${quote(name)}`, {
    remedy: `The replica was opened with ${[...tables.keys()].join(', ') || 'no tables'}`,
  })
}
