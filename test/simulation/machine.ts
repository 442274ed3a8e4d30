/**
 * A machine: a wall clock, and for each tenant it serves a disk and, while its process runs, a replica.
 *
 * Knows: how a process starts, crashes, and finds its disks again. Must never know: who is connected to whom.
 */
import { becomeRelay } from '../../core/family.ts'
import { beginEpoch } from '../../core/recovery.ts'
import { openReplica, type Replica } from '../../core/replica.ts'
import type { Store } from '../../core/store.ts'
import type { TableDefinitions } from '../../core/table.ts'
import type { Disk, DiskImage } from './disk.ts'
import { Incarnation } from './incarnation.ts'
import { expectTyped } from './oracle.ts'
import type { Scheduler } from './scheduler.ts'
import type { View } from './view.ts'
import type { WallClock } from './wall-clock.ts'

/** One tenant on one machine. */
export interface Seat {
  readonly tenant: string
  readonly disk: Disk
  view: View
  replica: Replica | undefined
  /** A second process on the same disk. */
  sibling: Replica | undefined
  hasSibling: boolean
  backup: { readonly image: DiskImage; readonly view: View } | undefined
  /** Its disk came from a backup, and it has to begin an epoch before it serves. */
  isRestored: boolean
}

export interface MachineOptions {
  readonly name: string
  readonly scheduler: Scheduler
  readonly clock: WallClock
  readonly seats: readonly Seat[]
  /** For a process that starts. */
  readonly tables: () => TableDefinitions
  readonly authority: 'server' | 'self'
  readonly isRelay: boolean
  readonly creditBytes: number
  /** Milliseconds that a process waits before a piece of work; 0: it goes on. */
  readonly turnWaitMs: (() => number) | undefined
  /** All replicas are open. */
  readonly onUp: (machine: Machine) => void
  readonly onTrouble: (error: unknown) => void
}

const REOPEN_MS = 500

export class Machine {
  readonly name: string
  readonly clock: WallClock
  readonly seats: readonly Seat[]
  readonly #options: MachineOptions
  #process: Incarnation | undefined
  #stores: { readonly seat: Seat; readonly store: Store }[] = []
  /** A server's: it takes nothing but deletes before this virtual time. */
  noRoomUntil = 0
  rowsMax = 0
  /** Set when it is to stay off. */
  isRetired = false

  constructor(options: MachineOptions) {
    this.#options = options
    this.name = options.name
    this.clock = options.clock
    this.seats = options.seats
  }

  get process(): Incarnation | undefined {
    return this.#process
  }

  get isUp(): boolean {
    return this.#process !== undefined && this.seats.every(({ replica }) => replica !== undefined)
  }

  seatOf(tenant: string): Seat | undefined {
    return this.seats.find((seat) => seat.tenant === tenant)
  }

  start(): void {
    if (this.#process !== undefined || this.isRetired) return
    const process = new Incarnation(this.#options.scheduler)
    this.#process = process
    for (const seat of this.seats) this.#open(seat, process)
  }

  /** The process is gone, with everything that was not flushed. */
  crash(): void {
    const process = this.#process
    if (process === undefined) return
    process.die()
    this.#process = undefined
    for (const { seat, store } of this.#stores.splice(0)) seat.disk.crash(store)
    for (const seat of this.seats) {
      seat.replica = undefined
      seat.sibling = undefined
    }
  }

  #open(seat: Seat, process: Incarnation): void {
    const opening = seat.hasSibling
      ? Promise.all([this.#openReplica(seat, process), this.#openReplica(seat, process)])
      : Promise.all([this.#openReplica(seat, process)])
    opening.then(
      ([replica, sibling]) => {
        seat.replica = replica
        seat.sibling = sibling
        if (this.isUp) this.#options.onUp(this)
      },
      (error: unknown) => {
        try {
          expectTyped(error, `${this.name} opens its store`)
          process.after(REOPEN_MS, () => this.#open(seat, process))
        } catch (failure) {
          this.#options.onTrouble(failure)
        }
      },
    )
  }

  #openReplica(seat: Seat, process: Incarnation): Promise<Replica> {
    const { tables, authority, isRelay, creditBytes, turnWaitMs, clock } = this.#options
    const store = seat.disk.open(process)
    this.#stores.push({ seat, store })
    return openReplica({
      tenant: seat.tenant,
      store,
      tables: tables(),
      authority,
      now: () => clock.now(),
      ...(turnWaitMs === undefined ? {} : { turn: () => waitWithin(process, turnWaitMs()) }),
      limits: creditBytes < LOWERED.creditBytes ? { ...LOWERED, creditBytes } : {},
    }).then(async (replica) => {
      if (seat.isRestored) await replica.ledger.submit(beginEpoch(clock.now()))
      seat.isRestored = false
      if (isRelay) await replica.ledger.submit(becomeRelay(clock.now()))
      return replica
    })
  }
}

/** A credit window has to hold a transaction, and that a change. */
const LOWERED = { creditBytes: 1 << 20, transactionBytesMax: 2_000, changeBytesMax: 1_000 } as const

function waitWithin(process: Incarnation, forMs: number): Promise<void> | undefined {
  return forMs === 0 ? undefined : new Promise((resolve) => process.after(forMs, resolve))
}
