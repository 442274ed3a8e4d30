/**
 * The script: one run in which everything happens that writes to a disk. Local writes alone and in transactions, conflicts,
 * sync, refusals and what builds on them, a snapshot with a cut in it, a disk put back from a backup, a decision.
 *
 * Knows: what each party does, and in which order. Must never know: that somebody will crash.
 */
import { type Change, type Hub, increment } from '../../core/index.ts'
import { createMemoryDisk } from '../../core/stores/memory.ts'
import { type Client, Line, openClient, openServer } from './cast.ts'
import { DiskContent, type Party, Recording } from './recording.ts'

interface Play {
  readonly recording: Recording
  readonly hub: Hub
  readonly clients: Map<Party, Client>
  readonly lines: Map<Party, Line>
  readonly renewals: string[]
  marks: number
}

/** Runs the whole of it. */
export async function recordRun(): Promise<Recording> {
  const recording = new Recording()
  const hub = await openServer(recording.record('server', createMemoryDisk().open()))
  const play: Play = { recording, hub, clients: new Map(), lines: new Map(), renewals: [], marks: 0 }
  await enter(play, 'a')
  await enter(play, 'b')
  await workOffline(play)
  await settle(play, 'a', 'b', 'a')
  await workTogether(play)
  await sufferRefusals(play)
  await fillUp(play)
  await joinLate(play)
  await workTogether(play)
  await goBack(play)
  await decide(play)
  await workTogether(play)
  await settle(play, 'a', 'b', 'c', 'a', 'b', 'c')
  if (play.renewals.join() !== 'replica-restored') throw new Error(`identities were renewed: ${play.renewals.join()}`)
  return recording
}

async function enter(play: Play, party: Party): Promise<Client> {
  const client = await openClient(play.recording.record(party, createMemoryDisk().open()))
  play.clients.set(party, client)
  play.lines.set(party, new Line(client, play.hub, play.renewals))
  return client
}

async function settle({ lines }: Play, ...parties: readonly Party[]): Promise<void> {
  for (const party of parties) await lines.get(party)?.settle()
}

// ── Writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────

type Written = { readonly change: Pick<Change, 'dot' | 'id'> }

/** A write, acknowledged on the time line when its promise is kept. */
async function write(
  { recording, clients }: Play,
  party: Party,
  mark: string | undefined,
  work: (client: Client) => Promise<Written>,
): Promise<void> {
  const client = clients.get(party) as Client
  const { change } = await work(client)
  recording.acknowledge({ party, dot: change.dot, id: change.id, mark })
}

function nextMark(play: Play, party: Party): string {
  return `${party}-${++play.marks}`
}

const note = (play: Play, party: Party, id: string, text: string): Promise<void> => {
  const mark = nextMark(play, party)
  return write(play, party, mark, (client) => client.table('notes').upsert({ id, text, mark }))
}

const retext = (play: Play, party: Party, id: string, text: string): Promise<void> => {
  const mark = nextMark(play, party)
  return write(play, party, mark, (client) => client.table('notes').update(id, { text, mark }))
}

const drop = (play: Play, party: Party, id: string): Promise<void> =>
  write(play, party, undefined, (client) => client.table('notes').delete(id))

const card = (play: Play, party: Party, id: string, front: string): Promise<void> => {
  const mark = nextMark(play, party)
  return write(play, party, mark, (client) => client.table('cards').upsert({ id, front, back: 'b', mark }))
}

const count = (play: Play, party: Party, id: string): Promise<void> => {
  const mark = nextMark(play, party)
  return write(play, party, mark, (client) => client.table('tallies').update(id, { n: increment(1), mark }))
}

/** Several notes in one transaction. */
async function transact(play: Play, party: Party, ids: readonly string[]): Promise<void> {
  const client = play.clients.get(party) as Client
  const marks = ids.map(() => nextMark(play, party))
  const before = client.clock.get(client.id)
  await client.transact((transaction) => {
    for (const [at, id] of ids.entries()) {
      transaction.table('notes').upsert({ id, text: 'together', mark: marks[at] as string })
    }
  })
  for (const [at, id] of ids.entries()) {
    play.recording.acknowledge({ party, dot: { replica: client.id, seq: before + 1 + at }, id, mark: marks[at] })
  }
}

// ── Scenes ──────────────────────────────────────────────────────────────────────────────────────────────────────────

async function workOffline(play: Play): Promise<void> {
  const mark = nextMark(play, 'a')
  await write(play, 'a', mark, (client) => client.table('tallies').insert({ id: 't', n: 0, mark }))
  for (const id of ['n1', 'n2', 'n3', 'n4']) await note(play, 'a', id, 'first')
  await transact(play, 'a', ['n5', 'n6', 'n1'])
  await retext(play, 'a', 'n2', 'second')
  await drop(play, 'a', 'n3')
  await note(play, 'a', 'n3', 'back again')
  await count(play, 'a', 't')
  // B knows nothing of all that: inserts against inserts, and rows of its own.
  for (const id of ['n2', 'n4', 'm1', 'm2']) await note(play, 'b', id, 'other')
  await drop(play, 'b', 'n4')
  await transact(play, 'b', ['m3', 'n6'])
  await card(play, 'b', 'c1', 'front')
  await card(play, 'b', 'c1', 'another front')
}

/** Everybody who is there, at the same time, with conflicts, while connected. */
async function workTogether(play: Play): Promise<void> {
  const parties = [...play.clients.keys()]
  for (let round = 0; round < 3; round++) {
    const tag = `${play.marks}`
    await Promise.all(
      parties.flatMap((party) => [
        note(play, party, 'shared', `by ${party} ${tag}`),
        note(play, party, `own-${party}-${tag}`, 'new'),
        count(play, party, 't'),
        card(play, party, 'c1', `by ${party} ${tag}`),
      ]),
    )
    await settle(play, ...parties)
    await settle(play, ...parties)
  }
}

/** What the server refuses, what builds on it, what stands beside it, and a transaction that holds some of it. */
async function sufferRefusals(play: Play): Promise<void> {
  await note(play, 'a', 'no-1', 'refused')
  await retext(play, 'a', 'no-1', 'refused with it')
  await note(play, 'a', 'n7', 'not refused')
  await transact(play, 'a', ['n8', 'no-2', 'n9'])
  await note(play, 'a', 'n8', 'after the refused transaction')
  await settle(play, 'a')
  // Again, with the answer lost on the way: it is told at the next welcome.
  await note(play, 'b', 'no-3', 'refused')
  await note(play, 'b', 'n10', 'not refused')
  const line = play.lines.get('b') as Line
  line.hangUp()
  line.framesLeft = 1
  await line.settle().catch(() => {})
  line.framesLeft = Number.POSITIVE_INFINITY
  await settle(play, 'b', 'a')
}

const BULK_CHANGES = 1_050
const BULK_ROWS = 7
const BULK_TRANSACTION = 350
const LONG_TEXT = 'x'.repeat(60_000)

/** More changes than a newcomer is sent one by one, and rows that take a snapshot of several pieces. */
async function fillUp(play: Play): Promise<void> {
  const client = play.clients.get('a') as Client
  for (let first = 0; first < BULK_CHANGES; first += BULK_TRANSACTION) {
    await client.transact((transaction) => {
      for (let at = first; at < first + BULK_TRANSACTION; at++) {
        const text = at < BULK_ROWS ? LONG_TEXT : `${at}`
        transaction.table('bulk').upsert({ id: `row-${at % (BULK_ROWS * 2)}`, text, mark: 'bulk' })
      }
    })
  }
  for (let at = 0; at < BULK_ROWS; at++) {
    await client.table('bulk').update(`row-${at}`, { text: LONG_TEXT })
  }
  await settle(play, 'a')
}

/** C comes, is cut off in the middle of its snapshot while others write, and comes back. */
async function joinLate(play: Play): Promise<void> {
  await enter(play, 'c')
  const line = play.lines.get('c') as Line
  await note(play, 'c', 'n2', 'written before the first sync')
  line.framesLeft = 4
  await line.settle().catch(() => {})
  line.framesLeft = Number.POSITIVE_INFINITY
  await retext(play, 'a', 'n1', 'while C was away')
  await drop(play, 'b', 'm1')
  await settle(play, 'a', 'b', 'c')
}

/** B’s disk is put back to what it was, and B writes on as if nothing had happened. */
async function goBack(play: Play): Promise<void> {
  const { recording, clients, lines } = play
  await settle(play, 'b')
  const backup = new DiskContent()
  for (const commit of recording.commitsOf('b')) backup.play(commit)
  await workTogether(play)
  lines.get('b')?.hangUp()
  await clients.get('b')?.close()
  recording.restore('b', backup.entries)
  const disk = createMemoryDisk()
  await disk.open().commit({ expectedHead: 0, puts: backup.entries, deletes: [] })
  const client = await openClient(recording.record('b', disk.open()))
  clients.set('b', client)
  lines.set('b', new Line(client, play.hub, play.renewals))
  await note(play, 'b', 'n11', 'after the backup')
  await note(play, 'b', 'shared', 'after the backup')
  await count(play, 'b', 't')
  await drop(play, 'b', 'm2')
  await settle(play, 'b', 'a', 'c')
}

const DECISIONS_MAX = 12

/** Somebody decides conflicts that are open. */
async function decide(play: Play): Promise<void> {
  const client = play.clients.get('a') as Client
  for (let round = 0; round < DECISIONS_MAX; round++) {
    const open = await client.conflicts.open({ table: 'notes' }).next()
    if (open.done === true) break
    await client.conflicts.resolve(open.value.id, { value: { text: 'decided', mark: nextMark(play, 'a') } })
  }
  await settle(play, 'a', 'b', 'c')
}
