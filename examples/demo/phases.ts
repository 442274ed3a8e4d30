/**
 * The phases of the demo in which data moves: import, sync up, sync down, reconnect.
 */
import type { City, Run } from './cities.ts'
import { DemoError } from './failure.ts'
import type { Figures } from './figures.ts'
import type { Party } from './party.ts'
import { startProgress, withProgress } from './progress.ts'
import { formatCount } from './text-table.ts'

const ROWS_PER_TRANSACTION = 1_000

/** Cities that an edit is about: big ones have names people know. */
const CITIES_PER_RUN = 4
/** Cities that are about to be deleted: small ones are missed less. */
const VILLAGES_PER_RUN = 2

/** Writes the cities that are not there yet, and answers with what this run is going to edit. */
export async function importCities(figures: Figures, a: Party, cities: readonly City[]): Promise<Run> {
  const { replica } = a
  const runs: Run[] = []
  for await (const run of replica.table('runs').scan()) runs.push(run)
  const missing = await findMissing(a, cities, runs)
  const run = planRun(cities, runs)
  await figures.measure('A imports', 'log', async () => {
    const before = replica.log.stats()
    const progress = startProgress('A imports cities', Math.max(1, missing.length))
    for (let at = 0; at < missing.length; at += ROWS_PER_TRANSACTION) {
      const rows = missing.slice(at, at + ROWS_PER_TRANSACTION)
      await replica.transact((transaction) => {
        for (const row of rows) transaction.table('cities').insert(row)
      })
      progress.update(at + rows.length)
    }
    progress.stop()
    const after = replica.log.stats()
    return { changes: after.changes - before.changes, bytes: after.bytes - before.bytes }
  })
  await replica.table('runs').insert(run)
  return run
}

/** Not those that an earlier run has deleted. */
async function findMissing({ replica }: Party, cities: readonly City[], runs: readonly Run[]): Promise<City[]> {
  const known = new Set(runs.flatMap(({ villages }) => villages))
  for await (const { id } of replica.table('cities').scan()) known.add(id)
  return cities.filter(({ id }) => !known.has(id))
}

function planRun(cities: readonly City[], runs: readonly Run[]): Run {
  const used = new Set(runs.flatMap((run) => [...run.cities, ...run.villages]))
  const ranked = cities.filter(({ id }) => !used.has(id)).sort((left, right) => right.population - left.population)
  if (ranked.length < CITIES_PER_RUN + VILLAGES_PER_RUN) {
    throw new DemoError('earlier runs have edited every row. Take more with --rows, or start over with --reset')
  }
  const number = Math.max(0, ...runs.map((run) => run.number)) + 1
  return {
    id: `run-${String(number).padStart(4, '0')}`,
    number,
    startedAt: new Date(),
    cities: ranked.slice(0, CITIES_PER_RUN).map(({ id }) => id),
    villages: ranked.slice(-VILLAGES_PER_RUN).map(({ id }) => id),
  }
}

/** Connects, waits until both sides have everything, and disconnects. */
export async function syncOnce(figures: Figures, phase: string, party: Party, url: string, expected: number) {
  await figures.measure(phase, 'wire', async () => {
    const { replica } = party
    const [pending, held] = [replica.pending, party.changes]
    const total = pending + Math.max(0, expected - held)
    // Rows of a snapshot are there before the clock is: it moves at the end.
    const rowsBefore = replica.log.stats().rows
    const read = (): number =>
      pending - replica.pending + Math.max(party.changes - held, replica.log.stats().rows - rowsBefore)
    party.goOnline(url)
    await withProgress(phase, total, read, () => party.settled())
    const bytes = party.trafficBytes
    await party.goOffline()
    return { changes: pending + party.changes - held, bytes }
  })
}

/** Both go online at once, and stay until each has what the other wrote. */
export async function syncBoth(figures: Figures, phase: string, [a, b]: readonly [Party, Party], url: string) {
  await figures.measure(phase, 'wire', async () => {
    const parties = [a, b]
    const count = (): number => parties.reduce((sum, party) => sum + party.changes - party.replica.pending, 0)
    const before = count()
    for (const party of parties) party.goOnline(url)
    for (const party of [a, b, a]) await party.settled()
    const bytes = parties.reduce((sum, party) => sum + party.trafficBytes, 0)
    for (const party of parties) await party.goOffline()
    return { changes: count() - before, bytes }
  })
}

/** What a server has refused is kept by its writer, and nobody else has it. */
export async function expectNoRefusals(parties: readonly Party[]): Promise<void> {
  for (const { name, replica } of parties) {
    const rejected = await replica.rejected()
    const [first] = rejected
    if (first === undefined) continue
    throw new DemoError(
      `the server refused ${formatCount(rejected.length)} changes of ${name} (the first: ${first.code}). ` +
        'Its log is most likely not the one that the stores of the demo know: --reset starts over',
    )
  }
}
