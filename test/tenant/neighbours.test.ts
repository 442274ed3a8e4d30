/**
 * Neighbours: what a tenant waits for beside one that floods, in the time of a clock that only work moves. How long work
 * really takes, `npm run fairness` measures.
 */
import { expect, test } from 'vitest'
import { AdmitChanges } from '../../core/admit.ts'
import { type Gate, Ledger, parseLimits, parseTenantName, type Store } from '../../core/index.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import { msToTimestamp } from '../../core/timestamp.ts'
import { Turns } from '../../tenant/turns.ts'
import { createDictionaries, encodeBlock, REPLICA_IDS } from '../core/block-entry.ts'

const NOW_MS = 1_700_000_000_000
const TRANSACTION_CHANGES = 1_000
/** What work takes. */
const JUDGE_MS = 0.02
const READ_MS = 0.005
const PUT_MS = 0.001
/** A turn that is as old as it may be, and what may begin in it: a slice of a few changes, and the longest piece, a commit. */
const WAIT_MS_MAX = 1 + 8 * JUDGE_MS + (2 * TRANSACTION_CHANGES + 10) * PUT_MS

class Clock {
  nowMs = 0
}

/** A store that takes its time. */
function slow(store: Store, clock: Clock): Store {
  return {
    ...store,
    head: () => store.head(),
    range: (asked) => store.range(asked),
    close: () => store.close(),
    getMany: (keys) => {
      clock.nowMs += keys.length * READ_MS
      return store.getMany(keys)
    },
    commit: (commit) => {
      clock.nowMs += commit.puts.length * PUT_MS
      return store.commit(commit)
    },
  }
}

/** A tenant with one writer. Answers with what admits its next transaction of so many changes. */
async function openTenant(name: string, turns: Turns, clock: Clock): Promise<(changes: number) => Promise<void>> {
  const tenant = parseTenantName(name)
  const store = slow(openMemoryStore(), clock)
  const ledger = await Ledger.open({ tenant, store, limits: parseLimits(), authority: 2, turn: turns.of(name) })
  const [author = ''] = REPLICA_IDS
  const replica = await ledger.submit({
    weight: 0,
    prepare: () => {},
    apply: (draft) => {
      draft.touchMeta()
      return draft.state.replicas.intern(author)
    },
  })
  const gate: Gate = {
    mayRead: () => true,
    mayWrite: () => true,
    judge: () => {
      clock.nowMs += JUDGE_MS
      return undefined
    },
  }
  let seq = 0
  return async (changes) => {
    const entries = Array.from({ length: changes }, (_, index) => ({
      op: 'insert' as const,
      author,
      seq: ++seq,
      timestamp: msToTimestamp(NOW_MS),
      more: index < changes - 1,
      table: 'notes',
      id: `row${seq}`,
      context: {},
      fields: { text: 'some text' },
    }))
    const blocks = [encodeBlock(entries, createDictionaries())]
    await ledger.submit(new AdmitChanges({ blocks, replica, nowMs: NOW_MS, gate, isPaused: false, answeredSeq: 0 }))
  }
}

test('a change of a quiet tenant waits for one turn and one piece of those that flood, whenever it comes', async () => {
  const clock = new Clock()
  const turns = new Turns({ nextTurn: setImmediate, monotonicMs: () => clock.nowMs })
  const [first, second, quiet] = await Promise.all(
    ['flood', 'other', 'quiet'].map((name) => openTenant(name, turns, clock)),
  )
  if (first === undefined || second === undefined || quiet === undefined) throw new Error('there are three')
  let admitted = 0
  let isOver = false
  const flooding = [first, second].map(async (admit) => {
    while (!isOver) {
      await admit(TRANSACTION_CHANGES)
      admitted += TRANSACTION_CHANGES
    }
  })
  const waits: number[] = []
  for (let change = 0; change < 200; change++) {
    const cameAtMs = clock.nowMs + ((change * 0.37) % 7)
    // It comes in the midst of somebody's piece, and is heard when the loop has come round.
    while (clock.nowMs < cameAtMs) await new Promise((resolve) => setImmediate(resolve))
    await quiet(1)
    waits.push(clock.nowMs - cameAtMs)
  }
  isOver = true
  await Promise.all(flooding)
  const ownMs = JUDGE_MS + 2 * READ_MS + 10 * PUT_MS
  expect(Math.max(...waits)).toBeLessThanOrEqual(WAIT_MS_MAX + ownMs)
  // A change of the flood takes longer than all that: nobody else would have waited for less than its transaction.
  expect(admitted).toBeGreaterThan(5 * TRANSACTION_CHANGES)
  expect(TRANSACTION_CHANGES * JUDGE_MS).toBeGreaterThan(5 * WAIT_MS_MAX)
})
