/**
 * Issuing again what was refused because the clock of its writer ran ahead.
 */
import { describe, expect, test } from 'vitest'
import { TakeAnswer } from '../../core/answer.ts'
import type { VoidCode } from '../../core/block.ts'
import { openReplica, type Replica } from '../../core/index.ts'
import { ReissueSkewed } from '../../core/reissue.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import { table } from '../../core/table.ts'
import { timestampToMs } from '../../core/timestamp.ts'

interface Note {
  readonly id: string
  readonly text?: string
  readonly mark?: string
}

const TABLES = { notes: table<Note>() }
const NOW_MS = 1_700_000_000_000
const YEARS_MS = 20 * 365 * 86_400_000

type Client = Replica<typeof TABLES>

const openAhead = (): Promise<Client> =>
  openReplica({ tenant: 'acme', store: openMemoryStore(), tables: TABLES, now: () => NOW_MS + YEARS_MS })

/** The server has answered everything, and refused these seqs. */
function answer(replica: Client, refusals: Readonly<Record<number, VoidCode>> = {}): Promise<unknown> {
  const refused = Object.entries(refusals).map(([seq, code]) => ({ seq: Number(seq), code }))
  return replica.ledger.submit(new TakeAnswer(replica.ledger.state.meta.ownSeq, refused))
}

const reissue = (replica: Client): Promise<number | undefined> => replica.ledger.submit(new ReissueSkewed(NOW_MS))

async function namesOf(replica: Client): Promise<(readonly [number, number | undefined])[]> {
  return (await replica.rejected()).map(({ change, reissuedAs }) => [change.dot.seq, reissuedAs?.seq] as const)
}

describe('what was refused for its timestamp', () => {
  test('Z1: is issued again once, with the time that is given', async () => {
    const replica = await openAhead()
    const notes = replica.table('notes')
    await notes.insert({ id: 'a', text: 'one' })
    expect(await reissue(replica)).toBeUndefined()
    await answer(replica, { 1: 'clock-skew' })
    expect(await notes.get('a')).toBeUndefined()
    expect(await reissue(replica)).toBe(1)
    expect(await notes.get('a')).toEqual({ id: 'a', text: 'one' })
    expect(replica.pending).toBe(1)
    expect(timestampToMs(replica.ledger.state.meta.lastTimestamp)).toBe(NOW_MS)
    await answer(replica)
    expect(await reissue(replica)).toBe(0)
    expect(await namesOf(replica)).toEqual([[1, 2]])
    expect((await replica.history('notes', 'a')).map(({ dot }) => dot.seq)).toEqual([2])
  })

  test('is issued again also when its new form was refused for its timestamp', async () => {
    const replica = await openAhead()
    await replica.table('notes').insert({ id: 'a', text: 'one' })
    await answer(replica, { 1: 'clock-skew' })
    await reissue(replica)
    await answer(replica, { 2: 'clock-skew' })
    expect(await reissue(replica)).toBe(1)
    expect(await namesOf(replica)).toEqual([
      [1, 2],
      [2, 3],
    ])
  })

  test('comes with what built on it, in the same order', async () => {
    const replica = await openAhead()
    const notes = replica.table('notes')
    await notes.insert({ id: 'a', text: 'one' })
    await notes.update('a', { text: 'two' })
    await notes.update('a', { mark: 'three' })
    await answer(replica, { 1: 'clock-skew', 2: 'void-context', 3: 'void-context' })
    expect(await reissue(replica)).toBe(3)
    expect(await notes.get('a')).toEqual({ id: 'a', text: 'two', mark: 'three' })
    expect(await namesOf(replica)).toEqual([
      [1, 4],
      [2, 5],
      [3, 6],
    ])
    await answer(replica)
    expect(await notes.get('a')).toEqual({ id: 'a', text: 'two', mark: 'three' })
  })

  test('Z3: stays one transaction', async () => {
    const replica = await openAhead()
    await replica.transact((transaction) => {
      transaction.table('notes').insert({ id: 'a', text: 'one' })
      transaction.table('notes').insert({ id: 'b', text: 'two' })
    })
    await answer(replica, { 1: 'clock-skew', 2: 'clock-skew' })
    expect(await reissue(replica)).toBe(2)
    const blocks = await replica.ledger.log.blocksOf(replica.ledger.state.own, 2, 4, 1 << 20)
    const entries = blocks.flatMap((block) => replica.ledger.log.decode(block).map(({ entry }) => entry))
    expect(entries.map((entry) => [entry.seq, entry.op !== 'void' && entry.more])).toEqual([
      [3, true],
      [4, false],
    ])
  })
})

describe('is left alone:', () => {
  test('what was refused for another reason, and what builds on that', async () => {
    const replica = await openAhead()
    const notes = replica.table('notes')
    await notes.insert({ id: 'a', text: 'one' })
    await notes.update('a', { text: 'two' })
    await notes.insert({ id: 'b', text: 'three' })
    await answer(replica, { 1: 'forbidden', 2: 'void-context', 3: 'clock-skew' })
    expect(await reissue(replica)).toBe(1)
    expect(await namesOf(replica)).toEqual([
      [1, undefined],
      [2, undefined],
      [3, 4],
    ])
  })

  test('Z4: what its writer has overtaken with another change of the row', async () => {
    const replica = await openAhead()
    const notes = replica.table('notes')
    await notes.insert({ id: 'a', text: 'one' })
    await answer(replica, { 1: 'clock-skew' })
    await notes.insert({ id: 'a', text: 'anew' })
    await answer(replica)
    expect(await reissue(replica)).toBe(0)
    expect(await notes.get('a')).toEqual({ id: 'a', text: 'anew' })
    expect(await namesOf(replica)).toEqual([[1, undefined]])
  })

  test('everything, while an answer is still to come', async () => {
    const replica = await openAhead()
    await replica.table('notes').insert({ id: 'a', text: 'one' })
    await answer(replica, { 1: 'clock-skew' })
    await replica.table('notes').insert({ id: 'b', text: 'two' })
    expect(await reissue(replica)).toBeUndefined()
    expect(await namesOf(replica)).toEqual([[1, undefined]])
  })
})
