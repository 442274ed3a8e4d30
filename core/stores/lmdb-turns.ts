/**
 * Turns of the event loop, shared by all stores of this process.
 *
 * LMDB answers a read at once, so that whoever reads on and on never comes to an end of the turn: a comparison of a large
 * table, a thousand changes that are already held. Meanwhile no socket is read and no timer runs. Here such a reader waits
 * until others had their turn.
 *
 * Knows: time. Must never know: who reads, or what.
 *
 * Invariants:
 * T1  A read that comes when the turn has lasted `TURN_MS` waits for another one.
 * T2  Of the readers that wait, one goes on in each turn, in the order they came.
 */
const TURN_MS = 10

/** When the turn began, as far as it was noticed: at its first read. */
let startedAtMs: number | undefined
const waiting: (() => void)[] = []

/** Undefined when there is still time in this turn; else what to wait for. */
export function turnToRead(): Promise<void> | undefined {
  const nowMs = performance.now()
  if (startedAtMs === undefined) {
    startedAtMs = nowMs
    setImmediate(endTurn)
    return undefined
  }
  if (nowMs - startedAtMs < TURN_MS) return undefined
  return new Promise((resolve) => waiting.push(resolve))
}

function endTurn(): void {
  startedAtMs = undefined
  const next = waiting.shift()
  if (next === undefined) return
  startedAtMs = performance.now()
  setImmediate(endTurn)
  next()
}
