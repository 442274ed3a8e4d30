/** The pace of a connection whose frames wait. */
import { expect, test } from 'vitest'
import { Pace } from '../../sync-server/pace.ts'

test('X1, X3: frames whose time came together are handed on in their order, few in a turn of the event loop', async () => {
  let nowMs = 0
  let turn = 0
  const delivered: { readonly frame: number; readonly turn: number }[] = []
  await new Promise<void>((resolve, reject) => {
    const pace = new Pace({
      waitMs: () => 1,
      owedMs: () => 0,
      bytesMax: 1_000_000,
      monotonicMs: () => nowMs,
      deliver: (frame) => {
        delivered.push({ frame: (frame[0] as number) * 256 + (frame[1] as number), turn })
        if (delivered.length === 2_000) resolve()
      },
      refuse: reject,
    })
    for (let at = 0; at < 2_000; at++) pace.take(Uint8Array.of(at >> 8, at & 255))
    nowMs = 1_000
    const count = (): void => {
      turn++
      if (delivered.length < 2_000) setImmediate(count)
    }
    count()
  })
  expect(delivered.map(({ frame }) => frame)).toEqual(Array.from({ length: 2_000 }, (_, at) => at))
  const inTurn = new Map<number, number>()
  for (const each of delivered) inTurn.set(each.turn, (inTurn.get(each.turn) ?? 0) + 1)
  expect(Math.max(...inTurn.values())).toBeLessThanOrEqual(64)
})
