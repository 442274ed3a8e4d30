/**
 * Receiving, at the edges that honest peers do not reach: seqs that leave one out, rows that a sender has forgotten.
 */
import { beforeEach, describe, expect, test } from 'vitest'
import { VectorClock } from '../../core/clock.ts'
import type { LogCursor } from '../../core/draft.ts'
import { isTidemarkError, type Ledger, openReplica, table } from '../../core/index.ts'
import type { SnapshotRows } from '../../core/message.ts'
import { ReceiveChanges } from '../../core/receive.ts'
import { BeginSnapshot, ReceiveRows } from '../../core/snapshot.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import { createDictionaries, encodeBlock, type PlainEntry, REPLICA_IDS } from './block-entry.ts'

const [AUTHOR = ''] = REPLICA_IDS
const CURSOR: LogCursor = { logId: AUTHOR, epoch: 1, position: 9 }

function insert(seq: number, id: string): PlainEntry {
  const stamp = { author: AUTHOR, seq, timestamp: seq, more: false }
  return { op: 'insert', ...stamp, table: 'notes', id, context: {}, fields: { text: id } }
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'nothing',
    (error: unknown) => (isTidemarkError(error) ? error.code : String(error)),
  )
}

let ledger: Ledger

const receive = (...entries: readonly PlainEntry[]): Promise<unknown> =>
  ledger.submit(
    new ReceiveChanges([encodeBlock(entries, createDictionaries())], { save: (draft) => draft.saveCursor(CURSOR) }),
  )
const isThere = async (id: string): Promise<boolean> => (await ledger.readRow('notes', id)).heads.length > 0

beforeEach(async () => {
  const tables = { notes: table<{ id: string; text: string }>() }
  ledger = (await openReplica({ tenant: 'acme', store: openMemoryStore(), tables })).ledger
})

describe('E1: changes from a peer', () => {
  test('are refused as a gap when a seq is left out, and nothing of them is kept', async () => {
    await receive(insert(1, 'a'))
    expect(await codeOf(receive(insert(3, 'c')))).toBe('gap')
    expect(await codeOf(receive(insert(2, 'b'), insert(4, 'd')))).toBe('gap')
    expect(ledger.durableClock().get(AUTHOR)).toBe(1)
    expect([await isThere('a'), await isThere('b'), await isThere('c')]).toEqual([true, false, false])
  })

  test('are skipped when they are held, and the next ones are taken', async () => {
    await receive(insert(1, 'a'), insert(2, 'b'))
    await receive(insert(1, 'a'), insert(2, 'b'), insert(3, 'c'))
    expect(ledger.durableClock().get(AUTHOR)).toBe(3)
    expect(ledger.state.meta).toMatchObject({ changes: 3, nextPosition: 4 })
  })
})

describe('Q3: a chunk of a snapshot', () => {
  const chunk = (after?: string, through?: string): SnapshotRows => {
    const place = { table: 'notes', after, through }
    return { type: 'snapshot-rows', ...place, replicas: [], names: [], rows: [] }
  }
  const take = async (rows: SnapshotRows, clock: readonly (readonly [typeof AUTHOR, number])[]): Promise<void> => {
    const covered = new VectorClock(clock)
    await ledger.submit(new BeginSnapshot(CURSOR, [...covered.entries()]))
    await ledger.submit(new ReceiveRows(rows, CURSOR, covered))
  }

  test('removes the rows of its range that the sender knew and has no more', async () => {
    await receive(insert(1, 'a'), insert(2, 'b'), insert(3, 'c'))
    await take(chunk('a', 'b'), [[AUTHOR, 3]])
    expect([await isThere('a'), await isThere('b'), await isThere('c')]).toEqual([true, false, true])
  })

  test('leaves the rows that the sender cannot have known', async () => {
    await receive(insert(1, 'a'), insert(2, 'b'))
    await take(chunk(), [[AUTHOR, 1]])
    expect([await isThere('a'), await isThere('b')]).toEqual([false, true])
  })
})
