/**
 * From a seed to a plan: topology, profiles, work and faults, each from a stream of its own.
 */
import {
  type FaultEvent,
  isServing,
  isWork,
  nodeName,
  type Plan,
  type PlanEvent,
  type PlannedOp,
  type PlanOptions,
  SERVER,
  serverName,
  type TablePlan,
  type WorkEvent,
} from './plan.ts'
import { Random } from './random.ts'

const TABLES: readonly TablePlan[] = [
  { name: 'items', policy: 'lastWriteWins', granularity: 'fields' },
  { name: 'notes', policy: 'lastWriteWins', granularity: 'row' },
  { name: 'claims', policy: 'firstWriteWins', granularity: 'fields' },
  { name: 'flags', policy: 'deleteWins', granularity: 'fields' },
  { name: 'drafts', policy: 'updateWins', granularity: 'row' },
  { name: 'lists', policy: 'updateWins', granularity: 'fields' },
  { name: 'plans', policy: 'causal', granularity: 'fields' },
  {
    name: 'stock',
    policy: 'lastWriteWins',
    granularity: 'fields',
    fields: { a: 'counter', b: 'max', c: 'longestText' },
  },
  { name: 'moods', policy: 'firstSide', granularity: 'fields' },
]
const FIELDS = ['a', 'b', 'c'] as const

/** Who is told that its store was restored or copied takes a new id. */
export const RENEWING: Partial<PlanOptions> = { renews: true }

const LINES_CHANCE = 0.06
/** A handshake, and the largest frame that a session begins with. */
const LINE_BYTES_MIN = 22 << 10

const YEAR_MS = 365 * 24 * 3_600_000
const WORK_EVENTS = 50

/** Tables to choose from, and what stands in their rows. */
export interface Stock {
  readonly tables: readonly TablePlan[]
  /** A whole row of a table of the user. */
  readonly drawRow?: (table: string, random: Random) => PlannedOp['values']
}

export function generatePlan(
  seed: string,
  overrides: Partial<PlanOptions> = {},
  stock: Stock = { tables: TABLES },
): Plan {
  const root = new Random(`tidemark ${seed}`)
  const drawnOptions = drawOptions(root.fork('topology'), seed, stock)
  const turns = root.fork('turns').chance(0.3) ? { turnWait: 0.05 } : {}
  const options: PlanOptions = {
    ...drawnOptions,
    ...drawLines(root.fork('lines'), drawnOptions),
    ...turns,
    ...overrides,
  }
  const drawn = [...drawWork(root.fork('workload'), options, stock), ...drawFaults(root, options, stock)]
  const restored = drawServerRestore(root.fork('server'), options)
  const rollBack = restored.length > 0 ? restored : drawRelayLoss(root.fork('relay stores'), options)
  const hasVanished = rollBack.some(({ type }) => type === 'vanish')
  // A post is known where it was given: who lost its store comes back there.
  const swaps = hasVanished ? [] : drawSwaps(root.fork('swaps'), options)
  const events =
    options.topology === 'relays'
      ? [...drawn, ...drawRoaming(root.fork('roaming'), options), ...swaps].filter(isTimely)
      : drawn
  const kept = rollBack.length === 0 ? events : events.filter((event) => isBearable(event, rollBack))
  const steady = rollBack.length === 0 ? options : withoutWhims(options)
  return { options: steady, events: [...kept, ...rollBack].sort((a, b) => a.at - b.at) }
}

// ── Options ─────────────────────────────────────────────────────────────────────────────────────────────────────────

function drawOptions(random: Random, seed: string, stock: Stock): PlanOptions {
  const topology = random.weighted({ star: 62, relays: 15, mesh: 23 })
  const tenants = topology === 'star' && random.chance(0.15) ? ['red', 'blue'] : ['red']
  const clients =
    topology === 'mesh' ? random.between(2, 5) : tenants.length > 1 ? random.between(1, 3) : random.between(1, 5)
  const isRefusing = topology !== 'mesh' && random.chance(0.4)
  const isNarrow = random.chance(0.25)
  return {
    seed,
    topology,
    tenants,
    clients,
    edges: topology === 'mesh' ? drawEdges(random, clients) : [],
    ...(topology === 'relays' ? drawRelays(random, clients) : {}),
    ...(topology === 'mesh' ? {} : drawOld(random, tenants, clients, topology === 'star')),
    tables: drawTables(random, stock),
    durationMs: random.pick([8_000, 20_000, 60_000]),
    hasSnapshots: random.chance(0.3),
    judge: isRefusing ? { oneIn: random.between(2, 8), isMoody: random.chance(0.3) } : undefined,
    network: {
      latencyMs: random.pick([1, 20, 120]),
      jitterMs: random.pick([1, 30, 400]),
      bandwidth: random.pick([1, 20, 1000]),
    },
    disk: {
      flushMs: random.pick([0.5, 5, 60]),
      slowReads: random.pick([0, 0, 0.1, 0.5]),
      readMs: random.pick([0.5, 5, 40]),
    },
    // Small enough to be used up, with values that use it.
    ...(isNarrow ? { creditBytes: 2_048, valueLength: 60 } : { creditBytes: 1 << 20 }),
  }
}

/** Sometimes no line carries more than a handshake and a frame or two of what there is to say. */
function drawLines(random: Random, { network }: PlanOptions): Partial<PlanOptions> {
  if (!random.chance(LINES_CHANCE)) return {}
  return {
    lineBytes: random.between(LINE_BYTES_MIN, 1.5 * LINE_BYTES_MIN),
    valueLength: 1_000,
    creditBytes: 1 << 20,
    network: { ...network, bandwidth: Math.max(20, network.bandwidth) },
  }
}

function drawTables(random: Random, stock: Stock): TablePlan[] {
  const count = Math.min(random.between(1, 3), stock.tables.length)
  const tables = new Set<TablePlan>()
  while (tables.size < count) tables.add(random.pick(stock.tables))
  return [...tables]
}

/** A tree, and some more: everybody is reached. */
function drawEdges(random: Random, count: number): [number, number][] {
  const edges: [number, number][] = []
  for (let to = 1; to < count; to++) {
    for (let from = 0; from < to; from++) {
      const isTree = from === to - 1
      if (isTree || random.chance(0.3)) edges.push(random.chance(0.5) ? [from, to] : [to, from])
    }
  }
  return edges
}

/** A chain, mostly; and clients at each server. */
function drawRelays(random: Random, clients: number): Pick<PlanOptions, 'upstreams' | 'homes'> {
  const count = random.between(1, 3)
  const upstreams = [...Array(count).keys()].map((number) =>
    random.chance(0.7) ? number - 1 : random.between(-1, number - 1),
  )
  return { upstreams, homes: [...Array(clients)].map(() => random.between(-1, count - 1)) }
}

/** Some speak an old version of the protocol: clients, and sometimes a server whose clients are all its own. */
function drawOld(
  random: Random,
  tenants: readonly string[],
  clients: number,
  isServerDrawn: boolean,
): Pick<PlanOptions, 'old'> {
  if (!random.chance(0.3)) return {}
  const nodes = tenants.flatMap((tenant) => [...Array(clients).keys()].map((number) => nodeName(tenant, number)))
  const old = nodes.filter(() => random.chance(0.5))
  return { old: isServerDrawn && random.chance(0.3) ? [...old, SERVER] : old }
}

/** All machines that somebody works at. */
export function nodesOf({ topology, tenants, clients, upstreams = [] }: PlanOptions): string[] {
  const nodes = topology === 'mesh' ? [] : [SERVER, ...upstreams.map((_, number) => serverName(number))]
  for (const tenant of tenants) for (let number = 0; number < clients; number++) nodes.push(nodeName(tenant, number))
  return nodes
}

// ── Work ────────────────────────────────────────────────────────────────────────────────────────────────────────────

function drawWork(random: Random, options: PlanOptions, stock: Stock): PlanEvent[] {
  const writers = new Writers(random, options, stock)
  const events: PlanEvent[] = []
  const nodes = nodesOf(options)
  const clients = nodes.filter((node) => !isServing(node))
  const servers = nodes.filter(isServing)
  for (const node of nodes) {
    const isLate = node !== SERVER && random.chance(options.hasSnapshots ? 0.5 : 0.2)
    events.push({ type: 'join', node, at: isLate ? random.between(0, options.durationMs) : 0 })
  }
  const hasSibling = random.chance(0.1)
  for (let count = 0; count < WORK_EVENTS; count++) {
    const at = random.between(1, options.durationMs)
    const isServer = options.topology !== 'mesh' && random.chance(0.08)
    const node = isServer ? random.pick(servers) : random.pick(clients)
    events.push({ ...writers.draw(node, hasSibling), at })
  }
  return events
}

/** Few rows, and values that say who wrote them: no value is ever written twice. */
class Writers {
  readonly #random: Random
  readonly #options: PlanOptions
  readonly #stock: Stock
  readonly #rows: number
  #serial = 0

  constructor(random: Random, options: PlanOptions, stock: Stock) {
    this.#random = random
    this.#options = options
    this.#stock = stock
    this.#rows = random.between(1, 4)
  }

  draw(node: string, hasSibling: boolean): WorkEvent {
    const random = this.#random
    const type = random.weighted({
      write: 60,
      transaction: 14,
      rewrite: 8,
      read: 12,
      settle: 4,
      sibling: hasSibling ? 8 : 0,
    })
    switch (type) {
      case 'write':
        return { type, node, op: this.#op(node) }
      case 'transaction':
        return { type, node, ops: [...Array(random.between(1, 4))].map(() => this.#op(node)) }
      case 'rewrite':
        return { type, node, op: this.#op(node, 'upsert') }
      case 'read': {
        const { table, row } = this.#op(node)
        return { type, node, table, row }
      }
      case 'settle':
        return { type, node }
      case 'sibling':
        return { type: 'sibling-write', node, op: this.#op(node) }
    }
  }

  #op(node: string, only?: PlannedOp['kind']): PlannedOp {
    const random = this.#random
    const kind = only ?? random.weighted({ insert: 15, update: 40, upsert: 30, delete: 15 })
    const table = random.pick(this.#options.tables)
    const values = kind === 'delete' ? {} : table.isOwn ? this.#ownValues(table.name, kind) : this.#values(node)
    return { kind, table: table.name, row: `row${random.below(this.#rows)}`, values }
  }

  #values(node: string): PlannedOp['values'] {
    const values: Record<string, string> = {}
    for (const field of FIELDS) if (this.#random.chance(0.4)) values[field] = this.#value(node)
    if (Object.keys(values).length === 0) values.a = this.#value(node)
    return values
  }

  /** A whole row of the user's, or some of its fields. */
  #ownValues(table: string, kind: PlannedOp['kind']): PlannedOp['values'] {
    const row = drawOwnRow(this.#stock, table, this.#random)
    if (kind !== 'update') return row
    const fields = Object.keys(row)
    const changed = new Set(fields.filter(() => this.#random.chance(0.4)))
    if (fields.length > 0) changed.add(this.#random.pick(fields))
    return Object.fromEntries(Object.entries(row).filter(([field]) => changed.has(field)))
  }

  /** The tenant's canary, and a serial number. A machine of several tenants works for each of them: see the world. */
  #value(node: string): string {
    const tenant = isServing(node) ? '*' : node.replace(/-.*$/, '')
    return `${tenant}.${this.#serial++}`
  }
}

function drawOwnRow({ drawRow }: Stock, table: string, random: Random): PlannedOp['values'] {
  if (drawRow === undefined) throw new RangeError(`nobody says what stands in the rows of ${table}`)
  return drawRow(table, random)
}

// ── Faults ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Of the schedules with a server, so that it is a tenth of all. */
const IDENTITY_CHANCE = 0.1 / 0.62

type Draw = (random: Random, node: string, options: PlanOptions) => FaultEvent

const direction = (random: Random): 'up' | 'down' => (random.chance(0.5) ? 'up' : 'down')
const whileMs = (random: Random): number => Math.ceil(random.exponential(random.pick([300, 3_000])))

const NETWORK_FAULTS: readonly Draw[] = [
  (random, node) => ({ type: 'cut', node, lateMs: random.pick([0, 200, 3_000]) }),
  (random, node) => ({ type: 'cut', node, lateMs: random.pick([0, 200, 3_000]) }),
  (random, node) => ({ type: 'cut-after', node, direction: direction(random), bytes: random.between(1, 1_500) }),
  (random, node) => ({ type: 'clog', node, direction: direction(random), forMs: whileMs(random) }),
  (random, node) => ({ type: 'one-way', node, direction: direction(random), forMs: whileMs(random) }),
  (random, node) => ({ type: 'half-open', node, direction: direction(random) }),
  (random, _, options) => ({
    type: 'partition',
    nodes: nodesOf(options).filter(() => random.chance(0.5)),
    forMs: whileMs(random),
  }),
  (random) => ({ type: 'storm', times: random.between(2, 5), everyMs: random.between(5, 300) }),
  (_, node) => ({ type: 'overlap', node }),
  (_, node) => ({ type: 'overlap', node }),
  (_, node) => ({ type: 'stray', node }),
]

const PROCESS_FAULTS: readonly Draw[] = [
  (random, node) => ({ type: 'crash', node, downMs: whileMs(random), isSilent: random.chance(0.4) }),
  (random, node) => ({ type: 'crash', node, downMs: 1, isSilent: random.chance(0.4) }),
  (random, node) => ({ type: 'pause', node, forMs: whileMs(random) }),
]

const DISK_FAULTS: readonly Draw[] = [
  (random, node) => ({ type: 'disk-full', node, forMs: whileMs(random) }),
  (random, node) => ({ type: 'flush-fails', node, isKept: random.chance(0.4) }),
  (random, node) => ({ type: 'slow-disk', node, factor: random.pick([20, 200]), forMs: whileMs(random) }),
  (random, node) => ({ type: 'disk-fails', node, forMs: random.between(1, 100) }),
]

const CLOCK_FAULTS: readonly Draw[] = [
  (random, node) => ({ type: 'clock-step', node, offsetMs: random.between(-90_000, 90_000) }),
  (random, node) => ({ type: 'clock-step', node, offsetMs: random.pick([-20, 20]) * YEAR_MS }),
  (_, node) => ({ type: 'clock-step', node, offsetMs: 0 }),
  (random, node) => ({ type: 'clock-drift', node, drift: random.pick([-0.01, 0.01, 0.5]) }),
]

function drawFaults(root: Random, options: PlanOptions, stock: Stock): PlanEvent[] {
  const mood = root.fork('faults')
  return [
    ...drawSome(root.fork('network'), options, NETWORK_FAULTS, mood.pick([0, 2, 5, 12])),
    ...drawSome(root.fork('processes'), options, PROCESS_FAULTS, mood.pick([0, 1, 3, 6])),
    ...drawSome(root.fork('disk'), options, DISK_FAULTS, mood.pick([0, 0, 2, 4])),
    ...drawSome(root.fork('clocks'), options, CLOCK_FAULTS, mood.pick([0, 0, 2, 4])),
    ...drawIdentityFaults(root.fork('identity'), options, stock),
    ...drawNoRoom(root.fork('room'), options),
  ]
}

function drawSome(random: Random, options: PlanOptions, faults: readonly Draw[], count: number): PlanEvent[] {
  const nodes = nodesOf(options)
  return [...Array(count)].map(() => ({
    ...random.pick(faults)(random, random.pick(nodes), options),
    at: random.between(1, options.durationMs),
  }))
}

/**
 * The tenant is over a quota at some server, for a while: it may have only so many rows, or nothing but deletes is taken. Clients
 * take back some of what waits.
 */
function drawNoRoom(random: Random, options: PlanOptions): PlanEvent[] {
  const nodes = nodesOf(options)
  const servers = nodes.filter(isServing)
  if (servers.length === 0 || !random.chance(0.2)) return []
  const clients = nodes.filter((node) => !isServing(node))
  const shortages = [...Array(random.between(1, 3))].map(
    (): PlanEvent => ({
      type: 'no-room',
      node: random.pick(servers),
      rows: random.between(0, 3),
      forMs: random.chance(0.5) ? whileMs(random) : random.between(500, options.durationMs),
      at: random.between(1, options.durationMs),
    }),
  )
  const withdrawals = [...Array(random.between(0, 6))].map(
    (): PlanEvent => ({
      type: 'withdraw',
      node: random.pick(clients),
      oneIn: random.between(1, 3),
      at: random.between(1, options.durationMs),
    }),
  )
  return [...shortages, ...withdrawals]
}

/** A store that comes from a backup, one that lost its last commits, a copied one, an empty one. */
function drawIdentityFaults(random: Random, options: PlanOptions, stock: Stock): PlanEvent[] {
  const events: PlanEvent[] = []
  // Without a server nobody has the last word on what a replica wrote, so a restored one cannot always be told.
  if (options.topology !== 'star') return events
  const clients = nodesOf(options).filter((node) => node !== SERVER)
  const { durationMs } = options
  if (random.chance(IDENTITY_CHANCE)) {
    const node = random.pick(clients)
    const backedUp = random.between(1, durationMs)
    const restored = random.between(backedUp, durationMs)
    events.push({ type: 'back-up', node, at: backedUp })
    events.push({ type: 'restore', node, downMs: whileMs(random), at: restored })
  }
  if (random.chance(IDENTITY_CHANCE)) {
    const node = random.pick(clients)
    const restored = random.between(1, durationMs)
    events.push({ type: 'back-up', node, at: Math.max(1, restored - random.between(1, 500)) })
    events.push({ type: 'restore', node, downMs: whileMs(random), isTail: true, at: restored })
  }
  if (random.chance(IDENTITY_CHANCE)) {
    const node = random.pick(clients)
    const at = random.between(1, durationMs)
    const as = `${node}-twin`
    events.push({ type: 'clone', node, as, at })
    for (let count = random.between(0, 6); count > 0; count--) {
      const table = random.pick(options.tables)
      const op: PlannedOp = {
        kind: 'upsert',
        table: table.name,
        row: 'row0',
        values: table.isOwn ? drawOwnRow(stock, table.name, random) : { b: `${node.replace(/-.*$/, '')}.twin${count}` },
      }
      events.push({ type: 'write', node: as, op, at: random.between(at, durationMs) })
    }
  }
  if (random.chance(IDENTITY_CHANCE)) {
    events.push({
      type: 'vanish',
      node: random.pick(clients),
      downMs: whileMs(random),
      at: random.between(1, durationMs),
    })
  }
  return events
}

/**
 * A server that goes on from a backup: a tenth of all schedules. Its operator says so before it serves again: without that, who
 * stands where its log is written over is not told from others.
 */
function drawServerRestore(random: Random, options: PlanOptions): PlanEvent[] {
  if (options.topology === 'mesh' || !random.chance(0.1 / 0.77)) return []
  const node = options.topology === 'star' ? SERVER : random.pick(nodesOf(options).filter(isServing))
  const backedUp = random.between(1, options.durationMs)
  const restored = random.between(backedUp, options.durationMs)
  return [
    { type: 'back-up', node, at: backedUp },
    { type: 'restore-server', node, downMs: whileMs(random), at: restored },
  ]
}

/** A relay whose store is empty, or runs twice; clients come to the copy as well. Each in a tenth of the schedules with relays. */
function drawRelayLoss(random: Random, options: PlanOptions): PlanEvent[] {
  if (options.topology !== 'relays') return []
  const kind = random.weighted({ vanish: 12, clone: 12, none: 76 })
  const relays = nodesOf(options).filter((node) => isServing(node) && node !== SERVER)
  const node = random.pick(relays)
  const at = random.between(1, options.durationMs)
  if (kind === 'none') return []
  if (kind === 'vanish') return [{ type: 'vanish', node, downMs: whileMs(random), at }]
  const as = `${node}-twin`
  const { old = [] } = options
  const clients = nodesOf(options).filter((each) => !isServing(each) && !old.includes(each))
  const visits = clients.length === 0 ? 0 : random.between(0, 4)
  return [
    { type: 'clone', node, as, at },
    ...[...Array(visits)].map(
      (): PlanEvent => ({
        type: 'roam',
        node: random.pick(clients),
        to: random.pick([as, as, node]),
        isHasty: random.chance(0.4),
        at: random.between(at, options.durationMs),
      }),
    ),
  ]
}

// ── Relays ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Clients go from server to server; but not those that speak version 1, which know nothing of families. */
function drawRoaming(random: Random, options: PlanOptions): PlanEvent[] {
  const { old = [], durationMs } = options
  const nodes = nodesOf(options)
  const clients = nodes.filter((node) => !isServing(node) && !old.includes(node))
  if (clients.length === 0) return []
  return [...Array(random.between(0, 8))].map(() => ({
    type: 'roam',
    node: random.pick(clients),
    to: random.pick(nodes.filter(isServing)),
    isHasty: random.chance(0.4),
    at: random.between(1, durationMs),
  }))
}

/** Relays go to another upstream: one with a lower number, so that nobody is below itself. */
function drawSwaps(random: Random, { upstreams = [], durationMs }: PlanOptions): PlanEvent[] {
  if (upstreams.length < 2 || !random.chance(0.3)) return []
  return [...Array(random.between(1, 3))].map(() => {
    const number = random.between(1, upstreams.length - 1)
    return {
      type: 'roam',
      node: serverName(number),
      to: serverName(random.between(-1, number - 1)),
      isHasty: false,
      at: random.between(1, durationMs),
    }
  })
}

const APART_MS = 10_000

/** Servers whose clocks are far apart wait for each other, longer than a schedule lasts. */
function isTimely(event: PlanEvent): boolean {
  if (event.type === 'clock-step') return !isServing(event.node) || Math.abs(event.offsetMs) <= APART_MS
  return event.type !== 'clock-drift' || !isServing(event.node) || Math.abs(event.drift) < 0.1
}

type LossEvent = Extract<PlanEvent, { readonly type: 'back-up' | 'vanish' | 'clone' }>

/** Of this much, and the most that a clock can gain in a schedule, no server says that it is too far ahead. */
const HARMLESS_AHEAD_MS = 20_000

/**
 * What its writer has not heard of yet is judged again, and others may have heard: a mood would not be what it was, nor the opinion
 * of another server.
 */
function withoutWhims(options: PlanOptions): PlanOptions {
  const { judge } = options
  return { ...options, judge: judge && { ...judge, isMoody: false, isCommon: true } }
}

/**
 * What a server loses comes back from those who wrote it. So none of them loses it too; the server itself, which is nobody's
 * client, writes only afterwards; and the time in which it waits for them is not over in a jump. What was too far ahead is in
 * time later: a refusal that nobody but the lost part of the log remembers would be another one then.
 */
function isBearable(event: PlanEvent, rollBack: readonly PlanEvent[]): boolean {
  const [{ node: restored } = { node: SERVER }] = rollBack as readonly LossEvent[]
  // Both halves of a copied store would write under one id, at any time.
  const isTwice = rollBack[0]?.type === 'clone'
  const restoredAt = isTwice ? Number.POSITIVE_INFINITY : (rollBack[rollBack.length - 1]?.at ?? 0)
  switch (event.type) {
    case 'back-up':
    case 'restore':
    case 'clone':
    case 'vanish':
    // What it takes back may have been accepted in the part that was lost.
    case 'withdraw':
      return false
    case 'clock-step':
      return !isServing(event.node) && event.offsetMs <= HARMLESS_AHEAD_MS
    case 'join':
      return true
    default:
      return !isWork(event) || event.node !== restored || event.at > restoredAt
  }
}
