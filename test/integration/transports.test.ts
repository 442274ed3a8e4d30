/**
 * What a client with a valid seat can do to the server below its frames, where nothing is paced or counted: pings, packets of
 * Engine.IO that say nothing, bodies of polls. From outside, against a server in a process of its own, which watches itself.
 */
import { once } from 'node:events'
import { request } from 'node:http'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ServerProcess } from '../fuzz/server-process.ts'
import { linkTo, openNotes, openRawSocket, settleAll, tcpOf, until } from './stage.ts'

const TIMEOUT_MS = 120_000
const MIB = 2 ** 20

let server: ServerProcess
beforeAll(async () => {
  server = await ServerProcess.start('memory')
}, TIMEOUT_MS)
afterAll(() => server.end())

/** Somebody of another tenant is served, and the server has noticed no stall. */
async function expectWell(): Promise<void> {
  const quiet = await openNotes({ tenant: 'quiet' })
  await quiet.table('notes').insert({ id: `n${Date.now()}`, title: 'quiet', done: false })
  await settleAll(linkTo(quiet, server.url))
  expect(server.health).toMatchObject({ stalls: [], troubles: [] })
}

function ask(method: string, path: string, body = ''): Promise<{ readonly status: number; readonly text: string }> {
  const { host, port } = server.address
  const headers = { 'content-length': `${Buffer.byteLength(body)}`, 'content-type': 'text/plain' }
  return new Promise((resolve, reject) => {
    const asked = request(
      { host, port, method, path: `/socket.io/?EIO=4&transport=polling${path}`, headers },
      (answer) => {
        let text = ''
        answer.on('data', (data) => {
          text += data
        })
        answer.once('end', () => resolve({ status: answer.statusCode ?? 0, text }))
      },
    )
    asked.once('error', reject)
    asked.end(body)
  })
}

/** Let in over polling; answers with what names the transport. */
async function poll(): Promise<string> {
  const opened = await ask('GET', '')
  const { sid } = JSON.parse(opened.text.slice(1)) as { readonly sid: string }
  await ask('POST', `&sid=${sid}`, '40{"tenant":"acme"}')
  expect((await ask('GET', `&sid=${sid}`)).text).toMatch(/^40/)
  return `&sid=${sid}`
}

const PINGS = Buffer.from(Array.from({ length: 50_000 }, () => [0x89, 0x80, 0, 0, 0, 0]).flat())

test('MG1, MG2: a flood of pings from clients that read no answer neither stalls it nor fills its memory', {
  timeout: TIMEOUT_MS,
}, async () => {
  const sockets = await Promise.all([0, 1, 2, 3].map(() => openRawSocket(server.url)))
  await until(() => server.health.memoryBytesMax > 0, 'the memory is measured')
  const before = server.health.memoryBytesMax
  await Promise.all(
    sockets.map(tcpOf).map(async (tcp) => {
      tcp.pause()
      tcp.on('error', () => {})
      for (let left = 8; left > 0 && !tcp.destroyed; left--) {
        if (!tcp.write(PINGS)) await Promise.race([once(tcp, 'drain'), once(tcp, 'close')])
      }
    }),
  )
  await expectWell()
  expect(server.health.memoryBytesMax - before).toBeLessThan(60 * MIB)
})

test('MG2: of many pings at once the first is answered, and the last, in their order', async () => {
  const socket = await openRawSocket(server.url)
  const { ws } = socket.io.engine.transport as unknown as {
    readonly ws: { ping(data: string): void; on(event: 'pong', listener: (data: Buffer) => void): void }
  }
  const answers: string[] = []
  ws.on('pong', (data) => answers.push(data.toString()))
  for (let number = 0; number < 1_000; number++) ws.ping(`${number}`)
  await until(() => answers.includes('999'), 'the last ping is answered')
  expect(answers[0]).toBe('0')
  expect(answers).toEqual(answers.toSorted((left, right) => Number(left) - Number(right)))
})

test('PL2, PL3: bodies of polls with as many packets as fit do not stall it', { timeout: TIMEOUT_MS }, async () => {
  const paths = await Promise.all([0, 1, 2].map(poll))
  const body = Array.from({ length: 690_000 }, () => '3').join('\u001e')
  for (const path of paths) await ask('POST', path, body)
  const small = Array.from({ length: 30_000 }, () => '3').join('\u001e')
  await Promise.all(paths.map((path) => ask('POST', path, small)))
  await expectWell()
})
