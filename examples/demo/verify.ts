/**
 * Shows that all hold the same: rows by digest, changes by clock.
 */
import { digestRows, type VectorClock } from 'tidemark/core'
import { openMemoryStore } from 'tidemark/stores/memory'
import { DemoError } from './failure.ts'
import { Party } from './party.ts'
import { withServerLedger } from './server.ts'
import { formatCount, formatTable } from './text-table.ts'

export interface Holding {
  readonly who: string
  readonly rows: number
  readonly hash: string
  readonly clock: VectorClock
}

export async function holdingOf({ name, replica }: Party): Promise<Holding> {
  return { who: name, ...(await replica.digest()), clock: replica.clock }
}

/** What the server has flushed, read from its store after it was closed. */
export function holdingOfClosedServer(path: string, tenant: string): Promise<Holding> {
  return withServerLedger(path, tenant, async (ledger) => ({
    who: 'server (its store)',
    ...(await digestRows(ledger)),
    clock: ledger.durableClock(),
  }))
}

/** What a server somewhere else holds: all that it sends to a replica that begins with nothing. */
export async function holdingOfRemoteServer(url: string, tenant: string): Promise<Holding> {
  const witness = await Party.openOn('C', openMemoryStore(), tenant)
  try {
    witness.goOnline(url)
    await witness.settled()
    return { ...(await holdingOf(witness)), who: 'C (all the server sent)' }
  } finally {
    await witness.close()
  }
}

/** Prints who holds what, and throws when they differ. */
export function expectEqual(holdings: readonly Holding[]): void {
  const [first] = holdings
  if (first === undefined) return
  const columns = [{ title: '' }, { title: 'rows', isRight: true }, { title: 'digest' }, { title: 'clock' }]
  const rows = holdings.map(({ who, rows, hash, clock }) => [who, formatCount(rows), hash, formatClock(clock)])
  console.log(formatTable(columns, rows))
  const isEqual = holdings.every(({ hash, clock }) => hash === first.hash && clock.equals(first.clock))
  if (!isEqual) {
    throw new DemoError(
      'they do not hold the same. If somebody else writes to this tenant, try again with --tenant; if not, this is a bug',
    )
  }
  console.log('\n  All hold equal rows and equal clocks.')
}

const ENTRIES_SHOWN = 4

function formatClock(clock: VectorClock): string {
  const entries = Object.entries(clock.toJSON())
  const shown = entries.slice(0, ENTRIES_SHOWN).map(([id, seq]) => `${id.slice(0, 8)}:${seq}`)
  const hidden = entries.length - shown.length
  return `{ ${shown.join(', ')}${hidden > 0 ? `, and ${hidden} more` : ''} }`
}
