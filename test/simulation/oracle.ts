/**
 * The oracle: follows every disk, every frame and every answer of a simulation, and says when a promise is broken.
 *
 * Knows: all tenants, all disks, what each of them should hold. Must never know: how the engine decides anything.
 */
import type { TidemarkError } from '../../core/errors.ts'
import { isTidemarkError } from '../../core/errors.ts'
import { BrokenPromise } from './broken-promise.ts'
import {
  type Bits,
  dotOf,
  History,
  isJudgedByUser,
  type Recorded,
  type RowHistory,
  type TableRules,
} from './history.ts'
import { describeDifference, heldInWords } from './in-words.ts'
import type { Side } from './network.ts'
import type { PlanOptions } from './plan.ts'
import { name, type View } from './view.ts'

/** Type numbers of frames that count against the credit of their reader: changes, push and the parts of a snapshot. */
const STREAM_FRAMES: ReadonlySet<number> = new Set([3, 4, 7, 8, 9])
const CREDIT_FRAME = 6
const SNAPSHOT_BEGIN_FRAME = 7

/**
 * How a session may end between honest replicas, beside the end of its connection: by faults, by one another, or because
 * the log goes on after a snapshot.
 */
const FAULT_CODES: ReadonlySet<string> = new Set([
  'store-full',
  'store-failed',
  'store-busy',
  'replica-fenced',
  'closed',
  'timeout',
  'truncated',
])
/** What a client hears that has gone to another server too early, and a relay while clocks differ. */
const RELAY_CODES: ReadonlySet<string> = new Set(['not-home', 'clock-skew'])
/** What a replica hears whose store was restored or copied. */
const IDENTITY_CODES: ReadonlySet<string> = new Set([
  'replica-restored',
  'replica-cloned',
  'dot-conflict',
  'unknown-context',
  'replica-fenced',
])

/** Bytes of a sender that its reader has not dealt with, as far as the sender knows. */
interface Window {
  outstanding: number
  /** What was sent last goes with what comes next. */
  isOpening: boolean
}

export class Oracle {
  readonly histories: ReadonlyMap<string, History>
  readonly views: Set<View> = new Set()
  readonly #creditBytes: number
  readonly #hasMeshSnapshots: boolean
  readonly #hasRelays: boolean
  readonly #windows = new WeakMap<Side, Window>()
  readonly #shown = new Map<RowHistory, Map<Bits, { readonly text: string; readonly by: string }>>()
  /** Frames handed to the network so far. */
  frames = 0
  /** Refusals that the judge of a server has spoken. */
  readonly judged: Set<string> = new Set()

  constructor(options: PlanOptions) {
    const tables = new Map<string, TableRules>(options.tables.map((each) => [each.name, each]))
    this.histories = new Map(options.tenants.map((tenant) => [tenant, new History(tenant, tables)]))
    this.#creditBytes = options.creditBytes
    this.#hasRelays = options.topology === 'relays'
    this.#hasMeshSnapshots = options.topology === 'mesh' && options.hasSnapshots
  }

  historyOf(tenant: string): History {
    const history = this.histories.get(tenant)
    if (history === undefined) throw new RangeError(`there is no tenant ${tenant}`)
    return history
  }

  // ── Disks ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** A commit of this view has become durable. */
  afterFlush(view: View, written: readonly Recorded[]): void {
    for (const change of written) {
      this.#checkApart(view, change)
      this.#checkOp(view, change)
    }
    for (const other of this.views) {
      if (other !== view && other.history === view.history) this.#compare(view, other)
    }
  }

  #checkApart(view: View, change: Recorded): void {
    const isOwn = view.history.tables.get(change.row.table)?.isOwn === true
    for (const [field, value] of change.values) {
      if (isOwn || value.startsWith(`${view.history.tenant}.`) || change.row.isCounter(field)) continue
      throw new BrokenPromise('apart', `${view.name} of tenant ${view.history.tenant} holds "${value}"`)
    }
  }

  /** An app inserts what it is not shown, and updates or deletes what it is. What is issued again stays what it was. */
  #checkOp(view: View, { op, row, seen, replica, seq }: Recorded): void {
    const rules = view.history.tables.get(row.table)
    if (rules === undefined || isJudgedByUser(rules) || [...view.reissued.values()].includes(seq)) return
    const isShown = row.shown(seen) !== undefined
    if (isShown === (op !== 'insert')) return
    throw new BrokenPromise(
      'session',
      `${view.name} wrote ${op} ${view.history.dotName(replica, seq)} of ${row.name}, which was ${isShown ? 'there' : 'absent'}: it held ${heldInWords(row, seen)}`,
      row.name,
    )
  }

  #compare(left: View, right: View): void {
    if (left.clockSum !== right.clockSum || left.stateSum === right.stateSum) return
    if (!isSettled(left) || !isSettled(right) || left.clockText !== right.clockText) return
    for (const row of left.history.rows.values()) {
      const [here, there] = [left.textOf(row), right.textOf(row)]
      if (here === there) continue
      const clock = left.history.forPeople(left.clockText)
      const difference = describeDifference(left.history, here, there, ' here, and there ')
      const what = `${left.name} and ${right.name} both stand at ${clock}; their rows ${row.name} differ: ${difference}`
      throw new BrokenPromise('equal-state', what, row.name)
    }
  }

  // ── What the app is told ──────────────────────────────────────────────────────────────────────────────────────────

  /** A write's promise resolved: its change must be on the disk. */
  acknowledged(view: View, seq: number, written: (change: Recorded) => boolean): void {
    const change = view.local.get(seq)
    if (change !== undefined && written(change)) return
    throw new BrokenPromise(
      'durable',
      `${view.name} acknowledged seq ${seq}, which is ${change === undefined ? 'not on its disk' : name(change)}`,
    )
  }

  /** A row was read through the app's door while the view did not move. */
  checkRead(view: View, row: RowHistory, actual: ReadonlyMap<string, string> | undefined): void {
    const rules = row.history.tables.get(row.table)
    const set = view.knownOf(row)
    if (rules !== undefined && isJudgedByUser(rules)) return this.#checkOne(view, row, textOf(actual))
    const expected = textOf(row.shown(set))
    if (textOf(actual) === expected) return
    const held = heldInWords(row, set)
    throw new BrokenPromise(
      'session',
      `${view.name} shows ${row.name} as ${textOf(actual)}. It holds ${held}, which make ${expected}`,
      row.name,
    )
  }

  /** What a user's policy makes of a set of changes nobody else knows: whoever shows it first says what it is. */
  #checkOne(view: View, row: RowHistory, actual: string): void {
    const set = view.knownOf(row)
    const shown = this.#shown.get(row) ?? new Map<Bits, { readonly text: string; readonly by: string }>()
    this.#shown.set(row, shown)
    const before = shown.get(set)
    if (before === undefined) shown.set(set, { text: actual, by: view.name })
    else if (before.text !== actual) {
      const held = heldInWords(row, set)
      throw new BrokenPromise(
        'one',
        `${before.by} showed ${row.name} as ${before.text}, and ${view.name} shows ${actual}; both hold ${held}`,
      )
    }
  }

  // ── Sessions ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** A link closed. `views`: those of both sides. */
  sessionEnded(error: TidemarkError | undefined, views: readonly View[], side: string): void {
    if (error === undefined || FAULT_CODES.has(error.code)) return
    // Without a server, what a snapshot brings is in no log: sessions find out about it by what they lack, and begin again.
    if (this.#hasMeshSnapshots && error.retryable && (error.code === 'unknown-context' || error.code === 'gap')) return
    if (this.#hasRelays && RELAY_CODES.has(error.code)) return
    const isBug = error.cause !== undefined || error.message.includes('broken invariant')
    if (error.code === 'unavailable' && error.retryable && !isBug) return
    // A snapshot came between: the log was continued by it, or another session ended it first.
    if ((error.code === 'truncated' || error.code === 'gap') && error.retryable) return
    if (views.some(({ isTainted, hasRenewed }) => isTainted || hasRenewed) && IDENTITY_CODES.has(error.code)) return
    const cause = error.cause instanceof Error ? `, because of ${error.cause.stack ?? error.cause.message}` : ''
    throw new BrokenPromise('honest', `${side}: ${error.code}, ${error.message}${cause}`)
  }

  onSend(sender: Side, frame: Uint8Array): void {
    this.frames++
    if (!STREAM_FRAMES.has(frame[1] ?? 0)) return
    const window = this.#windowOf(sender)
    if (window.outstanding >= this.#creditBytes && !window.isOpening) {
      throw new BrokenPromise(
        'bounded',
        `${sender.machine} sent ${frame.length} bytes with ${window.outstanding} under way`,
      )
    }
    // A snapshot begins with two frames at once.
    window.isOpening = frame[1] === SNAPSHOT_BEGIN_FRAME
    window.outstanding += frame.length
  }

  onDeliver(receiver: Side, frame: Uint8Array): void {
    if (frame[1] !== CREDIT_FRAME) return
    const window = this.#windowOf(receiver)
    window.outstanding = Math.max(0, window.outstanding - readCount(frame, 2))
  }

  #windowOf(side: Side): Window {
    let window = this.#windows.get(side)
    if (window === undefined) {
      window = { outstanding: 0, isOpening: false }
      this.#windows.set(side, window)
    }
    return window
  }

  // ── The end ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Why these views have not converged; undefined when they have. */
  whyApart(views: readonly View[]): string | undefined {
    const [first] = views
    if (first === undefined) return undefined
    for (const view of views) {
      if (view.unanswered > 0) return `${view.name} has ${view.unanswered} changes that nobody has answered`
      if (view.isRestoring && view.isAhead) return `${view.name} is still restoring a snapshot`
      if (view.clockText !== first.clockText)
        return view.history.forPeople(
          `${first.name} stands at [${first.clockText}], ${view.name} at [${view.clockText}]`,
        )
    }
    return undefined
  }

  /** After convergence: everything acknowledged is somewhere, or void with a reason. */
  checkKept(view: View): void {
    const { history } = view
    for (const change of view.local.values()) {
      if (history.isAccepted(change) || view.rejected.has(change.seq)) continue
      throw new BrokenPromise(
        view.isTainted ? 'harmless' : 'kept',
        `${name(change)}, written on ${view.name}, is nowhere`,
        change.row.name,
      )
    }
    for (const seq of view.rejected) this.#checkReason(view, seq)
    this.#checkWhole(view)
    const missing = view.missingChange()
    if (missing !== undefined)
      throw new BrokenPromise('kept', `${view.name} lacks ${name(missing)}, which its clock covers`, missing.row.name)
  }

  /** A transaction is refused whole or not at all. */
  #checkWhole(view: View): void {
    for (const change of view.local.values()) {
      const first = view.local.get(change.transaction)
      if (first === undefined || view.rejected.has(first.seq) === view.rejected.has(change.seq)) continue
      throw new BrokenPromise(
        'kept',
        `${name(change)} and ${name(first)} are one transaction, and one of them was refused`,
      )
    }
  }

  #checkReason(view: View, seq: number): void {
    const change = view.local.get(seq)
    const code = view.history.voids.get(dotOf(view.own, seq))
    if (change === undefined || code === undefined)
      throw new BrokenPromise('kept', `${view.name} lists seq ${seq} as rejected`)
    const mates = [...view.local.values()].filter(({ transaction }) => transaction === change.transaction)
    const isRight = mates.some((mate) => this.#isReason(view, mate, code))
    if (!isRight)
      throw new BrokenPromise('kept', `${name(change)} of ${view.name} was refused with ${code} for no reason`)
  }

  #isReason(view: View, change: Recorded, code: string): boolean {
    switch (code) {
      case 'clock-skew':
        return true
      case 'void-context':
        return change.row.changes.some(
          (other) =>
            (change.seen & other.bit) !== 0n &&
            (other.replica === change.replica || view.formerIds.has(other.replica)) &&
            view.history.voids.has(dotOf(other.replica, other.seq)),
        )
      default:
        if (code === 'quota-exceeded' && view.history.isWithdrawn(change)) return true
        return this.judged.has(`${view.history.tenant} ${change.replica}:${change.seq} ${code}`)
    }
  }
}

/** True when equal clocks must mean equal state: nothing of it waits for an answer or for the rest of a snapshot. */
function isSettled(view: View): boolean {
  return view.unanswered === 0 && !view.isRestoring && !view.isTainted
}

function textOf(values: ReadonlyMap<string, string> | undefined): string {
  if (values === undefined) return 'absent'
  return [...values]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([field, value]) => `${field}=${value}`)
    .join(' ')
}

/** A MessagePack whole number. */
function readCount(bytes: Uint8Array, at: number): number {
  const first = bytes[at] ?? 0
  if (first < 0x80) return first
  const width = first === 0xcc ? 1 : first === 0xcd ? 2 : 4
  let value = 0
  for (let index = at + 1; index <= at + width; index++) value = value * 256 + (bytes[index] ?? 0)
  return value
}

/** What a rejected promise of the engine was rejected with: anything but a typed error is a bug. */
export function expectTyped(error: unknown, where: string): TidemarkError {
  if (isTidemarkError(error)) return error
  throw new BrokenPromise(
    'sound',
    `${where}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
  )
}
