/**
 * The dialer: keeps one replica connected to another machine, like a client's shell does with sockets and timers.
 *
 * Knows: when to connect again, and what makes that useless. Must never know: what a session says.
 */

import type { ErrorCode, TidemarkError } from '../../core/errors.ts'
import type { Gate } from '../../core/gate.ts'
import type { RenewalReason } from '../../core/identity.ts'
import { clientRole, type Role } from '../../core/index.ts'
import { Link, type Transport } from '../../core/link.ts'
import { meshAcceptor, meshInitiator } from '../../core/link-mesh.ts'
import type { Replica } from '../../core/replica.ts'
import { relayRole, serverRole } from '../../core/server-door.ts'
import type { Machine } from './machine.ts'
import type { Network, Side } from './network.ts'
import type { Random } from './random.ts'
import type { View } from './view.ts'

export interface DialerOptions {
  readonly network: Network
  readonly random: Random
  readonly from: Machine
  readonly to: Machine
  readonly tenant: string
  /** The tenant whose door it knocks at: its own, unless somebody tries another. */
  readonly peerTenant: string
  /** What `from` is to `to`. */
  readonly role: 'client' | 'mesh' | 'relay'
  /** Machines that speak version 1 only. */
  readonly old: ReadonlySet<string>
  /** Where else it may go, in turn, when it is told that it is not at home. */
  readonly elsewhere: () => readonly Machine[]
  readonly gate: (tenant: string, server: Machine) => Gate | undefined
  /** Goes on under a new id; undefined: who is told that its store was restored or copied stays away. */
  readonly renew: ((from: Machine, reason: RenewalReason) => Promise<void>) | undefined
  /** A link has closed. */
  readonly onEnd: (error: TidemarkError | undefined, views: readonly View[], side: string) => void
}

/** After these the same replica will not get through, whatever it does. */
const HOPELESS: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'replica-restored',
  'replica-cloned',
  'dot-conflict',
  'schema-mismatch',
  'forbidden',
  'protocol-version',
])

const BACKOFF_BASE_MS = 100
const BACKOFF_CAP_MS = 5_000
const HANDSHAKE_MS = 5_000
/** A session that lasted so long was a success: the next failure is the first again. */
const STABLE_MS = 3_000
/** Who was fenced gives the other session some time: it may be a copy of this replica that has to find out that it is one. */
const FENCED_MS = 5_000
const UNREACHABLE_MS = 2_000

export class Dialer {
  readonly #options: DialerOptions
  /** What a new attempt has to be made by; one that is older does nothing. */
  #attempt = 0
  #failures = 0
  #connections = 0
  /** Open sessions, and with whom. */
  readonly #live = new Map<Link, Machine>()
  #stoppedBy: TidemarkError | undefined
  #hasStreamed = false
  #isRenewing = false
  /** What is to be done when it is paused next. */
  #atPause: ((link: Link) => void) | undefined
  #to: Machine
  readonly #watched = new WeakSet<object>()

  constructor(options: DialerOptions) {
    this.#options = options
    this.#to = options.to
  }

  get from(): Machine {
    return this.#options.from
  }

  get to(): Machine {
    return this.#to
  }

  get tenant(): string {
    return this.#options.tenant
  }

  /** Why it has given up. */
  get stoppedBy(): TidemarkError | undefined {
    return this.#stoppedBy
  }

  /** How many connections it has opened. */
  get connections(): number {
    return this.#connections
  }

  /** A session has got beyond the handshake. */
  get hasStreamed(): boolean {
    return this.#hasStreamed
  }

  /** The newest session, and the machine that it was opened with. */
  get newest(): readonly [link: Link, to: Machine] | undefined {
    return [...this.#live].at(-1)
  }

  /** The process has just started. */
  start(): void {
    this.#live.clear()
    this.#atPause = undefined
    this.#isRenewing = false
    this.#failures = 0
    this.#stoppedBy = undefined
    this.dial()
  }

  /** Opens a connection, whether there is one or not. */
  dial(): void {
    const { network, from } = this.#options
    const attempt = ++this.#attempt
    from.process?.after(network.latency(), () => {
      if (attempt === this.#attempt) this.#connect()
    })
  }

  /** Goes to another server; hastily, while a session with the last one may still be open. */
  roam(to: Machine, isHasty: boolean): void {
    if (to === this.#to || this.#stoppedBy !== undefined) return
    this.#to = to
    this.#failures = 0
    if (!isHasty) for (const link of [...this.#live.keys()]) link.end()
    this.dial()
  }

  /** Calls back with a link that is paused: now, or soon after the next pause. */
  withdraw(work: (link: Link) => void): void {
    const [link] = this.newest ?? []
    if (link?.pause === undefined) this.#atPause = work
    else work(link)
  }

  #dialLater(leastMs = 0): void {
    const { random, from } = this.#options
    if (this.#stoppedBy !== undefined) return
    const attempt = ++this.#attempt
    const capMs = Math.min(BACKOFF_CAP_MS, BACKOFF_BASE_MS * 2 ** this.#failures++)
    from.process?.after(random.next() * (leastMs + capMs), () => {
      if (attempt === this.#attempt) this.dial()
    })
  }

  #connect(): void {
    const { network, from, tenant, peerTenant } = this.#options
    const to = this.#to
    const [process, peerProcess] = [from.process, to.process]
    const [seat, peerSeat] = [from.seatOf(tenant), to.seatOf(peerTenant)]
    if (process === undefined || seat?.replica === undefined || this.#isRenewing) return
    const canReach = network.canReach(from.name, to.name) && network.canReach(to.name, from.name)
    if (!canReach) return this.#dialLater(UNREACHABLE_MS)
    if (peerProcess === undefined || peerSeat?.replica === undefined) return this.#dialLater()
    this.#connections++
    const connection = network.connect({ machine: from.name, process }, { machine: to.name, process: peerProcess })
    const views = [seat.view, peerSeat.view]
    const acceptor = this.#createLink(to, peerSeat.replica, connection.acceptor, false, (error) =>
      this.#options.onEnd(error, views, `${to.name} to ${from.name}`),
    )
    attach(connection.acceptor, acceptor)
    const initiator = this.#createLink(from, seat.replica, connection.initiator, true, (error) => {
      this.#live.delete(initiator)
      // What gets further each time does not wait longer.
      if (initiator.hasBrought) this.#failures = 0
      this.#options.onEnd(error, views, `${from.name} to ${to.name}`)
      this.#takeEnd(error)
    })
    attach(connection.initiator, initiator)
    this.#live.set(initiator, to)
    process.after(HANDSHAKE_MS, () => {
      if (initiator.state !== 'streaming') initiator.end()
      else process.after(STABLE_MS, () => this.#noteStable(initiator))
    })
    peerProcess.after(HANDSHAKE_MS, () => {
      if (acceptor.state !== 'streaming') acceptor.end()
    })
    initiator.start()
  }

  #noteStable(link: Link): void {
    if (link.state === 'streaming') this.#failures = 0
  }

  #takeEnd(error: TidemarkError | undefined): void {
    if (this.#isRenewing) return
    const reason = error === undefined ? undefined : renewalReasonOf(error)
    if (reason !== undefined && this.#options.renew !== undefined) return this.#renew(reason, this.#options.renew)
    if (error?.code === 'not-home') this.#goOn()
    if (error !== undefined && HOPELESS.has(error.code)) this.#stoppedBy = error
    else if (this.#live.size === 0) this.#dialLater(error?.code === 'replica-fenced' ? FENCED_MS : 0)
  }

  #goOn(): void {
    const servers = this.#options.elsewhere()
    this.#to = servers[(servers.indexOf(this.#to) + 1) % servers.length] ?? this.#to
  }

  /** What the server takes no more of for now is offered again when it says. */
  #watchPause(link: Link): void {
    const { pause } = link
    if (pause === undefined || this.#watched.has(pause)) return
    this.#watched.add(pause)
    const atPause = this.#atPause
    this.#atPause = undefined
    if (atPause !== undefined) {
      this.#options.from.process?.after(this.#options.random.next() * pause.retryAfterMs, () => atPause(link))
    }
    this.#options.from.process?.after(pause.retryAfterMs, () => {
      if (link.pause === pause) link.resume()
    })
  }

  /** Other sessions still speak for the old id. */
  #renew(reason: RenewalReason, renew: NonNullable<DialerOptions['renew']>): void {
    this.#isRenewing = true
    for (const link of [...this.#live.keys()]) link.end()
    const { process } = this.from
    const goOn = (): void => {
      if (this.from.process !== process) return
      this.#isRenewing = false
      this.#dialLater()
    }
    renew(this.from, reason).then(goOn, goOn)
  }

  #createLink(
    machine: Machine,
    replica: Replica,
    side: Side,
    isInitiator: boolean,
    onEnd: (error: TidemarkError | undefined) => void,
  ): Link {
    const { gate, peerTenant, old } = this.#options
    const isRelay = isInitiator && this.#options.role === 'relay'
    const transport: Transport = {
      send: (frame) => side.send(frame),
      close: (error) => {
        onEnd(error)
        side.close()
      },
    }
    return new Link({
      hub: replica.hub,
      role: roleOf(this.#options.role, isInitiator, () => gate(peerTenant, machine)),
      transport,
      tables: isRelay ? new Map() : replica.tables,
      ...(old.has(machine.name) ? { versions: [1, 1] } : {}),
      now: () => machine.clock.now(),
      onChange: () => {
        const [link] = this.newest ?? []
        if (!isInitiator || link?.state !== 'streaming') return
        this.#hasStreamed = true
        this.#watchPause(link)
      },
    })
  }
}

/** What one side is to the other: who dials, or who answers. */
function roleOf(dialled: DialerOptions['role'], isInitiator: boolean, gate: () => Gate | undefined): Role {
  if (dialled === 'mesh') return isInitiator ? meshInitiator : meshAcceptor
  if (isInitiator) return dialled === 'relay' ? relayRole : clientRole
  const admits = gate()
  return serverRole(admits === undefined ? {} : { gate: admits })
}

/** As sync-client decides it. */
function renewalReasonOf({ code }: TidemarkError): RenewalReason | undefined {
  if (code === 'replica-restored' || code === 'replica-cloned') return code
  return code === 'dot-conflict' ? 'replica-cloned' : undefined
}

function attach(side: Side, link: Link): void {
  side.receiver = { receive: (frame) => link.receive(frame), end: () => link.end() }
}
