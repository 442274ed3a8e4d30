/** The packet parser: golden bytes of every packet, and what it refuses. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isTidemarkError } from '../../core/index.ts'
import { PacketDecoder, PacketEncoder, type SocketPacket } from '../../core/packet.ts'

const encoder = new PacketEncoder()

function decode(message: unknown): SocketPacket[] {
  const packets: SocketPacket[] = []
  const decoder = new PacketDecoder()
  decoder.on('decoded', (packet) => packets.push(packet))
  decoder.add(message)
  return packets
}

function codeOf(run: () => unknown): string | undefined {
  try {
    run()
  } catch (error) {
    if (isTidemarkError(error)) return error.code
    throw error
  }
  return undefined
}

test.each<[SocketPacket, string]>([
  [{ type: 0, nsp: '/' }, '0'],
  [{ type: 0, nsp: '/', data: { tenant: 'acme' } }, '0{"tenant":"acme"}'],
  [{ type: 0, nsp: '/', data: { sid: 'x1' } }, '0{"sid":"x1"}'],
  [{ type: 1, nsp: '/' }, '1'],
  [
    { type: 4, nsp: '/', data: { message: 'no', data: { code: 'forbidden' } } },
    '4{"message":"no","data":{"code":"forbidden"}}',
  ],
])('the packet %j is the text %s, both ways', (packet, text) => {
  expect(encoder.encode(packet)).toEqual([text])
  expect(decode(text)).toEqual([packet])
})

test('a frame is one binary message without a byte more, and is not copied', () => {
  const frame = new Uint8Array([1, 2, 3])
  const [message, ...rest] = encoder.encode({ type: 2, nsp: '/', data: ['f', frame] })
  expect(message).toBe(frame)
  expect(rest).toEqual([])
  expect(decode(frame)).toEqual([{ type: 2, nsp: '/', data: ['f', frame] }])
})

test.each([
  ['a Buffer', Buffer.from([0, 1, 2, 3]).subarray(1)],
  ['an ArrayBuffer', new Uint8Array([1, 2, 3]).buffer],
  ['a view', new Uint8Array([0, 1, 2, 3]).subarray(1)],
])('a frame that comes in as %s is a plain array of the same bytes', (_kind, message) => {
  const [packet] = decode(message) as [SocketPacket]
  const [event, frame] = packet.data as [string, Uint8Array]
  expect(event).toBe('f')
  expect(frame.constructor).toBe(Uint8Array)
  expect([...frame]).toEqual([1, 2, 3])
})

describe('refused', () => {
  test.each(
    [
      [
        '',
        '2["f"]',
        '3[]',
        '5',
        '6',
        '9',
        'x',
        '1{}',
        '0[]',
        '0null',
        '0"x"',
        '0{',
        '4',
        '4[]',
        '0/other,{}',
        '51-["f"]',
      ],
    ].flat(),
  )('is the text %j', (text) => {
    expect(codeOf(() => decode(text))).toBe('bad-frame')
  })

  test('is text above its limit, before it is parsed', () => {
    expect(codeOf(() => decode(`0{"token":"${'x'.repeat(17_000)}"}`))).toBe('bad-frame')
    expect(codeOf(() => decode(`0{"token":"${'x'.repeat(8_192)}"}`))).toBe(undefined)
  })

  test.each([undefined, null, 1, {}, new Blob([])])('is the message %s', (message) => {
    expect(codeOf(() => decode(message))).toBe('bad-frame')
  })

  test.each<SocketPacket>([
    { type: 2, nsp: '/', data: ['other', new Uint8Array(1)] },
    { type: 2, nsp: '/', data: ['f', 'text'] },
    { type: 2, nsp: '/', data: ['f', new Uint8Array(1)], id: 1 },
    { type: 2, nsp: '/other', data: ['f', new Uint8Array(1)] },
    { type: 3, nsp: '/', data: [], id: 1 },
  ])('is to send %j', (packet) => {
    expect(codeOf(() => encoder.encode(packet))).toBe('bad-frame')
  })

  test('is whatever else comes, with a typed error and never another one', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ maxLength: 64 }),
          fc.json().map((json) => `0${json}`),
        ),
        (text) => {
          expect([undefined, 'bad-frame']).toContain(codeOf(() => decode(text)))
        },
      ),
    )
  })
})
