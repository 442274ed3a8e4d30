/**
 * A line that is cut after so many bytes: what came whole before that has arrived in one burst, and in the same moment the
 * line is gone.
 *
 * Knows: bytes, and whose turn it is. Must never know: what a frame says.
 */
import { clientRole, type Hub, Link, type Replica } from '../../core/index.ts'
import { serverRole } from '../../core/server-door.ts'

/** The bytes that each direction carries before the line is cut. */
export interface LineBytes {
  readonly up: number
  readonly down: number
}

export interface SessionTrace {
  /** The lengths of the frames that arrived. */
  readonly up: readonly number[]
  readonly down: readonly number[]
  readonly isCut: boolean
}

type Linked = Pick<Replica, 'hub' | 'tables' | 'ledger'>

class Direction {
  readonly arrived: number[] = []
  readonly #waiting: Uint8Array[] = []
  #left: number

  constructor(bytes: number) {
    this.#left = bytes
  }

  send(frame: Uint8Array): void {
    this.#waiting.push(frame)
  }

  /** Delivers what has been sent, as far as the line carries it. Answers false when it breaks. */
  burst(deliver: (frame: Uint8Array) => void): boolean {
    for (const frame of this.#waiting.splice(0)) {
      this.#left -= frame.length
      if (this.#left < 0) return false
      this.arrived.push(frame.length)
      deliver(frame)
    }
    return true
  }

  get isQuiet(): boolean {
    return this.#waiting.length === 0
  }
}

/** One session over such a line, until it is cut or nobody has more to say. */
export async function cutSession(
  hub: Hub,
  replica: Linked,
  now: () => number,
  bytes: LineBytes,
): Promise<SessionTrace> {
  const [up, down] = [new Direction(bytes.up), new Direction(bytes.down)]
  const to = (line: Direction) => ({ send: (frame: Uint8Array): void => line.send(frame), close: (): void => {} })
  const { tables } = replica
  const client = new Link({
    ...{ hub: replica.hub, role: clientRole, tables, now },
    transport: to(up),
  })
  const server = new Link({
    ...{ hub, role: serverRole(), tables: new Map(), now },
    transport: to(down),
  })
  client.start()
  let isWhole = true
  for (let isMoving = true; isWhole && isMoving; ) {
    await rest()
    isMoving = !up.isQuiet || !down.isQuiet
    isWhole = up.burst((frame) => server.receive(frame))
    isWhole &&= down.burst((frame) => client.receive(frame))
  }
  client.end()
  server.end()
  await rest()
  return { up: up.arrived, down: down.arrived, isCut: !isWhole }
}

/** Until all that is left to do waits for a frame: stores in memory take a few turns. */
async function rest(): Promise<void> {
  for (let turn = 0; turn < 8; turn++) await new Promise((resolve) => setImmediate(resolve))
}
