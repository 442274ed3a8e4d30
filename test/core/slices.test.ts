/**
 * Slices: however the work of a job is cut, the answers, the log and everything else in the store are what they are when
 * it is done in one go (P5); and what is done in one piece is little.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { AdmitChanges } from '../../core/admit.ts'
import { type AskForTurn, type Gate, isTidemarkError, Ledger, parseLimits, parseTenantName } from '../../core/index.ts'
import type { ReplicaId } from '../../core/names.ts'
import type { Store } from '../../core/store.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import { msToTimestamp } from '../../core/timestamp.ts'
import { createDictionaries, encodeBlock, type PlainEntry, REPLICA_IDS } from './block-entry.ts'

const NOW_MS = 1_700_000_000_000
const EVERYTHING = { from: new Uint8Array(0), to: new Uint8Array([0xff]), limit: Number.POSITIVE_INFINITY }
const WRITERS = REPLICA_IDS.slice(0, 2)
const TENANT = parseTenantName('acme')

/** Refuses rows whose id begins with `n`, and has room for so many. */
const gateOf = (rowsMax: number, onJudge = (): void => {}): Gate => ({
  mayRead: () => true,
  mayWrite: () => true,
  judge: ({ id }) => {
    onJudge()
    return id.startsWith('n') ? 'forbidden' : undefined
  },
  weigh: ({ rows }, growth) =>
    rows + growth.rows > rowsMax ? { resource: 'rows', limit: rowsMax, used: rows, retryAfterMs: 1 } : undefined,
})

async function open(store: Store, turn?: AskForTurn): Promise<Ledger> {
  const turns = turn === undefined ? {} : { turn }
  return Ledger.open({ tenant: TENANT, store, limits: parseLimits(), authority: 2, ...turns })
}

/** Makes the writers known, as their hellos do; answers with their indexes. */
function meet(ledger: Ledger): Promise<number[]> {
  return ledger.submit({
    weight: 0,
    prepare: () => {},
    apply: (draft) => {
      draft.touchMeta()
      return WRITERS.map((id) => draft.state.internReplica(id as ReplicaId))
    },
  })
}

async function copyOf(store: Store): Promise<Store> {
  const copy = openMemoryStore()
  const head = await store.head()
  for (let expectedHead = 0; expectedHead < head; expectedHead++) {
    const puts = expectedHead === 0 ? await store.range(EVERYTHING) : []
    await copy.commit({ expectedHead, puts, deletes: [] })
  }
  return copy
}

const bytesOf = async (store: Store): Promise<string[]> =>
  (await store.range(EVERYTHING)).map(
    ({ key, value }) => `${Buffer.from(key).toString('hex')}=${Buffer.from(value).toString('hex')}`,
  )

interface Push {
  readonly writer: number
  readonly blocks: readonly Uint8Array[]
}

/** One commit after the other, each of jobs that wait together. Answers with what each was told. */
async function admitAll(ledger: Ledger, commits: readonly (readonly Push[])[], rowsMax: number): Promise<unknown[]> {
  const indexes = await meet(ledger)
  const told: unknown[] = []
  for (const pushes of commits) {
    const options = { nowMs: NOW_MS, gate: gateOf(rowsMax), isPaused: false, answeredSeq: 0 }
    const jobs = pushes.map(
      ({ writer, blocks }) => new AdmitChanges({ blocks, replica: indexes[writer] as number, ...options }),
    )
    const answers = jobs.map((job) =>
      ledger.submit(job).catch((error: unknown) => (isTidemarkError(error) ? error.code : String(error))),
    )
    told.push(...(await Promise.all(answers)))
  }
  return told
}

// ── What is pushed ──────────────────────────────────────────────────────────────────────────────────────────────────

interface Write {
  readonly op: 'insert' | 'update' | 'delete'
  readonly id: string
  readonly text: string
  readonly more: boolean
  /** Builds on this many changes ago of the same writer; 0: on none. */
  readonly after: number
  /** Has seen the other writer's change of this number; 0: none. */
  readonly seen: number
  readonly isSkewed: boolean
  readonly table: 'notes' | 'tasks' | 'people'
}

const write: fc.Arbitrary<Write> = fc.record({
  op: fc.constantFrom('insert' as const, 'update' as const, 'delete' as const),
  id: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'n1'),
  text: fc.string({ maxLength: 4 }),
  more: fc.boolean(),
  after: fc.nat({ max: 3 }),
  seen: fc.oneof({ weight: 6, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat({ max: 12 }) }),
  isSkewed: fc.integer({ min: 0, max: 15 }).map((drawn) => drawn === 0),
  table: fc.constantFrom('notes' as const, 'tasks' as const, 'people' as const),
})

function toEntry(
  { op, id, text, more, after, seen, isSkewed, table }: Write,
  author: string,
  other: string,
  seq: number,
): PlainEntry {
  const context = {
    ...(after > 0 && after < seq ? { [author]: seq - after } : {}),
    ...(seen > 0 ? { [other]: seen } : {}),
  }
  const timestamp = msToTimestamp(NOW_MS + (isSkewed ? 3_600_000 : seq))
  const fields = op === 'delete' ? {} : { text }
  return { op, author, seq, timestamp, more, table, id, context, fields }
}

/** The pushes of one writer: blocks of whole transactions, some of which come twice. */
const pushesOf = (writer: number): fc.Arbitrary<Push[]> =>
  fc
    .array(fc.record({ writes: fc.array(write, { minLength: 1, maxLength: 20 }), isAgain: fc.boolean() }), {
      minLength: 1,
      maxLength: 4,
    })
    .map((drawn) => {
      const [author, other] = [WRITERS[writer] as string, WRITERS[1 - writer] as string]
      let seq = 0
      const pushes: Push[] = []
      for (const { writes, isAgain } of drawn) {
        const entries = writes.map((each, index) =>
          toEntry(index === writes.length - 1 ? { ...each, more: false } : each, author, other, ++seq),
        )
        const blocks = [encodeBlock(entries, createDictionaries())]
        pushes.push({ writer, blocks })
        if (isAgain) pushes.push({ writer, blocks: [...blocks] })
      }
      return pushes
    })

/** Which of the asks have to wait, and for how many turns of the event loop. */
const cuts: fc.Arbitrary<readonly number[]> = fc.array(fc.nat({ max: 3 }), { minLength: 1, maxLength: 12 })

function cutting(waits: readonly number[]): AskForTurn {
  let asked = 0
  return () => {
    const turns = waits[asked++ % waits.length] ?? 0
    if (turns === 0) return undefined
    return (async () => {
      for (let turn = 0; turn < turns; turn++) await undefined
    })()
  }
}

describe('P5: work in slices', () => {
  test('however it is cut, admission gives the same answers and the same bytes', async () => {
    await fc.assert(
      fc.asyncProperty(pushesOf(0), pushesOf(1), fc.nat({ max: 8 }), cuts, async (first, second, rowsMax, waits) => {
        const commits = Array.from({ length: Math.max(first.length, second.length) }, (_, at) =>
          [first[at], second[at]].filter((push) => push !== undefined),
        )
        const whole = openMemoryStore()
        await (await open(whole)).close()
        const sliced = await copyOf(whole)
        const toldWhole = await admitAll(await open(whole), commits, rowsMax)
        const toldSliced = await admitAll(await open(sliced, cutting(waits)), commits, rowsMax)
        expect(toldSliced).toEqual(toldWhole)
        expect(await bytesOf(sliced)).toEqual(await bytesOf(whole))
      }),
      { numRuns: 300 },
    )
  })

  test('a push that is refused in the middle, of its writer and between others, changes nothing', async () => {
    const store = openMemoryStore()
    const ledger = await open(store, cutting([1]))
    const [replica = 0] = await meet(ledger)
    const before = await bytesOf(store)
    const entries = Array.from({ length: 200 }, (_, index) => insertOf(index === 150 ? 500 : index + 1))
    const blocks = [encodeBlock(entries, createDictionaries())]
    const gate = gateOf(1_000)
    const job = new AdmitChanges({ blocks, replica, nowMs: NOW_MS, gate, isPaused: false, answeredSeq: 0 })
    await expect(ledger.submit(job)).rejects.toThrow(expect.objectContaining({ code: 'gap' }))
    expect(await bytesOf(store)).toEqual(before)
    expect(ledger.state.meta).toMatchObject({ rows: 0, changes: 0, nextPosition: 1 })
  })
})

describe('pieces of a large transaction', () => {
  test('judge and apply four changes, decode some, and read few rows, however many it has', async () => {
    const pieces: { judged: number; read: number }[] = []
    let piece = { judged: 0, read: 0 }
    const turn: AskForTurn = () => {
      pieces.push(piece)
      piece = { judged: 0, read: 0 }
      return undefined
    }
    const store = openMemoryStore()
    const getMany = store.getMany.bind(store)
    store.getMany = (keys) => {
      piece.read += keys.length
      return getMany(keys)
    }
    const ledger = await open(store, turn)
    const [replica = 0] = await meet(ledger)
    const entries = Array.from({ length: 1_000 }, (_, index) => ({ ...insertOf(index + 1), more: index < 999 }))
    const gate = gateOf(1_000, () => piece.judged++)
    const blocks = [encodeBlock(entries, createDictionaries())]
    pieces.length = 0
    const job = new AdmitChanges({ blocks, replica, nowMs: NOW_MS, gate, isPaused: false, answeredSeq: 0 })
    expect(await ledger.submit(job)).toMatchObject({ throughSeq: 1_000, refusals: [] })
    expect(Math.max(...pieces.map(({ judged }) => judged))).toBeLessThanOrEqual(4)
    expect(Math.max(...pieces.map(({ read }) => read))).toBeLessThanOrEqual(64)
    // Judging and applying take a piece for each four changes, decoding and reading one for each few more.
    expect(pieces.length).toBeGreaterThan(2 * 250 + 1_000 / 16 + 1_000 / 64)
  })
})

function insertOf(seq: number): PlainEntry {
  const stamp = { author: WRITERS[0] as string, seq, timestamp: msToTimestamp(NOW_MS), more: false }
  return { op: 'insert', ...stamp, table: 'notes', id: `row${seq}`, context: {}, fields: { text: 'some text' } }
}
