/**
 * The aftermath of a crash: everybody starts again from what their disks held then, goes on, and has to end well.
 *
 * Knows: recordings, and what was promised. Must never know: the script, or how the disk of the crashed party is made.
 *
 * What has to hold when all have settled:
 * 1  What was acknowledged before the crash is in the server's log, or its writer knows that it was refused.
 * 2  Nothing is there twice: each dot and each mark once, and counters count each increment once.
 * 3  All hold equal rows, also one who comes anew; positions have no holes.
 * 4  Nobody needed a new identity but the one whose disk was put back: a crash alone loses nothing that was passed on.
 */
import { type Dot, digestRows, type Hub, increment } from '../../core/index.ts'
import { ReplicaLog } from '../../core/replica-log.ts'
import type { Store, StoreEntry } from '../../core/store.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import { type Client, FORBIDDEN_PREFIX, Line, openClient, openServer } from './cast.ts'
import { DiskContent, PARTIES, type Party, type Recording } from './recording.ts'

/** Who crashed, how many of its commits were durable then, and up to where the others got. */
export interface CrashPoint {
  readonly party: Party
  readonly commits: number
  /** The moment on the time line: of the others, everything before it is durable. */
  readonly at: number
  readonly kind: 'acknowledgement lost' | 'before the next commit'
}

/**
 * Every moment that differs for anybody: right when a commit of the party became durable, so that nobody was told yet; and
 * just before its next one, when all had happened that followed from it.
 */
export function crashPointsOf(recording: Recording, party: Party): CrashPoint[] {
  const own = recording.commitsOf(party)
  const end = Math.max(...recording.commits.map(({ at }) => at), ...recording.acknowledgements.map(({ at }) => at)) + 1
  return own.flatMap((commit, index) => {
    const lost: CrashPoint = { party, commits: index + 1, at: commit.at, kind: 'acknowledgement lost' }
    const next = own[index + 1]?.at ?? end
    return next === commit.at + 1 ? [lost] : [lost, { ...lost, at: next - 1, kind: 'before the next commit' as const }]
  })
}

export function describePoint({ party, commits, kind }: CrashPoint): string {
  return `${party} after commit ${commits}, ${kind}`
}

/** Starts everybody again, lets them settle, and looks. Answers with what is wrong. */
export async function sufferCrash(recording: Recording, point: CrashPoint, store: Store): Promise<string[]> {
  const stores = new Map<Party, Store>(PARTIES.map((party) => [party, openMemoryStore()]))
  for (const party of PARTIES) {
    if (party !== point.party) await fill(stores.get(party) as Store, contentAt(recording, party, point.at))
  }
  stores.set(point.party, store)
  const hub = await openServer(stores.get('server') as Store)
  const survivors = new Map<Party, Survivor>()
  for (const party of PARTIES) {
    if (party === 'server') continue
    const client = await openClient(stores.get(party) as Store)
    const renewals: string[] = []
    survivors.set(party, { client, renewals, line: new Line(client, hub, renewals) })
  }
  try {
    return await look(recording, point, hub, survivors)
  } catch (error) {
    return [error instanceof Error ? (error.stack ?? error.message) : String(error)]
  } finally {
    for (const { line, client } of survivors.values()) {
      line.hangUp()
      await client.close()
    }
    await hub.ledger.close()
  }
}

interface Survivor {
  readonly client: Client
  readonly line: Line
  readonly renewals: string[]
}

function contentAt(recording: Recording, party: Party, at: number): readonly StoreEntry[] {
  const content = new DiskContent()
  for (const commit of recording.commitsOf(party)) if (commit.at <= at) content.play(commit)
  return content.entries
}

export async function fill(store: Store, content: readonly StoreEntry[]): Promise<void> {
  if (content.length > 0) await store.commit({ expectedHead: 0, puts: content, deletes: [] })
}

async function look(
  recording: Recording,
  point: CrashPoint,
  hub: Hub,
  survivors: ReadonlyMap<Party, Survivor>,
): Promise<string[]> {
  await settleAll(survivors)
  // Life goes on: a seq that was given out twice, or a position, shows now.
  for (const [party, { client }] of survivors) await writeOn(party, client)
  await settleAll(survivors)
  return [
    ...(await missing(recording, point, hub, survivors)),
    ...(await doubled(hub, survivors)),
    ...(await different(hub, survivors)),
    ...unexpectedRenewals(recording, point, survivors),
  ]
}

async function settleAll(survivors: ReadonlyMap<Party, Survivor>): Promise<void> {
  for (let round = 0; round < 2; round++) for (const { line } of survivors.values()) await line.settle()
}

async function writeOn(party: Party, client: Client): Promise<void> {
  await client.table('notes').upsert({ id: 'afterwards', text: `by ${party}`, mark: `${party}-afterwards` })
  const isThere = (await client.table('tallies').get('t')) !== undefined
  if (isThere) await client.table('tallies').update('t', { n: increment(1), mark: `${party}-counted` })
}

// ── What has to hold ────────────────────────────────────────────────────────────────────────────────────────────────

interface Logged {
  readonly dot: string
  readonly table: string
  readonly position: number
  readonly mark: string | undefined
  /** Of a delete: its row. */
  readonly deleted: string | undefined
}

async function readLog(hub: Hub): Promise<Logged[]> {
  const changes = await new ReplicaLog(hub.ledger).query({ limit: Number.MAX_SAFE_INTEGER })
  return changes.map(({ dot, op, id, table, position, values }) => ({
    dot: nameOf(dot),
    table,
    position,
    mark: typeof values.mark === 'string' ? values.mark : undefined,
    deleted: op === 'delete' ? id : undefined,
  }))
}

async function missing(
  recording: Recording,
  point: CrashPoint,
  hub: Hub,
  survivors: ReadonlyMap<Party, Survivor>,
): Promise<string[]> {
  const log = await readLog(hub)
  const marks = new Set(log.map(({ mark }) => mark))
  const deletedByDot = new Map(log.map(({ dot, deleted }) => [dot, deleted]))
  const refused = new Set<string>()
  const wrong: string[] = []
  for (const { client } of survivors.values()) {
    for (const { change, code } of await client.rejected()) {
      if (typeof change.values.mark === 'string') refused.add(change.values.mark)
      const isAsked = change.id.startsWith(FORBIDDEN_PREFIX) || change.values.text === 'together'
      // What builds on a refused change goes with it.
      if (!isAsked && code !== 'void-context') wrong.push(`${change.id} should not have been refused with ${code}`)
    }
  }
  const acknowledged = recording.acknowledgements.filter(({ at }) => at <= point.at)
  const lost = acknowledged.filter(({ party, mark, dot, id }) => {
    if (mark !== undefined) return !marks.has(mark) && !refused.has(mark)
    // A delete is known by its dot, and that is another under another identity.
    return !(party === 'b' && isRenewed(recording, point)) && deletedByDot.get(nameOf(dot)) !== id
  })
  return [
    ...lost.map(
      ({ party, mark, dot }) => `${party} was told that ${mark ?? `the delete ${dot.seq}`} is kept; it is gone`,
    ),
    ...[...refused].filter((mark) => marks.has(mark)).map((mark) => `${mark} is refused and in the log`),
    ...wrong,
  ]
}

function nameOf({ replica, seq }: Dot): string {
  return `${replica}:${seq}`
}

/** After the disk was put back, dots of the old identity stand for other changes. */
function isRenewed(recording: Recording, point: CrashPoint): boolean {
  return recording.commits.some(({ isRestore, at }) => isRestore && at <= point.at)
}

async function doubled(hub: Hub, survivors: ReadonlyMap<Party, Survivor>): Promise<string[]> {
  const log = await readLog(hub)
  const twice: string[] = []
  const seen = new Set<string>()
  for (const { dot, mark } of log) {
    if (seen.has(dot)) twice.push(`${dot} is in the log twice`)
    if (mark !== undefined && mark !== 'bulk' && seen.has(mark)) twice.push(`${mark} is in the log twice`)
    seen.add(dot)
    if (mark !== undefined) seen.add(mark)
  }
  const increments = log.filter(({ table }) => table === 'tallies').length - 1
  for (const [party, { client }] of survivors) {
    const tally = await client.table('tallies').get('t')
    if (tally !== undefined && tally.n !== increments) {
      twice.push(`${party} counts ${tally.n} where ${increments} increments were made`)
    }
  }
  return twice
}

async function different(hub: Hub, survivors: ReadonlyMap<Party, Survivor>): Promise<string[]> {
  const newcomer = await openClient(openMemoryStore())
  const line = new Line(newcomer, hub)
  await line.settle()
  line.hangUp()
  const expected = await digestRows(hub.ledger)
  const everybody = [...survivors].map(([party, { client }]) => [party as string, client] as const)
  const wrong: string[] = []
  for (const [name, client] of [...everybody, ['the newcomer', newcomer] as const]) {
    const { rows, hash } = await client.digest()
    if (hash !== expected.hash) wrong.push(`${name} holds other rows than the server (${rows}, ${expected.rows})`)
    if (client.pending !== 0) wrong.push(`${name} still has ${client.pending} changes that nobody answered`)
  }
  await newcomer.close()
  const { changes, voids, end } = new ReplicaLog(hub.ledger).stats()
  const held = (await readLog(hub)).length
  if (changes !== held || changes + voids !== end - 1) {
    wrong.push(`the log has ${held} changes at ${end - 1} positions, and counts ${changes} changes, ${voids} voids`)
  }
  return wrong
}

function unexpectedRenewals(
  recording: Recording,
  point: CrashPoint,
  survivors: ReadonlyMap<Party, Survivor>,
): string[] {
  return [...survivors].flatMap(([party, { renewals }]) => {
    const allowed = party === 'b' && isRenewed(recording, point) ? 1 : 0
    return renewals.length > allowed ? [`${party} had to take a new identity: ${renewals.join()}`] : []
  })
}
