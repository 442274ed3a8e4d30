/**
 * Assaults: what no single frame does, but many of them, or their order, or the transport beneath them.
 *
 * Knows: the server's port, and lanes to it. Must never know: what the server is made of.
 */
import { packUuid } from '../../core/frame.ts'
import {
  array,
  binary,
  bytesOf,
  craftBlock,
  craftEntry,
  fieldsOf,
  MORE,
  NEXT_SEQ,
  repeated,
  SAME_TABLE,
  sized,
  text,
  uint,
} from './craft.ts'
import { craftHello, cursorOf, pushOf, type Target } from './killers.ts'
import { Lane, type Outcome, type Stage } from './lane.ts'
import type { RawAddress, RawSocket } from './raw-socket.ts'

export interface Assault {
  readonly sentence: string
  readonly run: (address: RawAddress, tenant: string) => Promise<readonly Outcome[]>
}

/** `share`: the part of each flood that is sent; all of it by default. */
export function allAssaults(share = 1): Assault[] {
  return [...logAssaults(), ...floods(share), ...packetAssaults(), ...transportAssaults()]
}

/** A lane that ends with its work. */
async function withLane<Result>(
  address: RawAddress,
  tenant: string,
  name: string,
  work: (lane: Lane) => Promise<Result>,
  grantsCredit = true,
): Promise<Result> {
  const lane = new Lane(address, tenant, `assault/${name}`, grantsCredit)
  try {
    return await work(lane)
  } finally {
    lane.hangUp()
  }
}

/** One who turns hostile at some stage and does one thing. */
function solo(sentence: string, stage: Stage, work: (socket: RawSocket, target: Target) => void): Assault {
  return {
    sentence,
    run: (address, tenant) =>
      withLane(address, tenant, sentence, async (lane) => [
        await lane.assault(stage, (socket) => work(socket, lane.target)),
      ]),
  }
}

// ── By the log ──────────────────────────────────────────────────────────────────────────────────────────────────────

const TRANSACTION_CHANGES = 6

/** One transaction, so one block of several positions. */
function transactionOf(target: Target): Uint8Array {
  const entries = Array.from({ length: TRANSACTION_CHANGES }, (_, at) =>
    craftEntry({
      dot: at === 0 ? [0, target.nextSeq] : null,
      flags: (at === 0 ? 0 : NEXT_SEQ | SAME_TABLE) | (at < TRANSACTION_CHANGES - 1 ? MORE : 0),
      id: sized(`part-${at}`),
    }),
  )
  return pushOf(craftBlock({ replicas: [packUuid(target.replica)], entries }))
}

function logAssaults(): Assault[] {
  return [
    {
      sentence: 'Cursors that point inside a block: the log has such positions, but no reader was ever given one.',
      run: (address, tenant) =>
        withLane(address, tenant, 'inside', async (lane) => {
          const outcomes = [await lane.fire(transactionOf(lane.target))]
          lane.hangUp()
          // Welcomed again, it knows where the log ends now.
          outcomes.push(await lane.fire())
          const { target } = lane
          for (let back = 1; back < TRANSACTION_CHANGES; back++) {
            const hello = craftHello(target, { resume: cursorOf(target, target.position - back) })
            outcomes.push(await lane.assault('admitted', (socket) => socket.sendBinary(hello), 300))
          }
          return outcomes
        }),
    },
    {
      sentence: 'The same change again with a context that names a replica nobody knows.',
      run: (address, tenant) =>
        withLane(address, tenant, 'again', async (lane) => {
          const { target } = lane
          await lane.fire()
          const stranger = packUuid('dddddddd-dddd-4ddd-8ddd-dddddddddddd')
          const push = (context: Uint8Array): Uint8Array => {
            const replicas = [packUuid(lane.target.replica), stranger]
            return pushOf(craftBlock({ replicas, entries: [craftEntry({ dot: [0, target.nextSeq], context })] }))
          }
          return [await lane.fire(push(Uint8Array.of(0))), await lane.fire(push(Uint8Array.of(1, 1, 1)))]
        }),
    },
  ]
}

// ── By numbers ──────────────────────────────────────────────────────────────────────────────────────────────────────

/** More than a session may have under way. */
const PILE_CHANGES = 24
const CHANGE_BYTES = 100_000

/** A log that takes more credit to read than one who never grants any has. */
async function pileUp(lane: Lane): Promise<Outcome> {
  let outcome = await lane.fire()
  for (let left = PILE_CHANGES; left > 0; left--) {
    const { nextSeq, replica } = lane.target
    const fields = fieldsOf([1, text(repeated(CHANGE_BYTES, [0x61]))])
    const entries = [craftEntry({ dot: [0, nextSeq], id: sized(`pile-${left}`), fields })]
    outcome = await lane.fire(pushOf(craftBlock({ replicas: [packUuid(replica)], entries })))
  }
  return outcome
}

function floods(share: number): Assault[] {
  const flood = (sentence: string, count: number, frame: (target: Target) => Uint8Array): Assault =>
    solo(sentence, 'greeted', (socket, target) => {
      for (let left = count * share; left > 0; left--) socket.sendBinary(frame(target))
    })
  return [
    {
      sentence: '200,000 marks from one who grants no credit, so that none can be answered.',
      run: async (address, tenant) => {
        const piled = await withLane(address, tenant, 'pile', pileUp)
        const marks = await withLane(
          address,
          tenant,
          'marks',
          (lane) =>
            lane.assault('greeted', (socket) => {
              for (let left = 200_000 * share; left > 0; left--) socket.sendBinary(array([10], uint(left % 100)))
            }),
          false,
        )
        return [piled, marks]
      },
    },
    flood('50,000 marks.', 50_000, () => array([10], [1])),
    flood('20,000 comparisons.', 20_000, () => array([13], [1], text('notes'), [0xc0], [0xc0], text('0'))),
    flood('100,000 grants of credit.', 100_000, () => array([6], [1])),
    flood('20,000 empty pushes.', 20_000, () => array([4], binary([]))),
    flood('5,000 pushes of the same change.', 5_000, (target) =>
      pushOf(craftBlock({ replicas: [packUuid(target.replica)], entries: [craftEntry({ dot: [0, target.nextSeq] })] })),
    ),
    solo('3,000 hellos with a foreign cursor.', 'admitted', (socket, target) => {
      const foreign = cursorOf({ ...target, logId: target.replica }, 1)
      for (let left = 3_000 * share; left > 0; left--) socket.sendBinary(craftHello(target, { resume: foreign }))
    }),
    {
      sentence: '40 sessions of one replica at once.',
      run: async (address, tenant) => {
        const lanes = Array.from({ length: 40 }, () => new Lane(address, tenant, 'assault/same'))
        const hello = (lane: Lane): Uint8Array => craftHello(lane.target, { resume: array([2], binary([])) })
        return Promise.all(lanes.map((lane) => lane.assault('admitted', (socket) => socket.sendBinary(hello(lane)))))
      },
    },
  ]
}

// ── By packets ──────────────────────────────────────────────────────────────────────────────────────────────────────

function packetAssaults(): Assault[] {
  const texts: readonly (readonly [string, string])[] = [
    ['a disconnect', '1'],
    ['an event as text', '2["f"]'],
    ['an acknowledgement', '31[]'],
    ['a connect error', '4{}'],
    ['a binary event that announces attachments', '51-["f",{"_placeholder":true,"num":0}]'],
    ['a connect to another namespace', '0/admin,{}'],
    ['a connect that is no object', '0[1,2]'],
    ['a connect that is not JSON', '0{'],
    ['a connect nested 16,000 deep', `0${'['.repeat(16_000)}`],
    ['a connect of more text than a packet may have', `0{"tenant":"${'x'.repeat(17_000)}"}`],
    ['a connect with the tenant __proto__', '0{"tenant":"__proto__"}'],
    ['a connect that sets a prototype', '0{"__proto__":{"tenant":"acme"}}'],
    ['a connect without a tenant', '0{}'],
    ['a type beyond all types', '9'],
    ['nothing', ''],
  ]
  return [
    ...texts.map(([name, packet]) =>
      solo(`Instead of a connect packet, ${name}.`, 'open', (socket) => socket.sendText(packet)),
    ),
    ...texts.map(([name, packet]) => solo(`In a session, ${name}.`, 'greeted', (socket) => socket.sendText(packet))),
    solo('A frame before the connect packet.', 'open', (socket) => socket.sendBinary(array([6], [1]))),
    {
      sentence: '5,000 connect packets on one connection.',
      run: (address, tenant) =>
        withLane(address, tenant, 'connects', async (lane) => [
          await lane.assault('open', (socket) => {
            for (let left = 5_000; left > 0; left--) socket.sendText(`0${JSON.stringify({ tenant })}`)
          }),
        ]),
    },
  ]
}

function transportAssaults(): Assault[] {
  const raw = (sentence: string, ...parts: readonly (Uint8Array | readonly number[])[]): Assault =>
    solo(sentence, 'greeted', (socket) => socket.sendRaw(bytesOf(...parts)))
  return [
    raw('A WebSocket message that is not masked.', [0x82, 2, 0x91, 9]),
    raw('A WebSocket message of 2^62 bytes.', [0x82, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    raw('A WebSocket message of 2 MiB.', [0x82, 0xff, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0], new Uint8Array(1 << 21)),
    raw(
      'A WebSocket message in 50,000 fragments.',
      [0x02, 0x80, 0, 0, 0, 0],
      repeated(50_000, [0x00, 0x81, 0, 0, 0, 0, 1]),
    ),
    raw('A fragment that continues nothing.', [0x80, 0x81, 0, 0, 0, 0, 1]),
    raw('A message with reserved bits.', [0xf2, 0x81, 0, 0, 0, 0, 1]),
    raw('A text that is not UTF-8.', [0x81, 0x82, 0, 0, 0, 0, 0xff, 0xfe]),
    raw('A ping of 200 bytes.', [0x89, 0xfe, 0, 200, 0, 0, 0, 0], new Uint8Array(200)),
    raw('5,000 pings.', repeated(5_000, [0x89, 0x80, 0, 0, 0, 0])),
    raw('Bytes of no protocol.', repeated(4_000, [0x47, 0x45, 0x54, 0x20, 0x0d, 0x0a])),
    ...['0', '1', '2probe', '3', '5', '6', '7', 'b!!!'].map((packet) =>
      solo(`The Engine.IO packet ${packet}.`, 'greeted', (socket) => socket.sendEngine(packet)),
    ),
  ]
}
