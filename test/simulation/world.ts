/**
 * The world of one schedule: machines, disks and a network built from a plan, with the oracle watching all of them.
 *
 * Knows: who exists and who dials whom. Must never know: when anything happens; see run-plan.ts.
 */
import type { VoidCode } from '../../core/block.ts'
import { type Gate, OPEN_GATE, type Proposal } from '../../core/gate.ts'
import { hashBytes } from '../../core/hash.ts'
import { type RenewalReason, RenewIdentity } from '../../core/identity.ts'
import type { ReplicaId } from '../../core/names.ts'
import {
  causal,
  counter,
  custom,
  deleteWins,
  type FieldPolicy,
  firstWriteWins,
  lastWriteWins,
  longestText,
  max,
  type Policy,
  updateWins,
} from '../../core/policy.ts'
import type { StoreCommit } from '../../core/store.ts'
import { type TableDefinition, type TableDefinitions, table } from '../../core/table.ts'
import { AdapterDisk } from './adapter-disk.ts'
import { BrokenPromise } from './broken-promise.ts'
import { Dialer, type DialerOptions } from './dialer.ts'
import { type Disk, type DiskOptions, type FlushWatcher, SimulatedDisk } from './disk.ts'
import { foundStore } from './founding.ts'
import type { KnownFieldPolicyName, KnownPolicyName, Recorded } from './history.ts'
import { Machine, type Seat } from './machine.ts'
import { Network, type Side } from './network.ts'
import { expectTyped, Oracle } from './oracle.ts'
import { isServing, nodeName, ownerOf, type Plan, SERVER, serverName, type TablePlan } from './plan.ts'
import { hashText, Random } from './random.ts'
import { Scheduler } from './scheduler.ts'
import { describeFrame, type Teller } from './story.ts'
import { drawSurroundings, type Subject, surroundTables } from './subject.ts'
import type { Tale } from './tale.ts'
import { View } from './view.ts'
import { WallClock } from './wall-clock.ts'

const POLICIES: Readonly<Record<KnownPolicyName, () => Policy>> = {
  lastWriteWins,
  causal,
  firstWriteWins,
  deleteWins,
  updateWins,
  firstSide: () =>
    custom('firstSide', 1, (sides) => (sides.some(({ op }) => op === 'delete') ? null : (sides[0]?.row ?? null))),
}
const FIELD_POLICIES: Readonly<Record<KnownFieldPolicyName, () => FieldPolicy>> = { counter, max, longestText }

/** More than the engine sends to a newcomer change by change. */
const PAST_CHANGES = 1_001
const MOOD_MS = 2_000
const ROOM_RETRY_MS = 1_000

export interface WorldOptions {
  readonly subject?: Subject | undefined
  readonly teller?: Teller | undefined
  readonly tale?: Tale | undefined
}

function defineTable({ policy, granularity, fields = {} }: TablePlan): TableDefinition {
  const own = Object.entries(fields).map(([field, each]) => [field, FIELD_POLICIES[each as KnownFieldPolicyName]()])
  return table({ policy: POLICIES[policy as KnownPolicyName](), granularity, fields: Object.fromEntries(own) })
}

export class World {
  readonly plan: Plan
  readonly random: Random
  readonly scheduler: Scheduler
  readonly network: Network
  readonly oracle: Oracle
  readonly machines: Map<string, Machine> = new Map()
  readonly dialers: Dialer[] = []
  /** How often each fault took effect. */
  readonly faults: Map<string, number> = new Map()
  #failure: unknown
  #trace = 0
  #foundings = 0

  readonly #options: WorldOptions
  constructor(plan: Plan, worldOptions: WorldOptions) {
    const { options } = plan
    this.plan = plan
    this.#options = worldOptions
    this.random = new Random(`tidemark ${options.seed}`)
    this.scheduler = new Scheduler(this.random.fork('ties'))
    this.oracle = new Oracle(options)
    this.network = new Network({
      scheduler: this.scheduler,
      random: this.random.fork('network'),
      profile: options.network,
      watcher: {
        onSend: (side, frame) => this.#watchSend(side, frame),
        onDeliver: (side, frame) => {
          this.tell(() => `${side.machine} receives on ${side.connection.serial}: ${describeFrame(frame)}`)
          this.oracle.onDeliver(side, frame)
        },
      },
      onFault: (kind) => this.count(kind),
    })
    this.#build()
  }

  get tale(): Tale | undefined {
    return this.#options.tale
  }

  /** The first thing that went wrong outside of an event. */
  get failure(): unknown {
    return this.#failure
  }

  /** Equal for equal runs. */
  get trace(): number {
    return this.#trace >>> 0
  }

  fail(error: unknown): void {
    this.#failure ??= error
    this.scheduler.stop()
  }

  count(fault: string): void {
    this.faults.set(fault, (this.faults.get(fault) ?? 0) + 1)
  }

  tell(line: () => string): void {
    this.#options.teller?.(this.scheduler.now, line())
  }

  /** Runs a reaction to something asynchronous: what it throws ends the run. */
  guard(work: () => void): void {
    try {
      work()
    } catch (error) {
      this.fail(error)
    }
  }

  dialersOf(machine: Machine): Dialer[] {
    return this.dialers.filter(({ from, to }) => from === machine || to === machine)
  }

  // ── Building ──────────────────────────────────────────────────────────────────────────────────────────────────────

  #build(): void {
    const { topology, tenants, clients, edges, upstreams = [], homes = [] } = this.plan.options
    const server = topology === 'mesh' ? undefined : this.#addMachine(SERVER, tenants, 'self')
    const relays = upstreams.map((_, number) => this.#addMachine(serverName(number), tenants, 'self', true))
    for (const tenant of tenants) {
      for (const [number, from] of relays.entries()) {
        const to = relays[upstreams[number] ?? -1] ?? server
        if (to !== undefined) this.#addDialer(from, to, tenant)
      }
      const replicas = [...Array(clients).keys()].map((number) =>
        this.#addMachine(nodeName(tenant, number), [tenant], server === undefined ? 'self' : 'server'),
      )
      for (const [number, from] of replicas.entries()) {
        const home = relays[homes[number] ?? -1] ?? server
        if (home !== undefined) this.#addDialer(from, home, tenant)
      }
      for (const [from, to] of edges) {
        const [one, other] = [replicas[from], replicas[to]]
        if (one !== undefined && other !== undefined) this.#addDialer(one, other, tenant)
      }
    }
  }

  #addMachine(name: string, tenants: readonly string[], authority: 'server' | 'self', isRelay = false): Machine {
    const seats = tenants.map((tenant) => this.#createSeat(name, tenant))
    for (const seat of seats) this.#found(seat, authority)
    return this.#createMachine(name, seats, authority, isRelay)
  }

  #createMachine(name: string, seats: readonly Seat[], authority: 'server' | 'self', isRelay = false): Machine {
    const { scheduler, random } = this
    const clock = new WallClock(() => scheduler.now, random.fork(`clock of ${name}`).between(-500, 500))
    const machine = new Machine({
      name,
      scheduler,
      clock,
      seats,
      tables: this.#tablesAt(name, clock),
      authority,
      isRelay,
      creditBytes: this.plan.options.creditBytes,
      turnWaitMs: this.#turnWaitsOf(name),
      onUp: (up) => {
        for (const dialer of this.dialers) if (dialer.from === up) dialer.start()
      },
      onTrouble: (error) => this.fail(error),
    })
    this.machines.set(name, machine)
    return machine
  }

  #turnWaitsOf(name: string): (() => number) | undefined {
    const { turnWait = 0 } = this.plan.options
    if (turnWait === 0) return undefined
    const random = this.random.fork(`turns of ${name}`)
    return () => (random.chance(turnWait) ? random.exponential(20) : 0)
  }

  /** What a process on this machine knows of the tables of the plan. */
  #tablesAt(name: string, clock: WallClock): () => TableDefinitions {
    const own = this.#options.subject?.tables
    const planned = this.plan.options.tables
    if (own === undefined) {
      const tables = Object.fromEntries(planned.map((each) => [each.name, defineTable(each)]))
      return () => tables
    }
    const surroundings = drawSurroundings(() => clock.now(), this.random.fork(`surroundings of ${name}`))
    return () => {
      const tables = own()
      const chosen = planned.flatMap((each) => Object.entries(tables).filter(([table]) => table === each.name))
      return surroundTables(Object.fromEntries(chosen), surroundings)
    }
  }

  #addDialer(from: Machine, to: Machine, tenant: string): void {
    const watch: DialerOptions['onEnd'] = (error, views, side) => {
      this.tell(
        () => `session ${side} ends: ${error === undefined ? 'the line is gone' : `${error.code}, ${error.message}`}`,
      )
      if (error !== undefined) this.tale?.happens(this.scheduler.now, `${side} ends its session: ${error.code}`)
      this.oracle.sessionEnded(error, views, side)
    }
    this.dialers.push(this.#createDialer(from, to, tenant, tenant, watch))
  }

  #createDialer(from: Machine, to: Machine, tenant: string, peerTenant: string, onEnd: DialerOptions['onEnd']): Dialer {
    const { renews = false, topology, old = [] } = this.plan.options
    const isRenewing = renews && topology === 'star'
    return new Dialer({
      network: this.network,
      random: this.random.fork(`dialer ${from.name} ${to.name}`),
      from,
      to,
      tenant,
      peerTenant,
      role: topology === 'mesh' ? 'mesh' : isServing(from.name) ? 'relay' : 'client',
      old: new Set(old),
      elsewhere: () => [...this.machines.values()].filter((machine) => isServing(machine.name)),
      gate: (ofTenant, machine) => this.#gate(ofTenant, machine, from),
      renew: isRenewing ? (machine, reason) => this.#renew(machine, tenant, reason) : undefined,
      onEnd,
    })
  }

  #createSeat(machine: string, tenant: string): Seat {
    const { oracle } = this
    const name = this.plan.options.tenants.length > 1 && machine === SERVER ? `${machine} (${tenant})` : machine
    const seat: Seat = {
      tenant,
      disk: this.#createDisk(name, (commit) => {
        this.#note(commit.puts.length, commit.deletes.length, hashText(name))
        const written = this.#take(seat.view, commit)
        this.tell(() => `${name} flushes: ${seat.view.clockText}, answered ${seat.view.meta?.ackedSeq ?? 0}`)
        oracle.afterFlush(seat.view, written)
      }),
      view: new View(name, oracle.historyOf(tenant)),
      replica: undefined,
      sibling: undefined,
      hasSibling: this.plan.events.some((event) => event.type === 'sibling-write' && event.node === machine),
      backup: undefined,
      isRestored: false,
    }
    oracle.views.add(seat.view)
    return seat
  }

  #take(view: View, commit: StoreCommit): readonly Recorded[] {
    try {
      return view.take(commit)
    } finally {
      this.tale?.commits(this.scheduler.now, view)
    }
  }

  #createDisk(name: string, onFlush: FlushWatcher): Disk {
    const createPlace = this.#options.subject?.createPlace
    const options: DiskOptions = {
      scheduler: this.scheduler,
      random: this.random.fork(`disk of ${name}`),
      profile: this.plan.options.disk,
      onFlush,
      onFault: (kind) => this.count(kind),
    }
    if (createPlace === undefined) return new SimulatedDisk(options)
    return new AdapterDisk({ ...options, name, createPlace, onTrouble: (error) => this.fail(error) })
  }

  /** Nothing is used any more. */
  async end(): Promise<void> {
    if (this.scheduler.isHeld) return
    for (const { seats } of this.machines.values())
      for (const { disk } of seats) if (disk instanceof AdapterDisk) await disk.end()
  }

  /** Puts a new replica, with an id from the seed, on an empty disk. */
  #found(seat: Seat, authority: 'server' | 'self'): void {
    const pastChanges = this.plan.options.hasSnapshots ? PAST_CHANGES : 0
    const random = this.random.fork(`replica ${this.#foundings++} on ${seat.view.name}`)
    const commit = foundStore({ tenant: seat.tenant, authority, pastChanges }, random)
    seat.disk.load({ head: 1, entries: commit.puts })
    seat.view.take(commit)
  }

  async #renew(machine: Machine, tenant: string, reason: RenewalReason): Promise<void> {
    const replica = machine.seatOf(tenant)?.replica
    const id = this.random.fork(`renewal ${this.#foundings++} of ${machine.name}`).uuid() as ReplicaId
    try {
      await replica?.ledger.submit(new RenewIdentity(reason, () => id))
      this.count('renewed identity')
    } catch (error) {
      this.guard(() => void expectTyped(error, `${machine.name} renews its identity`))
    }
  }

  /** A disk is copied: a second machine runs with the same replica id. */
  clone(source: Machine, name: string): void {
    const [seat] = source.seats
    if (seat === undefined || this.machines.has(name)) return
    const twin = this.#createSeat(name, seat.tenant)
    twin.disk.load(seat.disk.image())
    seat.view.hasTwin = true
    seat.view.history.copied.add(seat.view.own)
    this.replaceView(twin, seat.view.copy(name))
    // A relay is no writer: what both halves hold must be as right as before.
    const isRelay = isServing(name)
    twin.view.isTainted ||= !isRelay
    seat.view.isTainted ||= !isRelay
    const machine = this.#createMachine(name, [twin], isRelay ? 'self' : 'server', isRelay)
    for (const { from, to, tenant } of [...this.dialers]) if (from === source) this.#addDialer(machine, to, tenant)
    machine.start()
  }

  /** All that was on the disks is gone; the machine begins anew. */
  empty(machine: Machine): void {
    for (const seat of machine.seats) {
      this.replaceView(seat, new View(seat.view.name, seat.view.history))
      seat.backup = undefined
      this.#found(seat, isServing(machine.name) ? 'self' : 'server')
    }
  }

  roam(machine: Machine, to: string, isHasty: boolean): void {
    const server = this.machines.get(to)
    const dialer = this.dialers.find(({ from }) => from === machine)
    if (server === undefined || dialer === undefined || dialer.to === server) return
    const kind = isServing(machine.name) ? 'relay' : 'client'
    this.count(isHasty ? `${kind} gone to another server in haste` : `${kind} gone to another server`)
    dialer.roam(server, isHasty)
  }

  /** A client of one tenant knocks at the door of another. */
  stray(machine: Machine): void {
    const server = this.machines.get(SERVER)
    const [seat] = machine.seats
    const other = this.plan.options.tenants.find((tenant) => tenant !== seat?.tenant)
    if (server === undefined || machine === server || seat === undefined || other === undefined) return
    const dialer = this.#createDialer(machine, server, seat.tenant, other, (error) => {
      if (error?.code === 'forbidden') this.count('knock at the door of another tenant')
      if (dialer.hasStreamed) throw new BrokenPromise('apart', `${machine.name} got into tenant ${other}`)
    })
    dialer.dial()
  }

  replaceView(seat: Seat, view: View): void {
    this.oracle.views.delete(seat.view)
    this.oracle.views.add(view)
    seat.view = view
  }

  // ── What is watched ───────────────────────────────────────────────────────────────────────────────────────────────

  #watchSend(side: Side, frame: Uint8Array): void {
    const { high, low } = hashBytes(frame)
    this.#note(high, low, side.connection.serial)
    this.tell(() => `${side.machine} sends on ${side.connection.serial}: ${describeFrame(frame)}`)
    this.oracle.onSend(side, frame)
  }

  #note(...facts: readonly number[]): void {
    for (const fact of facts) this.#trace = Math.imul(this.#trace ^ fact, 0x01000193)
    this.#trace = Math.imul(this.#trace ^ Math.floor(this.scheduler.now * 1_000), 0x01000193)
  }

  #gate(tenant: string, machine: Machine, from: Machine): Gate | undefined {
    const { judge, topology } = this.plan.options
    const gate: Gate = {
      ...OPEN_GATE,
      // The token of a relay is copied with its disk.
      ...(topology === 'relays' && isServing(from.name) ? { subject: () => ownerOf(from.name) } : {}),
      weigh: (usage, { isRelief, replicas, rows }) => {
        const { noRoomUntil, rowsMax } = machine
        const isFull = this.scheduler.now < noRoomUntil && (rowsMax === 0 || usage.rows + rows > rowsMax)
        if (!isFull || isRelief || replicas > 0) return undefined
        return { resource: 'rows', limit: rowsMax, used: usage.rows, retryAfterMs: ROOM_RETRY_MS }
      },
    }
    if (judge === undefined) return gate
    const decide = ({ dot }: Proposal): VoidCode | undefined => {
      const { replica, seq } = dot
      // Each server of a family has an opinion of its own: whom nobody asks twice, nobody answers twice.
      const isAlone = machine.name === SERVER || judge.isCommon === true
      const luck = hashText(isAlone ? `${replica}:${seq}` : `${replica}:${seq} at ${machine.name}`)
      const isGentle = judge.isMoody && Math.floor(machine.clock.now() / MOOD_MS) % 2 === 0
      if (isGentle || luck % judge.oneIn !== 0) return undefined
      const code: VoidCode = luck % 3 === 0 ? 'too-large' : 'forbidden'
      const number = this.oracle.historyOf(tenant).replicaNumber(replica)
      this.oracle.judged.add(`${tenant} ${number}:${seq} ${code}`)
      return code
    }
    return { ...gate, judge: decide }
  }
}
