/** A few sockets that never read. `npm run mute` is the long form: 300 of them, with the time that a server has by default. */
import { expect, test } from 'vitest'
import { goMute } from './mute.ts'

const MEMORY_BYTES_MAX = 4 * 1024 * 1024

test('sockets that never read, also those that answer heartbeats or grant credit, cost little and are closed in time', {
  timeout: 120_000,
}, async () => {
  const { bytesPerSocket, closedAfterMs, wrong } = await goMute({ sockets: 21, stalledMs: 2_000 })
  expect(wrong).toEqual([])
  expect(bytesPerSocket).toBeLessThan(MEMORY_BYTES_MAX)
  // They were there, and it was not the heartbeat that noticed.
  expect(closedAfterMs).toBeGreaterThan(1_000)
})
