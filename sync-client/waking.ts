/**
 * Notices that the machine has slept, or that the network is back, so that a link need not wait for a heartbeat to fail.
 *
 * A sleeping machine stops its monotonic clock and its timers, while the wall clock goes on. When the wall has moved much
 * further than the monotonic clock between two ticks, connections that were open are most likely dead. (Somebody setting
 * the clock looks the same; a needless reconnect is the whole damage.)
 */

export type Waking = 'slept' | 'online'

export interface WakingClocks {
  readonly wallMs: () => number
  readonly monotonicMs: () => number
}

const TICK_MS = 2_000
/** More than clocks are slewed or a busy machine is late; less than any heartbeat. */
const JUMP_MS = 5_000

const SYSTEM_CLOCKS: WakingClocks = { wallMs: () => Date.now(), monotonicMs: () => performance.now() }

/** Calls back on each waking. Answers with the way to stop. Does not keep a process alive. */
export function watchWaking(onWaking: (waking: Waking) => void, clocks: WakingClocks = SYSTEM_CLOCKS): () => void {
  let wallMs = clocks.wallMs()
  let monotonicMs = clocks.monotonicMs()
  const timer = setInterval(() => {
    const jumpMs = clocks.wallMs() - wallMs - (clocks.monotonicMs() - monotonicMs)
    wallMs = clocks.wallMs()
    monotonicMs = clocks.monotonicMs()
    if (jumpMs > JUMP_MS) onWaking('slept')
  }, TICK_MS)
  letProcessEnd(timer)
  const onOnline = (): void => onWaking('online')
  // Browsers have this event; Node has no such function.
  globalThis.addEventListener?.('online', onOnline)
  return () => {
    clearInterval(timer)
    globalThis.removeEventListener?.('online', onOnline)
  }
}

/** Timers are numbers in browsers and objects in Node. */
export function letProcessEnd(timer: unknown): void {
  ;(timer as { readonly unref?: () => void }).unref?.()
}
