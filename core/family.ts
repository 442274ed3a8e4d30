/**
 * Families: servers of one tenant that pass changes on to each other, and the one server at which a replica is at home.
 *
 * Admission happens once, at the first server that a change meets. So a replica asks one server only about a change, and relays
 * take what other servers have admitted. See docs/decisions/relays.md.
 *
 * Knows: who answers this store, and whether it may answer others. Must never know: sessions, frames.
 *
 * Invariants:
 * FM1  A change that was sent to the home and is not answered is pushed nowhere else.
 * FM2  A relay answers nobody before it has caught up with its upstream in this epoch of its log.
 * FM3  A relay never changes its family, and begins with an empty store: what it held before was admitted elsewhere.
 * FM4  No cursor into a relay's log outlives the opening of its store: a copy of it has another log under the same name.
 * FM5  What is defined while servers are connected is compared at once, by a new session; and who follows another definition
 *      than the upstream's hears of it then.
 */
import { rememberedTables, takeOver } from './definitions.ts'
import type { Draft, LogCursor } from './draft.ts'
import { TidemarkError } from './errors.ts'
import type { Job, Ledger } from './ledger.ts'
import { type Family, familyEntry, type LedgerState } from './ledger-state.ts'
import type { TableRecord, Welcome } from './message.ts'
import { note } from './note.ts'

/** What a server says of itself: the name under which it answers, which is that of its log or its post, and the root's log. */
export interface Relation {
  readonly home: string
  /** Undefined: it speaks a protocol that knows of no families. */
  readonly family: string | undefined
}

const NO_FAMILY: Family = { home: '', name: '', epoch: 0, offeredSeq: 0, post: '' }

function setFamily(draft: Draft, family: Family): void {
  const { key, value } = familyEntry(family)
  draft.put(key, value)
  draft.state.family = family
}

/** True for a relay, and for a server that has met one: its clients may hold what it does not. */
export function hasRelatives({ family }: LedgerState): boolean {
  return family !== undefined
}

function isRelay({ family, meta }: LedgerState): boolean {
  return family !== undefined && family.home !== meta.logId
}

/** The root's log, as a server tells it. */
export function familyName(state: LedgerState): string {
  return isRelay(state) ? (state.family as Family).name : state.meta.logId
}

// ── A client's ──────────────────────────────────────────────────────────────────────────────────────────────────────

/** While changes are being sent to the home, nobody knows how far: a crash leaves it at that. */
const ANY_SEQ = Number.MAX_SAFE_INTEGER

/**
 * Makes the server whose welcome was taken the home, or throws `not-home` (FM1). Behind the answers of that welcome. Answers with
 * the number of the pushing that begins, if there is something to push. `answeredSeq`: how far the server knows that we were
 * answered, by itself or because we said so.
 */
export function takeHome(server: Relation, answeredSeq: number): Job<number | undefined> {
  return note((draft) => {
    const { family: known, meta } = draft.state
    const { home, family: name = '' } = server
    const isMoving = known !== undefined && name !== '' && known.name === name && known.home !== home
    if (isMoving && Math.min(known.offeredSeq, meta.ownSeq) > meta.ackedSeq) {
      throw new TidemarkError(
        'not-home',
        `${meta.ownSeq - meta.ackedSeq} changes wait for an answer of another server`,
        {
          remedy:
            'Connect to the server that this replica was connected to before; then it may go to any other of the tenant',
        },
      )
    }
    // It would judge what the last home has accepted since.
    if (isMoving && meta.ackedSeq > answeredSeq) {
      throw new TidemarkError('not-home', 'another server has answered since the hello', { retryable: true })
    }
    const isSame = known?.home === home && known.name === name
    const family = isSame
      ? known
      : { ...NO_FAMILY, home, name, epoch: (known?.epoch ?? 0) + 1, offeredSeq: meta.ackedSeq }
    if (!isSame) setFamily(draft, family)
    return meta.ownSeq > meta.ackedSeq ? startPushing(draft, family) : undefined
  })
}

/** From now on changes may be sent to the home. */
export function beginPushing(home: Relation): Job<number> {
  return note((draft) => {
    const { family } = draft.state
    expectHome(draft.state, home)
    return family === undefined ? 0 : startPushing(draft, family)
  })
}

/** False when another session has begun since: it says how far it has come, and knows nothing of this one. */
export function isPushing({ family }: LedgerState, epoch: number | undefined): boolean {
  return epoch === 0 || (epoch !== undefined && family?.epoch === epoch)
}

/** Under a new id nothing was ever sent to anybody. */
export function forgetOffers(draft: Draft): void {
  const { family } = draft.state
  if (family !== undefined) setFamily(draft, { ...family, epoch: family.epoch + 1, offeredSeq: 0 })
}

/** A server of no family is asked as it always was. */
function startPushing(draft: Draft, family: Family): number {
  if (family.name === '') return 0
  const epoch = family.epoch + 1
  setFamily(draft, { ...family, epoch, offeredSeq: ANY_SEQ })
  return epoch
}

/** No more is sent, and what was sent ends here; unless somebody else has begun meanwhile. */
export function endPushing(epoch: number, offeredSeq: number): Job<void> {
  return note((draft) => {
    const { family } = draft.state
    if (family === undefined || family.epoch !== epoch || family.offeredSeq !== ANY_SEQ) return
    setFamily(draft, { ...family, offeredSeq })
  })
}

/** Throws when another server has become the home meanwhile: from now on that one is asked. */
export function expectHome({ family }: LedgerState, { home, family: name }: Relation): void {
  if (name === undefined || family === undefined || family.home === home) return
  throw new TidemarkError('replica-fenced', 'this replica has gone to another server')
}

// ── A relay's ───────────────────────────────────────────────────────────────────────────────────────────────────────

/**
 * Opens the store of a relay, or makes an empty one that. Each time that begins an epoch of its log: the log of a copied disk has
 * other changes at the same places, and who read the one must not go on in the other.
 */
export function becomeRelay(atMs: number): Job<void> {
  const nowMs = Math.floor(atMs)
  return note((draft) => {
    const { state } = draft
    const { meta, family } = state
    if (!isRelay(state) && (family !== undefined || meta.nextPosition > 1)) {
      throw new TidemarkError('store-foreign', 'the store was filled by a server of its own', {
        remedy: 'Let a relay begin with an empty store',
      })
    }
    const hasCaughtUp = family?.epoch === meta.epoch
    meta.epoch = Math.max(meta.epoch + 1, nowMs)
    setFamily(draft, { ...(family ?? NO_FAMILY), epoch: hasCaughtUp ? meta.epoch : 0 })
  })
}

/** Which of the definitions that are known here others have to hear of: all of them are news, some stood otherwise before. */
export interface TakenOver {
  readonly isNews: boolean
  readonly isOther: boolean
}

/** A relay has met its upstream: takes over its family, its post, and the definitions of tables that count. */
export class JoinFamily implements Job<TakenOver> {
  readonly weight = 1
  readonly #upstream: Relation
  readonly #post: string
  readonly #tables: readonly TableRecord[]
  readonly #said: readonly TableRecord[]
  #news: readonly TableRecord[] = []
  #isOther = false

  /** `said`: the tables of our hello. */
  constructor(upstream: Relation, post: string, tables: readonly TableRecord[], said: readonly TableRecord[]) {
    this.#said = said
    this.#upstream = upstream
    this.#post = post
    this.#tables = tables
  }

  async prepare(ledger: Ledger): Promise<void> {
    const known = await rememberedTables(ledger)
    const told = new Set([...this.#tables, ...this.#said].map(([name]) => name))
    if ([...known.keys()].some((name) => !told.has(name))) throw definedMeanwhile()
    this.#news = this.#tables.filter(([name, text]) => known.get(name) !== text)
    this.#isOther = this.#news.some(([name]) => known.has(name))
  }

  apply(draft: Draft): TakenOver {
    const { state } = draft
    const { home, family: name } = this.#upstream
    const known = isRelay(state) ? state.family : undefined
    if (known === undefined || name === undefined || (known.name !== '' && known.name !== name)) {
      throw new TidemarkError('store-foreign', 'the relay belongs to other servers than this upstream', {
        remedy: 'Connect it to a server of its family, or let it begin with an empty store',
      })
    }
    takeOver(draft, this.#news)
    const post = known.post || this.#post
    if (known.home !== home || known.name !== name || known.post !== post)
      setFamily(draft, { ...known, home, name, post })
    return { isNews: this.#news.length > 0, isOther: this.#isOther }
  }
}

/** A relay joins the family of the upstream whose welcome it took. `said`: the tables of its hello. */
export function joinFamily(
  ledger: Ledger,
  { logId, family, post = ledger.state.meta.logId, tables = [] }: Welcome,
  said: readonly TableRecord[],
): Promise<TakenOver> {
  return ledger.submit(new JoinFamily({ home: logId, family }, post, tables, said))
}

/** Sessions between servers compare definitions when they begin. */
export function definedMeanwhile(): TidemarkError {
  return new TidemarkError('unavailable', 'a table was defined: a new session compares what it is', { retryable: true })
}

/** Everything that the upstream had at a moment of this epoch is here. From now on the relay goes by its cursor. */
export function noteCaughtUp(cursor: LogCursor): Job<void> {
  return note((draft) => {
    const { family, meta } = draft.state
    if (family === undefined || family.epoch === meta.epoch) return
    setFamily(draft, { ...family, epoch: meta.epoch })
    draft.saveCursor(cursor)
  })
}

/** The name under which a server answers, where that is not its log's. */
export function postOf({ family, meta }: LedgerState): string | undefined {
  const post = family?.post
  return post === undefined || post === '' || post === meta.logId ? undefined : post
}

/** True while a relay waits for what its upstream has. */
export function isCatchingUp(state: LedgerState): boolean {
  return isRelay(state) && (state.family as Family).epoch !== state.meta.epoch
}

/** FM2. */
export function expectCaughtUp({ state }: Ledger): void {
  if (!isCatchingUp(state)) return
  throw new TidemarkError('unavailable', 'the relay has not yet caught up with its upstream', {
    retryable: true,
    remedy: 'It answers once it has reached its upstream',
  })
}

// ── A root's ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** A server meets a relay: from now on its clients may come from there. */
export function noteRelay(draft: Draft): void {
  const { family, meta } = draft.state
  if (family === undefined) setFamily(draft, { ...NO_FAMILY, home: meta.logId, name: meta.logId, epoch: meta.epoch })
}
