/** What comes over long-polling: real requests to a transport that notes what it is handed, in which turn of the event loop. */
import { once } from 'node:events'
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import { connect } from 'node:net'
import type { Socket } from 'socket.io'
import { expect, onTestFinished, test } from 'vitest'
import { pollsOf, watchPolls } from '../../sync-server/polls.ts'

const KIB = 1_024
const SEPARATOR = '\u001e'

/** As much of Engine.IO's transport as a request that brings something meets. */
class Transport {
  readonly name = 'polling'
  readyState = 'open'
  readonly maxHttpBufferSize = 200 * KIB
  readonly packets: { readonly text: string; readonly turn: number }[] = []
  readonly errors: string[] = []
  dataReq: IncomingMessage | null = null
  readonly parser = { decodePacket: (text: string) => ({ type: text === '1' ? 'close' : 'message', text }) }
  #turn = 0
  onDataRequest(_request: IncomingMessage, _response: ServerResponse): void {}
  headers = (_request: IncomingMessage, headers: object) => ({ ...headers })
  once(): void {}
  onClose(): void {
    this.readyState = 'closed'
  }
  onError(what: string): void {
    this.errors.push(what)
  }
  onPacket({ text }: { readonly text: string }): void {
    if (this.packets.length === 0) this.#count()
    this.packets.push({ text, turn: this.#turn })
  }
  #count(): void {
    setImmediate(() => {
      this.#turn++
      if (this.#turn < 10_000) this.#count()
    })
  }
}

async function open(): Promise<{ transport: Transport; port: number }> {
  const transport = new Transport()
  watchPolls({ transport } as unknown as Socket['conn'])
  const server = createServer((asked, answer) => transport.onDataRequest(asked, answer))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  const address = server.address()
  return { transport, port: typeof address === 'object' ? (address?.port ?? 0) : 0 }
}

function post(port: number, body: string, headers: Record<string, string> = {}): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const length = { 'content-length': `${Buffer.byteLength(body)}`, ...headers }
    const asked = request({ host: '127.0.0.1', port, method: 'POST', headers: length }, (answer) => {
      answer.resume()
      resolve(answer.statusCode)
    })
    asked.once('error', reject)
    asked.end(body)
  })
}

test('PL1: a body that does not say its length, or says too much, is not read', async () => {
  const { transport, port } = await open()
  expect(await post(port, 'x', { 'content-length': `${201 * KIB}` })).toBe(413)
  const socket = connect(port, '127.0.0.1')
  socket.write(`POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${'1\r\nx\r\n'.repeat(1_000)}`)
  const [answer] = await once(socket, 'data')
  expect(String(answer)).toContain('HTTP/1.1 411')
  expect(transport.packets).toEqual([])
  expect(transport.errors).toHaveLength(2)
})

test('PL2: a large body is one packet, whatever it holds', async () => {
  const { transport, port } = await open()
  const body = `4${`x${SEPARATOR}`.repeat(40 * KIB)}`
  expect(await post(port, body)).toBe(200)
  expect(transport.packets.map(({ text }) => text)).toEqual([body])
})

test('PL3: of many packets few are handed on in a turn, in their order, and the answer comes after the last', async () => {
  const { transport, port } = await open()
  const texts = Array.from({ length: 1_000 }, (_, at) => `4${at}`)
  expect(await post(port, texts.join(SEPARATOR))).toBe(200)
  expect(transport.packets.map(({ text }) => text)).toEqual(texts)
  const inTurn = new Map<number, number>()
  for (const { turn } of transport.packets) inTurn.set(turn, (inTurn.get(turn) ?? 0) + 1)
  expect(Math.max(...inTurn.values())).toBeLessThanOrEqual(64)
})

test('PL3: a second request is refused while there is one, and nothing comes after a goodbye', async () => {
  const { transport, port } = await open()
  pollsOf(transport)?.pause()
  const first = post(port, ['4a', '1', '4b'].join(SEPARATOR))
  expect(await post(port, '4c')).toBe(400)
  pollsOf(transport)?.resume()
  expect(await first).toBe(200)
  expect(transport.packets.map(({ text }) => text)).toEqual(['4a'])
})

test('PL4: while it is paused nothing is handed on, and afterwards everything', async () => {
  const { transport, port } = await open()
  const texts = Array.from({ length: 100 }, (_, at) => `4${at}`)
  pollsOf(transport)?.pause()
  const answered = post(port, texts.join(SEPARATOR))
  // It is refused by then if nobody has taken it.
  expect(await post(port, 'x')).toBe(400)
  expect(transport.packets).toEqual([])
  pollsOf(transport)?.resume()
  expect(await answered).toBe(200)
  expect(transport.packets).toHaveLength(100)
})

test('a body that drips in is there to be cut off when its transport closes, and one that is whole is not', async () => {
  const { transport, port } = await open()
  const socket = connect(port, '127.0.0.1')
  socket.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx')
  await expect.poll(() => transport.dataReq).not.toBeNull()
  transport.dataReq?.destroy()
  await once(socket, 'close')
  expect(transport.errors).toHaveLength(1)
  const other = await open()
  expect(await post(other.port, '4a')).toBe(200)
  expect(other.transport.dataReq).toBeNull()
})
