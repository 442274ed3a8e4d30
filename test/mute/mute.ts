/**
 * Sockets that never read: each says hello, asks for everything, and reads nothing of it. Some go on to answer heartbeats,
 * some go on to grant credit for what they never took.
 *
 * What has to hold: the server spends at most 4 MiB on each, closes each within `stalledMs`, and a
 * well-behaved pair of the same tenant notices nothing.
 *
 * Knows: raw connections, the process of the server from outside. Must never know: how the server keeps what waits.
 */
import { connect as connectTcp, type Socket } from 'node:net'
import { encodeFrame } from '../../core/frame.ts'
import { openReplica, parseReplicaId, table } from '../../core/index.ts'
import { DEFAULT_LIMITS } from '../../core/limits.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import { connect } from '../../sync-client/index.ts'
import { Pair } from '../fuzz/pair.ts'
import { ServerProcess } from '../fuzz/server-process.ts'
import { Random } from '../simulation/random.ts'

export interface MuteOptions {
  readonly sockets: number
  /** How long the server lets something wait of which nothing leaves. */
  readonly stalledMs: number
}

export interface MuteReport {
  /** Of the server's process, beyond what it took before, over the number of sockets. */
  readonly bytesPerSocket: number
  /** From when a socket stopped reading until the server had closed it: the longest, if they are closed in the order in which they came. */
  readonly closedAfterMs: number
  /** Of the event loop, above 100 ms. */
  readonly stallsMs: readonly number[]
  readonly wrong: readonly string[]
}

const TENANT = 'acme'
const ROWS = 6_000
const ROW_BYTES = 2_000
/** Connecting is not what is measured. */
const AT_ONCE = 25
const LOOK_MS = 100
/** The server has measured itself a few times meanwhile. */
const HEALTH_MS = 1_000
/** Until the server has sent enough to see that nobody reads it, and for a machine that is busy. */
const LATE_MS = 15_000

const KINDS = ['silent', 'alive', 'greedy'] as const
type Kind = (typeof KINDS)[number]

export async function goMute({ sockets, stalledMs }: MuteOptions): Promise<MuteReport> {
  const server = await ServerProcess.start('lmdb', { stalledMs })
  const wrong: string[] = []
  try {
    await fill(server.url)
    const pair = await Pair.open(server.url, TENANT)
    pair.start()
    await quiet(server)
    const { memoryBytes: before, sockets: readers, stalls } = server.health
    const stallsBefore = stalls.length
    let peak = 0
    const mutes: Mute[] = []
    for (let at = 0; at < sockets; at += AT_ONCE) {
      const count = Math.min(AT_ONCE, sockets - at)
      mutes.push(...(await Promise.all(Array.from({ length: count }, (_, index) => Mute.open(server, at + index)))))
    }
    const startedAt = performance.now()
    const deadline = startedAt + stalledMs + LATE_MS
    let most = 0
    let gone = 0
    let closedAfterMs = 0
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
      const now = performance.now()
      peak = Math.max(peak, server.health.memoryBytes)
      // What the server last said of itself may be older than the sockets.
      if (now - startedAt < HEALTH_MS) continue
      most = Math.max(most, server.health.sockets - readers)
      for (const left = server.health.sockets - readers; gone < mutes.length - left; gone++)
        closedAfterMs = Math.max(closedAfterMs, now - (mutes[gone]?.muteSinceMs ?? now))
      if ((most > 0 && server.health.sockets <= readers) || performance.now() > deadline) break
    }
    // Those that ask for more than may wait are gone before the last one has come.
    if (most < sockets / 2) wrong.push(`only ${most} sockets were open at once`)
    const left = server.health.sockets - readers
    if (left > 0)
      wrong.push(`${left} sockets are still open after ${((performance.now() - startedAt) / 1_000).toFixed(1)} s`)
    const stallsMs = stalls.slice(stallsBefore).map(({ ms }) => ms)
    for (const mute of mutes) mute.close()
    wrong.push(...server.health.troubles, ...(await pair.end()).map((failure) => `the well-behaved pair: ${failure}`))
    return { bytesPerSocket: Math.max(0, peak - before) / sockets, closedAfterMs, stallsMs, wrong }
  } finally {
    await server.end()
  }
}

/** More than any of them may have waiting. */
async function fill(url: string): Promise<void> {
  const writer = await openReplica({
    tenant: TENANT,
    store: openMemoryStore(),
    tables: { much: table<{ readonly id: string; readonly text: string }>() },
  })
  const text = 'x'.repeat(ROW_BYTES)
  for (let first = 0; first < ROWS; first += 100) {
    await writer.transact((transaction) => {
      for (let at = first; at < first + 100; at++) transaction.table('much').insert({ id: `${at}`, text })
    })
  }
  const link = connect(writer, { url, transports: ['websocket'] })
  await link.settled()
  await link.close()
  await writer.close()
}

/** Until the server has measured itself a few times. */
async function quiet(server: ServerProcess): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, HEALTH_MS))
  if (server.health.memoryBytes === 0) throw new Error('the server has not measured itself')
}

const GRANTS_EVERY_MS = 50
const GRANT = encodeFrame({ type: 'credit', bytes: DEFAULT_LIMITS.creditBytes })

class Mute {
  readonly muteSinceMs = performance.now()
  readonly #socket: Socket
  readonly #timer: ReturnType<typeof setInterval> | undefined

  private constructor(socket: Socket, kind: Kind) {
    this.#socket = socket
    if (kind === 'silent') return
    this.#timer = setInterval(() => {
      if (kind === 'greedy') writeMessage(socket, 2, GRANT)
      // A pong for a ping that it has not read.
      writeMessage(socket, 1, Buffer.from('3'))
    }, GRANTS_EVERY_MS)
  }

  /** Lets itself be let in, says hello, and reads nothing from then on. */
  static async open({ address }: ServerProcess, number: number): Promise<Mute> {
    const socket = connectTcp(address.port, address.host)
    socket.on('error', () => {})
    const heard = (text: string): Promise<void> =>
      new Promise((resolve, reject) => {
        const gone = (): void => reject(new Error(`the server closed a connection instead of saying ${text}`))
        const listen = (bytes: Buffer): void => {
          if (!bytes.includes(text)) return
          socket.off('data', listen).off('close', gone)
          resolve()
        }
        socket.on('data', listen).once('close', gone)
      })
    const isOpen = heard('0{"sid"')
    socket.write(
      `GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: ${address.host}:${address.port}\r\n` +
        'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n' +
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
    )
    await isOpen
    const isIn = heard('40{')
    writeMessage(socket, 1, Buffer.from(`40${JSON.stringify({ tenant: TENANT })}`))
    await isIn
    socket.pause()
    const hello = encodeFrame({
      type: 'hello',
      versions: [1, 1],
      tenant: TENANT,
      replica: parseReplicaId(new Random(`mute/${number}`).uuid()),
      isMesh: false,
      ownSeq: 0,
      ackedSeq: 0,
      fingerprint: new Uint8Array(0),
      resume: { type: 'clock', clock: [] },
      tables: [],
    })
    writeMessage(socket, 2, hello)
    return new Mute(socket, KINDS[number % KINDS.length] as Kind)
  }

  close(): void {
    clearInterval(this.#timer)
    this.#socket.destroy()
  }
}

/** One whole WebSocket message, masked with zeros. */
function writeMessage(socket: Socket, opcode: number, payload: Uint8Array): void {
  const { length } = payload
  const isShort = length < 126
  const header = Buffer.alloc(isShort ? 6 : 8)
  header[0] = 0x80 | opcode
  header[1] = 0x80 | (isShort ? length : 126)
  if (!isShort) header.writeUInt16BE(length, 2)
  socket.write(Buffer.concat([header, payload]))
}
