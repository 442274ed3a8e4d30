/**
 * Movers that die or hold still at any commit of a move, and those who want to use the tenant meanwhile.
 *
 * Knows: machines whose processes stop. Must never know: the steps of a move.
 */
import { describe, expect, test } from 'vitest'
import type { IsolationMode, TenantManager } from '../../tenant/index.ts'
import { ACME, dyingAfter, Machine, MODES, PAIRS, PATIENCE_MS, pausingAfter, read, write } from './machine.ts'
import { codeOf, openClient } from './session.ts'

type Command = (manager: TenantManager, to: IsolationMode) => Promise<unknown>

const move: Command = (manager, to) => manager.move('acme', to)
const moveAndFinish: Command = async (manager, to) => {
  await manager.move('acme', to)
  await manager.finishMove('acme')
}
const rollBack: Command = (manager) => manager.rollBackMove('acme')

/** What an operator had done, the command in which the process stops, and where the same command leads in the end. */
const COMMANDS: readonly {
  readonly title: string
  readonly before: Command
  readonly command: Command
  readonly end: 'from' | 'to'
}[] = [
  { title: 'a move', before: async () => {}, command: moveAndFinish, end: 'to' },
  { title: 'the way back from a move', before: move, command: rollBack, end: 'from' },
]
const CASES = COMMANDS.flatMap(({ title, ...rest }) =>
  PAIRS.map(([from, to]) => ({ title: `${title} from ${from} to ${to}`, from, to, ...rest })),
)

async function found(from: IsolationMode, to: IsolationMode, before: Command) {
  const machine = new Machine()
  const manager = await machine.start()
  await manager.register({ name: 'acme', plan: 'pro', mode: from })
  const client = await openClient('acme')
  await write(manager, client, ['1', '2'])
  await before(manager, to)
  await write(manager, client, ['3'])
  await manager.close()
  return { machine, client }
}

/**
 * What somebody does who uses the tenant, and comes back after a refusal as clients do: at most two times, once because what
 * was open has moved, and once because a mover may be silent for so long.
 */
async function use<Result>(machine: Machine, work: () => Promise<Result>): Promise<Result> {
  for (let refusals = 0; ; refusals++) {
    try {
      return await work()
    } catch (error) {
      expect([refusals, await codeOf(Promise.reject(error))]).toEqual([Math.min(refusals, 2), 'unavailable'])
      if (refusals > 0) machine.wait(PATIENCE_MS)
    }
  }
}

async function expectAtRest(machine: Machine, manager: TenantManager, mode: IsolationMode): Promise<void> {
  expect(await manager.get('acme')).toMatchObject({ mode, move: undefined, mover: undefined })
  const places = await machine.footprint()
  for (const place of MODES) expect([place, places[place] > 0]).toEqual([place, place === mode])
}

describe.each(CASES)('a process that dies at any commit of $title', ({ from, to, before, command, end }) => {
  test('leaves a tenant that is in use again by itself, with all it held, and the same command ends it', async () => {
    for (let commits = 0; ; commits++) {
      const { machine, client } = await found(from, to, before)
      const isThrough = (await codeOf(command(await machine.start(dyingAfter(commits)), to))) === 'no error'
      const again = await machine.start()
      expect(await use(machine, () => read(again))).toEqual(['1', '2', '3'])
      await write(again, client, ['4'])
      const { move: left, mode } = (await again.get('acme')) ?? {}
      if (left !== undefined && left.phase === 'kept' && mode === to && end === 'to') await again.finishMove('acme')
      else if (left !== undefined || mode !== (end === 'to' ? to : from)) await command(again, to)
      await expectAtRest(machine, again, end === 'to' ? to : from)
      expect(await read(again)).toEqual(['1', '2', '3', '4'])
      if (isThrough) return expect(commits).toBeGreaterThan(6)
    }
  })

  test('leaves a tenant that is in use by another process which was there all the time', async () => {
    for (let commits = 0; ; commits++) {
      const { machine, client } = await found(from, to, before)
      const other = await machine.start()
      await write(other, client, ['4'])
      const isThrough = (await codeOf(command(await machine.start(dyingAfter(commits)), to))) === 'no error'
      await use(machine, () => write(other, client, []))
      await use(machine, () => write(other, client, ['5']))
      const third = await machine.start()
      expect(await use(machine, () => read(third))).toEqual(['1', '2', '3', '4', '5'])
      if (isThrough) return
    }
  })
})

describe.each(CASES)('a process that holds still at any commit of $title', ({ from, to, before, command, end }) => {
  test('MV1: costs nothing that was written meanwhile, whether it comes to its end then or not', async () => {
    for (let commits = 0; ; commits++) {
      const { machine, client } = await found(from, to, before)
      const { onCommit, paused, resume } = pausingAfter(commits)
      const slow = await machine.start(onCommit)
      const outcome = codeOf(command(slow, to))
      if ((await Promise.race([outcome, paused])) !== 'paused') return expect(commits).toBeGreaterThan(6)
      const other = await machine.start()
      await use(machine, () => write(other, client, []))
      await write(other, client, ['4'])
      resume()
      await outcome
      expect(await use(machine, () => read(other))).toEqual(['1', '2', '3', '4'])
    }
  })

  test('and the same command given to another process: that one comes to its end, and nothing is lost', async () => {
    for (let commits = 0; ; commits++) {
      const { machine, client } = await found(from, to, before)
      const { onCommit, paused, resume } = pausingAfter(commits)
      const slow = await machine.start(onCommit)
      const outcome = codeOf(command(slow, to))
      if ((await Promise.race([outcome, paused])) !== 'paused') return
      const other = await machine.start()
      const { move: left, mode } = (await other.get('acme')) ?? {}
      if (end === 'to' && left?.phase === 'kept' && mode === to) await other.finishMove('acme')
      else await command(other, to)
      await write(other, client, ['4'])
      resume()
      await outcome
      expect(await use(machine, () => read(other))).toEqual(['1', '2', '3', '4'])
      expect(await other.get('acme')).toMatchObject({ mode: end === 'to' ? to : from, move: undefined })
    }
  })
})

describe('MV2: a mover that shows signs of life', () => {
  test('is not disturbed, however long it takes; one that shows none has to give way', async () => {
    const { machine } = await found('shared', 'dedicated', async () => {})
    let held: ReturnType<typeof pausingAfter> | undefined
    let isCut = false
    for (let commits = 0; !isCut; commits++) {
      held?.resume()
      held = pausingAfter(commits)
      const slow = await machine.start(held.onCommit)
      const moving = codeOf(slow.move('acme', 'dedicated'))
      expect(await Promise.race([moving, held.paused])).toBe('paused')
      isCut = (await slow.get('acme'))?.move?.phase === 'cutting'
      if (!isCut) continue
      const other = await machine.start()
      for (let beats = 0; beats < 10; beats++) {
        expect(await codeOf(other.lease(ACME))).toBe('unavailable')
        machine.wait(PATIENCE_MS - 1)
        await slow.refresh()
      }
      expect(await codeOf(other.lease(ACME))).toBe('unavailable')
      machine.wait(PATIENCE_MS)
      expect(await codeOf(other.lease(ACME))).toBe('no error')
      held.resume()
      expect(await moving).toBe('unavailable')
      expect(await other.get('acme')).toMatchObject({ mode: 'shared', move: { phase: 'copying' } })
      expect(await use(machine, () => read(other))).toEqual(['1', '2', '3'])
    }
  })
})
