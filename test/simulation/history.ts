/**
 * Everything that was ever written in one tenant of a simulation, with the explicit set of changes that each writer had
 * seen; and what a row is, given a set of changes, by set logic alone.
 *
 * Knows: changes as sets, and what design and documents say a row is. Must never know: vector clocks, joins, or any
 * comparison of the code that it judges. A set is a number with one bit for each change of the row.
 */

/** `firstSide` is a policy of an app's own: a delete on any side wins, else the row as the earliest side left it. */
export type KnownPolicyName = 'lastWriteWins' | 'causal' | 'firstWriteWins' | 'deleteWins' | 'updateWins' | 'firstSide'
export type KnownFieldPolicyName = 'counter' | 'max' | 'longestText'
/** `own`: a user's. Nothing is known of it but that it gives one answer for one set of changes, everywhere. */
export type PolicyName = KnownPolicyName | 'own'
export type FieldPolicyName = KnownFieldPolicyName | 'own'
export type ChangeOp = 'insert' | 'update' | 'delete' | 'replace'
export type Bits = bigint

export const NO_CHANGES: Bits = 0n

export interface TableRules {
  readonly policy: PolicyName
  readonly granularity: 'fields' | 'row'
  readonly fields?: Readonly<Record<string, FieldPolicyName>>
  /** A table of a user: its values are the user's, and carry no canary. */
  readonly isOwn?: boolean
}

/** True when only the user's code knows what a row amounts to. */
export function isJudgedByUser({ policy, fields = {} }: TableRules): boolean {
  return policy === 'own' || Object.values(fields).includes('own')
}

/** One change as it was written. */
export interface Recorded {
  /** Number of its writer in `History.replicas`. */
  readonly replica: number
  readonly seq: number
  readonly row: RowHistory
  readonly bit: Bits
  readonly op: ChangeOp
  readonly timestamp: number
  /** Of a counter, the writer's own part. */
  readonly values: ReadonlyMap<string, string>
  /** By how much it counts each counter that it writes. */
  readonly increments: ReadonlyMap<string, number>
  /** The changes of this row that its writer held. */
  readonly seen: Bits
  /** Seq of the first change of its transaction. */
  readonly transaction: number
  /** Everything it says, as one text: equal for equal content. */
  readonly content: string
}

export interface NewChange extends Omit<Recorded, 'bit' | 'row' | 'increments'> {
  readonly table: string
  readonly id: string
}

/** What a set of changes makes of a row, each as a text in canonical order. */
export interface RowText {
  readonly heads: string
  readonly versions: string
  readonly clock: string
  readonly headCount: number
  readonly isLastAlive: boolean
}

/** The name of a change: writer and seq in one number. */
export function dotOf(replica: number, seq: number): number {
  return replica * 1e9 + seq
}

export class History {
  readonly tenant: string
  readonly tables: ReadonlyMap<string, TableRules>
  readonly rows: Map<string, RowHistory> = new Map()
  /** By dot. More than one: a store was copied or restored, and both went on. */
  readonly #variants = new Map<number, Recorded[]>()
  /** By dot: the change that was the first to be taken by anybody else. */
  readonly #accepted = new Map<number, Recorded>()
  /** By dot: the code of a refusal. */
  readonly voids: Map<number, string> = new Map()
  readonly #withdrawn = new Set<number>()
  /** Replicas whose disk was copied, by number. */
  readonly copied: Set<number> = new Set()
  readonly #replicaNumbers = new Map<string, number>()
  readonly #replicaIds: string[] = []
  readonly #writers = new Map<number, string>()
  /** Changes written, over all replicas. */
  count = 0

  constructor(tenant: string, tables: ReadonlyMap<string, TableRules>) {
    this.tenant = tenant
    this.tables = tables
  }

  replicaNumber(id: string): number {
    let number = this.#replicaNumbers.get(id)
    if (number === undefined) {
      number = this.#replicaIds.push(id) - 1
      this.#replicaNumbers.set(id, number)
    }
    return number
  }

  /** Who writes under a number, for people: the first machine that did; with a mark for each id that it had before. */
  nameWriter(number: number, machine: string): void {
    if (this.#writers.has(number)) return
    const name = machine.replace(/ .*/, '')
    const before = [...this.#writers.values()].filter((writer) => writer.replace(/'+$/, '') === name)
    this.#writers.set(number, name + "'".repeat(before.length))
  }

  /** The name of a change, for people. */
  dotName(replica: number, seq: number): string {
    return `${this.#writers.get(replica) ?? replica}.${seq}`
  }

  /** A text in which changes have their names for people. */
  forPeople(text: string): string {
    return text.replace(/(?<![\w.:])(\d+):(\d+)(?![\w:])/g, (_, replica, seq) =>
      this.dotName(Number(replica), Number(seq)),
    )
  }

  replicaId(number: number): string {
    return this.#replicaIds[number] ?? ''
  }

  row(table: string, id: string): RowHistory {
    const name = `${table}/${id}`
    let row = this.rows.get(name)
    if (row === undefined) {
      row = new RowHistory(this, table, id)
      this.rows.set(name, row)
    }
    return row
  }

  /** What a store writes again to the letter, after it has lost it, is the same change. */
  record(change: NewChange): Recorded {
    const dot = dotOf(change.replica, change.seq)
    const again = this.variantsOf(dot).find(({ content }) => content === change.content)
    if (again !== undefined) return again
    const row = this.row(change.table, change.id)
    const recorded: Recorded = { ...change, row, bit: row.nextBit(), increments: row.incrementsOf(change) }
    row.changes.push(recorded)
    const variants = this.#variants.get(dot)
    if (variants === undefined) this.#variants.set(dot, [recorded])
    else variants.push(recorded)
    this.count++
    return recorded
  }

  variantsOf(dot: number): readonly Recorded[] {
    return this.#variants.get(dot) ?? []
  }

  /** Its writer has taken it back before any server had it. */
  withdraw(change: Recorded): void {
    const dot = dotOf(change.replica, change.seq)
    this.voids.set(dot, 'quota-exceeded')
    this.#withdrawn.add(dot)
  }

  /** The store that had taken something back has lost that, before anybody else heard of it: nobody holds more than `seq`. */
  forgetWithdrawals(replica: number, seq: number): void {
    for (const dot of this.#withdrawn) {
      if (dot > dotOf(replica, seq) && dot < dotOf(replica + 1, 0)) this.voids.delete(dot)
    }
  }

  isWithdrawn({ replica, seq }: Pick<Recorded, 'replica' | 'seq'>): boolean {
    return this.#withdrawn.has(dotOf(replica, seq))
  }

  acceptedOf(dot: number): Recorded | undefined {
    return this.#accepted.get(dot)
  }

  accept(change: Recorded): void {
    this.#accepted.set(dotOf(change.replica, change.seq), change)
  }

  isAccepted(change: Recorded): boolean {
    return this.#accepted.get(dotOf(change.replica, change.seq)) === change
  }
}

export class RowHistory {
  readonly history: History
  readonly table: string
  readonly id: string
  readonly changes: Recorded[] = []
  readonly #texts = new Map<Bits, RowText>()
  #nextBit: Bits = 1n

  constructor(history: History, table: string, id: string) {
    this.history = history
    this.table = table
    this.id = id
  }

  get name(): string {
    return `${this.table}/${this.id}`
  }

  nextBit(): Bits {
    const bit = this.#nextBit
    this.#nextBit <<= 1n
    return bit
  }

  /** The changes of a set, in canonical order: timestamp, replica id, seq. */
  list(set: Bits): Recorded[] {
    return this.inOrder(this.changes.filter(({ bit }) => (set & bit) !== NO_CHANGES))
  }

  /** Those that no other change of the set had seen. */
  heads(set: Bits): Recorded[] {
    return this.list(set & ~unionOfSeen(this.changes, set))
  }

  isCounter(field: string): boolean {
    return this.history.tables.get(this.table)?.fields?.[field] === 'counter'
  }

  /** What a change adds to its writer's part of each counter; a whole row starts from nothing. */
  incrementsOf({ op, replica, seen, values }: NewChange): Map<string, number> {
    const increments = new Map<string, number>()
    for (const [field, total] of values) {
      if (!this.isCounter(field)) continue
      const before = this.visible(seen, field).find((part) => part.replica === replica)
      const start = op === 'update' ? Number(before?.values.get(field) ?? 0) : 0
      increments.set(field, Number(total) - start)
    }
    return increments
  }

  /** The parts of a counter: each goes only with a later one of its own writer, or with a whole row that has seen it. */
  #parts(set: Bits, field: string): Recorded[] {
    const held = this.list(set)
    return held.filter(
      (part) =>
        part.values.has(field) &&
        !held.some(
          ({ seen, op, values, replica }) =>
            (seen & part.bit) !== NO_CHANGES &&
            (op === 'insert' || op === 'replace' || (values.has(field) && replica === part.replica)),
        ),
    )
  }

  /** The writes of a field that nobody who wrote that field, or the whole row, had seen. */
  visible(set: Bits, field: string): Recorded[] {
    if (this.isCounter(field)) return this.#parts(set, field)
    let writers = NO_CHANGES
    let overwriters = NO_CHANGES
    for (const change of this.changes) {
      if ((set & change.bit) === 0n) continue
      if (change.values.has(field)) writers |= change.bit
      if (change.values.has(field) || change.op === 'insert' || change.op === 'replace') overwriters |= change.bit
    }
    return this.list(writers & ~unionOfSeen(this.changes, overwriters))
  }

  fields(set: Bits): string[] {
    const names = new Set<string>()
    for (const change of this.changes) {
      if ((set & change.bit) === 0n) continue
      for (const name of change.values.keys()) names.add(name)
    }
    return [...names].sort()
  }

  /** Everything of the row that replicas have to agree on. Kept: all replicas pass through the same few sets. */
  text(set: Bits): RowText {
    const known = this.#texts.get(set)
    if (known !== undefined) return known
    const heads = this.heads(set)
    const text: RowText = {
      heads: heads.map(headText).join(' '),
      versions: this.fields(set)
        .flatMap((field) => this.visible(set, field).map((change) => versionText(field, change)))
        .join(' '),
      clock: this.#clockText(set),
      headCount: heads.length,
      isLastAlive: heads.length > 0 && heads.at(-1)?.op !== 'delete',
    }
    this.#texts.set(set, text)
    return text
  }

  #clockText(set: Bits): string {
    const seqs = new Map<number, number>()
    for (const { bit, replica, seq } of this.changes) {
      if ((set & bit) !== 0n) seqs.set(replica, Math.max(seq, seqs.get(replica) ?? 0))
    }
    return clockText(seqs)
  }

  /** What the app is shown: the fields of the row; undefined when it does not exist. */
  shown(set: Bits): ReadonlyMap<string, string> | undefined {
    const rules = this.history.tables.get(this.table)
    const heads = this.heads(set)
    const winner = this.prevailing(heads)
    if (winner === undefined || winner.op === 'delete') return undefined
    if (rules?.granularity === 'row') return winner.values
    const side = rules?.policy === 'firstSide' && heads.length > 1 ? winner.seen | winner.bit : undefined
    const values = new Map<string, string>()
    for (const field of this.fields(set)) {
      const visible = this.visible(set, field)
      // What a side does not know of a field, it has from the others.
      const known = side === undefined ? visible : visible.filter(({ bit }) => (side & bit) !== NO_CHANGES)
      const value = this.isCounter(field)
        ? this.#countOf(set, field, known.length > 0 ? known : visible)
        : this.pick(field, known.length > 0 ? known : visible)?.values.get(field)
      if (value !== undefined) values.set(field, value)
    }
    return values
  }

  /**
   * What a counter shows: all that was counted, but what somebody who wrote the whole row had seen. A side of a conflict has the
   * parts that it knows, and of whole rows those that the writers of these parts wrote.
   */
  #countOf(set: Bits, field: string, parts: readonly Recorded[]): string | undefined {
    if (parts.length === 0) return undefined
    const isAll = parts.length === this.visible(set, field).length
    const held = this.list(set)
    const isWithin = (change: Recorded): boolean =>
      isAll ||
      parts.some((part) => part.replica === change.replica && ((part.seen | part.bit) & change.bit) !== NO_CHANGES)
    const within = held.filter(isWithin)
    const over = unionOfSeen(
      within.filter(({ op }) => op === 'insert' || op === 'replace'),
      set,
    )
    let sum = 0
    for (const { bit, increments } of within) if ((over & bit) === NO_CHANGES) sum += increments.get(field) ?? 0
    return `${sum}`
  }

  /** Of concurrent writes of a field, in canonical order, the one that is shown. */
  pick(field: string, visible: readonly Recorded[]): Recorded | undefined {
    const rules = this.history.tables.get(this.table)
    const textOf = ({ values }: Recorded): string => values.get(field) ?? ''
    const best = (isBetter: (value: string, than: string) => boolean): Recorded | undefined =>
      visible.reduce<Recorded | undefined>(
        (found, each) => (found === undefined || isBetter(textOf(each), textOf(found)) ? each : found),
        undefined,
      )
    switch (rules?.fields?.[field]) {
      case 'max':
        return best((value, than) => value >= than)
      case 'longestText':
        return best((value, than) => value.length >= than.length)
      default:
        return rules?.policy === 'firstWriteWins' ? visible[0] : visible.at(-1)
    }
  }

  /** The one of these heads, in canonical order, that decides about the row. */
  prevailing(heads: readonly Recorded[]): Recorded | undefined {
    switch (this.history.tables.get(this.table)?.policy ?? 'lastWriteWins') {
      case 'lastWriteWins':
      case 'causal':
      case 'own':
        return heads.at(-1)
      case 'firstWriteWins':
        return heads[0]
      case 'firstSide':
        return heads.find(({ op }) => op === 'delete') ?? heads[0]
      case 'deleteWins':
        return heads.find(({ op }) => op === 'delete') ?? heads.at(-1)
      case 'updateWins':
        return heads.filter(({ op }) => op !== 'delete').at(-1) ?? heads.at(-1)
    }
  }

  inOrder(changes: readonly Recorded[]): Recorded[] {
    return [...changes].sort((a, b) => this.#compare(a, b))
  }

  #compare(left: Recorded, right: Recorded): number {
    if (left.timestamp !== right.timestamp) return left.timestamp - right.timestamp
    if (left.replica === right.replica) return left.seq - right.seq
    return this.history.replicaId(left.replica) < this.history.replicaId(right.replica) ? -1 : 1
  }
}

function unionOfSeen(changes: readonly Recorded[], set: Bits): Bits {
  let seen = NO_CHANGES
  for (const change of changes) if ((set & change.bit) !== 0n) seen |= change.seen
  return seen
}

// ── Texts that are compared with those of real rows ─────────────────────────────────────────────────────────────────

function headText({ replica, seq, op, values }: Recorded): string {
  return formatHead(replica, seq, op, op === 'update' ? [...values.keys()].sort() : [])
}

function versionText(field: string, change: Recorded): string {
  return formatVersion(field, change.replica, change.seq, change.values.get(field) ?? '')
}

export function formatHead(replica: number, seq: number, op: string, fields: readonly string[]): string {
  return `${op}(${fields.join(',')})@${replica}:${seq}`
}

export function formatVersion(field: string, replica: number, seq: number, value: string): string {
  return `${field}=${value}@${replica}:${seq}`
}

export function clockText(seqs: ReadonlyMap<number, number>): string {
  return [...seqs]
    .sort(([a], [b]) => a - b)
    .map(([replica, seq]) => `${replica}:${seq}`)
    .join(' ')
}
