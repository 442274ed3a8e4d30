/**
 * Admission: what a server decides about the changes that a writer pushes.
 *
 * Knows: the order of the questions, and what an answer does to the log. Must never know: principals, plans, sockets.
 *
 * Invariants:
 * E1  Per replica, seqs arrive as 1, 2, 3 …: one that is held is compared and skipped, one that is not the next is a `gap`.
 * E4  Admission happens once, at the first server. A refused dot becomes void; what builds on it is refused with it;
 *     what follows it is not. A transaction is admitted or refused whole.
 * E6  A shortage stops at a transaction's edge: what came before is admitted, nothing behind it is touched. What a restored
 *     server has lost is such a shortage (`core/recovery.ts` V3).
 */
import { type BlockResolver, type ChangeEntry, type Entry, VOID_CODES, type VoidCode, type VoidEntry } from './block.ts'
import { canonicalEntry } from './block-writer.ts'
import { equalSlices } from './bytes.ts'
import { clockGet, type Dot } from './clock.ts'
import type { Draft } from './draft.ts'
import { TidemarkError } from './errors.ts'
import { hasRelatives } from './family.ts'
import { fingerprintOf } from './fingerprint.ts'
import { type Gate, growthOf, ProposedChange, type Shortage, voidGrowth } from './gate.ts'
import { type DecodedBlock, decodeAll, gap, transactionsOf } from './incoming.ts'
import { idFits, voidKey, voidKeySeq, voidRange } from './keys.ts'
import type { Ledger, SlicedJob } from './ledger.ts'
import { type LedgerState, scanRange } from './ledger-state.ts'
import type { ReplicaId } from './names.ts'
import { isNewName, NewNames } from './new-names.ts'
import { isRecovering, lostChanges } from './recovery.ts'
import { RowBounds } from './row-bounds.ts'
import type { RowEntry } from './row-cache.ts'
import type { Slices } from './slices.ts'
import { msToTimestamp } from './timestamp.ts'

export interface Refusal {
  readonly seq: number
  readonly code: VoidCode
}

export interface Admission {
  /** Every seq of the writer up to here has its answer. */
  readonly throughSeq: number
  readonly refusals: readonly Refusal[]
  /** Why nothing after `throughSeq` was looked at. */
  readonly shortage: Shortage | undefined
  /** The change of another replica that the writer waits for. */
  readonly awaited: Dot | undefined
  /** True when all of it was sent before its writer knew of a pause: it will come again. */
  readonly isEarly: boolean
  /** The timestamp of the last change that came, whatever became of it; 0 when there was none. */
  readonly lastTimestamp: number
}

export interface AdmitOptions {
  readonly blocks: readonly Uint8Array[]
  /** The session's replica, by index: nobody else's changes are taken. */
  readonly replica: number
  readonly nowMs: number
  readonly gate: Gate
  /** True while the writer is paused: a push that goes on beyond the pause was under way, and is no gap. */
  readonly isPaused: boolean
  /** The seq up to which the writer has been answered, as it says: more than is held when that was lost. */
  readonly answeredSeq: number
}

/** Flags, stamps and counts of a change: less than a writer reckons with, so that none is refused that it let pass. */
const CHANGE_OVERHEAD_BYTES = 16

/** A slice of judging or applying ends after so many changes, one of reading what was refused after so many look-ups. */
const SLICE_CHANGES = 4
/** Whose row is large counts for more: for one more with each so many bytes. */
const SLICE_ROW_BYTES = 16_384
const SLICE_READS = 64

/** Dots of replicas that the server never heard of are in the future by definition: indexes beyond any dictionary. */
const UNKNOWN_REPLICA = 2 ** 32
const NO_FINGERPRINT = new Uint8Array(0)

/** Such a change has no form of its own here: its context cannot be spelled out. */
function namesUnknown({ context }: ChangeEntry): boolean {
  return context.length > 0 && (context[context.length - 2] as number) >= UNKNOWN_REPLICA
}

export class AdmitChanges implements SlicedJob<Admission> {
  readonly weight: number
  readonly #options: AdmitOptions
  #decoded: DecodedBlock[] = []
  #newNames: NewNames | undefined
  #voids = new Set<number>()
  #unappendedBytes = 0
  /** Dots that were pushed before and are void: their writer may not have heard of it. */
  #heldRefusals: Refusal[] = []
  /** What was held of the writer when the entries were compared with it. */
  #checkedSeq = 0
  /** Replicas that are unknown here, by the indexes that stand for them. */
  readonly #strangers = new Map<number, ReplicaId>()
  #awaited: Dot | undefined
  /** What the slice under way has done, in changes of small rows. */
  #sliced = 0

  constructor(options: AdmitOptions) {
    this.#options = options
    let bytes = 0
    for (const block of options.blocks) bytes += block.length
    this.weight = Math.ceil(bytes / 64)
  }

  async prepare(ledger: Ledger): Promise<void> {
    const { state } = ledger
    const { replica, blocks } = this.#options
    let unknown = UNKNOWN_REPLICA
    const names = new NewNames(state)
    this.#newNames = names
    const resolver: BlockResolver = {
      replica: (id, isAuthor) => {
        const index = state.replicas.find(id)
        if (isAuthor && index !== replica) {
          throw new TidemarkError('forbidden', 'a push holds changes of another replica than the session’s')
        }
        if (index >= 0) return index
        this.#strangers.set(unknown, id)
        return unknown++
      },
      name: (name) => names.numberOf(name),
    }
    this.#decoded = await ledger.inTurns(decodeAll(ledger, blocks, resolver))
    const entries = this.#decoded.flatMap((decoded) => decoded.entries)
    this.#checkedSeq = state.seqOf(replica)
    await this.#expectSame(ledger, entries)
    await this.#readVoids(ledger, entries)
    this.#heldRefusals = await this.#readHeldRefusals(ledger, entries)
  }

  /** A dot that is held already must come with the content it had. */
  async #expectSame(ledger: Ledger, entries: readonly Entry[]): Promise<void> {
    const { replica } = this.#options
    for (const entry of entries) {
      if (entry.seq > ledger.state.seqOf(replica)) break
      const turn = ledger.turn()
      if (turn !== undefined) await turn
      const held = await ledger.log.entryOf(replica, entry.seq)
      if (held === undefined || entry.op === 'void') continue
      if (!(await this.#isSame(ledger, held.entry, entry))) {
        throw new TidemarkError('dot-conflict', `seq ${entry.seq} of this replica is already held with other content`, {
          remedy: 'The replica was copied or restored: it needs a new id',
        })
      }
    }
  }

  /** Of a refused change only the fingerprint is held. */
  async #isSame(ledger: Ledger, held: Entry, pushed: ChangeEntry): Promise<boolean> {
    if (namesUnknown(pushed)) return false
    if (held.op === 'void') {
      const [record] = await ledger.store.getMany([voidKey(held.replica, held.seq)])
      const ours = record?.subarray(1) ?? NO_FINGERPRINT
      const theirs = this.#fingerprintOf(pushed, ledger.state)
      return ours.length === 0 || equalSlices(ours, 0, ours.length, theirs, 0, theirs.length)
    }
    const ours = canonicalEntry(held, ledger.state)
    const theirs = canonicalEntry(pushed, this.#newNames?.dictionaries ?? ledger.state)
    return equalSlices(ours, 0, ours.length, theirs, 0, theirs.length)
  }

  async #readVoids(ledger: Ledger, entries: readonly Entry[]): Promise<void> {
    const { replica } = this.#options
    this.#voids = new Set()
    if ((ledger.state.voidCounts[replica] ?? 0) === 0) return
    const seqs = new Set<number>()
    for (const entry of entries) if (entry.op !== 'void') seqs.add(clockGet(entry.context, replica))
    const asked = [...seqs]
    while (asked.length > 0) {
      const turn = ledger.turn()
      if (turn !== undefined) await turn
      const some = asked.splice(0, SLICE_READS)
      const found = await ledger.store.getMany(some.map((seq) => voidKey(replica, seq)))
      for (const [index, value] of found.entries()) if (value !== undefined) this.#voids.add(some[index] as number)
    }
  }

  /** Of what came, and of nothing that lies between: whoever pushes its first change and its last has asked about those two. */
  async #readHeldRefusals(ledger: Ledger, entries: readonly Entry[]): Promise<Refusal[]> {
    const { replica } = this.#options
    const codes = new Map<number, VoidCode>()
    if ((ledger.state.voidCounts[replica] ?? 0) === 0) return []
    for (const [first, last] of runsOf(entries)) {
      const through = Math.min(ledger.state.seqOf(replica), last)
      if (first > through) continue
      const turn = ledger.turn()
      if (turn !== undefined) await turn
      for await (const { key, value } of scanRange(ledger.store, voidRange(replica, first - 1, through)))
        codes.set(voidKeySeq(key), VOID_CODES[value[0] ?? 0] as VoidCode)
    }
    return [...codes].map(([seq, code]) => ({ seq, code }))
  }

  *applyInSlices(draft: Draft, ledger: Ledger): Slices<Admission> {
    const { names } = draft.state
    const known = names.size
    try {
      return yield* this.#admitAll(draft, ledger)
    } catch (error) {
      names.truncate(known)
      throw error
    }
  }

  *#admitAll(draft: Draft, ledger: Ledger): Slices<Admission> {
    this.#unappendedBytes = 0
    const refusals: Refusal[] = [...this.#heldRefusals]
    const appends: (() => void)[] = []
    const { replica } = this.#options
    this.#expectChecked(draft.state)
    let position = draft.state.meta.nextPosition
    let shortage: Shortage | undefined
    let isEarly = this.#options.isPaused
    this.#awaited = undefined
    for (const { block, entries, rows } of this.#decoded) {
      isEarly &&= (entries[0]?.seq ?? 0) > draft.state.seqOf(replica) + 1
      if (isEarly) continue
      if (shortage !== undefined) break
      const kept: Entry[] = []
      const previous: number[] = []
      let isWhole = true
      let at = 0
      for (const transaction of transactionsOf(entries)) {
        const start = at
        at += transaction.length
        let fresh = freshOf(draft.state, transaction)
        if (fresh.length < transaction.length) isWhole = false
        if (fresh.length === 0) continue
        let freshRows = rows.slice(start + transaction.length - fresh.length, at)
        const names = this.#namesOf(fresh)
        if (names !== undefined)
          [fresh, freshRows] = respell(fresh, freshRows, names, (entry) => names.spellKnown(entry))
        const code = yield* this.#judge(draft, ledger, fresh, freshRows)
        shortage = this.#awaitLost(draft, fresh, code) ?? this.#weigh(draft, fresh, freshRows, code)
        if (shortage !== undefined) {
          isWhole = false
          break
        }
        if (names !== undefined && code === undefined) {
          ;[fresh, freshRows] = respell(fresh, freshRows, names, (entry) => names.learn(entry))
        }
        for (let index = 0; index < fresh.length; index++) {
          const entry = fresh[index] as Entry
          if (code !== undefined && entry.op !== 'void') {
            isWhole = false
            refusals.push({ seq: entry.seq, code })
            kept.push(this.#refuse(draft, entry, code))
            previous.push(0)
          } else {
            kept.push(entry)
            previous.push(this.#admit(draft, entry, freshRows[index], position))
          }
          position++
          if (this.#isSliceOver(freshRows[index])) yield
        }
      }
      if (isWhole) appends.push(() => draft.appendBlock(block, entries, previous))
      else if (kept.length > 0) appends.push(() => draft.appendEntries([replica], kept, previous, block.length))
    }
    for (const append of appends) {
      append()
      yield
    }
    const awaited = shortage === undefined ? undefined : this.#awaited
    const throughSeq = Math.min(draft.state.seqOf(replica), this.#lastSeq())
    return { throughSeq, refusals, shortage, awaited, isEarly, lastTimestamp: this.#lastTimestamp() }
  }

  /** An answer is about what was pushed: of what is held beyond that, nobody has looked up the refusals. */
  #lastSeq(): number {
    return this.#decoded.reduce((last, { entries }) => Math.max(last, entries[entries.length - 1]?.seq ?? 0), 0)
  }

  #lastTimestamp(): number {
    const entry = this.#decoded[this.#decoded.length - 1]?.entries.findLast(({ op }) => op !== 'void')
    return entry === undefined || entry.op === 'void' ? 0 : entry.timestamp
  }

  /** Whether a transaction that would be refused waits instead: for what the store may have lost, or because it passed before (V3). */
  #awaitLost(draft: Draft, transaction: readonly Entry[], code: VoidCode | undefined): Shortage | undefined {
    const { answeredSeq, nowMs } = this.#options
    const { state } = draft
    if (code === undefined) return undefined
    const isAnswered = transaction.some(({ op, seq }) => op !== 'void' && seq <= answeredSeq)
    const isAwaiting = this.#awaited !== undefined && (isRecovering(state, nowMs) || hasRelatives(state))
    if (!isAnswered && !isAwaiting) return undefined
    // Whoever has accepted it may bring it.
    const [first] = transaction
    if (this.#awaited === undefined && first !== undefined)
      this.#awaited = { replica: state.replicas.textOf(first.replica) as ReplicaId, seq: first.seq }
    const index = this.#awaited === undefined ? -1 : state.replicas.find(this.#awaited.replica)
    return lostChanges(this.#awaited, index < 0 ? 0 : state.seqOf(index))
  }

  /** The new names, if the transaction uses any. */
  #namesOf(transaction: readonly Entry[]): NewNames | undefined {
    const names = this.#newNames
    return names !== undefined && transaction.some((entry) => names.isUsedBy(entry)) ? names : undefined
  }

  /** Whether there is room for a transaction, or for the voids that are left of it. Counts what waits to be appended. */
  #weigh(
    draft: Draft,
    transaction: readonly Entry[],
    rows: readonly (RowEntry | undefined)[],
    code: VoidCode | undefined,
  ): Shortage | undefined {
    const { weigh } = this.#options.gate
    if (weigh === undefined) return undefined
    const growth = code === undefined ? growthOf(transaction, rows) : voidGrowth(transaction)
    const { usage } = draft
    const storedBytes = usage.storedBytes + this.#unappendedBytes
    const shortage = weigh({ ...usage, storedBytes }, growth)
    // The rows are counted at once; of what was reckoned for the log, half is right.
    if (shortage === undefined) this.#unappendedBytes += Math.ceil(growth.storedBytes / 2)
    return shortage
  }

  /** An older session of the same replica may have pushed in this very commit: then nobody has compared, nor read its voids. */
  #expectChecked(state: LedgerState): void {
    if (state.seqOf(this.#options.replica) === this.#checkedSeq) return
    throw new TidemarkError('unavailable', 'another session of this replica pushed at the same moment', {
      retryable: true,
    })
  }

  #refuse(draft: Draft, entry: ChangeEntry, code: VoidCode): VoidEntry {
    const refused: VoidEntry = { op: 'void', replica: entry.replica, seq: entry.seq, code }
    draft.raiseSeq(entry.replica, entry.seq)
    draft.addVoid(refused, namesUnknown(entry) ? NO_FINGERPRINT : this.#fingerprintOf(entry, draft.state))
    this.#voids.add(entry.seq)
    return refused
  }

  #fingerprintOf(entry: ChangeEntry, state: LedgerState): Uint8Array {
    return fingerprintOf(entry, this.#newNames?.dictionaries ?? state)
  }

  #admit(draft: Draft, entry: Entry, row: RowEntry | undefined, position: number): number {
    draft.raiseSeq(entry.replica, entry.seq)
    if (entry.op === 'void') {
      draft.addVoid(entry, NO_FINGERPRINT)
      this.#voids.add(entry.seq)
    }
    if (entry.op === 'void' || row === undefined) return 0
    const before = row.position
    draft.apply(row, entry, position, 'remote')
    return before
  }

  /** The reason to refuse a transaction, if there is one. Its changes may build on each other. */
  *#judge(
    draft: Draft,
    ledger: Ledger,
    transaction: readonly Entry[],
    rows: readonly (RowEntry | undefined)[],
  ): Slices<VoidCode | undefined> {
    const bounds = new RowBounds(draft.state.replicas, ledger.limits.headsPerRowMax, transaction.length)
    for (let index = 0; index < transaction.length; index++) {
      const entry = transaction[index] as Entry
      if (entry.op === 'void') continue
      const row = rows[index]
      const code =
        this.#judgeChange(draft, ledger, entry) ?? bounds.refusalOf(entry, row) ?? this.#ask(draft, entry, row)
      if (code !== undefined) return code
      if (this.#isSliceOver(row)) yield
    }
    return undefined
  }

  #isSliceOver(row: RowEntry | undefined): boolean {
    this.#sliced += 1 + (row?.bytes.length ?? 0) / SLICE_ROW_BYTES
    if (this.#sliced < SLICE_CHANGES) return false
    this.#sliced = 0
    return true
  }

  #judgeChange(draft: Draft, ledger: Ledger, entry: ChangeEntry): VoidCode | undefined {
    const { replica, nowMs } = this.#options
    const { state } = draft
    this.#awaited = undefined
    const built = clockGet(entry.context, replica)
    if (built >= entry.seq) return 'unknown-context'
    if (this.#voids.has(built)) return 'void-context'
    for (let at = 0; at < entry.context.length; at += 2) {
      const author = entry.context[at] as number
      const seq = entry.context[at + 1] as number
      if (author === replica || state.seqOf(author) >= seq) continue
      this.#awaited = { replica: this.#strangers.get(author) ?? (state.replicas.textOf(author) as ReplicaId), seq }
      return 'unknown-context'
    }
    if (!isWithinLimits(entry, ledger)) return 'too-large'
    return entry.timestamp > msToTimestamp(nowMs + ledger.limits.skewMs) ? 'clock-skew' : undefined
  }

  #ask({ state }: Draft, entry: ChangeEntry, row: RowEntry | undefined): VoidCode | undefined {
    return this.#options.gate.judge?.(new ProposedChange(entry, row, this.#newNames?.dictionaries ?? state))
  }
}

/** About what `LocalWrite` counts: bytes of the change, fields, bytes of the id. */
function isWithinLimits({ id, context, versions }: ChangeEntry, { limits }: Ledger): boolean {
  let bytes = CHANGE_OVERHEAD_BYTES + id.length + context.length * 2
  for (const { start, end } of versions) bytes += end - start
  return bytes <= limits.changeBytesMax && versions.length <= limits.fieldsPerRowMax && idFits(id, limits)
}

/** Seqs that follow each other, from the first to the last of each run. */
function* runsOf(entries: readonly Entry[]): Generator<readonly [first: number, last: number]> {
  let [first, last] = [0, -1]
  for (const { seq } of entries) {
    if (seq !== last + 1) {
      if (last > 0) yield [first, last]
      first = seq
    }
    last = seq
  }
  if (last > 0) yield [first, last]
}

/** The entries of one writer's transaction that are not held yet; they must follow what is, and each other. */
function freshOf(state: LedgerState, transaction: readonly Entry[]): readonly Entry[] {
  const held = state.seqOf((transaction[0] as Entry).replica)
  const isFresh = (transaction[0] as Entry).seq > held
  const fresh = isFresh ? transaction : transaction.filter((entry) => entry.seq > held)
  let next = held
  for (const { seq } of fresh) if (seq !== ++next) throw gap(held, seq)
  return fresh
}

/** A transaction in other terms, with the rows of its tables as far as those are known. */
function respell(
  transaction: readonly Entry[],
  rows: readonly (RowEntry | undefined)[],
  names: NewNames,
  spell: (entry: ChangeEntry) => ChangeEntry,
): [Entry[], (RowEntry | undefined)[]] {
  const entries = transaction.map((entry) => (entry.op === 'void' ? entry : spell(entry)))
  const found = entries.map((entry, index) =>
    entry.op === 'void' || isNewName(entry.table) ? undefined : (rows[index] ?? names.rowOf(entry)),
  )
  return [entries, found]
}
