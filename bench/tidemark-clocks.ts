/**
 * Tidemark, W7: what a change and a handshake cost when many replicas have written to the tenant.
 *
 * Most of the writers are made up: a replica of its own for each would take minutes. Their blocks are what such replicas
 * would push, and the server admits them like any other.
 */

import { AdmitChanges } from '../dist/core/admit.js'
import { BlockWriter } from '../dist/core/block-writer.js'
import { OPEN_GATE } from '../dist/core/gate.js'
import { createReplicaId, type Hub } from '../dist/core/index.js'
import { rowKey } from '../dist/core/keys.js'
import { decodeRow } from '../dist/core/row-codec.js'
import { nextTimestamp } from '../dist/core/timestamp.js'
import { encodeValue } from '../dist/core/value.js'
import { batches, rows } from './data.ts'
import { type BenchReplica, insertAll, openInMemory } from './tidemark-replica.ts'
import { clientEnd, openHub, openWire, serverEnd } from './tidemark-wire.ts'
import { batchSize, type Figures, type Subject } from './workloads.ts'

/** Writer n writes row n, which another replica inserted: two writers each, but for the first, which only that one writes. */
const drawn = rows(10_000)
const [ownRow, sharedRow, busyRow] = drawn
/** Then as many write the same row, to show what does make a change larger. */
const busyWriters = 10

/** One change of a new replica to one row. */
async function writeAs({ ledger }: Hub, id: string, priority: number): Promise<void> {
  const { state, store } = ledger
  const [table, name] = [state.names.find('rows'), state.names.find('priority')]
  const [bytes] = await store.getMany([rowKey('r', table, id)])
  if (bytes === undefined) throw new Error(`the server has no row ${id}`)
  const replica = state.internReplica(createReplicaId())
  const stamp = { replica, seq: 1, timestamp: nextTimestamp(state.meta.lastTimestamp, Date.now()) }
  const value = encodeValue(priority)
  const block = new BlockWriter(state, [replica])
  block.add({
    ...stamp,
    op: 'update',
    more: false,
    table,
    id,
    context: decodeRow(bytes).clock,
    versions: [{ name, stamp, bytes: value, start: 0, end: value.length }],
  })
  const blocks = [block.finish()]
  const admission = { blocks, replica, nowMs: Date.now(), gate: OPEN_GATE, isPaused: false, answeredSeq: 0 }
  const { refusals } = await ledger.submit(new AdmitChanges(admission))
  if (refusals.length > 0) throw new Error(`the server refused a change: ${refusals[0].code}`)
}

/** Hello and welcome of a replica that the server knows and that has everything. */
async function handshakeBytes(replica: BenchReplica, hub: Hub): Promise<number> {
  const firstFrames = new Map<string, number>()
  const wire = openWire(clientEnd(replica), serverEnd(hub), (frame, from) => {
    if (!firstFrames.has(from)) firstFrames.set(from, frame.byteLength)
  })
  await wire.settled()
  wire.close()
  return [...firstFrames.values()].reduce((sum, bytes) => sum + bytes, 0)
}

/** The frame that a reader gets with one further change to a row, and what the change adds to the server's log. */
async function changeBytes(
  writer: BenchReplica,
  reader: BenchReplica,
  hub: Hub,
  id: string,
): Promise<{ readonly wire: number; readonly log: number }> {
  const { meta } = hub.ledger.state
  const up = openWire(clientEnd(writer), serverEnd(hub))
  let wire = 0
  const down = openWire(clientEnd(reader), serverEnd(hub), (frame, from) => {
    if (from === 'acceptor') wire = Math.max(wire, frame.byteLength)
  })
  await up.settled()
  await down.settled()
  const logBefore = meta.logBytes
  wire = 0
  await writer.table('rows').update(id, { priority: 4_321 })
  await up.settled()
  await down.settled()
  up.close()
  down.close()
  return { wire, log: hub.ledger.state.meta.logBytes - logBefore }
}

async function measureClocks(): Promise<Figures> {
  const hub = await openHub()
  const [writer, reader] = [await openInMemory(), await openInMemory()]
  await insertAll(writer, batches(drawn, batchSize))
  let writers = 1
  const at = async (replicas: number) => {
    for (; writers < replicas; writers++) await writeAs(hub, drawn[writers].id, writers)
    const change = await changeBytes(writer, reader, hub, sharedRow.id)
    return { ...change, handshake: await handshakeBytes(reader, hub) }
  }
  const first = openWire(clientEnd(writer), serverEnd(hub))
  await first.settled()
  first.close()
  const [few, hundred, thousand, tenThousand] = [await at(2), await at(100), await at(1_000), await at(10_000)]
  const ofOneWriter = await changeBytes(writer, reader, hub, ownRow.id)
  for (let more = 2; more < busyWriters; more++) await writeAs(hub, busyRow.id, more)
  const ofTenWriters = await changeBytes(writer, reader, hub, busyRow.id)
  return {
    changeBytesAt2: few.wire,
    changeBytesAt100: hundred.wire,
    changeBytesAt1000: thousand.wire,
    changeBytesAt10000: tenThousand.wire,
    ownRowChangeBytesAt10000: ofOneWriter.wire,
    busyRowChangeBytesAt10000: ofTenWriters.wire,
    handshakeBytesAt2: few.handshake,
    handshakeBytesAt100: hundred.handshake,
    handshakeBytesAt1000: thousand.handshake,
    handshakeBytesAt10000: tenThousand.handshake,
    logBytesAt2: few.log,
    logBytesAt100: hundred.log,
    logBytesAt1000: thousand.log,
    logBytesAt10000: tenThousand.log,
    ownRowLogBytesAt10000: ofOneWriter.log,
  }
}

export const subjects: readonly Subject[] = [{ name: 'Tidemark', workload: 'W7', run: measureClocks }]
