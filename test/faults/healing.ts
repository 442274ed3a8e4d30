/**
 * Healing: replicas on real sockets whose networks go wrong while they write, and how long it takes after all networks are
 * right again until all of them hold the same.
 *
 * Knows: wires, links, rounds. Must never know: how a session works.
 */
import { pino } from 'pino'
import { openReplica, type Replica, type TableDefinition, table } from '../../core/index.ts'
import { createMemoryStores, openMemoryStore } from '../../core/stores/memory.ts'
import { connect, type SyncLink } from '../../sync-client/index.ts'
import { createSyncServer, type SyncServer } from '../../sync-server/index.ts'
import { Random } from '../simulation/random.ts'
import { FaultWire } from './fault-wire.ts'
import { OwnTime } from './own-time.ts'

export interface HealingOptions {
  readonly rounds: number
  readonly seed: number
  /** How long a network may be wrong. */
  readonly faultMsMax: number
  /** The longest wait of a link between two attempts: what it takes to converge is mostly that. */
  readonly capMs: number
  readonly onRound?: (done: number) => void
}

export interface HealingReport {
  /** Of each round: from the moment when all networks were right until everybody held the same. */
  readonly ms: readonly number[]
  /** The same by the clock of this process, which the other work of the machine slows down. */
  readonly ownMs: readonly number[]
  /** How often each kind of fault was made. */
  readonly faults: Readonly<Record<Fault, number>>
  readonly writes: number
  /** What must not happen. */
  readonly wrong: readonly string[]
}

const FAULTS = ['cut', 'refuse', 'hold', 'delay', 'half-open up', 'half-open down', 'truncate', 'none'] as const
export type Fault = (typeof FAULTS)[number]

interface Note {
  readonly id: string
  readonly text: string
}

type Notes = Replica<{ readonly notes: TableDefinition<Note> }>

interface Party {
  readonly replica: Notes
  readonly wire: FaultWire
  readonly link: SyncLink
}

const PARTIES = 4
const SHARED_ROWS = 10
const SETTLE_MS = 60_000

export async function healOverAndOver(options: HealingOptions): Promise<HealingReport> {
  const { rounds, seed, faultMsMax, capMs, onRound = () => {} } = options
  const random = new Random(`healing/${seed}`)
  const server = await createSyncServer({
    dev: true,
    port: 0,
    openStore: createMemoryStores(),
    logger: pino({ level: 'silent' }),
  })
  const parties: Party[] = []
  const ms: number[] = []
  const ownMs: number[] = []
  const own = new OwnTime()
  const faults: Record<Fault, number> = Object.fromEntries(FAULTS.map((fault) => [fault, 0])) as Record<Fault, number>
  const wrong: string[] = []
  let writes = 0
  try {
    for (let at = 0; at < PARTIES; at++) parties.push(await join(server, capMs))
    await Promise.all(parties.map(({ link }) => link.settled({ timeoutMs: SETTLE_MS })))
    for (let round = 0; round < rounds && wrong.length === 0; round++) {
      for (const { wire } of parties) {
        const fault = random.pick(FAULTS)
        faults[fault]++
        begin(fault, wire, random)
      }
      writes += await writeFor(parties, random.between(50, faultMsMax), round)
      for (const { wire } of parties) wire.heal()
      const healedAt = performance.now()
      const ownHealedAt = own.now()
      wrong.push(...(await converge(parties)))
      ms.push(performance.now() - healedAt)
      ownMs.push(own.now() - ownHealedAt)
      onRound(round + 1)
    }
  } finally {
    own.stop()
    for (const { link, replica, wire } of parties) {
      await link.close()
      await replica.close()
      await wire.close()
    }
    await server.close()
  }
  return { ms, ownMs, faults, writes, wrong }
}

async function join(server: SyncServer, capMs: number): Promise<Party> {
  const replica = await openReplica({ tenant: 'acme', store: openMemoryStore(), tables: { notes: table<Note>() } })
  const wire = await FaultWire.open(server.port)
  const link = connect(replica, { url: wire.url, transports: ['websocket'], backoff: { capMs } })
  return { replica, wire, link }
}

const CUT_BYTES_MAX = 4_000
const DELAY_MS_MAX = 300

function begin(fault: Fault, wire: FaultWire, random: Random): void {
  switch (fault) {
    case 'cut':
      return wire.cut()
    case 'refuse':
      return wire.refuse()
    case 'hold':
      return wire.hold()
    case 'delay':
      return wire.delay(random.between(1, DELAY_MS_MAX))
    case 'half-open up':
      return wire.swallow('up')
    case 'half-open down':
      return wire.swallow('down')
    case 'truncate':
      return wire.cutAfter(random.between(1, CUT_BYTES_MAX))
    case 'none':
      return
  }
}

/** Everybody writes, to rows of their own and to shared ones. */
async function writeFor(parties: readonly Party[], forMs: number, round: number): Promise<number> {
  const endsAt = performance.now() + forMs
  const counts = await Promise.all(
    parties.map(async ({ replica }, at) => {
      let count = 0
      for (; performance.now() < endsAt; count++) {
        const text = `${at} ${round} ${count}`
        await replica.table('notes').upsert({ id: `own-${at}-${round}-${count % 5}`, text })
        await replica.table('notes').upsert({ id: `shared-${count % SHARED_ROWS}`, text })
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
      return count * 2
    }),
  )
  return counts.reduce((sum, count) => sum + count, 0)
}

/** Until all hold the same; what one has pushed in the first round the others receive in the second. */
async function converge(parties: readonly Party[]): Promise<string[]> {
  for (let turn = 0; turn < 2; turn++) {
    await Promise.all(parties.map(({ link }) => link.settled({ timeoutMs: SETTLE_MS })))
  }
  const digests = await Promise.all(parties.map(({ replica }) => replica.digest()))
  const [first] = digests
  const clocks = parties.map(({ replica }) => JSON.stringify([...replica.clock.entries()].sort()))
  const isSame = digests.every(({ hash }) => hash === first?.hash) && new Set(clocks).size === 1
  return isSame ? [] : [`they hold different rows: ${digests.map(({ rows, hash }) => `${rows} ${hash}`).join(', ')}`]
}

/** The value below which this share of the numbers lies. */
export function percentile(numbers: readonly number[], share: number): number {
  const sorted = [...numbers].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)] ?? 0
}
