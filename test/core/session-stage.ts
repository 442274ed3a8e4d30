/**
 * A stage for sessions: a server, members, and connections whose frames wait until somebody delivers them.
 *
 * Knows: who is connected, and what is under way. Must never know: what a session says.
 */
import {
  clientRole,
  Hub,
  Ledger,
  Link,
  openReplica,
  parseLimits,
  parseTenantName,
  type Replica,
  table,
} from '../../core/index.ts'
import { serverRole } from '../../core/server-door.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'

const TENANT = 'acme'
const TABLES = { notes: table<{ id: string; text: string }>() }
const START_MS = 1_800_000_000_000

export type Member = Replica<typeof TABLES>
export type Direction = 'up' | 'down'

/** A frame, or the end of the connection, which comes after all frames. */
type Parcel = Uint8Array | 'end'

export class Stage {
  readonly hub: Hub
  readonly members: readonly Member[]
  readonly #connections: (Connection | undefined)[] = []
  readonly #now: () => number

  private constructor(hub: Hub, members: readonly Member[], now: () => number) {
    this.hub = hub
    this.members = members
    this.#now = now
  }

  static async open(members: number): Promise<Stage> {
    let ms = START_MS
    const now = (): number => ++ms
    const tenant = parseTenantName(TENANT)
    const ledger = await Ledger.open({ tenant, store: openMemoryStore(), limits: parseLimits(), authority: 2 })
    const opening = Array.from({ length: members }, () =>
      openReplica({ tenant: TENANT, store: openMemoryStore(), tables: TABLES, now }),
    )
    return new Stage(new Hub(ledger), await Promise.all(opening), now)
  }

  member(number: number): Member {
    const member = this.members[number]
    if (member === undefined) throw new RangeError(`there is no member ${number}`)
    return member
  }

  /** How many changes of a member the server has, durable. */
  heldOf(number: number): number {
    return this.hub.ledger.durableClock().get(this.member(number).id)
  }

  /** A new connection; one that was there stays until the server ends it. */
  async dial(number: number): Promise<void> {
    const { hub, tables } = this.member(number)
    this.#connections[number] = new Connection(hub, this.hub, tables, this.#now)
    await this.#rest()
  }

  /** The line is cut: what is under way is lost, and both ends know. */
  async cut(number: number): Promise<void> {
    this.#connections[number]?.cut()
    this.#connections[number] = undefined
    await this.#rest()
  }

  /** Delivers what has waited longest in one direction. Answers false when nothing does. */
  async deliver(number: number, direction: Direction): Promise<boolean> {
    const isDone = this.#connections[number]?.deliver(direction) ?? false
    await this.#rest()
    return isDone
  }

  /** Everybody connects anew, and everything is delivered. */
  async heal(): Promise<void> {
    for (const number of this.members.keys()) {
      await this.cut(number)
      await this.dial(number)
    }
    let isMoving = true
    while (isMoving) {
      isMoving = false
      for (const number of this.members.keys()) {
        for (const direction of ['up', 'down'] as const) {
          while (await this.deliver(number, direction)) isMoving = true
        }
      }
    }
  }

  async close(): Promise<void> {
    for (const number of this.members.keys()) await this.cut(number)
    for (const member of this.members) await member.close()
    await this.hub.ledger.close()
  }

  /** Until nothing is left to do but what waits on a line. */
  async #rest(): Promise<void> {
    for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve))
  }
}

class Connection {
  readonly #client: Link
  readonly #server: Link
  readonly #up: Parcel[] = []
  readonly #down: Parcel[] = []

  constructor(client: Hub, server: Hub, tables: Member['tables'], now: () => number) {
    const to = (line: Parcel[]) => ({
      send: (frame: Uint8Array): void => void line.push(frame),
      close: (): void => void line.push('end'),
    })
    const common = { tables, now }
    this.#client = new Link({ ...common, hub: client, role: clientRole, transport: to(this.#up) })
    this.#server = new Link({ ...common, hub: server, role: serverRole(), transport: to(this.#down) })
    this.#client.start()
  }

  deliver(direction: Direction): boolean {
    const [line, link] = direction === 'up' ? [this.#up, this.#server] : [this.#down, this.#client]
    const parcel = line.shift()
    if (parcel === undefined) return false
    if (parcel === 'end') link.end()
    else link.receive(parcel)
    return true
  }

  cut(): void {
    this.#up.length = 0
    this.#down.length = 0
    this.#client.end()
    this.#server.end()
    this.#up.length = 0
    this.#down.length = 0
  }
}
