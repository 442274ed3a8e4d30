/**
 * A network that misbehaves: a TCP proxy between clients and a server, whose connections can be delayed, held up, made
 * half-open, cut, or cut after an exact number of bytes.
 *
 * Knows: bytes and connections. Must never know: what the bytes mean, or when something is to go wrong.
 *
 * Invariants:
 * FW1  Within one direction of one connection bytes keep their order, and none is made up.
 * FW2  `heal` leaves nothing wrong but what is over: connections that lost bytes are reset, as they would be by a host that
 *      has forgotten them.
 */
import { connect, createServer, type Server, type Socket } from 'node:net'

export type Direction = 'up' | 'down'

interface Pipe {
  readonly from: Socket
  readonly to: Socket
  readonly direction: Direction
  /** On their way, in their order, and when the last of them arrives. */
  readonly delayed: Uint8Array[]
  arrivesAtMs: number
  readonly held: Uint8Array[]
}

interface Connection {
  readonly pipes: readonly Pipe[]
  /** Bytes passed on, both ways. */
  bytes: number
  /** Bytes were swallowed: it can never be right again. */
  isLost: boolean
}

export class FaultWire {
  readonly #port: number
  readonly #server: Server
  readonly #connections = new Set<Connection>()
  readonly #swallowed = new Set<Direction>()
  #isHolding = false
  #isRefusing = false
  #delayMs = 0
  #cutAfterBytes = Number.POSITIVE_INFINITY
  /** Over all connections that there were. */
  readonly bytes: Record<Direction, number> = { up: 0, down: 0 }
  accepted = 0

  private constructor(port: number) {
    this.#port = port
    this.#server = createServer({ noDelay: true }, (client) => this.#join(client))
  }

  static async open(port: number): Promise<FaultWire> {
    const wire = new FaultWire(port)
    await new Promise<void>((resolve) => wire.#server.listen(0, '127.0.0.1', resolve))
    return wire
  }

  get url(): string {
    const address = this.#server.address()
    return `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`
  }

  get connections(): number {
    return this.#connections.size
  }

  /** Every piece of bytes comes so much later from now on. */
  delay(ms: number): void {
    this.#delayMs = ms
  }

  /** Nothing is passed on until `heal`, and then all of it: a network that retransmits. */
  hold(): void {
    this.#isHolding = true
  }

  /** What goes in this direction is lost from now on, and nobody is told: one side of the connection is gone. */
  swallow(direction: Direction): void {
    this.#swallowed.add(direction)
  }

  /** All connections end now, and new ones at once, until `heal`. */
  refuse(): void {
    this.#isRefusing = true
    this.cut()
  }

  /** Each connection, new ones too, ends when so many more bytes have gone through it: in the middle of a frame, mostly. */
  cutAfter(bytes: number): void {
    this.#cutAfterBytes = bytes
    for (const connection of this.#connections) connection.bytes = 0
  }

  cut(): void {
    for (const connection of this.#connections) reset(connection)
  }

  heal(): void {
    this.#isHolding = false
    this.#isRefusing = false
    this.#delayMs = 0
    this.#cutAfterBytes = Number.POSITIVE_INFINITY
    this.#swallowed.clear()
    for (const connection of this.#connections) {
      if (connection.isLost) reset(connection)
      else for (const pipe of connection.pipes) this.#release(connection, pipe)
    }
  }

  async close(): Promise<void> {
    this.cut()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  #join(client: Socket): void {
    this.accepted++
    if (this.#isRefusing) {
      client.on('error', () => {})
      client.resetAndDestroy()
      return
    }
    const upstream = connect({ port: this.#port, host: '127.0.0.1', noDelay: true })
    const pipes: readonly Pipe[] = [
      { from: client, to: upstream, direction: 'up', delayed: [], arrivesAtMs: 0, held: [] },
      { from: upstream, to: client, direction: 'down', delayed: [], arrivesAtMs: 0, held: [] },
    ]
    const connection: Connection = { pipes, bytes: 0, isLost: false }
    this.#connections.add(connection)
    for (const pipe of pipes) {
      pipe.from.on('data', (bytes) => this.#take(connection, pipe, bytes))
      pipe.from.on('error', () => {})
      pipe.from.on('close', () => {
        if (pipes.every(({ from }) => from.destroyed)) this.#connections.delete(connection)
        // One whose bytes are swallowed does not learn that the other has gone.
        if (!connection.isLost) pipe.to.destroySoon()
      })
    }
  }

  #take(connection: Connection, pipe: Pipe, bytes: Uint8Array): void {
    if (this.#swallowed.has(pipe.direction)) {
      connection.isLost = true
      return
    }
    if (this.#delayMs === 0 && pipe.delayed.length === 0) return this.#passOrHold(connection, pipe, bytes)
    const nowMs = performance.now()
    pipe.arrivesAtMs = Math.max(nowMs + this.#delayMs, pipe.arrivesAtMs)
    pipe.delayed.push(bytes)
    setTimeout(() => {
      const first = pipe.delayed.shift()
      if (first !== undefined) this.#passOrHold(connection, pipe, first)
    }, pipe.arrivesAtMs - nowMs)
  }

  #passOrHold(connection: Connection, pipe: Pipe, bytes: Uint8Array): void {
    pipe.held.push(bytes)
    if (!this.#isHolding) this.#release(connection, pipe)
  }

  #release(connection: Connection, { held, to, direction }: Pipe): void {
    for (const bytes of held.splice(0)) {
      if (to.destroyed) return
      const room = this.#cutAfterBytes - connection.bytes
      const passed = room < bytes.length ? bytes.subarray(0, Math.max(0, room)) : bytes
      connection.bytes += passed.length
      this.bytes[direction] += passed.length
      to.write(passed)
      if (passed.length === bytes.length) continue
      // The bytes in front of the cut arrive.
      connection.isLost = true
      for (const pipe of connection.pipes) pipe.from.destroySoon()
      return
    }
  }
}

function reset({ pipes }: Connection): void {
  for (const { from } of pipes) from.resetAndDestroy()
}
