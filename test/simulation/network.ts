/**
 * A simulated network: connections that keep the transport's contract, and break in every way it allows.
 *
 * Frames of one direction arrive in order, each at most once; what is lost is everything from some frame on. Frames of an
 * old connection may still arrive when a newer one has been opened long ago. Each side learns of the end on its own, or
 * only by hearing nothing.
 *
 * Knows: times, sizes, who can reach whom. Must never know: what a frame says.
 */
import type { Incarnation } from './incarnation.ts'
import type { Random } from './random.ts'
import type { Scheduler } from './scheduler.ts'

export interface NetworkProfile {
  readonly latencyMs: number
  readonly jitterMs: number
  /** Bytes in a millisecond. */
  readonly bandwidth: number
}

/** What a side of a connection is given. */
export interface Receiver {
  receive(frame: Uint8Array): void
  /** The connection is over. */
  end(): void
}

/** Sees every frame that is handed to the network. */
export interface FrameWatcher {
  onSend(sender: Side, frame: Uint8Array): void
  onDeliver(receiver: Side, frame: Uint8Array): void
}

/** Without a word from the other side for about so long, a side takes the connection for dead. */
const HEARTBEAT_MS = { least: 4_000, most: 9_000 } as const

export interface NetworkOptions {
  readonly scheduler: Scheduler
  readonly random: Random
  readonly profile: NetworkProfile
  readonly watcher: FrameWatcher
  readonly onFault: (kind: string) => void
}

export class Network {
  readonly options: NetworkOptions
  /** What a line carries in each direction before it breaks. */
  #lineBytes = Number.POSITIVE_INFINITY
  readonly #open = new Set<Connection>()
  readonly #clogs = new Map<string, number>()
  readonly #deaf = new Map<string, number>()
  #walls: ReadonlySet<string>[] = []
  #serial = 0

  constructor(options: NetworkOptions) {
    this.options = options
  }

  get connections(): ReadonlySet<Connection> {
    return this.#open
  }

  get lineBytes(): number {
    return this.#lineBytes
  }

  /** From now on each new line carries so many bytes; `Infinity`: those that are open as well. */
  setLineBytes(bytes: number): void {
    this.#lineBytes = bytes
    if (bytes !== Number.POSITIVE_INFINITY) return
    for (const { initiator, acceptor } of this.#open) for (const side of [initiator, acceptor]) side.cutAfter(bytes)
  }

  latency(): number {
    const { profile, random } = this.options
    return profile.latencyMs + random.exponential(profile.jitterMs)
  }

  connect(initiator: Endpoint, acceptor: Endpoint): Connection {
    const connection = new Connection(this, this.#serial++, initiator, acceptor)
    this.#open.add(connection)
    return connection
  }

  forget(connection: Connection): void {
    this.#open.delete(connection)
  }

  // ── Faults between machines ───────────────────────────────────────────────────────────────────────────────────────

  /** Frames from one machine to another wait until `time`. */
  clog(from: string, to: string, time: number): void {
    this.#clogs.set(`${from}>${to}`, time)
  }

  clogUntil(from: string, to: string): number {
    return this.#clogs.get(`${from}>${to}`) ?? 0
  }

  /** Frames from one machine to another vanish until `time`. */
  silence(from: string, to: string, time: number): void {
    this.#deaf.set(`${from}>${to}`, time)
  }

  /** These machines reach each other, and nobody else. Answers with the way to undo it. */
  partition(machines: ReadonlySet<string>): () => void {
    this.#walls.push(machines)
    return () => {
      this.#walls = this.#walls.filter((wall) => wall !== machines)
    }
  }

  canReach(from: string, to: string): boolean {
    if ((this.#deaf.get(`${from}>${to}`) ?? 0) > this.options.scheduler.now) return false
    return this.#walls.every((wall) => wall.has(from) === wall.has(to))
  }

  heal(): void {
    this.#clogs.clear()
    this.#deaf.clear()
    this.#walls = []
  }
}

export interface Endpoint {
  readonly machine: string
  readonly process: Incarnation
}

export class Connection {
  readonly serial: number
  readonly initiator: Side
  readonly acceptor: Side

  constructor(network: Network, serial: number, initiator: Endpoint, acceptor: Endpoint) {
    this.serial = serial
    const random = network.options.random.fork(`connection ${serial}`)
    this.initiator = new Side(network, this, initiator, random.fork('up'))
    this.acceptor = new Side(network, this, acceptor, random.fork('down'))
  }

  peerOf(side: Side): Side {
    return side === this.initiator ? this.acceptor : this.initiator
  }

  sideOf(machine: string): Side | undefined {
    if (this.initiator.machine === machine) return this.initiator
    return this.acceptor.machine === machine ? this.acceptor : undefined
  }

  /** The line breaks. What is under way in a direction still arrives, up to so many milliseconds late, or is lost. */
  cut(lateMs: number): void {
    this.initiator.cut(lateMs)
    this.acceptor.cut(lateMs)
  }

  /** The line carries no more. What it has carried arrives, in one moment with the end. */
  breakOff(): void {
    this.initiator.breakOff()
    this.acceptor.breakOff()
  }
}

interface Flying {
  readonly frame: Uint8Array
  readonly at: number
}

/** One side of a connection: the frames it sends, and how it learns of the end. */
export class Side {
  readonly machine: string
  readonly connection: Connection
  receiver: Receiver | undefined
  readonly #network: Network
  readonly #process: Incarnation
  readonly #random: Random
  #flying: Flying[] = []
  #lastArrival = 0
  #bytesLeft = Number.POSITIVE_INFINITY
  #lineBytesLeft: number
  /** Nothing that is sent from now on arrives. */
  #isLost = false
  #hasEnded = false

  constructor(network: Network, connection: Connection, { machine, process }: Endpoint, random: Random) {
    this.machine = machine
    this.connection = connection
    this.#network = network
    this.#process = process
    this.#random = random
    this.#lineBytesLeft = network.lineBytes
  }

  get hasEnded(): boolean {
    return this.#hasEnded
  }

  get #peer(): Side {
    return this.connection.peerOf(this)
  }

  send(frame: Uint8Array): void {
    if (this.#hasEnded) return
    const { scheduler, watcher, onFault } = this.#network.options
    watcher.onSend(this, frame)
    if (this.#isLost) return
    if (!this.#network.canReach(this.machine, this.#peer.machine)) {
      onFault('frames lost on a line that is dead')
      return this.#lose()
    }
    this.#bytesLeft -= frame.length
    if (this.#bytesLeft < 0) {
      onFault('cut inside a frame')
      return this.connection.cut(0)
    }
    this.#lineBytesLeft -= frame.length
    if (this.#lineBytesLeft < 0) {
      onFault('line that carries no more')
      return this.connection.breakOff()
    }
    const at = this.#arrivalOf(frame)
    this.#lastArrival = at
    this.#flying.push({ frame, at })
    scheduler.at(at, () => this.#arrive())
  }

  #arrivalOf(frame: Uint8Array): number {
    const { scheduler, profile } = this.#network.options
    const delayMs = profile.latencyMs + this.#random.exponential(profile.jitterMs) + frame.length / profile.bandwidth
    const clogged = this.#network.clogUntil(this.machine, this.#peer.machine)
    return Math.max(this.#lastArrival, scheduler.now + delayMs, clogged)
  }

  /** Frames of one moment have an event each, and whichever comes first takes the first frame. */
  #arrive(): void {
    const [flying] = this.#flying
    if (flying === undefined || flying.at > this.#network.options.scheduler.now) return
    this.#flying.shift()
    const peer = this.#peer
    peer.#process.run(() => {
      if (peer.#hasEnded) return
      this.#network.options.watcher.onDeliver(peer, flying.frame)
      peer.receiver?.receive(flying.frame)
    })
  }

  /** The connection is cut after so many more bytes in this direction. */
  cutAfter(bytes: number): void {
    this.#bytesLeft = bytes
    if (bytes === Number.POSITIVE_INFINITY) this.#lineBytesLeft = bytes
  }

  /** From now on what this side sends is lost; the peer finds out by hearing nothing. */
  #lose(): void {
    if (this.#isLost) return
    this.#isLost = true
    const { least, most } = HEARTBEAT_MS
    this.#network.options.scheduler.after(this.#random.between(least, most), () => this.#peer.endFromOutside())
  }

  /** The line is dead in this direction, and nobody is told. */
  fallSilent(): void {
    this.#flying = []
    this.#lose()
  }

  /** The line breaks: some of what flies from here still arrives, and then the peer hears of the end. */
  cut(lateMs: number): void {
    const { scheduler } = this.#network.options
    this.#isLost = true
    const kept = this.#flying.slice(0, this.#random.below(this.#flying.length + 1))
    this.#flying = []
    let arrival = scheduler.now
    for (const { frame, at } of kept) {
      arrival = Math.max(arrival, at + this.#random.below(lateMs + 1))
      this.#flying.push({ frame, at: arrival })
      scheduler.at(arrival, () => this.#arrive())
    }
    scheduler.at(arrival + this.#random.below(lateMs + 1), () => this.#peer.endFromOutside())
  }

  breakOff(): void {
    if (this.#isLost) return
    this.#isLost = true
    const { scheduler } = this.#network.options
    const at = Math.max(this.#lastArrival, scheduler.now)
    this.#flying = this.#flying.map(({ frame }) => ({ frame, at }))
    scheduler.at(at, () => {
      for (let left = this.#flying.length; left > 0; left--) this.#arrive()
      this.#peer.endFromOutside()
    })
  }

  /** The process of this side is gone. `isSilent`: with its machine, so that nobody tells the peer. */
  dropped(isSilent: boolean): void {
    this.#hasEnded = true
    this.#forgetIfOver()
    if (isSilent) return this.#lose()
    this.cut(0)
  }

  /** This side hangs up: what it has sent still arrives. */
  close(): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    this.#forgetIfOver()
    if (this.#isLost) return
    const { scheduler } = this.#network.options
    const at = Math.max(this.#lastArrival, scheduler.now + this.#network.latency())
    this.#isLost = true
    scheduler.at(at, () => this.#peer.endFromOutside())
  }

  endFromOutside(): void {
    this.#process.run(() => {
      if (this.#hasEnded) return
      this.#hasEnded = true
      this.#forgetIfOver()
      // Nobody answers the peer any more: it finds out, if it has not been told.
      this.#lose()
      this.receiver?.end()
    })
  }

  #forgetIfOver(): void {
    if (this.#hasEnded && this.#peer.#hasEnded) this.#network.forget(this.connection)
  }
}
