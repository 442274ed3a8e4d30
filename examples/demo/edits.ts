/**
 * What A and B do while they are offline, and what Tidemark makes of it.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Conflict, ConflictSide, ReplicaId } from 'tidemark/core'
import type { City, Move, Run } from './cities.ts'
import { DemoError } from './failure.ts'
import type { Figures } from './figures.ts'
import type { DemoReplica, Party } from './party.ts'
import { formatCount, formatTable } from './text-table.ts'

/** Both replicas write to rows that they share; neither knows of the other. */
export async function editOffline(figures: Figures, a: Party, b: Party, run: Run): Promise<void> {
  await figures.measure('offline edits', 'log', async () => {
    const stats = () => [a, b].map(({ replica }) => replica.log.stats())
    const before = stats()
    await editPairs(a.replica, b.replica, run)
    const after = stats()
    const grown = (key: 'changes' | 'bytes'): number =>
      after.reduce((sum, figure, index) => sum + figure[key] - (before[index]?.[key] ?? 0), 0)
    return { changes: grown('changes'), bytes: grown('bytes') }
  })
}

async function editPairs(a: DemoReplica, b: DemoReplica, { number, cities, villages }: Run): Promise<void> {
  const [grows, renamed, loses, gains] = cities as [string, string, string, string]
  const [updatedThenDeleted, deletedThenUpdated] = villages as [string, string]

  // Different fields of one row.
  await a.table('cities').update(grows, { population: (await cityOf(a, grows)).population + 1_000 })
  await aMoment()
  await b.table('cities').update(grows, { altName: `${(await cityOf(b, grows)).name} (metropolis)` })

  // The same field of one row.
  await b.table('cities').update(renamed, { name: `${(await cityOf(b, renamed)).name} on Sea` })
  await aMoment()
  await a.table('cities').update(renamed, { name: `New ${(await cityOf(a, renamed)).name}` })

  // Update against delete, and delete against update.
  await a.table('cities').update(updatedThenDeleted, { population: 1 })
  await a.table('cities').delete(deletedThenUpdated)
  await aMoment()
  await b.table('cities').delete(updatedThenDeleted)
  await b.table('cities').update(deletedThenUpdated, { population: 2 })

  // The same new id on both sides.
  const id = newTownId(number)
  await a.table('cities').insert(newTown(id, 'Tidemark', 'AD', 10))
  await aMoment()
  await b.table('cities').insert(newTown(id, 'Watermark', 'AE', 20))

  // A transaction over several rows, one of which the other side writes to as well.
  await b.table('cities').update(gains, { population: (await cityOf(b, gains)).population + 7 })
  await aMoment()
  await movePeople(a, { id: `move-${number}`, from: loses, to: gains, people: 5_000, at: new Date() })
}

/** So that one side is later than the other, also on a disk that flushes within a millisecond. */
function aMoment(): Promise<void> {
  return sleep(3)
}

function movePeople(replica: DemoReplica, move: Move): Promise<void> {
  return replica.transact(async (transaction) => {
    const cities = transaction.table('cities')
    const [from, to] = [await cities.get(move.from), await cities.get(move.to)]
    if (from === undefined || to === undefined) throw new DemoError('a city of the transaction is gone')
    cities.update(move.from, { population: from.population - move.people })
    cities.update(move.to, { population: to.population + move.people })
    transaction.table('moves').insert(move)
  })
}

function newTownId(number: number): string {
  return `new-town-${number}`
}

function newTown(id: string, name: string, country: string, population: number): City {
  const loc = { type: 'Point', coordinates: [0, 0] } as const
  return { id, name, altName: '', country, adminCode: '00', featureCode: 'PPL', population, loc }
}

async function cityOf(replica: DemoReplica, id: string): Promise<City> {
  const city = await replica.table('cities').get(id)
  if (city === undefined) throw new DemoError(`city ${id} is gone: --reset starts over`)
  return city
}

// ── The conflicts ───────────────────────────────────────────────────────────────────────────────────────────────────

export interface FoundConflicts {
  readonly fresh: readonly Conflict[]
  /** Of earlier runs: rows keep both sides until somebody writes over them. */
  readonly older: number
}

/** The open conflicts of a replica, those about the rows of this run first. */
export async function findConflicts({ replica }: Party, { cities, villages, number }: Run): Promise<FoundConflicts> {
  const rows = new Set([...cities, ...villages, newTownId(number)])
  const fresh: Conflict[] = []
  let older = 0
  for await (const conflict of replica.conflicts.open()) {
    if (rows.has(conflict.row)) fresh.push(conflict)
    else older++
  }
  return { fresh, older }
}

/** `cities` has the names of rows that are deleted by now. */
export async function printConflicts(
  conflicts: readonly Conflict[],
  parties: readonly [Party, Party],
  cities: readonly City[],
): Promise<void> {
  const [a] = parties
  const names = new Map<ReplicaId, string>(parties.map(({ name, replica }) => [replica.id, name]))
  const rows: string[][] = []
  for (const conflict of conflicts) {
    const { type, row, sides, winner, reason } = conflict
    const bySide = parties.map(({ replica }) => sides.find(({ dot }) => dot.replica === replica.id))
    const city = await a.replica.table('cities').get(row)
    rows.push([
      type,
      city?.name ?? `${cities.find(({ id }) => id === row)?.name ?? row} (deleted)`,
      ...bySide.map((side) => (side === undefined ? '' : describeSide(side, conflict))),
      winner === undefined ? 'both' : (names.get(winner.replica) ?? winner.replica),
      [...names].reduce((text, [id, name]) => text.replaceAll(`replica ${id}`, name), reason),
    ])
  }
  const columns = [
    { title: 'type' },
    { title: 'row', widthMax: 18 },
    { title: 'A wrote', widthMax: 24 },
    { title: 'B wrote', widthMax: 24 },
    { title: 'winner' },
    { title: 'why', widthMax: 34 },
  ]
  console.log(formatTable(columns, rows, true))
}

const VALUES_SHOWN = 2

function describeSide({ op, values }: ConflictSide, { fields }: Conflict): string {
  if (op === 'delete') return 'delete'
  const contested = Object.entries(values).filter(([name]) => fields.some((field) => field.name === name))
  const all = contested.length === 0 ? Object.entries(values) : contested
  // Of a whole row, what tells it from the other.
  const shown = op === 'insert' ? all.filter(([name]) => name === 'name' || name === 'population') : all
  return `${op} ${shown
    .slice(0, VALUES_SHOWN)
    .map(([name, value]) => `${name} ${typeof value === 'number' ? formatCount(value) : JSON.stringify(value)}`)
    .join(', ')}`
}

/** Decides which town it is that both have founded: a write that covers both. */
export async function nameTown(party: Party, conflicts: readonly Conflict[], { number }: Run): Promise<void> {
  const town = conflicts.find(({ row }) => row === newTownId(number))
  if (town === undefined) throw new DemoError('the two towns did not meet')
  await party.replica.conflicts.resolve(town.id, { value: { name: 'Tidemark and Watermark' } })
}
