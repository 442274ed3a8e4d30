/** What somebody with a valid token can fill up that no quota counts, and that others need. */
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
