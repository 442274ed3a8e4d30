/**
 * Room for what a relay brings: taken as far as there is room for all that comes together, and never beyond what there is.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { peerServer } from '../../core/exchange.ts'
import type { Growth, Usage } from '../../core/gate.ts'
import { type Ledger, openReplica, table } from '../../core/index.ts'
import { ReceiveChanges } from '../../core/receive.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import { createDictionaries, encodeBlock, type PlainEntry, REPLICA_IDS } from './block-entry.ts'

const AUTHORS = REPLICA_IDS.slice(0, 3)
const LIMIT = 3

interface Step {
  readonly author: number
  readonly row: number
  readonly op: 'insert' | 'update' | 'delete'
  /** False: it knows of the row what its own author did. */
  readonly hasSeenAll: boolean
  readonly more: boolean
}

const steps = fc.array(
  fc.record<Step>({
    author: fc.nat(AUTHORS.length - 1),
    row: fc.nat(5),
    op: fc.constantFrom('insert', 'update', 'delete', 'delete'),
    hasSeenAll: fc.boolean(),
    more: fc.boolean(),
  }),
  { minLength: 1, maxLength: 40 },
)

/** A log as a relay may hold it: every context is covered by what stands before it. */
function toLog(list: readonly Step[]): PlainEntry[] {
  const seqs = new Map<string, number>()
  const rows = new Map<number, Map<string, number>>()
  return list.map(({ author, row, op, hasSeenAll, more }, at) => {
    const name = AUTHORS[author] ?? ''
    const clock = rows.get(row) ?? new Map<string, number>()
    rows.set(row, clock)
    const own = clock.get(name)
    const context = hasSeenAll ? Object.fromEntries(clock) : own === undefined ? {} : { [name]: own }
    const seq = (seqs.get(name) ?? 0) + 1
    seqs.set(name, seq)
    clock.set(name, seq)
    const isLast = list[at + 1]?.author !== author
    const fields = op === 'delete' ? {} : { text: `${at}` }
    // Who has not seen the rest has an older clock as well, so that its writes lose.
    const timestamp = at + (hasSeenAll ? list.length : 1)
    const stamp = { author: name, seq, timestamp, more: more && !isLast }
    return { op, ...stamp, table: 'notes', id: `r${row}`, context, fields } as PlainEntry
  })
}

async function openUpstream(): Promise<Ledger> {
  const tables = { notes: table<{ id: string; text: string }>() }
  return (await openReplica({ tenant: 'acme', store: openMemoryStore(), tables })).ledger
}

const weigh = ({ rows }: Usage, growth: Growth) =>
  growth.rows > 0 && rows + growth.rows > LIMIT
    ? { resource: 'rows', limit: LIMIT, used: rows, retryAfterMs: 1 }
    : undefined

/** Sends what is left of the log until nothing more is taken; answers with how much was. */
async function sendAll(upstream: Ledger, log: readonly PlainEntry[]): Promise<number> {
  for (let taken = 0; ; ) {
    const block = encodeBlock(log.slice(taken), createDictionaries())
    const options = { peerServer: peerServer({ weigh }) }
    const { from, to } = await upstream.submit(new ReceiveChanges(taken === log.length ? [] : [block], options))
    expect(upstream.state.meta.rows).toBeLessThanOrEqual(LIMIT)
    if (to === from) return taken
    taken += to - from
  }
}

describe('what a relay brings', () => {
  test('FS1: never takes a tenant beyond its rows, whatever order inserts and deletes come in', async () => {
    await fc.assert(
      fc.asyncProperty(steps, async (list) => {
        const upstream = await openUpstream()
        await sendAll(upstream, toLog(list))
      }),
      { numRuns: 300 },
    )
  })

  const step = (op: Step['op'], row: number, rest: Partial<Step> = {}): Step => {
    return { author: 0, row, op, hasSeenAll: true, more: false, ...rest }
  }
  const full = [0, 1, 2].map((row) => step('insert', row))

  test('is taken when deletes that came along make room for it, and else up to where there is none', async () => {
    const upstream = await openUpstream()
    const log = [...full, step('insert', 3), step('update', 3), step('delete', 0), step('insert', 4)]
    expect(await sendAll(upstream, toLog(log))).toBe(6)
    expect(upstream.state.meta.rows).toBe(3)
  })

  test('is not taken for a delete that somebody else has not agreed to', async () => {
    const blind = step('delete', 0, { author: 1, hasSeenAll: false })
    expect(await sendAll(await openUpstream(), toLog([...full, step('insert', 3), blind]))).toBe(3)
  })
})
