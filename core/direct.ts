/**
 * Direct sync: two replicas of one process, without a server and without a socket.
 */
import { TidemarkError } from './errors.ts'
import { Link, type Transport } from './link.ts'
import { meshAcceptor, meshInitiator } from './link-mesh.ts'
import type { Role } from './link-part.ts'
import type { Replica } from './replica.ts'
import type { VerifyReport } from './verify.ts'

export interface DirectLink {
  /** Resolves when each side has everything the other had. */
  settled(): Promise<void>
  /** Compares all rows of the left one with the right one's, and with `repair` joins what differs. Settle first. */
  verify(repair?: boolean): Promise<VerifyReport>
  close(): void
}

/** Connects two replicas opened with `authority: 'self'`: each receives what the other has, until closed. */
export function syncDirectly(left: Replica, right: Replica): DirectLink {
  for (const replica of [left, right]) {
    if (replica.ledger.state.meta.authority === 1) continue
    throw new TidemarkError('bad-option', 'only replicas without a server may sync directly', {
      remedy: "Open both with authority: 'self'; what a server has not admitted must not be passed on",
    })
  }
  const wires: Wire[] = []
  const [leftWire, rightWire] = [new Wire(wires), new Wire(wires)]
  const initiator = createMeshLink(left, meshInitiator, leftWire)
  const acceptor = createMeshLink(right, meshAcceptor, rightWire)
  leftWire.deliver = (frame) => acceptor.receive(frame)
  rightWire.deliver = (frame) => initiator.receive(frame)
  wires.push(leftWire, rightWire)
  leftWire.onClose = () => acceptor.end()
  rightWire.onClose = () => initiator.end()
  initiator.start()
  return {
    settled: async () => {
      await initiator.settled()
      await acceptor.settled()
    },
    verify: (repair = false) => initiator.verify([...left.tables.keys()], repair),
    close: () => initiator.end(),
  }
}

function createMeshLink({ hub, tables, now }: Replica, role: Role, transport: Transport): Link {
  return new Link({ hub, role, transport, tables, now })
}

/** One direction: frames arrive in order, each in a turn of its own, and the end after them: a refusal is the last of them. */
class Wire implements Transport {
  deliver: (frame: Uint8Array) => void = () => {}
  onClose: () => void = () => {}
  readonly #wires: readonly Wire[]
  #isClosed = false

  constructor(wires: readonly Wire[]) {
    this.#wires = wires
  }

  send(frame: Uint8Array): void {
    if (!this.#isClosed) queueMicrotask(() => this.deliver(frame))
  }

  close(): void {
    if (this.#isClosed) return
    for (const wire of this.#wires) wire.#isClosed = true
    queueMicrotask(() => this.onClose())
  }
}
