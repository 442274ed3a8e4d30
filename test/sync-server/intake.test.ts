/** Intake: how far the connections of a tenant are read ahead, by an event loop that the test moves. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Intake, type Reader } from '../../sync-server/intake.ts'

const KIB = 1024

class Socket implements Reader {
  isRead = true
  pause(): void {
    this.isRead = false
  }
  resume(): void {
    this.isRead = true
  }
}

function open(count: number): { intake: Intake; sockets: Socket[]; turn: () => void; isIdle: () => boolean } {
  const next: (() => void)[] = []
  const intake = new Intake((begin) => next.push(begin))
  const sockets = Array.from({ length: count }, () => new Socket())
  for (const socket of sockets) intake.enter(socket)
  const turn = (): void => {
    for (const begin of next.splice(0)) begin()
  }
  return { intake, sockets, turn, isIdle: () => next.length === 0 }
}

const readOf = (sockets: readonly Socket[]): number => sockets.filter(({ isRead }) => isRead).length

describe('the intake of a tenant', () => {
  test('IN1: once enough waits nobody of it is read, whoever sent it, nor who comes then', () => {
    const { intake, sockets } = open(20)
    const [one, other] = sockets as [Socket, Socket]
    intake.note(one, 100 * KIB)
    expect(readOf(sockets)).toBe(20)
    intake.note(other, 100 * KIB)
    expect(readOf(sockets)).toBe(0)
    const late = new Socket()
    intake.enter(late)
    expect(late.isRead).toBe(false)
  })

  test('IN2: when less waits they are read again, who waits longest first, one, two, four … in a turn', () => {
    const { intake, sockets, turn, isIdle } = open(20)
    const [one] = sockets as [Socket]
    intake.note(one, 1024 * KIB)
    intake.note(one, 10 * KIB)
    const seen = [readOf(sockets)]
    while (!isIdle()) {
      turn()
      seen.push(readOf(sockets))
    }
    expect(seen).toEqual([1, 3, 7, 15, 20, 20])
    expect(one.isRead).toBe(true)
  })

  test('IN2: of those that are read again one is enough to stop the others', () => {
    const { intake, sockets, turn } = open(20)
    const [one, two] = sockets as [Socket, Socket]
    intake.note(one, 1024 * KIB)
    intake.note(one, 0)
    intake.note(one, 1024 * KIB)
    turn()
    expect(readOf(sockets)).toBe(0)
    intake.note(one, 0)
    // The one that has just been read is the last now.
    expect([one.isRead, two.isRead]).toEqual([false, true])
  })

  test('IN3: who leaves is read again and counts no more', () => {
    const { intake, sockets, turn } = open(3)
    const [one, two] = sockets as [Socket, Socket, Socket]
    intake.note(one, 1024 * KIB)
    intake.leave(one)
    expect(one.isRead).toBe(true)
    turn()
    expect(readOf(sockets)).toBe(3)
    intake.note(one, 1024 * KIB)
    expect(two.isRead).toBe(true)
    for (const socket of sockets) intake.leave(socket)
    expect(intake.isEmpty).toBe(true)
  })

  test('nobody is forgotten: when nothing waits, all are read within a few turns', async () => {
    const step = fc.record({
      socket: fc.nat({ max: 5 }),
      kib: fc.constantFrom(0, 0, 30, 100, 900),
      act: fc.constantFrom('note', 'note', 'note', 'turn', 'leave', 'enter'),
    })
    await fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { intake, sockets, turn, isIdle } = open(6)
        const inside = new Set(sockets)
        const waiting = new Map<Socket, number>()
        for (const { socket: number, kib, act } of steps) {
          const socket = sockets[number] as Socket
          if (act === 'turn') turn()
          else if (act === 'note' && inside.has(socket)) {
            waiting.set(socket, kib)
            intake.note(socket, kib * KIB)
          } else if (act === 'leave' && inside.delete(socket)) {
            waiting.delete(socket)
            intake.leave(socket)
          } else if (act === 'enter' && !inside.has(socket)) {
            inside.add(socket)
            intake.enter(socket)
          }
          const total = [...waiting.values()].reduce((sum, each) => sum + each, 0)
          if (total > 128) expect(readOf([...inside])).toBe(0)
        }
        for (const socket of inside) intake.note(socket, 0)
        for (let turns = 0; turns < 5 && !isIdle(); turns++) turn()
        expect(readOf([...sockets])).toBe(6)
      }),
      { numRuns: 500 },
    )
  })
})
