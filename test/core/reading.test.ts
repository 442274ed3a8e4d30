/**
 * Reading what a replica holds: rows and changes, in pages and up to a limit.
 */
import { beforeAll, describe, expect, test } from 'vitest'
import { openReplica, type Replica } from '../../core/index.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import { table } from '../../core/table.ts'

interface Note {
  readonly id: string
  readonly text: string
}

const TABLES = { notes: table<Note>(), others: table<Note>() }
/** More than are read at once: a page of rows has 256. */
const ROWS = 600
const idOf = (number: number): string => `n${String(number).padStart(4, '0')}`
const IDS: readonly string[] = Array.from({ length: ROWS }, (_, number) => idOf(number))

let replica: Replica<typeof TABLES>

async function idsOf(rows: AsyncIterable<Note>): Promise<string[]> {
  const ids: string[] = []
  for await (const { id } of rows) ids.push(id)
  return ids
}

beforeAll(async () => {
  replica = await openReplica({ tenant: 'acme', store: openMemoryStore(), tables: TABLES })
  await Promise.all(IDS.map((id) => replica.table('notes').insert({ id, text: id })))
  for (const text of ['one', 'two', 'three']) await replica.table('notes').update('n0007', { text })
  await replica.table('others').insert({ id: 'o', text: 'o' })
})

describe('a scan', () => {
  test('goes through all rows of its table in the order of their ids, whatever fits a page', async () => {
    expect(await idsOf(replica.table('notes').scan())).toEqual(IDS)
    expect(await idsOf(replica.table('others').scan())).toEqual(['o'])
  })

  test.each([0, 1, 255, 256, 257, ROWS, ROWS + 1])('ends after %i rows when that is its limit', async (limit) => {
    expect(await idsOf(replica.table('notes').scan({ limit }))).toEqual(IDS.slice(0, limit))
  })
})

test.each([
  [{ prefix: 'n00' }, 0, 100],
  [{ from: 'n0040', prefix: 'n00' }, 40, 100],
  [{ from: 'm', prefix: 'n00' }, 0, 100],
  [{ from: 'n0040', to: 'n0044' }, 40, 44],
  [{ prefix: 'n00', to: 'n0044' }, 0, 44],
  [{ prefix: 'n00', to: 'n0144' }, 0, 100],
])('a scan of %o has the rows from %i up to %i', async (options, from, to) => {
  expect(await idsOf(replica.table('notes').scan(options))).toEqual(IDS.slice(from, to))
})

describe('a query of the log', () => {
  test.each([0, 1, 2, 100])('answers with the first %i changes when that is its limit', async (limit) => {
    expect((await replica.log.query({ limit })).map(({ id }) => id)).toEqual(IDS.slice(0, limit))
    expect(await replica.log.query({ limit, table: 'notes' })).toHaveLength(limit)
    expect(await replica.log.query({ limit, table: 'notes', row: 'n0007' })).toHaveLength(Math.min(limit, 4))
  })

  test('goes on behind the last change that was read, and answers with 100 when nothing is said', async () => {
    const first = await replica.log.query()
    expect(first).toHaveLength(100)
    const after = first.at(-1)?.position ?? 0
    expect((await replica.log.query({ after, limit: 1 })).map(({ id }) => id)).toEqual([IDS[100]])
    expect(await replica.log.query({ table: 'unheard', limit: 1 })).toEqual([])
  })
})

describe('the blocks of a log', () => {
  test('come one at a time at least, however few bytes are asked for', async () => {
    const { log, state, durablePosition } = replica.ledger
    expect((await log.slice(1, durablePosition, 1)).blocks).toHaveLength(1)
    expect(await log.blocksOf(state.own, 0, ROWS, 1)).toHaveLength(1)
    expect(await log.blocksOf(state.own, 0, ROWS, 2)).toHaveLength(1)
  })

  test('come as many as fit, and each once', async () => {
    const { log, state, durablePosition } = replica.ledger
    const { blocks } = await log.slice(1, durablePosition, Number.MAX_SAFE_INTEGER)
    const two = blocks.slice(0, 2).reduce((sum, { block }) => sum + block.length, 0)
    expect(blocks.length).toBeGreaterThan(2)
    expect(await log.blocksOf(state.own, 0, state.meta.ownSeq, two)).toHaveLength(2)
    expect(await log.blocksOf(state.own, 0, state.meta.ownSeq, two - 1)).toHaveLength(1)
    expect((await log.slice(1, durablePosition, two)).blocks).toHaveLength(2)
    expect((await log.slice(1, durablePosition, two - 1)).blocks).toHaveLength(1)
  })
})
