/**
 * Rows as large and as contested as a writer can make them, against a real port: what they cost the server that has others to
 * serve, and whether a newcomer of the tenant can still have them.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ServerProcess } from '../fuzz/server-process.ts'
import { openIntruder } from './intruder.ts'
import { linkTo, openNotes, settleAll, until } from './stage.ts'
import { openTokenServer, openWithToken } from './tokens.ts'

const TIMEOUT_MS = 120_000
const MIB = 2 ** 20

describe('a row of many fields, each as large as a change may be,', { timeout: TIMEOUT_MS }, () => {
  test('ends where a newcomer can still be sent it', async () => {
    const server = await openTokenServer()
    const intruder = await openIntruder(server)
    await intruder.greet()
    const title = 'x'.repeat(250_000)
    for (let seq = 1; seq <= 5; seq++) {
      const context: Record<string, number> = seq === 1 ? {} : { [intruder.replica]: seq - 1 }
      intruder.push({ seq, op: seq === 1 ? 'insert' : 'update', id: 'row', context, fields: { [`f${seq}`]: title } })
      intruder.say({ type: 'credit', bytes: MIB })
    }
    const many = Array.from({ length: 1_000 }, (_, at) => ({ seq: 6 + at, id: `other-${at}` }))
    intruder.push(...many)
    intruder.say({ type: 'mark', token: 1 })
    await intruder.hears('marked')
    const refusals = intruder.heard.flatMap((frame) => (frame.type === 'ack' ? frame.refusals : []))
    expect(refusals).toEqual([[5, 'too-large']])
    const newcomer = await openWithToken(server.url, { sub: 'bob' })
    await settleAll(newcomer.link)
    expect((await newcomer.replica.digest()).rows).toBe(1_001)
  })

  test('is refused to the app that writes it, before it is stored', async () => {
    const notes = await openNotes()
    const title = 'x'.repeat(250_000)
    await notes.table('notes').insert({ id: 'n1', title, done: false })
    for (const field of ['a', 'b', 'c']) await notes.table('notes').update('n1', { [field]: title } as object)
    await expect(notes.table('notes').update('n1', { d: title } as object)).rejects.toMatchObject({
      code: 'too-large',
      details: { limit: 1_000 * 1_024 },
    })
    await notes.table('notes').update('n1', { title: 'short' })
    await notes.table('notes').update('n1', { d: title } as object)
    await notes.table('notes').delete('n1')
  })
})

describe('a server', { timeout: TIMEOUT_MS }, () => {
  let server: ServerProcess
  beforeAll(async () => {
    server = await ServerProcess.start('memory')
  }, TIMEOUT_MS)
  afterAll(() => server.end())

  test('does not keep each state that a row passes through in one commit', async () => {
    const intruder = await openIntruder(server, { tenant: 'acme' })
    await intruder.greet()
    let seq = 0
    const update = (fields: Record<string, string>) => {
      const context: Record<string, number> = seq === 0 ? {} : { [intruder.replica]: seq }
      return { seq: ++seq, op: 'update', id: 'row', context, fields } as const
    }
    for (const field of ['a', 'b', 'c', 'd']) intruder.push(update({ [field]: 'x'.repeat(240_000) }))
    intruder.say({ type: 'mark', token: 1 })
    await intruder.hears('marked')
    const before = server.health.memoryBytesMax
    intruder.push(...Array.from({ length: 900 }, (_, at) => update({ e: `${at}` })))
    const isDealtWith = (): boolean => intruder.heard.some((frame) => frame.type === 'ack' && frame.throughSeq === seq)
    await until(isDealtWith, 'all of it is answered')
    // Somebody of another tenant is served as ever.
    const quiet = await openNotes({ tenant: 'quiet' })
    await quiet.table('notes').insert({ id: 'n1', title: 'quiet', done: false })
    await settleAll(linkTo(quiet, server.url))
    expect(server.health).toMatchObject({ stalls: [], troubles: [] })
    expect(server.health.memoryBytesMax - before).toBeLessThan(500 * MIB)
  })

  test('compares rows with all the versions that they can have a few at a time', async () => {
    const intruder = await openIntruder(server, { tenant: 'contested' })
    await intruder.greet({ tenant: 'contested' })
    const fields = Object.fromEntries(Array.from({ length: 256 }, (_, at) => [`f${at}`, 1]))
    let seq = 0
    // Of one replica, each without having seen the one before: as many heads.
    for (let head = 0; head < 60; head++) {
      intruder.push(
        ...Array.from({ length: 24 }, (_, row) => ({ seq: ++seq, op: 'update' as const, id: `row-${row}`, fields })),
      )
      const isDealtWith = (): boolean =>
        intruder.heard.some((frame) => frame.type === 'ack' && frame.throughSeq === seq)
      await until(isDealtWith, 'they are answered')
    }
    intruder.say({
      type: 'compare',
      token: 1,
      table: 'notes',
      after: undefined,
      through: undefined,
      hash: '0000000000000000',
    })
    await intruder.hears('compared')
    expect(server.health).toMatchObject({ stalls: [], troubles: [] })
  })
})
