/**
 * What one disk holds, followed commit by commit: the oracle's side of it as sets of changes, and the engine's side as it
 * stands in the bytes. The two are compared after every commit.
 *
 * Knows: the order in which one commit's parts take effect. Must never know: sessions, networks, processes.
 *
 * What is checked, each with the promise it belongs to:
 * 1  A log entry is the next of its writer, was written before with the same content, and builds on nothing that is
 *    missing (gapless, once, causal).
 * 2  A row is what its set of changes makes of it: heads, versions of fields, clock, index of conflicts (exact).
 * 3  An own change is answered only when the server has it on disk, or when it is listed as rejected (kept).
 * 4  Counters and clock of the store are those of the sets (gapless).
 */

import type { StoreCommit } from '../../core/store.ts'
import { BrokenPromise, type PromiseName } from './broken-promise.ts'
import { type CommitFacts, type LogEntry, type MetaFacts, readCommit, type StoreDictionaries } from './facts.ts'
import { type Bits, clockText, dotOf, type History, NO_CHANGES, type Recorded, type RowHistory } from './history.ts'
import { describeDifference, heldInWords } from './in-words.ts'
import { hashText } from './random.ts'

/** What a commit brought, for people. */
export type News =
  | { readonly type: 'writes'; readonly change: Recorded }
  | { readonly type: 'takes'; readonly change: Recorded }
  | { readonly type: 'rejects'; readonly change: Recorded }
  | { readonly type: 'refuses'; readonly change: Recorded; readonly code: string; readonly isFirst: boolean }
  | { readonly type: 'restores'; readonly rows: readonly string[] }
  | { readonly type: 'renews' }

export class View {
  /** What the last commit brought. */
  readonly news: News[] = []
  readonly name: string
  readonly history: History
  /** Number of the disk's own replica. */
  own = -1
  meta: MetaFacts | undefined
  /** Restored from a backup, or copied: its identity is no longer its own. */
  isTainted = false
  /** Two machines run with it, or did. */
  hasTwin = false
  /** It has gone on under a new id: sessions of the old one may still hear of it. */
  hasRenewed = false
  /** A snapshot is arriving, or the log has not yet come to where its last rows were read: rows are ahead of the clock. */
  isRestoring = false
  readonly known: Map<RowHistory, Bits> = new Map()
  readonly clock: Map<number, number> = new Map()
  /** Own changes by seq. */
  readonly local: Map<number, Recorded> = new Map()
  readonly rejected: Set<number> = new Set()
  /** Those of ids that this disk had before. */
  readonly formerlyRejected: number[] = []
  /** Ids that this disk had before, by number. */
  readonly formerIds: Set<number> = new Set()
  /** What a refused change was issued again as, by its seq. */
  readonly reissued: Map<number, number> = new Map()
  /** Where the log has each change. */
  readonly positions: Map<Recorded, number> = new Map()
  readonly #dictionaries: StoreDictionaries = { replicas: [], names: [] }
  readonly #texts = new Map<string, string>()
  readonly #listed = new Set<string>()
  readonly #withdrawals = new Set<(seq: number) => boolean>()
  readonly #shapes = new Map<RowHistory, { readonly isConflicted: boolean; readonly isAlive: boolean }>()
  #isSnapshotOpen = false
  #isRenewed = false
  #nextPosition = 1
  #changes = 0
  #voids = 0
  #conflicts = 0
  #rows = 0
  #stateSum = 0
  #clockSum = 0

  constructor(name: string, history: History) {
    this.name = name
    this.history = history
  }

  /** Equal for views whose clocks are equal; the other way round it is only likely. */
  get clockSum(): number {
    return this.#clockSum
  }

  /** Equal for equal rows; the other way round it is only likely. */
  get stateSum(): number {
    return this.#stateSum
  }

  get clockText(): string {
    return clockText(this.clock)
  }

  /** Own changes that this disk still waits for an answer to. */
  get unanswered(): number {
    let count = 0
    for (const change of this.local.values()) {
      if (!this.history.isAccepted(change) && !this.rejected.has(change.seq)) count++
    }
    return count
  }

  get conflictCount(): number {
    return this.#conflicts
  }

  knownOf(row: RowHistory): Bits {
    return this.known.get(row) ?? NO_CHANGES
  }

  /** The row as it stands in the bytes. */
  textOf(row: RowHistory): string {
    return this.#texts.get(row.name) ?? ''
  }

  copy(name: string): View {
    const copy = new View(name, this.history)
    copy.own = this.own
    copy.meta = this.meta
    copy.isTainted = this.isTainted
    copy.hasTwin = this.hasTwin
    copy.hasRenewed = this.hasRenewed
    copy.isRestoring = this.isRestoring
    copyMap(this.known, copy.known)
    copyMap(this.clock, copy.clock)
    copyMap(this.local, copy.local)
    copyMap(this.positions, copy.positions)
    copyMap(this.#texts, copy.#texts)
    copyMap(this.#shapes, copy.#shapes)
    for (const seq of this.rejected) copy.rejected.add(seq)
    copy.formerlyRejected.push(...this.formerlyRejected)
    for (const id of this.formerIds) copy.formerIds.add(id)
    copyMap(this.reissued, copy.reissued)
    for (const name of this.#listed) copy.#listed.add(name)
    copy.#dictionaries.replicas.push(...this.#dictionaries.replicas)
    copy.#dictionaries.names.push(...this.#dictionaries.names)
    copy.#isSnapshotOpen = this.#isSnapshotOpen
    copy.#nextPosition = this.#nextPosition
    copy.#changes = this.#changes
    copy.#voids = this.#voids
    copy.#conflicts = this.#conflicts
    copy.#rows = this.#rows
    copy.#stateSum = this.#stateSum
    copy.#clockSum = this.#clockSum
    return copy
  }

  // ── One commit ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Takes a commit that has just become durable. Answers with the changes that were written in it. */
  take(commit: StoreCommit): readonly Recorded[] {
    this.news.length = 0
    const facts = readCommit(commit, this.history, this.#dictionaries)
    const isFirst = this.meta === undefined
    const before = this.meta
    if (facts.meta !== undefined) {
      const isRenewed = before !== undefined && before.replicaId !== facts.meta.replicaId && before.authority === 0
      if (isRenewed) this.news.push({ type: 'renews' })
      if (isRenewed) this.#renew(facts, before, facts.meta)
      this.meta = facts.meta
      this.#takeIdentity(this.history.replicaNumber(facts.meta.replicaId))
    }
    if (isFirst) this.#changes = facts.meta?.changes ?? 0
    const touched = new Set<RowHistory>()
    if (facts.snapshot === 'rows') this.#takeSnapshotRows(facts)
    if (!this.#isRenewed) for (const seq of facts.rejected) this.#takeRejection(seq, touched)
    for (const [seq, before] of facts.reissued) this.#takeReissue(before, seq)
    const written = this.#takeLog(facts, touched)
    if (this.#isRenewed) for (const row of this.known.keys()) touched.add(row)
    this.#isRenewed = false
    this.#takeClock(facts)
    for (const { name, isListed } of facts.conflictIndex) {
      if (isListed) this.#listed.add(name)
      else this.#listed.delete(name)
    }
    this.#takeRows(facts, touched)
    for (const row of touched) this.#checkRow(row)
    if (facts.snapshot === 'end') this.#endSnapshot()
    this.isRestoring &&= this.#isSnapshotOpen || this.isAhead
    this.#checkMeta(before?.replicaId === this.meta?.replicaId ? before : undefined)
    return written
  }

  /** A server that begins an epoch writes under another id: what it wrote before is somebody else's. */
  #takeIdentity(own: number): void {
    if (own !== this.own) this.local.clear()
    this.own = own
    this.history.nameWriter(own, this.name)
  }

  #takeSnapshotRows({ rows }: CommitFacts): void {
    this.isRestoring = true
    this.#isSnapshotOpen = true
    this.news.push({ type: 'restores', rows: rows.map(({ table, id }) => `${table}/${id}`) })
    for (const { table, id, clock, row: text } of rows) {
      if (text === undefined) continue
      const row = this.history.row(table, id)
      let set = this.knownOf(row)
      for (const change of row.changes) {
        if (change.replica === this.own || change.seq > (clock.get(change.replica) ?? 0)) continue
        if (this.history.isAccepted(change)) set |= change.bit
      }
      this.known.set(row, set)
    }
  }

  #endSnapshot(): void {
    this.#isSnapshotOpen = false
    const missing = this.missingChange()
    if (missing !== undefined) this.#fail('gapless', `a snapshot ended, but ${name(missing)} is missing`)
  }

  /** Rows hold something that the clock does not cover: a part of a snapshot whose rest has not come. */
  get isAhead(): boolean {
    for (const [row, set] of this.known) {
      for (const { bit, replica, seq } of row.changes) {
        if ((set & bit) !== NO_CHANGES && seq > (this.clock.get(replica) ?? 0)) return true
      }
    }
    return false
  }

  /** A change that the clock covers and the rows do not hold. */
  missingChange(): Recorded | undefined {
    for (const row of this.history.rows.values()) {
      const set = this.knownOf(row)
      for (const change of row.changes) {
        const isCovered = change.seq <= (this.clock.get(change.replica) ?? 0)
        if (!isCovered || change.replica === this.own || !this.history.isAccepted(change)) continue
        if ((set & change.bit) === NO_CHANGES) return change
      }
    }
    return undefined
  }

  /** A refused change is taken out of its row, with the own changes that build on it. */
  #takeRejection(seq: number, touched: Set<RowHistory>): void {
    const refused = this.local.get(seq)
    if (refused === undefined) return this.#fail('kept', `seq ${seq} is listed as rejected and was never written here`)
    const isTakenBack = this.#isTakenBack(refused)
    if (isTakenBack) this.history.withdraw(refused)
    if (!isTakenBack && !this.history.voids.has(dotOf(this.own, seq)))
      this.#fail('kept', `${name(refused)} is listed as rejected, and no server refused it`)
    this.rejected.add(seq)
    this.news.push({ type: 'rejects', change: refused })
    let gone = refused.bit
    for (const change of refused.row.changes) {
      if (this.local.get(change.seq) === change && (change.seen & gone) !== NO_CHANGES) gone |= change.bit
    }
    this.known.set(refused.row, this.knownOf(refused.row) & ~gone)
    touched.add(refused.row)
  }

  /** The app takes back what `isChosen` says, with what belongs to it. Answers with the end of that. */
  beginWithdrawal(isChosen: (seq: number) => boolean): () => void {
    this.#withdrawals.add(isChosen)
    return () => void this.#withdrawals.delete(isChosen)
  }

  /** The process that took something back is gone. */
  endWithdrawals(): void {
    this.#withdrawals.clear()
  }

  /** No server has answered it, and it was chosen, or shares a transaction with what was, or with what builds on that. */
  #isTakenBack(change: Recorded): boolean {
    const { history } = this
    const dot = dotOf(change.replica, change.seq)
    if (this.#withdrawals.size === 0 || history.voids.has(dot)) return false
    if (history.acceptedOf(dot) !== undefined && !this.hasTwin)
      this.#fail('kept', `${name(change)} is taken back, and a server has accepted it`)
    const mates = [...this.local.values()].filter(({ transaction }) => transaction === change.transaction)
    return mates.some(
      (mate) =>
        [...this.#withdrawals].some((isChosen) => isChosen(mate.seq)) ||
        mate.row.changes.some(
          (other) =>
            (mate.seen & other.bit) !== NO_CHANGES &&
            this.local.get(other.seq) === other &&
            this.rejected.has(other.seq),
        ),
    )
  }

  #takeLog(facts: CommitFacts, touched: Set<RowHistory>): Recorded[] {
    const written: Recorded[] = []
    const end = this.#nextPosition
    for (const { position, entries } of facts.records) {
      // Written anew in place: see #renew.
      if (position < end && this.#isRenewed) continue
      if (position !== this.#nextPosition)
        this.#fail('gapless', `a log record stands at ${position}, the next place is ${this.#nextPosition}`)
      this.#nextPosition += entries.length
      let transaction = 0
      for (const [index, entry] of entries.entries()) {
        this.#takeSeq(entry)
        if (entry.type === 'void') {
          this.#takeVoid(entry)
          continue
        }
        if (transaction === 0) transaction = entry.seq
        const isOwn = entry.replica === this.own
        const change = isOwn ? this.#write(entry, transaction, facts.reissued) : this.#receive(entry)
        if (isOwn) written.push(change)
        this.news.push({ type: isOwn ? 'writes' : 'takes', change })
        if (!entry.more) transaction = 0
        this.#changes++
        this.known.set(change.row, this.knownOf(change.row) | change.bit)
        this.positions.set(change, position + index)
        touched.add(change.row)
      }
    }
    return written
  }

  /** The disk goes on under a new id: what nobody had answered stands in the same places, issued again or rejected. */
  #renew({ records, rejected }: CommitFacts, before: MetaFacts, { replicaId }: MetaFacts): void {
    const [old, fresh] = [this.own, this.history.replicaNumber(replicaId)]
    const places = new Map([...this.positions].map(([change, position]) => [position, change]))
    const pairs: (readonly [before: Recorded, after: Recorded])[] = []
    const lost = new Set<Recorded>()
    for (const { position, entries } of records) {
      for (const [index, entry] of entries.entries()) {
        const change = places.get(position + index)
        if (entry.replica !== fresh || change === undefined) continue
        // It is listed already, and stays a void.
        if (entry.type === 'void' && this.rejected.has(change.seq)) {
          this.#giveUp(change, entry, before.ackedSeq, pairs)
          this.positions.delete(change)
          continue
        }
        if (entry.type === 'void') lost.add(change)
        if (entry.type === 'change') pairs.push([change, this.#issueAgain(change, entry, before.ackedSeq, pairs)])
        else pairs.push([change, this.#giveUp(change, entry, before.ackedSeq, pairs)])
      }
    }
    if (`${rejected}` !== `${pairs.filter(([change]) => lost.has(change)).map(([, { seq }]) => seq)}`)
      this.#fail('kept', `a renewal lists ${rejected} as rejected, and not what it gave up`)
    this.#checkGivenUp(lost)
    this.#checkIssuedOnce(pairs)
    this.#setClock(old, before.ackedSeq)
    if (before.ackedSeq === 0) this.clock.delete(old)
    if (before.ownSeq > before.ackedSeq) this.#setClock(fresh, before.ownSeq - before.ackedSeq)
    this.formerlyRejected.push(...this.rejected)
    this.formerIds.add(old)
    this.rejected.clear()
    this.reissued.clear()
    this.local.clear()
    for (const [change, again] of pairs) {
      const set = this.knownOf(change.row)
      const isLost = lost.has(change)
      const after = isLost ? NO_CHANGES : again.bit
      if ((set & change.bit) !== NO_CHANGES) this.known.set(change.row, (set & ~change.bit) | after)
      if (isLost) this.rejected.add(again.seq)
      else this.positions.set(again, this.positions.get(change) ?? 0)
      this.positions.delete(change)
      this.local.set(again.seq, again)
    }
    this.own = fresh
    this.#isRenewed = true
    this.isTainted = false
    this.hasRenewed = true
  }

  /** What a renewal rejects instead of issuing it again; nobody else has ever seen it under its new name. */
  #giveUp(
    change: Recorded,
    { replica, seq, code }: Extract<LogEntry, { readonly type: 'void' }>,
    ackedSeq: number,
    pairs: readonly (readonly [before: Recorded, after: Recorded])[],
  ): Recorded {
    this.history.voids.set(dotOf(replica, seq), code)
    this.#voids++
    this.#changes--
    const { op, timestamp, values, row } = change
    const seen = seenUnderNewNames(change, pairs)
    const { table, id } = row
    const transaction = change.transaction - ackedSeq
    const content = `${change.content}, given up`
    return this.history.record({ replica, seq, op, timestamp, values, content, table, id, seen, transaction })
  }

  /** What the server took from this very store it is asked about first; a copy may hand in the same at any time. */
  #checkIssuedOnce(pairs: readonly (readonly [before: Recorded, after: Recorded])[]): void {
    if (this.hasTwin) return
    for (const [change, again] of pairs) {
      if (this.history.isAccepted(change))
        this.#fail('once', `${name(change)}, which the server has, is issued again as ${name(again)}`)
    }
  }

  /** Only what builds on something that was refused, or shares a transaction with that; and all of it. */
  #checkGivenUp(lost: ReadonlySet<Recorded>): void {
    for (const change of this.local.values()) {
      if (change.seq <= (this.meta?.ackedSeq ?? 0) || this.rejected.has(change.seq)) continue
      const mates = [...this.local.values()].filter(({ transaction }) => transaction === change.transaction)
      const isBuilt = mates.some(({ seen, row }) =>
        row.changes.some(
          (other) =>
            (seen & other.bit) !== NO_CHANGES &&
            this.local.get(other.seq) === other &&
            !mates.includes(other) &&
            (this.rejected.has(other.seq) || lost.has(other)),
        ),
      )
      if (isBuilt !== lost.has(change))
        this.#fail('kept', `${name(change)} was ${isBuilt ? 'issued again' : 'given up'} under a new id`)
    }
  }

  #issueAgain(
    change: Recorded,
    entry: Extract<LogEntry, { readonly type: 'change' }>,
    ackedSeq: number,
    pairs: readonly (readonly [before: Recorded, after: Recorded])[],
  ): Recorded {
    if (entry.seq !== change.seq - ackedSeq || entry.op !== change.op || entry.timestamp !== change.timestamp)
      this.#fail('kept', `${name(change)} was issued again as ${entry.op} ${entry.replica}:${entry.seq}`)
    const seen = seenUnderNewNames(change, pairs)
    const { replica, seq, op, timestamp, values, content, table, id, context } = entry
    const transaction = change.transaction - ackedSeq
    const again = this.history.record({
      replica,
      seq,
      op,
      timestamp,
      values,
      content,
      table,
      id,
      seen,
      transaction,
    })
    const saw = change.row.text(seen).clock
    if (clockText(context) !== saw)
      this.#fail('causal', `${name(again)} has context [${clockText(context)}], its writer saw [${saw}]`)
    for (const [field, increment] of change.increments) {
      if (again.increments.get(field) !== increment)
        this.#fail('kept', `${name(again)} counts ${again.increments.get(field)}, and counted ${increment}`)
    }
    return again
  }

  #takeSeq({ replica, seq }: LogEntry): void {
    const held = this.clock.get(replica) ?? 0
    if (seq <= held) this.#fail('once', `change ${replica}:${seq} was applied, and ${replica}:${held} was held already`)
    if (seq !== held + 1) this.#fail('gapless', `change ${replica}:${seq} was applied after ${replica}:${held}`)
    this.#setClock(replica, seq)
  }

  #takeVoid({ replica, seq, code }: Extract<LogEntry, { readonly type: 'void' }>): void {
    const { history } = this
    const dot = dotOf(replica, seq)
    // One of two copies has taken it back, and the other one was refused.
    if (history.copied.has(replica) && history.isWithdrawn({ replica, seq })) history.voids.delete(dot)
    const known = history.voids.get(dot)
    const [change] = history.variantsOf(dot)
    if (change !== undefined) this.news.push({ type: 'refuses', change, code, isFirst: known === undefined })
    this.#voids++
    if (known === code) return
    if (known !== undefined || history.acceptedOf(dot) !== undefined)
      this.#fail('once', `change ${replica}:${seq} was answered twice: ${known ?? 'accepted'}, then ${code}`)
    if (this.meta?.authority === 0 && !history.copied.has(replica))
      this.#fail('once', `a server never refused ${replica}:${seq}`)
    if (history.variantsOf(dot).length === 0)
      this.#fail('durable', `${replica}:${seq} was refused before its writer had flushed it`)
    history.voids.set(dot, code)
  }

  /** Only what was refused, and once. */
  #takeReissue(before: number, seq: number): void {
    const known = this.reissued.get(before)
    if (!this.rejected.has(before) || known !== undefined)
      this.#fail('once', `seq ${before} is issued again as ${seq}, and was ${known ?? 'never refused'}`)
    this.reissued.set(before, seq)
  }

  /** What the writer of a refused change had seen of others, and all that is there of its own. */
  #seenAgain(before: number, row: RowHistory): Bits {
    const refused = this.local.get(before)
    if (refused === undefined || refused.row !== row)
      return this.#fail('once', `seq ${before} is issued again on ${row.name}`)
    let { seen } = refused
    for (const own of row.changes) {
      if (this.local.get(own.seq) === own) seen = (seen & ~own.bit) | (this.knownOf(row) & own.bit)
    }
    return seen
  }

  /** A change of this disk's own replica: what its row held is what its writer had seen. */
  #write(
    entry: Extract<LogEntry, { readonly type: 'change' }>,
    transaction: number,
    reissued: CommitFacts['reissued'],
  ): Recorded {
    const row = this.history.row(entry.table, entry.id)
    const { replica, seq, op, timestamp, values, content, table, id } = entry
    const before = reissued.get(seq)
    const seen = before === undefined ? this.knownOf(row) : this.#seenAgain(before, row)
    const last = this.local.get(seq - 1)
    if (last !== undefined && !this.rejected.has(seq - 1) && last.timestamp >= timestamp)
      this.#fail('gapless', `timestamps of a writer went back: ${name(last)} at ${last.timestamp}, then ${timestamp}`)
    for (const other of row.list(seen)) {
      if (other.timestamp >= timestamp)
        this.#fail(
          'causal',
          `${replica}:${seq} has timestamp ${timestamp}; its writer had seen ${name(other)} at ${other.timestamp}`,
        )
    }
    const change = this.history.record({ replica, seq, op, timestamp, values, content, table, id, seen, transaction })
    if (clockText(entry.context) !== row.text(seen).clock)
      this.#fail(
        'causal',
        `${name(change)} has context [${clockText(entry.context)}], its writer saw [${row.text(seen).clock}]`,
      )
    this.local.set(seq, change)
    if (this.meta?.authority !== 0 && this.history.acceptedOf(dotOf(replica, seq)) === undefined)
      this.history.accept(change)
    return change
  }

  /** A change of somebody else. */
  #receive({ replica, seq, content }: Extract<LogEntry, { readonly type: 'change' }>): Recorded {
    const { history } = this
    const dot = dotOf(replica, seq)
    let change = history.acceptedOf(dot)
    if (change === undefined) {
      change = history.variantsOf(dot).find((variant) => variant.content === content)
      if (change === undefined)
        this.#fail('durable', `${replica}:${seq} (${content}) was taken before its writer had flushed it`)
      if (this.meta?.authority === 0) this.#fail('kept', `${name(change)} reached a client and is on no server's disk`)
      // One of two copies has taken it back, and the other one was first.
      if (history.isWithdrawn(change) && history.copied.has(replica)) history.voids.delete(dot)
      if (history.voids.has(dot)) this.#fail('once', `${name(change)} was refused, then accepted`)
      history.accept(change)
    }
    if (change.content !== content)
      this.#fail('once', `${replica}:${seq} was accepted as "${change.content}" and applied as "${content}"`)
    const missing = change.seen & ~this.knownOf(change.row)
    if (missing !== NO_CHANGES)
      this.#fail(
        'causal',
        `${name(change)} builds on ${change.row.list(missing).map(name).join(', ')}, which is missing`,
      )
    return change
  }

  // ── Clock, rows, counters ─────────────────────────────────────────────────────────────────────────────────────────

  #setClock(replica: number, seq: number): void {
    const before = this.clock.get(replica) ?? 0
    this.#clockSum = (this.#clockSum + (seq - before) * (hashText(`${replica}`) | 1)) >>> 0
    this.clock.set(replica, seq)
  }

  #takeClock({ clock, snapshot }: CommitFacts): void {
    for (const [replica, seq] of clock) {
      const held = this.clock.get(replica) ?? 0
      if (seq === held) continue
      if (snapshot !== 'end')
        this.#fail('gapless', `the clock says ${replica}:${seq}, the log ends at ${replica}:${held}`)
      if (seq < held) this.#fail('gapless', `the clock went back from ${replica}:${held} to ${replica}:${seq}`)
      this.#setClock(replica, seq)
    }
  }

  #takeRows({ rows }: CommitFacts, touched: Set<RowHistory>): void {
    for (const { table, id, row: text } of rows) {
      const row = this.history.row(table, id)
      touched.add(row)
      const before = this.#texts.get(row.name)
      const after = text === undefined ? undefined : `[${text.heads}] {${text.versions}} <${text.clock}>`
      if (before !== undefined) this.#stateSum = (this.#stateSum - hashText(row.name + before)) >>> 0
      if (after !== undefined) this.#stateSum = (this.#stateSum + hashText(row.name + after)) >>> 0
      if (after === undefined) this.#texts.delete(row.name)
      else this.#texts.set(row.name, after)
    }
  }

  #checkRow(row: RowHistory): void {
    const set = this.knownOf(row)
    const expected = row.text(set)
    const text = set === NO_CHANGES ? '' : `[${expected.heads}] {${expected.versions}} <${expected.clock}>`
    const actual = this.textOf(row)
    if (actual !== text) this.#fail('exact', this.#describeRow(row, actual, text), row)
    const isConflicted = expected.headCount > 1
    if (this.#listed.has(row.name) !== isConflicted)
      this.#fail(
        'exact',
        `row ${row.name} has ${expected.headCount} heads, and its conflict is ${isConflicted ? 'not ' : ''}listed`,
      )
    const before = this.#shapes.get(row)
    this.#conflicts += Number(isConflicted) - Number(before?.isConflicted ?? false)
    this.#rows += Number(expected.isLastAlive) - Number(before?.isAlive ?? false)
    this.#shapes.set(row, { isConflicted, isAlive: expected.isLastAlive })
  }

  #checkMeta(before: MetaFacts | undefined): void {
    const { meta } = this
    if (meta === undefined) return
    const expected = {
      nextPosition: this.#nextPosition,
      ownSeq: this.clock.get(this.own) ?? 0,
      changes: this.#changes,
      voids: this.#voids,
      rows: this.#rows,
      conflicts: this.#conflicts,
      rejected: this.rejected.size + this.formerlyRejected.length,
    }
    for (const key of Object.keys(expected) as (keyof typeof expected)[]) {
      if (meta[key] !== expected[key]) this.#fail('gapless', `${key} is ${meta[key]}, and should be ${expected[key]}`)
    }
    if (meta.authority === 0) this.#checkAnswers(before?.ackedSeq ?? 0, meta.ackedSeq)
  }

  #checkAnswers(before: number, after: number): void {
    if (after < before) this.#fail('kept', `answers went back from ${before} to ${after}`)
    for (let seq = before + 1; seq <= after; seq++) {
      const change = this.local.get(seq)
      if (change === undefined && this.history.voids.has(dotOf(this.own, seq))) continue
      if (change === undefined) this.#fail('kept', `seq ${seq} was answered and is not held`)
      else if (!this.history.isAccepted(change) && !this.rejected.has(seq))
        this.#fail(
          this.isTainted ? 'harmless' : 'kept',
          `${name(change)} counts as answered; the server has not taken it, nor is it listed as rejected`,
        )
    }
  }

  #describeRow(row: RowHistory, actual: string, expected: string): string {
    const difference = describeDifference(this.history, actual, expected, ', and should be ')
    return `row ${row.name} is not what its changes make of it: ${difference}. It holds ${heldInWords(row, this.knownOf(row))}`
  }

  #fail(promise: PromiseName, what: string, row?: RowHistory): never {
    throw new BrokenPromise(promise, `On ${this.name}: ${this.history.forPeople(what)}.`, row?.name)
  }
}

function seenUnderNewNames(
  { seen: before, row }: Recorded,
  pairs: readonly (readonly [before: Recorded, after: Recorded])[],
): Bits {
  let seen = before
  for (const [earlier, again] of pairs) {
    if (earlier.row === row && (seen & earlier.bit) !== NO_CHANGES) seen = (seen & ~earlier.bit) | again.bit
  }
  return seen
}

/** A change in words. */
export function name({ replica, seq, op, row }: Recorded): string {
  return `${op} ${row.history.dotName(replica, seq)} of ${row.name}`
}

function copyMap<Key, Value>(from: ReadonlyMap<Key, Value>, to: Map<Key, Value>): void {
  for (const [key, value] of from) to.set(key, value)
}
