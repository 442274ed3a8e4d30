/**
 * The handshake while something else is under way.
 */

import { expect, it } from 'vitest'
import { decodeFrame } from '../../core/frame.ts'
import { answerOf } from '../../core/handshake.ts'
import { Hub } from '../../core/hub.ts'
import { clientRole } from '../../core/index.ts'
import { Ledger } from '../../core/ledger.ts'
import { parseLimits } from '../../core/limits.ts'
import { Link } from '../../core/link.ts'
import type { Welcome } from '../../core/message.ts'
import { parseTenantName } from '../../core/names.ts'
import { openReplica } from '../../core/replica.ts'
import { serverRole } from '../../core/server-door.ts'
import type { Store } from '../../core/store.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import { table } from '../../core/table.ts'

const LIMITS = parseLimits()
const TENANT = parseTenantName('acme')

/** A server whose store calls `onRead` before each reading; its links collect what they send. */
async function openServer(): Promise<{ hub: Hub; link: (sent: Uint8Array[]) => Link; onRead: () => Promise<void> }> {
  const store = openMemoryStore()
  const server = { onRead: () => Promise.resolve() }
  const watched: Store = new Proxy(store, {
    get: (target, name: keyof Store) => {
      const member = target[name] as unknown
      if (name !== 'getMany' && name !== 'range') return typeof member === 'function' ? member.bind(target) : member
      return async (...given: readonly unknown[]) => {
        await server.onRead()
        return (member as (...given: readonly unknown[]) => unknown).apply(target, [...given])
      }
    },
  })
  const hub = new Hub(await Ledger.open({ tenant: TENANT, store: watched, limits: LIMITS, authority: 2 }))
  const link = (sent: Uint8Array[]): Link =>
    new Link({
      hub,
      role: serverRole(),
      transport: { send: (frame) => sent.push(frame), close: () => {} },
      tables: new Map(),
      now: () => 0,
    })
  return Object.assign(server, { hub, link })
}

/** A turn of the event loop is longer than any work of a store in memory. */
const turns = async (count: number): Promise<void> => {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve))
}

it.each([1, 2, 3, 4, 5, 6, 7, 8])(
  'a welcome knows what an older session of the same replica pushed during the handshake (before reading %i)',
  async (reading) => {
    const server = await openServer()
    const { hub, link } = server
    const replica = await openReplica({ tenant: 'acme', store: openMemoryStore(), tables: { notes: table() } })
    await replica.table('notes').insert({ id: 'n1' })
    const frames: Uint8Array[] = []
    const toServer: Uint8Array[] = []
    const client = new Link({
      hub: replica.hub,
      role: clientRole,
      transport: { send: (frame) => toServer.push(frame), close: () => {} },
      tables: replica.tables,
      now: () => 0,
    })
    const older = link(frames)
    const carry = async (): Promise<void> => {
      await turns(5)
      for (const frame of toServer.splice(0)) older.receive(frame)
      await turns(5)
      for (const frame of frames.splice(0)) client.receive(frame)
    }
    client.start()
    await turns(5)
    const hello = toServer[0] as Uint8Array
    for (let round = 0; round < 4; round++) await carry()
    expect(replica.ledger.pending).toBe(0)

    await replica.table('notes').insert({ id: 'n2' })
    await turns(5)
    const push = toServer.splice(0)
    expect(push.map((frame) => decodeFrame(frame, LIMITS).type)).toContain('push')
    let readings = 0
    server.onRead = async () => {
      if (++readings !== reading) return
      for (const frame of push.splice(0)) older.receive(frame)
      await turns(5)
    }
    const answers: Uint8Array[] = []
    link(answers).receive(hello)
    await turns(40)
    const [welcome] = answers.map((frame) => decodeFrame(frame, LIMITS))
    const held = hub.ledger.durableSeqOf(hub.ledger.state.replicas.find(replica.ledger.state.meta.replicaId))
    expect(welcome).toMatchObject({ type: 'welcome', yourSeq: held })
  },
)

// A welcome holds 4,096 refusals at most.
it.each([
  [4_095, 9_000],
  [4_096, 8_192],
])('rule 18: a welcome with %i refusals answers what was written up to seq %i', async (refused, through) => {
  const refusals = Array.from({ length: refused }, (_, at) => [(at + 1) * 2, 'forbidden'] as const)
  const answer = answerOf({ refusals } as unknown as Welcome, 9_000)
  expect(answer.throughSeq).toBe(through)
  expect(answer.refusals).toHaveLength(refused)
})

it('what a welcome refuses behind what it answers is not counted yet', async () => {
  const refusals = [
    [1, 'forbidden'],
    [7, 'forbidden'],
  ] as const
  expect(answerOf({ refusals } as unknown as Welcome, 5)).toEqual({
    throughSeq: 5,
    refusals: [{ seq: 1, code: 'forbidden' }],
  })
})
