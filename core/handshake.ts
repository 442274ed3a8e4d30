/**
 * The handshake: what an initiator has to find out before it can say hello, and what follows from the welcome.
 *
 * Invariants:
 * U2  A peer that knows more of us than we do, or other content, is told apart from one that knows less.
 * U5  A welcome that is full of refusals answers up to the last of them, not to what is held.
 */
import type { Refusal } from './admit.ts'
import { readRefused } from './agreed.ts'
import { TakeAnswer } from './answer.ts'
import type { VoidCode } from './block.ts'
import type { LogCursor } from './draft.ts'
import { TidemarkError } from './errors.ts'
import { cloned, readFingerprint, sameFingerprint } from './fingerprint.ts'
import { CURSOR_KEY } from './keys.ts'
import type { Ledger } from './ledger.ts'
import { type Hello, PROTOCOL_MAX, PROTOCOL_MIN, type Resume, type Welcome } from './message.ts'
import { asArray, asCount, asText, unpackRecord } from './packing.ts'
import { findingOut, type SharedPast } from './shared-past.ts'
import { readSnapshotProgress } from './snapshot.ts'
import { type TableDefinition, tableFingerprint } from './table.ts'
import { WITHDRAWN } from './withdraw.ts'

/** Refusals that a welcome tells of: part of the protocol, because one that is full does not tell of all. */
export const REFUSALS_MAX = 4_096

export type Tables = ReadonlyMap<string, TableDefinition>

/** The lowest and the highest version of the protocol that a side speaks. */
export type Versions = readonly [min: number, max: number]

export const ALL_VERSIONS: Versions = [PROTOCOL_MIN, PROTOCOL_MAX]

export interface Introduction {
  /** To a peer that admits for itself, as we do. */
  readonly isMesh: boolean
  readonly tables: Tables
  /** The cursor was of no use to the peer. */
  readonly withClock: boolean
  readonly versions: Versions
}

/** `past`: what is being found out about a store that was copied; it may say less than was written. */
export async function introduce(
  ledger: Ledger,
  past: SharedPast,
  { isMesh, tables, withClock, versions }: Introduction,
): Promise<Hello> {
  await ledger.catchUp()
  const { meta, own } = ledger.state
  const writtenSeq = ledger.durableSeqOf(own)
  const ownSeq = Math.min(writtenSeq, past.claimOf(meta.replicaId, ledger.durableAckedSeq) ?? writtenSeq)
  return {
    type: 'hello',
    versions,
    tenant: meta.tenant,
    replica: meta.replicaId,
    isMesh,
    ownSeq,
    // Not the one in memory: were its flush to fail, the refusals up to it would never be told again.
    ackedSeq: Math.min(ledger.durableAckedSeq, ownSeq),
    fingerprint: await readFingerprint(ledger, own, ownSeq),
    resume: await resumeOf(ledger, isMesh || withClock),
    tables: [...tables].map(([name, definition]) => [name, tableFingerprint(definition)] as const),
  }
}

async function resumeOf(ledger: Ledger, withClock: boolean): Promise<Resume> {
  if (!withClock) {
    const progress = await readSnapshotProgress(ledger)
    if (progress?.place !== undefined) return { type: 'snapshot', ...progress.cursor, ...progress.place }
    const cursor = await readCursor(ledger)
    if (progress === undefined && cursor !== undefined) return { type: 'cursor', ...cursor }
  }
  return { type: 'clock', clock: [...ledger.durableClock().entries()] }
}

/** How far this replica has read its server's log. */
export async function readCursor(ledger: Ledger): Promise<LogCursor | undefined> {
  const [bytes] = await ledger.store.getMany([CURSOR_KEY])
  if (bytes === undefined) return undefined
  const [logId, epoch, position] = asArray(unpackRecord(bytes))
  return { logId: asText(logId), epoch: asCount(epoch), position: asCount(position) }
}

/**
 * Compares what the peer has of our stream with what we have: at the last seq that both had when we said hello. Throws when
 * this store was restored or copied.
 */
export async function checkWelcome(
  ledger: Ledger,
  welcome: Welcome,
  greetedSeq: number,
  past: SharedPast,
): Promise<void> {
  // What another process of this store wrote and pushed is not lost, only news.
  await ledger.catchUp()
  const { own, meta } = ledger.state
  const isSearching = past.claimOf(meta.replicaId, ledger.durableAckedSeq) !== undefined
  const sharedSeq = Math.min(welcome.yourSeq, greetedSeq)
  const ours = await readFingerprint(ledger, own, sharedSeq)
  const isHeld = welcome.yourSeq <= ledger.durableSeqOf(own)
  const isSame = sameFingerprint(ours, welcome.fingerprint) && !(await isUndone(ledger, welcome, sharedSeq))
  if (!isSame) {
    const goesOn = meta.authority === 0 && past.differs(meta.replicaId, ledger.durableAckedSeq, sharedSeq)
    throw goesOn ? findingOut() : isHeld ? cloned() : restored(ledger, welcome)
  }
  if (isHeld && !isSearching) {
    if (welcome.yourSeq <= greetedSeq) return
    // Written since our hello, here or under a copy's hands: only the next one can tell.
    throw new TidemarkError('unavailable', 'the store has written as much as the peer holds since it said hello', {
      retryable: true,
    })
  }
  // What the peer holds of ours needs no new name (D3); the fingerprint says that it is ours, and not a copy's.
  if (meta.authority === 0 && ours.length > 0 && welcome.fingerprint.length > 0) {
    const { throughSeq, refusals } = answerOf(welcome, sharedSeq)
    await ledger.submit(new TakeAnswer(throughSeq, refusals, meta.replicaId))
    if (throughSeq < sharedSeq) throw findingOut()
  }
  if (isSearching) {
    if (ours.length === 0 || welcome.fingerprint.length === 0) past.skip(sharedSeq)
    if (welcome.yourSeq < greetedSeq) past.forget()
    else if (!past.goesOn(ledger.durableAckedSeq)) throw isHeld ? cloned() : restored(ledger, welcome)
    throw findingOut()
  }
  throw restored(ledger, welcome)
}

/**
 * True when either this store or a copy of it has withdrawn a change, and the other one has not: of what is withdrawn nobody has a
 * fingerprint.
 */
async function isUndone(ledger: Ledger, welcome: Welcome, seq: number): Promise<boolean> {
  if (seq <= ledger.durableAckedSeq || answerOf(welcome, seq).throughSeq < seq) return false
  const refusal = welcome.refusals.find(([refused]) => refused === seq)
  if (refusal !== undefined && (refusal[1] !== WITHDRAWN || welcome.fingerprint.length > 0)) return false
  const found = await ledger.log.entryOf(ledger.state.own, seq)
  const isVoid = found?.entry.op === 'void' || (await readRefused(ledger)).has(seq)
  return isVoid !== (refusal !== undefined)
}

/** What a welcome answers of our changes up to a seq: when it is full of refusals, only up to the last of those. */
export function answerOf(
  { refusals: records }: Welcome,
  seq: number,
): { readonly throughSeq: number; readonly refusals: readonly Refusal[] } {
  const last = records.length < REFUSALS_MAX ? undefined : records[records.length - 1]
  const throughSeq = Math.min(seq, last?.[0] ?? seq)
  const refusals = records
    .filter(([refused]) => refused <= throughSeq)
    .map(([refused, code]) => ({ seq: refused, code: code as VoidCode }))
  return { throughSeq, refusals }
}

function restored(ledger: Ledger, { yourSeq }: Welcome): TidemarkError {
  const held = ledger.durableSeqOf(ledger.state.own)
  return new TidemarkError(
    'replica-restored',
    `the peer has ${yourSeq} changes of this replica, its store only ${held}`,
    {
      remedy: 'The store lost commits or was restored from a backup; it has to go on under a new replica id',
    },
  )
}
