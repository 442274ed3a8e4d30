/**
 * An exchange: the logs of two servers of one family, each of which goes into the other's. What came from there need not go back.
 *
 * Knows: which stretches of our log came from the peer, what a server asks of changes that another one has admitted. Must never
 * know: positions of the peer's log, sessions.
 *
 * Invariants:
 * EX1  Between servers a dot that is held comes with the content it had, else `dot-conflict`. What a snapshot brought is in no
 *      log, and is not compared.
 * EX2  What is too far ahead is not taken (yet): it would put the clock of everybody ahead who sees it.
 * EX3  What has no room for its rows is taken together with deletes that came along, up to where there is room for all of it.
 */
import type { Entry } from './block.ts'
import { canonicalEntry } from './block-writer.ts'
import { equalSlices } from './bytes.ts'
import { TidemarkError } from './errors.ts'
import { type Coming, foresee } from './foresight.ts'
import { type Gate, type Growth, growthOf } from './gate.ts'
import type { Hub } from './hub.ts'
import type { DecodedBlock } from './incoming.ts'
import type { Ledger } from './ledger.ts'
import type { LedgerState } from './ledger-state.ts'
import type { PeerServer, ReceiveChanges, Received } from './receive.ts'
import { type Stretch, Stretches } from './stretches.ts'

export class Exchange {
  readonly #hub: Hub
  readonly #fromPeer = new Stretches()
  #isReceiving = false

  constructor(hub: Hub) {
    this.#hub = hub
  }

  /** While it is, our log grows by what the peer need not be sent, which is known as such only afterwards. */
  get isReceiving(): boolean {
    return this.#isReceiving
  }

  /** Whether a stretch of our log came from the peer. */
  readonly isFromPeer = (stretch: Stretch): boolean => this.#fromPeer.has(stretch)

  async receive(changes: ReceiveChanges): Promise<Received> {
    this.#isReceiving = true
    try {
      const received = await this.#hub.ledger.submit(changes)
      this.#fromPeer.add(received)
      return received
    } finally {
      this.#isReceiving = false
    }
  }
}

export interface PeerServerOptions {
  /** Later timestamps are not taken. */
  readonly timestampMax?: number
  /** Whether there is room. Default: always. */
  readonly weigh?: Gate['weigh']
}

/** What the changes of another server have to be like. */
export function peerServer({ timestampMax, weigh }: PeerServerOptions = {}): PeerServer {
  return {
    expect: async (ledger, changes) => {
      if (timestampMax !== undefined) expectTimely(changes, timestampMax)
      await expectSame(ledger, changes)
    },
    ...(weigh === undefined ? {} : { weighing: (changes) => weighing(weigh, changes) }),
  }
}

/** Counts what waits to be appended as well. */
function weighing(
  weigh: NonNullable<Gate['weigh']>,
  changes: readonly DecodedBlock[],
): ReturnType<NonNullable<PeerServer['weighing']>> {
  let unappendedBytes = 0
  let foreseen: ReadonlySet<Entry> = new Set()
  const take = ({ storedBytes }: Growth): void => {
    // The rows are counted at once; of what was reckoned for the log, half is right.
    unappendedBytes += Math.ceil(storedBytes / 2)
  }
  return ({ state, usage }, fresh, rows) => {
    const [first] = fresh
    if (first === undefined || foreseen.has(first)) return undefined
    const used = { ...usage, storedBytes: usage.storedBytes + unappendedBytes }
    const growth = growthOf(fresh, rows)
    const shortage = weigh(used, growth)
    if (shortage === undefined) take(growth)
    if (shortage?.resource !== 'rows') return shortage
    // EX3.
    const coming = comingFrom(changes, first)
    const isHeld = ({ replica, seq }: Entry): boolean => seq <= state.seqOf(replica)
    const found = foresee(coming, isHeld, (all) => weigh(used, all) === undefined)
    if (found === undefined) return shortage
    take(found.growth)
    foreseen = new Set(coming.slice(0, found.count).map(({ entry }) => entry))
    return undefined
  }
}

function comingFrom(changes: readonly DecodedBlock[], first: Entry): Coming[] {
  const all = changes.flatMap(({ entries, rows }) => entries.map((entry, at): Coming => ({ entry, row: rows[at] })))
  return all.slice(all.findIndex(({ entry }) => entry === first))
}

/** EX2. */
function expectTimely(changes: readonly DecodedBlock[], timestampMax: number): void {
  for (const { entries } of changes) {
    if (entries.every((entry) => entry.op === 'void' || entry.timestamp <= timestampMax)) continue
    throw new TidemarkError('clock-skew', 'a relay passes on changes that are too far ahead', {
      retryable: true,
      remedy: 'Set the clock of the relay',
    })
  }
}

/** EX1. */
async function expectSame(ledger: Ledger, changes: readonly DecodedBlock[]): Promise<void> {
  const { log, state } = ledger
  for (const entry of changes.flatMap(({ entries }) => entries)) {
    if (entry.seq > state.seqOf(entry.replica)) continue
    const turn = ledger.turn()
    if (turn !== undefined) await turn
    const held = await log.entryOf(entry.replica, entry.seq)
    if (held === undefined || isSame(held.entry, entry, state)) continue
    const replica = state.replicas.textOf(entry.replica)
    throw new TidemarkError('dot-conflict', `change ${entry.seq} of replica ${replica} has two contents`, {
      remedy: 'Two servers have taken different changes of a copied store: give the relay an empty one',
      details: { replica, seq: entry.seq },
    })
  }
}

function isSame(held: Entry, entry: Entry, state: LedgerState): boolean {
  if (held.op === 'void' || entry.op === 'void') return held.op === entry.op
  const [ours, theirs] = [canonicalEntry(held, state), canonicalEntry(entry, state)]
  return equalSlices(ours, 0, ours.length, theirs, 0, theirs.length)
}
