/**
 * Resuming: where a reader goes on in our log, from what it says of itself.
 *
 * Knows: cursors, clocks, what of the log is still there. Must never know: who the reader is, but for its role.
 *
 * Invariant U1: a cursor of another log or epoch is `foreign-cursor`, never position 0.
 */
import { VectorClock } from './clock.ts'
import { TidemarkError } from './errors.ts'
import type { Ledger } from './ledger.ts'
import type { ClockEntry, Resume } from './message.ts'
import type { FeedPlace } from './outflow.ts'
import { readBaseClock } from './replica-log.ts'
import type { SessionRole } from './session.ts'

/** A new replica of a tenant with more changes than this gets a snapshot; below, the log brings its history as well. */
const SNAPSHOT_CHANGES_MIN = 1_000

/** Where a reader that stands at `resume` goes on; `role` is ours. */
export async function placeOf(ledger: Ledger, role: SessionRole, resume: Resume): Promise<FeedPlace> {
  if (resume.type === 'clock') return placeAfterClock(ledger, role, resume.clock)
  const { meta } = ledger.state
  const isOurs = resume.logId === meta.logId && resume.epoch === meta.epoch
  if (!isOurs || !(await isPlaceOf(ledger, resume.position))) {
    throw new TidemarkError('foreign-cursor', 'the cursor belongs to another log, or to one that was restored', {
      retryable: true,
      remedy: 'Offer a clock instead',
    })
  }
  // Who passes on what it reads reads all of it: `truncated` says so where that is gone.
  const isHeld = resume.position >= meta.floor || role === 'upstream'
  if (resume.type === 'cursor') {
    return isHeld
      ? { type: 'log', position: resume.position }
      : { type: 'snapshot', position: undefined, after: undefined }
  }
  if (!isHeld) return { type: 'snapshot', position: undefined, after: undefined }
  return { type: 'snapshot', position: resume.position, after: { table: resume.table, id: resume.id } }
}

/** Who passes on by its log gives nothing else, whatever its peer asks for. */
export function logOnly(): TidemarkError {
  return new TidemarkError('forbidden', 'only servers give snapshots')
}

/** Only places that a reader was given count: the end of the log, the start of a block, and what is gone by now. */
async function isPlaceOf(ledger: Ledger, position: number): Promise<boolean> {
  const { floor } = ledger.state.meta
  if (position >= ledger.durablePosition) return position === ledger.durablePosition
  if (position < floor) return position > 0
  return (await ledger.log.blockAt(position)).from === position
}

async function placeAfterClock(ledger: Ledger, role: SessionRole, entries: readonly ClockEntry[]): Promise<FeedPlace> {
  const clock = new VectorClock(entries)
  const { state } = ledger
  const base = await readBaseClock(ledger)
  const order = base.compare(clock)
  const isWhole = state.meta.floor === 1 && (order === 'before' || order === 'equal')
  const isNew = clock.size === 0 && state.meta.changes > SNAPSHOT_CHANGES_MIN
  if (role === 'server' && (!isWhole || isNew)) return { type: 'snapshot', position: undefined, after: undefined }
  const end = ledger.durablePosition
  let position = end
  for (let index = 0; index < state.replicas.size; index++) {
    const known = clock.get(state.replicas.textOf(index))
    if (ledger.durableSeqOf(index) <= known) continue
    // A tenant may have tens of thousands of replicas, and whoever asks need not have heard of one.
    await ledger.turn()
    position = Math.min(position, (await ledger.log.positionAfter(index, known)) ?? end)
  }
  return { type: 'log', position }
}
