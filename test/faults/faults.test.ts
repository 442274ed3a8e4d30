/** Networks that misbehave, on real sockets. `npm run faults` is the long form. */

import { describe, expect, onTestFinished, test } from 'vitest'
import { BATCH_BYTES_TARGET } from '../../core/limits.ts'
import {
  createFolder,
  type Linked,
  linkTo,
  openNotes,
  openServer,
  settleAll,
  stateOf,
  until,
  writeNotes,
} from '../integration/stage.ts'
import { FaultWire } from './fault-wire.ts'
import { healOverAndOver, percentile } from './healing.ts'
import { OwnTime } from './own-time.ts'

/** As promised, by the clock of this process: the tests share their machine with much else. `npm run faults` takes the ordinary one. */
const CONVERGES_MS = 5_000

async function openFaultWire(port: number): Promise<FaultWire> {
  const wire = await FaultWire.open(port)
  onTestFinished(() => wire.close())
  return wire
}

async function openBehind(wire: FaultWire): Promise<Linked> {
  const replica = await openNotes()
  return { replica, link: linkTo(replica, wire.url, { transports: ['websocket'] }) }
}

test('after networks that were cut, refused, held up, delayed, half-open or truncated, all converge', {
  timeout: 120_000,
}, async () => {
  const { ownMs, wrong, faults, writes } = await healOverAndOver({ rounds: 6, seed: 3, faultMsMax: 500, capMs: 1_000 })
  expect(wrong).toEqual([])
  expect(ownMs).toHaveLength(6)
  expect(percentile(ownMs, 0.99)).toBeLessThan(CONVERGES_MS)
  // Or nothing was wrong with the networks, and nothing under way.
  expect(Object.values(faults).filter((times) => times > 0).length).toBeGreaterThan(4)
  expect(writes).toBeGreaterThan(100)
})

test('forty replicas that lose the server at once are all back, and equal', {
  timeout: 120_000,
}, async () => {
  const server = await openServer({ dataDir: createFolder() })
  const wire = await openFaultWire(server.port)
  const everybody = await Promise.all(Array.from({ length: 40 }, () => openBehind(wire)))
  await settleAll(...everybody.map(({ link }) => link))
  wire.refuse()
  await Promise.all(everybody.map(({ link }) => stateOf(link, 'offline')))
  await Promise.all(
    everybody.map(({ replica }, at) => replica.table('notes').insert({ id: `n${at}`, title: 'x', done: false })),
  )
  wire.heal()
  const own = new OwnTime()
  onTestFinished(() => own.stop())
  await settleAll(...everybody.map(({ link }) => link))
  expect(own.now()).toBeLessThan(CONVERGES_MS)
  const digests = await Promise.all(everybody.map(({ replica }) => replica.digest()))
  expect(new Set(digests.map(({ hash }) => hash)).size).toBe(1)
  expect(digests[0]?.rows).toBe(40)
})

describe('regression 24: over a network that cuts every connection after some bytes', { timeout: 120_000 }, () => {
  const CUT_BYTES = 700_000

  test('much is pushed all the same, and each connection gets further than the one before', async () => {
    const server = await openServer()
    const wire = await openFaultWire(server.port)
    wire.cutAfter(CUT_BYTES)
    const { replica, link } = await openBehind(wire)
    await writeNotes(replica, 12_000, 'x'.repeat(200))
    await link.settled()
    expect(replica.pending).toBe(0)
    expectProgress(wire, replica.ledger.state.meta.logBytes)
  })

  test('much is fetched all the same, and each connection gets further than the one before', async () => {
    const server = await openServer()
    const writer = await openNotes()
    await writeNotes(writer, 12_000, 'x'.repeat(200))
    await linkTo(writer, server.url).settled()
    const wire = await openFaultWire(server.port)
    wire.cutAfter(CUT_BYTES)
    const { replica, link } = await openBehind(wire)
    await link.settled()
    expect(await replica.digest()).toEqual(await writer.digest())
    expectProgress(wire, writer.ledger.state.meta.logBytes)
  })

  test('who gets further with each connection does not wait longer for the next', async () => {
    const server = await openServer()
    const writer = await openNotes()
    await writeNotes(writer, 6_000, 'x'.repeat(200))
    await linkTo(writer, server.url).settled()
    const wire = await openFaultWire(server.port)
    wire.cutAfter(60_000)
    const replica = await openNotes()
    const link = linkTo(replica, wire.url, { backoff: { baseMs: 40, capMs: 60_000 }, random: () => 0.999 })
    await link.settled({ timeoutMs: 60_000 })
    // Doubled each time, the tenth wait alone would be 40 s.
    expect(wire.accepted).toBeGreaterThan(10)
    expect(await replica.digest()).toEqual(await writer.digest())
  })

  /** What was under way at a cut goes again; a frame or more of each connection stays. */
  function expectProgress(wire: FaultWire, bytes: number): void {
    expect(wire.accepted).toBeGreaterThan(3)
    expect(wire.accepted).toBeLessThan(bytes / (CUT_BYTES - 2 * BATCH_BYTES_TARGET) + 4)
  }
})

test('regression 24: a frame that a network never lets through is not sent without end', async () => {
  const server = await openServer()
  const wire = await openFaultWire(server.port)
  // Less than the one change that is to be pushed.
  wire.cutAfter(100_000)
  const { replica, link } = await openBehind(wire)
  await replica.table('notes').insert({ id: 'large', title: 'x'.repeat(200_000), done: false })
  await until(() => wire.accepted >= 6, 'it has tried six times')
  const { bytes, accepted } = wire
  // Each attempt waits longer than the one before, and says what is wrong.
  expect(bytes.up).toBeLessThan(accepted * 110_000)
  expect(link.status.attempts).toBeGreaterThan(3)
  await until(() => link.status.lastError?.code === 'offline', 'it says what is wrong')
  wire.heal()
  await link.settled()
  expect(replica.pending).toBe(0)
})
