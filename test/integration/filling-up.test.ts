/** What somebody with a valid token can fill up that no quota counts, and that others need. */
import { Writable } from 'node:stream'
import { pino } from 'pino'
import { describe, expect, test } from 'vitest'
import { openIntruder } from './intruder.ts'
import { until } from './stage.ts'
import { openTokenServer } from './tokens.ts'

describe('definitions of tables', () => {
  test('are bounded for a tenant, however many replicas bring them', async () => {
    const server = await openTokenServer()
    const codes: string[] = []
    for (let round = 0; round < 6; round++) {
      const intruder = await openIntruder(server)
      const tables = Array.from({ length: 100 }, (_, at) => [`t${round}x${at}`, 'fields lastWriteWins@1'] as const)
      intruder.say(intruder.hello({ tables }))
      await until(() => intruder.heard.length > 0, 'an answer comes')
      const [first] = intruder.heard
      codes.push(first?.type === 'refuse' ? first.code : String(first?.type))
    }
    expect(codes).toEqual(['welcome', 'welcome', 'too-large', 'too-large', 'too-large', 'too-large'])
  })

  test('are short', async () => {
    const server = await openTokenServer()
    const intruder = await openIntruder(server)
    intruder.say(intruder.hello({ tables: [['notes', 'x'.repeat(900_000)]] }))
    expect(await intruder.hears('refuse')).toMatchObject({ code: 'too-large' })
  })
})

describe('the log of the server', () => {
  test('has few lines about a rule that stumbles over each change of somebody', async () => {
    const lines: string[] = []
    const sink = new Writable({
      write: (chunk: Buffer, _encoding, done) => {
        lines.push(String(chunk))
        done()
      },
    })
    const authorize = (): boolean => {
      throw new Error('no such owner')
    }
    const server = await openTokenServer({ authorize, logger: pino({ level: 'error' }, sink) })
    const intruder = await openIntruder(server)
    await intruder.greet()
    intruder.push(...Array.from({ length: 800 }, (_, at) => ({ seq: at + 1 })))
    const ack = await intruder.hears('ack')
    expect(ack.refusals).toHaveLength(800)
    expect(lines.length).toBeGreaterThan(0)
    expect(lines.length).toBeLessThan(20)
  })
})

test('an answer is about what was pushed, however much was refused between its first change and its last', async () => {
  const server = await openTokenServer()
  const intruder = await openIntruder(server)
  await intruder.greet()
  const ahead = { op: 'delete', fields: {}, timestamp: (Date.now() + 3_600_000) * 2_048 } as const
  for (let first = 1; first < 3_000; first += 500) {
    intruder.push(...Array.from({ length: 500 }, (_, at) => ({ ...ahead, seq: first + at })))
  }
  const acks = () => intruder.heard.flatMap((frame) => (frame.type === 'ack' ? [frame] : []))
  await until(() => acks().some(({ throughSeq }) => throughSeq === 3_000), 'all of it is refused')
  const before = acks().length
  intruder.push({ ...ahead, seq: 1 }, { ...ahead, seq: 2 }, { ...ahead, seq: 3_000 })
  await until(() => acks().length > before, 'they are answered')
  expect(acks().at(-1)?.refusals).toEqual([1, 2, 3_000].map((seq) => [seq, 'clock-skew']))
})
