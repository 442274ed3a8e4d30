/**
 * A life: replicas with skewed clocks that write, sync, send snapshots and decide conflicts as random steps say; beside each
 * the explicit set of changes that it knows.
 *
 * Knows: how to drive replicas, and the oracle's form of a change. Must never know: what should be shown or reported.
 */
import fc from 'fast-check'
import { type Change, type Hub, openReplica, type Replica, type TableDefinition } from '../../core/index.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import type { Known, OracleChange, OracleOp } from '../core/merge-oracle.ts'
import { meetServer, openConflicts, openHub, START_MS, sendSnapshot, sync, TENANT } from './group.ts'
import { byId, type OracleRules } from './report-oracle.ts'

export interface Cell {
  readonly id: string
  readonly a?: number
  readonly b?: number
  readonly c?: number
}

export const ROW = 'x'
const REPLICAS = 4

// ── Steps ───────────────────────────────────────────────────────────────────────────────────────────────────────────

export interface Step {
  readonly type: 'put' | 'delete' | 'sync' | 'restore' | 'accept' | 'keep' | 'bring back'
  readonly who: number
  /** The other replica, or the side to keep. */
  readonly other: number
  readonly values: { readonly a?: number; readonly b?: number; readonly c?: number }
  /** Where the writer's wall clock stands, in milliseconds. */
  readonly ms: number
}

const digit = fc.nat(3)

export const stepsArbitrary: fc.Arbitrary<readonly Step[]> = fc.array(
  fc.record({
    type: fc.constantFrom(
      'put',
      'put',
      'put',
      'put',
      'delete',
      'sync',
      'sync',
      'sync',
      'restore',
      'accept',
      'keep',
      'bring back',
    ),
    who: fc.nat(REPLICAS - 1),
    other: fc.nat(REPLICAS - 1),
    values: fc.record({ a: digit, b: digit, c: digit }, { requiredKeys: [] }),
    ms: fc.nat(3),
  }),
  { minLength: 5, maxLength: 25, size: 'max' },
)

// ── Living ──────────────────────────────────────────────────────────────────────────────────────────────────────────

type Cells = { readonly cells: TableDefinition<Cell> }

/** A replica, and what it knows of the row. */
export class Witness {
  readonly replica: Replica<Cells>
  readonly clock: { ms: number }
  known: Known = []
  /** False once something came as a snapshot: the log does not have it. */
  hasWholeLog = true

  constructor(replica: Replica<Cells>, clock: { ms: number }) {
    this.replica = replica
    this.clock = clock
  }
}

/** How replicas come together: with each other, by log; or with a server, by log and by snapshot. */
export type Topology = 'mesh' | 'star'

export class Life {
  readonly witnesses: readonly Witness[]
  readonly #rules: OracleRules
  readonly #hub: Hub | undefined
  /** What the server knows. */
  #shared: Known = []

  private constructor(witnesses: readonly Witness[], rules: OracleRules, hub: Hub | undefined) {
    this.witnesses = witnesses
    this.#rules = rules
    this.#hub = hub
  }

  static async begin(definition: TableDefinition<Cell>, rules: OracleRules, topology: Topology): Promise<Life> {
    const authority = topology === 'mesh' ? 'self' : 'server'
    const witnesses = Array.from({ length: REPLICAS }, async () => {
      const clock = { ms: START_MS }
      const [store, tables] = [openMemoryStore(), { cells: definition }]
      const replica = await openReplica({ tenant: TENANT, store, tables, authority, now: () => clock.ms })
      return new Witness(replica, clock)
    })
    return new Life(
      await Promise.all(witnesses),
      rules,
      topology === 'star' ? await openHub(openMemoryStore()) : undefined,
    )
  }

  /** Answers with the replicas that the step concerned. */
  async take(step: Step): Promise<readonly Witness[]> {
    const [who, other] = [this.witnesses[step.who] as Witness, this.witnesses[step.other] as Witness]
    who.clock.ms = START_MS + step.ms
    switch (step.type) {
      case 'sync':
        if (who !== other) await this.#sync(who, other)
        return [who, other]
      case 'restore':
        await this.#restore(who)
        return [who]
      default:
        await this.#write(who, step)
        return [who]
    }
  }

  async syncAll(): Promise<void> {
    const [first, ...others] = this.witnesses as [Witness, ...Witness[]]
    for (let round = 0; round < 2; round++) for (const other of others) await this.#sync(first, other)
  }

  async #sync(left: Witness, right: Witness): Promise<void> {
    if (this.#hub === undefined) {
      await sync(left.replica, right.replica)
      left.known = unite(left.known, right.known)
      right.known = left.known
      return
    }
    for (const witness of [left, right]) {
      await meetServer(this.#hub, witness.replica, witness.replica.now)
      this.#shared = unite(this.#shared, witness.known)
      witness.known = this.#shared
    }
  }

  /** A replica gets a snapshot of the server. Without a server nobody gives one. */
  async #restore(to: Witness): Promise<void> {
    if (this.#hub === undefined) return
    await sendSnapshot(this.#hub.ledger, to.replica)
    to.known = unite(to.known, this.#shared)
    to.hasWholeLog = false
  }

  /** Whatever writes: the change is read back from the log, so that the oracle learns what was really written. */
  async #write(who: Witness, step: Step): Promise<void> {
    const { replica } = who
    const before = replica.clock.get(replica.id)
    await act(replica, step)
    const seen = new Set(who.known.map(({ dot }) => dot))
    for (const change of await replica.history('cells', ROW)) {
      if (change.dot.replica !== replica.id || change.dot.seq <= before) continue
      who.known = [...who.known, this.#toOracle(change, seen)]
      seen.add(dotOf(change))
    }
  }

  #toOracle(change: Change, seen: ReadonlySet<string>): OracleChange {
    const isWhole = change.op === 'update' && this.#rules.granularity === 'row'
    const op: OracleOp = isWhole ? 'replace' : change.op
    const fields = Object.fromEntries(Object.entries(change.values).map(([name, value]) => [name, String(value)]))
    const { replica, seq } = change.dot
    return { dot: dotOf(change), replica, seq, timestamp: change.timestamp, op, fields, seen: new Set(seen) }
  }
}

async function act(replica: Replica<Cells>, { type, other, values }: Step): Promise<void> {
  const cells = replica.table('cells')
  const row: Cell | undefined = await cells.get(ROW)
  if (type === 'put') {
    await (row === undefined ? cells.insert({ id: ROW, ...values }) : cells.update(ROW, values))
    return
  }
  if (type === 'delete') {
    if (row !== undefined) await cells.delete(ROW)
    return
  }
  const open = (await openConflicts(replica)).sort(byId)
  const conflict = open[other % Math.max(1, open.length)]
  if (conflict === undefined) return
  const { conflicts } = replica
  if (type === 'accept') await conflicts.accept(conflict.id)
  else if (type === 'keep')
    await conflicts.resolve(conflict.id, { keep: (conflict.sides[other % 2] ?? conflict.sides[0]).dot })
  else if (conflict.winner !== undefined) await conflicts.restore(conflict.id)
}

const dotOf = ({ dot }: Change): string => `${dot.replica}:${dot.seq}`

function unite(left: Known, right: Known): Known {
  return [...new Map([...left, ...right].map((change) => [change.dot, change])).values()]
}
