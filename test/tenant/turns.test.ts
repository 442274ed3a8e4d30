/** Turns: many tenants on one thread, by a clock and an event loop that the test moves. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { AskForTurn } from '../../core/index.ts'
import { Turns } from '../../tenant/turns.ts'

/** An event loop: turns begin when the test says so, and work takes the time it says it takes. */
class Loop {
  nowMs = 0
  readonly turns: Turns
  #next: (() => void)[] = []

  constructor() {
    this.turns = new Turns({ nextTurn: (begin) => this.#next.push(begin), monotonicMs: () => this.nowMs })
  }

  get isIdle(): boolean {
    return this.#next.length === 0
  }

  async turn(): Promise<void> {
    for (const begin of this.#next.splice(0)) begin()
    // Whoever was let go on runs to its next question.
    for (let microtask = 0; microtask < 10; microtask++) await undefined
  }
}

/** Works through pieces, asking before each; tells of each one that it does. */
async function work(loop: Loop, ask: AskForTurn, pieces: readonly number[], onPiece: () => void): Promise<void> {
  for (const pieceMs of pieces) {
    const turn = ask()
    if (turn !== undefined) await turn
    onPiece()
    loop.nowMs += pieceMs
  }
}

describe('turns', () => {
  test('TU1: a piece waits for a turn to begin; while that is young and nobody waits, nobody else does', async () => {
    const loop = new Loop()
    const first = loop.turns.of('a')()
    expect(first).toBeInstanceOf(Promise)
    await loop.turn()
    await first
    expect(loop.turns.of('a')()).toBeUndefined()
    expect(loop.turns.of('b')()).toBeUndefined()
  })

  test('TU1: a piece that comes when a turn has lasted waits for another one', async () => {
    const loop = new Loop()
    const ask = loop.turns.of('a')
    await Promise.all([ask(), loop.turn()])
    expect(ask()).toBeUndefined()
    loop.nowMs += 5
    const turn = ask()
    expect(turn).toBeInstanceOf(Promise)
    await loop.turn()
    await turn
  })

  test('TU2: one that comes for a little waits for one piece of those that flood, however many wait', async () => {
    const loop = new Loop()
    const done: string[] = []
    const floods = ['a', 'b', 'c'].map((name) =>
      work(loop, loop.turns.of(name), new Array<number>(20).fill(5), () => done.push(name)),
    )
    for (let turn = 0; turn < 10; turn++) await loop.turn()
    const before = done.length
    const quiet = work(loop, loop.turns.of('quiet'), [0.4, 0.4], () => done.push('quiet'))
    await loop.turn()
    expect(done.slice(before, before + 2)).toEqual(['quiet', 'quiet'])
    while (!loop.isIdle) await loop.turn()
    await Promise.all([...floods, quiet])
  })

  test('TU2: in one turn pieces of its tenant begin one after the other, for as long as it is young', async () => {
    const loop = new Loop()
    const done: number[] = []
    const ask = loop.turns.of('readers')
    await Promise.all([work(loop, ask, [5], () => {}), loop.turn()])
    const reading = Array.from({ length: 7 }, (_, reader) => work(loop, ask, [0.25], () => done.push(reader)))
    expect(done).toEqual([])
    await loop.turn()
    expect(done).toEqual([0, 1, 2, 3])
    await loop.turn()
    expect(done).toEqual([0, 1, 2, 3, 4, 5, 6])
    await Promise.all(reading)
  })

  test('TU3: one that floods has no claim before others because nobody waited for a while', async () => {
    const loop = new Loop()
    const done: string[] = []
    const tell = (name: string) => () => done.push(name)
    await Promise.all([work(loop, loop.turns.of('flood'), [5], tell('flood')), loop.turn()])
    for (let time = 0; time < 3; time++) {
      const flood = work(loop, loop.turns.of('flood'), [5, 5], tell('flood'))
      while (!loop.isIdle) await loop.turn()
      await flood
    }
    done.length = 0
    const flood = work(loop, loop.turns.of('flood'), [5, 5], tell('flood'))
    const quiet = work(loop, loop.turns.of('quiet'), [1], tell('quiet'))
    while (!loop.isIdle) await loop.turn()
    await Promise.all([flood, quiet])
    expect(done).toEqual(['quiet', 'flood', 'flood'])
  })

  test('TU3: who was away for long gets no more at once than the others', async () => {
    const loop = new Loop()
    const done: string[] = []
    const early = work(loop, loop.turns.of('early'), new Array<number>(100).fill(5), () => done.push('early'))
    for (let turn = 0; turn < 50; turn++) await loop.turn()
    const before = done.length
    const late = work(loop, loop.turns.of('late'), new Array<number>(20).fill(5), () => done.push('late'))
    while (!loop.isIdle) await loop.turn()
    await Promise.all([early, late])
    const next = done.slice(before, before + 20)
    expect(next.filter((name) => name === 'late').length).toBeLessThanOrEqual(11)
  })

  test('everybody comes to an end, nobody does more than one piece beyond a turn, and then nothing is left to wake', async () => {
    const pieces = fc.array(fc.nat({ max: 6 }), { maxLength: 20 })
    await fc.assert(
      fc.asyncProperty(fc.array(pieces, { maxLength: 6 }), async (tenants) => {
        const loop = new Loop()
        let done = 0
        const working = tenants.map((piecesMs, name) => work(loop, loop.turns.of(`${name}`), piecesMs, () => done++))
        for (let turn = 0; turn < 500 && !loop.isIdle; turn++) {
          const beganAtMs = loop.nowMs
          await loop.turn()
          expect(loop.nowMs - beganAtMs).toBeLessThanOrEqual(1 + 6)
        }
        await Promise.all(working)
        expect(done).toBe(tenants.flat().length)
        expect(loop.isIdle).toBe(true)
      }),
      { numRuns: 200 },
    )
  })
})
