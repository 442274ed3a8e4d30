/**
 * The handshake: what each side has to find out before it can say hello or welcome, and what follows from the answer.
 *
 * Invariants:
 * U1  A cursor of another log or epoch is `foreign-cursor`, never position 0.
 * U2  A peer that knows more of us than we do, or other content, is told apart from one that knows less.
 * U5  A welcome that is full of refusals answers up to the last of them, not to what is held.
 * U3  What a welcome says of the peer's changes is read after older sessions of the peer were fenced: nothing comes after it.
 */
import type { Refusal } from './admit.ts'
import { readRefused } from './agreed.ts'
import { TakeAnswer } from './answer.ts'
import { VOID_CODES, type VoidCode } from './block.ts'
import { equalSlices } from './bytes.ts'
import { VectorClock } from './clock.ts'
import {
  type Definition,
  expectDefinitions,
  listDefinitions,
  mismatch,
  readDefinitions,
  remember,
  rememberedTables,
} from './definitions.ts'
import type { Draft, LogCursor } from './draft.ts'
import { TidemarkError } from './errors.ts'
import { expectCaughtUp, familyName, noteRelay, postOf } from './family.ts'
import { fingerprintOf } from './fingerprint.ts'
import { type Gate, NEW_REPLICA, quotaExceeded } from './gate.ts'
import { CURSOR_KEY, subjectKey, voidKey, voidKeySeq, voidRange } from './keys.ts'
import type { Job, Ledger } from './ledger.ts'
import {
  type ClockEntry,
  type Hello,
  PROTOCOL_MAX,
  PROTOCOL_MIN,
  RELAYS_SINCE,
  type RefusalRecord,
  type Resume,
  type Welcome,
} from './message.ts'
import { asArray, asCount, asText, packRecord, unpackRecord } from './packing.ts'
import { type IsManned, Posting } from './posts.ts'
import { BeginRecovery, expectEpoch, isRecovering, showsLoss } from './recovery.ts'
import { readBaseClock } from './replica-log.ts'
import type { FeedPlace, SessionRole } from './session.ts'
import { findingOut, type SharedPast } from './shared-past.ts'
import { readSnapshotProgress } from './snapshot.ts'
import { type TableDefinition, tableFingerprint } from './table.ts'
import { WITHDRAWN } from './withdraw.ts'

/** A new replica of a tenant with more changes than this gets a snapshot; below, the log brings its history as well. */
const SNAPSHOT_CHANGES_MIN = 1_000
/** Refusals that a welcome tells of: part of the protocol, because one that is full does not tell of all. */
const REFUSALS_MAX = 4_096

export type Tables = ReadonlyMap<string, TableDefinition>

/** The lowest and the highest version of the protocol that a side speaks. */
export type Versions = readonly [min: number, max: number]

export const ALL_VERSIONS: Versions = [PROTOCOL_MIN, PROTOCOL_MAX]

// ── The initiator ───────────────────────────────────────────────────────────────────────────────────────────────────

/** `past`: what is being found out about a store that was copied; it may say less than was written. */
export async function introduce(
  ledger: Ledger,
  role: SessionRole,
  tables: Tables,
  withClock: boolean,
  [min, max]: Versions,
  past: SharedPast,
): Promise<Hello> {
  await ledger.catchUp()
  const { meta, own, family } = ledger.state
  const writtenSeq = ledger.durableSeqOf(own)
  const ownSeq = Math.min(writtenSeq, past.claimOf(meta.replicaId, ledger.durableAckedSeq) ?? writtenSeq)
  const isRelay = role === 'relay'
  return {
    type: 'hello',
    versions: [isRelay ? Math.max(min, RELAYS_SINCE) : min, max],
    tenant: meta.tenant,
    replica: meta.replicaId,
    isMesh: role === 'mesh',
    ownSeq,
    // Not the one in memory: were its flush to fail, the refusals up to it would never be told again.
    ackedSeq: Math.min(ledger.durableAckedSeq, ownSeq),
    fingerprint: await readFingerprint(ledger, own, ownSeq),
    resume: await resumeOf(ledger, role, withClock),
    // What the clients of a relay have brought counts, as far as the upstream has nothing else.
    tables: isRelay
      ? [...(await rememberedTables(ledger))]
      : [...tables].map(([name, definition]) => [name, tableFingerprint(definition)] as const),
    relay: isRelay
      ? { logId: meta.logId, epoch: meta.epoch, position: ledger.durablePosition, post: family?.post || undefined }
      : undefined,
  }
}

async function resumeOf(ledger: Ledger, role: SessionRole, withClock: boolean): Promise<Resume> {
  if (role !== 'mesh' && !withClock) {
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

/** Of one change of a replica, refused or not; empty when this store does not hold it. */
async function readFingerprint(ledger: Ledger, replica: number, seq: number): Promise<Uint8Array> {
  const found = seq === 0 ? undefined : await ledger.log.entryOf(replica, seq)
  if (found === undefined) return new Uint8Array(0)
  if (found.entry.op !== 'void') return fingerprintOf(found.entry, ledger.state)
  const [record] = await ledger.store.getMany([voidKey(replica, seq)])
  return record?.subarray(1) ?? new Uint8Array(0)
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

function sameFingerprint(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === 0 || right.length === 0 || equalSlices(left, 0, left.length, right, 0, right.length)
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

function cloned(): TidemarkError {
  return new TidemarkError('replica-cloned', 'two stores have written different changes under this replica id', {
    remedy: 'A store was copied; each copy has to go on under its own replica id',
  })
}

// ── The acceptor ────────────────────────────────────────────────────────────────────────────────────────────────────

export interface Meeting {
  readonly version: number
  /** What we are to the peer. */
  readonly role: SessionRole
  readonly epoch: number
  /** Where our stream to the peer starts. */
  readonly place: FeedPlace
  /** The peer's index in our dictionary. */
  readonly replica: number
  /** Of a relay: the name under which it answers. */
  readonly post: string | undefined
  /** It has brought definitions of tables that were not known. */
  readonly hasDefined: boolean
}

export interface MeetOptions {
  readonly role: SessionRole
  readonly versions: Versions
  readonly tables: Tables
  readonly gate: Gate
  readonly nowMs: number
  readonly onLoss?: (() => void) | undefined
  /** Whether another relay is at work in a post. */
  readonly isManned: IsManned
}

/** Decides about a hello. Throws what the session has to end with. */
export async function meet(ledger: Ledger, hello: Hello, options: MeetOptions): Promise<Meeting> {
  const { role, versions, gate, nowMs, onLoss } = options
  await ledger.catchUp()
  const { state } = ledger
  const version = negotiate(hello, versions)
  if (hello.tenant !== state.meta.tenant || hello.isMesh !== (role === 'mesh')) {
    throw new TidemarkError('forbidden', 'this session may not read or write what it asked for')
  }
  if (gate.mayMeet?.(hello.replica) === false) {
    throw new TidemarkError('revoked', 'this replica was revoked', { remedy: 'Begin with an empty store' })
  }
  if (hello.replica === state.meta.replicaId) throw cloned()
  if (role === 'server') expectCaughtUp(ledger)
  if (hello.relay !== undefined) expectRelayed(role, gate)
  const ourSeq = ledger.durableSeqOf(state.replicas.find(hello.replica))
  const hasLost = role === 'server' && showsLoss(ledger, ourSeq, hello)
  if (hasLost && !isRecovering(state, nowMs)) {
    await ledger.submit(new BeginRecovery(nowMs))
    onLoss?.()
  }
  const { epoch } = state.meta
  const place = await placeOf(ledger, hello.relay === undefined ? role : 'upstream', hello.resume)
  const met = await ledger.submit(new MeetReplica(hello, options))
  // A copy must not fence its original.
  await readStream(ledger, met.replica, hello)
  return { version, role: hello.relay === undefined ? role : 'upstream', epoch, place, ...met }
}

function expectRelayed(role: SessionRole, gate: Gate): void {
  if (role === 'server' && gate.mayRelay?.() === true && gate.mayRead()) return
  throw new TidemarkError('forbidden', 'this session may not pass on changes of others', {
    remedy: 'Ask for a token with the scopes read and relay, for all tables',
  })
}

/** What a peer that was met is told, once older sessions of it are fenced. Throws `replica-cloned`. */
export async function composeWelcome(
  ledger: Ledger,
  hello: Hello,
  { version, role, epoch, place, replica, post = postOf(ledger.state) }: Meeting,
  nowMs: number,
): Promise<Welcome> {
  // Behind what a fenced session had handed in before.
  await ledger.catchUp()
  expectEpoch(ledger, epoch)
  const { meta } = ledger.state
  const { yourSeq, fingerprint } = await readStream(ledger, replica, hello)
  return {
    type: 'welcome',
    version,
    replica: meta.replicaId,
    logId: meta.logId,
    epoch: meta.epoch,
    position: ledger.durablePosition,
    yourSeq,
    fingerprint,
    refusals: await refusalsOf(ledger, replica, hello.ackedSeq, yourSeq),
    from: place.type === 'log' ? { type: 'log', position: place.position } : { type: 'snapshot' },
    time: nowMs,
    resume:
      role === 'mesh' || role === 'upstream'
        ? { type: 'clock', clock: [...ledger.durableClock().entries()] }
        : undefined,
    ...(version >= RELAYS_SINCE && role !== 'mesh' ? { family: familyName(ledger.state) } : {}),
    ...(role === 'upstream' ? { tables: [...(await rememberedTables(ledger))] } : {}),
    post,
  }
}

/** What we have of the peer's changes. Throws `replica-cloned` when the last one that both have differs. */
async function readStream(
  ledger: Ledger,
  replica: number,
  hello: Hello,
): Promise<Pick<Welcome, 'yourSeq' | 'fingerprint'>> {
  const yourSeq = ledger.durableSeqOf(replica)
  const fingerprint = await readFingerprint(ledger, replica, Math.min(yourSeq, hello.ownSeq))
  if (hello.ownSeq === yourSeq && !sameFingerprint(hello.fingerprint, fingerprint)) throw cloned()
  return { yourSeq, fingerprint }
}

function negotiate(hello: Hello, [ourMin, ourMax]: Versions): number {
  const [min, max] = hello.versions
  const version = Math.min(max, ourMax)
  if (version >= min && version >= ourMin) return version
  throw new TidemarkError(
    'protocol-version',
    `the peer speaks protocol ${min} to ${max}, this side ${ourMin} to ${ourMax}`,
    {
      remedy: 'Update the older side',
    },
  )
}

async function refusalsOf(ledger: Ledger, replica: number, after: number, through: number): Promise<RefusalRecord[]> {
  if ((ledger.state.voidCounts[replica] ?? 0) === 0 || through <= after) return []
  const page = await ledger.store.range({ ...voidRange(replica, after, through), limit: REFUSALS_MAX })
  return page.map(({ key, value }) => [voidKeySeq(key), VOID_CODES[value[0] ?? 0] as VoidCode] as const)
}

/** Where a reader that stands at `resume` goes on. */
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
    position = Math.min(position, (await ledger.log.positionAfter(index, known)) ?? end)
  }
  return { type: 'log', position }
}

type Met = Pick<Meeting, 'replica' | 'post' | 'hasDefined'>

/** Makes the peer and its table definitions known. What a replica calls itself is remembered from its first hello on. */
class MeetReplica implements Job<Met> {
  readonly weight = 1
  readonly #hello: Hello
  readonly #tables: Tables
  readonly #gate: Gate
  readonly #nowMs: number
  #fresh: (readonly [string, string])[] = []
  #stored: readonly Definition[] = []
  /** Whom the replica belongs to. */
  #owner: string | undefined
  readonly #posting: Posting | undefined

  constructor(hello: Hello, { tables, gate, nowMs, isManned }: MeetOptions) {
    this.#gate = gate
    this.#posting = hello.relay && new Posting(hello.relay, gate.subject?.(), isManned)
    this.#hello = hello
    this.#tables = tables
    this.#nowMs = nowMs
  }

  async prepare(ledger: Ledger): Promise<void> {
    const { tables } = this.#hello
    expectDefinitions(tables)
    await this.#readOwner(ledger)
    await this.#posting?.read(ledger)
    const known = await readDefinitions(
      ledger,
      tables.map(([name]) => name),
    )
    this.#fresh = []
    for (const [index, [name, fingerprint]] of tables.entries()) {
      const ours = this.#tables.get(name)
      const expected = ours === undefined ? known[index] : tableFingerprint(ours)
      if (expected === undefined) this.#fresh.push([name, fingerprint])
      // A relay takes over ours: its clients are told when they come again.
      else if (expected !== fingerprint && this.#hello.relay === undefined) throw mismatch(name, expected, fingerprint)
    }
    this.#stored = this.#fresh.length === 0 ? [] : await listDefinitions(ledger)
  }

  async #readOwner({ state, store }: Ledger): Promise<void> {
    const replica = state.replicas.find(this.#hello.replica)
    const [bytes] = replica < 0 ? [] : await store.getMany([subjectKey(replica)])
    this.#owner = bytes === undefined ? undefined : asText(unpackRecord(bytes))
    if (this.#owner === undefined || this.#owner === this.#gate.subject?.()) return
    throw new TidemarkError('replica-cloned', 'this replica belongs to somebody else', {
      remedy: 'Whoever uses a store after somebody else has to go on under a replica id of their own',
    })
  }

  apply(draft: Draft): Met {
    const { state } = draft
    const isKnown = state.replicas.find(this.#hello.replica) >= 0
    const shortage = isKnown ? undefined : this.#gate.weigh?.(draft.usage, NEW_REPLICA)
    if (shortage !== undefined) throw quotaExceeded(shortage)
    const { mayDefine } = this.#gate
    const isRelay = this.#hello.relay !== undefined
    const fresh = this.#fresh.filter(([name]) => isRelay || (mayDefine?.(name) ?? true))
    remember(draft, fresh, { stored: this.#stored, replica: this.#hello.replica, nowMs: this.#nowMs })
    if (!isKnown) draft.touchMeta()
    const post = this.#posting?.take(draft)
    if (isRelay) noteRelay(draft)
    const replica = state.internReplica(this.#hello.replica)
    const subject = this.#gate.subject?.()
    if (subject !== undefined && this.#owner === undefined) draft.put(subjectKey(replica), packRecord(subject))
    return { replica, post, hasDefined: fresh.length > 0 }
  }
}
