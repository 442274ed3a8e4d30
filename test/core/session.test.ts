/**
 * The session under commands: whatever members write, however they connect and lose the line, and in whatever order frames
 * are delivered, nobody counts anything that is not so, and in the end all are equal.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { digestRows } from '../../core/index.ts'
import { type Direction, Stage } from './session-stage.ts'

const MEMBERS = 2

/** What has to be so, by counting alone. */
interface Model {
  readonly written: number[]
  /** What the server was seen to have of each member. */
  readonly held: number[]
}

type Step = fc.AsyncCommand<Model, Stage>

async function expectHonest({ written, held }: Model, stage: Stage): Promise<void> {
  for (const [number, count] of written.entries()) {
    const member = stage.member(number)
    const has = stage.heldOf(number)
    expect(member.clock.get(member.id)).toBe(count)
    expect(has).toBeLessThanOrEqual(count)
    expect(has).toBeGreaterThanOrEqual(held[number] ?? 0)
    held[number] = has
    // What counts as answered, the server has; what it has may not have been answered yet.
    expect(member.pending).toBeGreaterThanOrEqual(count - has)
    expect(member.pending).toBeLessThanOrEqual(count)
    for (const other of written.keys()) {
      const known = member.clock.get(stage.member(other).id)
      if (other !== number) expect(known).toBeLessThanOrEqual(stage.heldOf(other))
    }
  }
}

abstract class Act implements Step {
  readonly member: number

  constructor(member: number) {
    this.member = member
  }

  check(_model: Readonly<Model>): boolean {
    return true
  }

  abstract act(model: Model, stage: Stage): Promise<void>

  async run(model: Model, stage: Stage): Promise<void> {
    await this.act(model, stage)
    await expectHonest(model, stage)
  }

  toString(): string {
    return `${this.constructor.name} ${this.member}`
  }
}

class Write extends Act {
  readonly id: string
  readonly text: string

  constructor(member: number, id: string, text: string) {
    super(member)
    this.id = id
    this.text = text
  }

  async act({ written }: Model, stage: Stage): Promise<void> {
    const notes = stage.member(this.member).table('notes')
    await notes.upsert({ id: this.id, text: this.text })
    written[this.member] = (written[this.member] ?? 0) + 1
    expect(await notes.get(this.id)).toEqual({ id: this.id, text: this.text })
  }

  override toString(): string {
    return `Write ${this.member} ${this.id}=${this.text}`
  }
}

class Delete extends Act {
  readonly id: string

  constructor(member: number, id: string) {
    super(member)
    this.id = id
  }

  async act({ written }: Model, stage: Stage): Promise<void> {
    const notes = stage.member(this.member).table('notes')
    if ((await notes.get(this.id)) === undefined) return
    await notes.delete(this.id)
    written[this.member] = (written[this.member] ?? 0) + 1
    expect(await notes.get(this.id)).toBeUndefined()
  }

  override toString(): string {
    return `Delete ${this.member} ${this.id}`
  }
}

class Dial extends Act {
  act(_: Model, stage: Stage): Promise<void> {
    return stage.dial(this.member)
  }
}

class Cut extends Act {
  act(_: Model, stage: Stage): Promise<void> {
    return stage.cut(this.member)
  }
}

class Deliver extends Act {
  readonly direction: Direction
  readonly count: number

  constructor(member: number, direction: Direction, count: number) {
    super(member)
    this.direction = direction
    this.count = count
  }

  async act(_: Model, stage: Stage): Promise<void> {
    for (let left = this.count; left > 0; left--) if (!(await stage.deliver(this.member, this.direction))) return
  }

  override toString(): string {
    return `Deliver ${this.member} ${this.direction} ${this.count}`
  }
}

const member = fc.nat(MEMBERS - 1)
const id = fc.constantFrom('a', 'b')
const deliver = fc
  .tuple(member, fc.constantFrom<Direction>('up', 'down'), fc.integer({ min: 1, max: 3 }))
  .map(([number, direction, count]): Step => new Deliver(number, direction, count))
const steps: fc.Arbitrary<Step>[] = [
  fc.tuple(member, id, fc.string({ maxLength: 3 })).map(([number, row, text]) => new Write(number, row, text)),
  fc.tuple(member, id).map(([number, row]) => new Delete(number, row)),
  member.map((number) => new Dial(number)),
  member.map((number) => new Cut(number)),
  deliver,
  deliver,
  deliver,
]

test('sessions stay honest under any commands, and healed members become equal', { timeout: 120_000 }, async () => {
  let exchanged = 0
  await fc.assert(
    fc.asyncProperty(fc.commands(steps, { maxCommands: 40, size: 'max' }), async (commands) => {
      const stage = await Stage.open(MEMBERS)
      const model: Model = { written: Array(MEMBERS).fill(0), held: Array(MEMBERS).fill(0) }
      try {
        await fc.asyncModelRun(() => ({ model, real: stage }), commands)
        // Once for what they have, and once for what they then hear of each other.
        await stage.heal()
        await stage.heal()
        await expectHonest(model, stage)
        const { hash } = await digestRows(stage.hub.ledger)
        for (const [number, each] of stage.members.entries()) {
          expect(each.pending).toBe(0)
          expect(stage.heldOf(number)).toBe(model.written[number])
          expect((await each.digest()).hash).toBe(hash)
        }
        exchanged += stage.hub.ledger.state.meta.changes
      } finally {
        await stage.close()
      }
    }),
    { numRuns: 300 },
  )
  expect(exchanged).toBeGreaterThan(300)
})
