/**
 * The reading side of a link: what comes from the peer's log, and how far it has been read.
 *
 * Knows: cursors, snapshots. Must never know: transports, own changes on their way, who is trusted with what.
 *
 * Invariants:
 * N6  Positions of a log follow each other; between peers without a server, who go by clocks, they need not.
 */
import { VectorClock } from './clock.ts'
import type { Draft, LogCursor } from './draft.ts'
import { TidemarkError } from './errors.ts'
import type { Shortage } from './gate.ts'
import type { Ledger } from './ledger.ts'
import type { Changes, RelayLog, SnapshotBegin, SnapshotRows, Welcome } from './message.ts'
import { BeginSnapshot, EndSnapshot, ReceiveRows, readSnapshotClock, readSnapshotProgress } from './snapshot.ts'

const NO_LOG = { logId: '', epoch: 0 } as const
/** A cursor that moves without bringing anything is saved after so many positions: nobody reads them twice. */
const CURSOR_STEP = 1_024

interface ReceivingSnapshot {
  readonly cursor: LogCursor
  /** What the sender held when the snapshot began. */
  readonly clock: VectorClock
}

export interface ReaderOptions {
  readonly ledger: Ledger
  /** The peer goes by clocks (N6). */
  readonly isByClocks: boolean
  /**
   * Keeps a cursor. Only a server's log is worth one: who passes on by its log, a relay or a peer without a server, is asked by
   * clocks.
   */
  readonly save?: (draft: Draft, cursor: LogCursor) => void
  /** Puts changes into our log, and `save` with them. Answers with what there is no room for. */
  readonly receive: (
    blocks: readonly Uint8Array[],
    save: ((draft: Draft) => void) | undefined,
  ) => Promise<Shortage | undefined>
}

export class LinkReader {
  readonly #options: ReaderOptions
  /** The peer's log, and how far we have read it. */
  #cursor: LogCursor | undefined
  #savedPosition = 0
  #peerEnd = 0
  /** An upstream's: the log that it reads. */
  #relayLog: RelayLog | undefined
  #snapshot: ReceivingSnapshot | undefined
  /** Of a snapshot whose first rows have not come. */
  #beginning: BeginSnapshot | undefined
  /** An upstream's: there was no room for what comes at the cursor, and the relay is to send it again. */
  #isPaused = false

  constructor(options: ReaderOptions) {
    this.#options = options
  }

  get cursor(): LogCursor | undefined {
    return this.#cursor
  }

  /** Entries of the peer's log that it is known to have and we do not. */
  get behind(): number {
    return Math.max(0, this.#peerEnd - (this.#cursor?.position ?? 0))
  }

  get isRestoring(): boolean {
    return this.#snapshot !== undefined
  }

  /** The peer's log is known to have come so far. */
  heardOf(position: number): void {
    this.#peerEnd = Math.max(this.#peerEnd, position)
  }

  /** An upstream's: a relay said hello. */
  meetRelay(relay: RelayLog | undefined): void {
    this.#relayLog = relay
    this.#peerEnd = relay?.position ?? 0
  }

  async takeWelcome({ logId, epoch, position, from }: Welcome): Promise<void> {
    this.#peerEnd = position
    this.#startAt({ logId, epoch, position: from.type === 'log' ? from.position : 0 })
    if (from.type !== 'snapshot') return
    // It goes on with the one that an earlier session began; without one, the peer will begin a new one.
    const { ledger } = this.#options
    const progress = await readSnapshotProgress(ledger)
    if (progress !== undefined) this.#snapshot = { cursor: progress.cursor, clock: await readSnapshotClock(ledger) }
  }

  #startAt({ logId, epoch, position }: LogCursor): void {
    this.#cursor = { logId, epoch, position }
    this.#savedPosition = position
  }

  // ── The log ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Answers with what the sender has to be told: there is no room for what comes at the cursor, and the rest is dropped. */
  async takeChanges(messages: readonly Changes[]): Promise<Shortage | undefined> {
    const { isByClocks, save, receive } = this.#options
    const start = this.#cursor ?? { ...(this.#relayLog ?? NO_LOG), position: (messages[0] as Changes).from }
    let cursor = start
    const blocks: Uint8Array[] = []
    for (const message of messages) {
      // It was on its way when its sender heard of the pause.
      if (this.#isPaused && message.from !== cursor.position) continue
      this.#isPaused = false
      if (!isByClocks && message.from !== cursor.position) {
        throw new TidemarkError('gap', `positions from ${message.from} arrived, but ${cursor.position} is the next`, {
          retryable: true,
        })
      }
      for (const block of message.blocks) blocks.push(block)
      cursor = { ...cursor, position: message.to }
    }
    this.heardOf(cursor.position)
    // Our own changes, which the server leaves out, move the cursor; that alone is not worth a flush.
    const isFar = cursor.position - this.#savedPosition >= CURSOR_STEP
    if (blocks.length > 0 || (isFar && save !== undefined)) {
      const end = cursor
      const shortage = await receive(blocks, save && ((draft) => save(draft, end)))
      this.#isPaused = shortage !== undefined
      if (this.#isPaused) this.#cursor = start
      if (this.#isPaused) return shortage
      this.#savedPosition = cursor.position
    }
    this.#cursor = cursor
    return undefined
  }

  // ── Snapshots ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** It begins with its first rows. */
  beginSnapshot({ position, clock }: SnapshotBegin): void {
    const { logId, epoch } = this.#cursor ?? NO_LOG
    const cursor: LogCursor = { logId, epoch, position }
    this.#beginning = new BeginSnapshot(cursor, clock)
    this.#snapshot = { cursor, clock: new VectorClock(clock) }
  }

  async takeRows(rows: SnapshotRows): Promise<void> {
    const { cursor, clock } = this.#expectSnapshot()
    const beginning = this.#beginning
    this.#beginning = undefined
    await this.#options.ledger.submit(new ReceiveRows(rows, cursor, clock, beginning))
  }

  async endSnapshot(): Promise<void> {
    const { cursor, clock } = this.#expectSnapshot()
    const beginning = this.#beginning
    this.#beginning = undefined
    // One without rows. In one commit with its end, what is put would stay.
    if (beginning !== undefined) await this.#options.ledger.submit(beginning)
    await this.#options.ledger.submit(new EndSnapshot(cursor, clock))
    this.#snapshot = undefined
    this.#cursor = cursor
  }

  #expectSnapshot(): ReceivingSnapshot {
    if (this.#snapshot !== undefined) return this.#snapshot
    // Another session of this replica may have come to the end of the snapshot that this one was to resume.
    throw new TidemarkError('gap', 'rows of a snapshot came before its beginning', { retryable: true })
  }
}
