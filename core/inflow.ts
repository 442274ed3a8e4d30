/**
 * The inflow of a session: messages that came and are not carried out yet, in their order.
 *
 * Knows: how much waits, what may share a commit, what credit is due. Must never know: how a message is carried out.
 *
 * Invariants:
 * IF1  At most one group is being carried out, of messages of one kind.
 * IF2  Credit is due for what was carried out, and for nothing else.
 */
import { blockCount } from './block.ts'
import { TidemarkError } from './errors.ts'
import type { Limits } from './limits.ts'
import type {
  Ack,
  Changes,
  Compare,
  Compared,
  Mark,
  Marked,
  Push,
  SnapshotBegin,
  SnapshotEnd,
  SnapshotRows,
} from './message.ts'

/** What is carried out in order, one group at a time. */
export type Incoming =
  | Changes
  | Push
  | Ack
  | SnapshotBegin
  | SnapshotRows
  | SnapshotEnd
  | Mark
  | Marked
  | Compare
  | Compared

interface Queued {
  readonly message: Incoming
  readonly bytes: number
  /** Of what is brought to a server: how many. */
  readonly changes: number
}

/** Messages of one kind that may be carried out in one commit. */
const GROUP_MESSAGES_MAX = 64
/** Pushed changes that may be carried out in one commit: the time they take is time that everybody else waits. */
export const GROUP_CHANGES_MAX = 2_000
/** Who has dealt with this part of the window gives credit for it. */
export const CREDIT_STEP: number = 1 / 4
/** Small messages cost more than their bytes: so many may wait to be carried out, and so many questions to be answered. */
const QUEUED_MAX = 4_096
export const QUESTIONS_MAX = 64

export class Inflow {
  readonly #limits: Limits
  #queue: Queued[] = []
  #queuedBytes = 0
  #isApplying = false
  #applyingBytes = 0
  #owedCredit = 0
  #pushedChanges = 0

  constructor(limits: Limits) {
    this.#limits = limits
  }

  /** How many changes were brought to us as a server. */
  get pushedChanges(): number {
    return this.#pushedChanges
  }

  /** Bytes of messages that came and are not dealt with yet. */
  get waitingBytes(): number {
    return this.#queuedBytes + this.#applyingBytes
  }

  /** Nothing waits, and nothing is being carried out. */
  get isIdle(): boolean {
    return this.#queue.length === 0 && !this.#isApplying
  }

  /** Throws what the session has to end with. `isBrought`: it brings changes to a server. */
  add(message: Incoming, bytes: number, isBrought: boolean): void {
    const asked =
      message.type === 'compare' ? this.#queue.filter((other) => other.message.type === 'compare').length : 0
    if (this.#queue.length >= QUEUED_MAX || asked >= QUESTIONS_MAX) throw tooMuchWaits()
    this.#queuedBytes += bytes
    if (this.waitingBytes > this.#limits.creditBytes + this.#limits.frameBytesMax)
      throw new TidemarkError('bad-frame', 'more was sent than the credit allows')
    const changes = isBrought ? this.#countChanges(message) : 0
    this.#pushedChanges += changes
    this.#queue.push({ message, bytes, changes })
  }

  /** How many changes a message says it brings. Throws when a push holds more than one may. */
  #countChanges(message: Incoming): number {
    if (message.type !== 'push' && message.type !== 'changes') return 0
    let changes = 0
    for (const block of message.blocks) changes += blockCount(block)
    const limit = this.#limits.transactionChangesMax
    if (changes <= limit || message.type === 'changes') return changes
    throw new TidemarkError('too-large', `a push has ${changes} changes; the limit is ${limit}`)
  }

  /** All messages of one kind at the front, up to a bound, so that they share a commit; each is given once (IF1). */
  next(groupChangesMax: number): readonly Incoming[] | undefined {
    const [first] = this.#queue
    if (first === undefined || this.#isApplying) return undefined
    const isGrouped = first.message.type === 'push' || first.message.type === 'changes'
    const changesMax = Math.min(GROUP_CHANGES_MAX, groupChangesMax)
    let count = 1
    let { changes } = first
    for (; isGrouped && count < GROUP_MESSAGES_MAX; count++) {
      const next = this.#queue[count]
      if (next?.message.type !== first.message.type || changes + next.changes > changesMax) break
      changes += next.changes
    }
    const group = this.#queue.splice(0, count)
    for (const { bytes } of group) this.#applyingBytes += bytes
    this.#queuedBytes -= this.#applyingBytes
    this.#isApplying = true
    return group.map(({ message }) => message)
  }

  /** The group is carried out. */
  done(): void {
    this.#isApplying = false
    this.#owedCredit += this.#applyingBytes
    this.#applyingBytes = 0
  }

  /** The credit that is due (IF2), once it is enough to speak of; each is given once. */
  takeCredit(): number | undefined {
    const bytes = this.#owedCredit
    if (bytes < this.#limits.creditBytes * CREDIT_STEP) return undefined
    this.#owedCredit = 0
    return bytes
  }

  /** Nobody hears us any more: what only asks for an answer is dropped. */
  keepLasting(): void {
    this.#queue = this.#queue.filter(({ message }) => isLasting(message))
  }

  clear(): void {
    this.#queue = []
  }
}

export function tooMuchWaits(): TidemarkError {
  return new TidemarkError('rate-limited', 'more waits for an answer than one session may leave open', {
    retryable: true,
  })
}

/** True for what becomes durable here: a cursor that moves over what we wrote ourselves need not. */
export function isNews(message: Incoming): boolean {
  switch (message.type) {
    case 'changes':
      return message.blocks.length > 0
    case 'ack':
      return message.pause === undefined
    default:
      return message.type === 'snapshot-rows'
  }
}

/** False for what only asks for an answer, or is one that nobody waits for any more. */
function isLasting({ type }: Incoming): boolean {
  return type !== 'mark' && type !== 'compare' && type !== 'compared'
}
