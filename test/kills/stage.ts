/**
 * The stage of kills: a server and replicas on LMDB as processes of their own, what they owe, and how they are compared.
 *
 * Knows: actors and what has to hold of them. Must never know: when anything goes wrong.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openReplica } from '../../core/index.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import { connect } from '../../sync-client/index.ts'
import { FaultWire } from '../faults/fault-wire.ts'
import { freePort } from '../free-port.ts'
import type { Random } from '../simulation/random.ts'
import { ReplicaActor, ServerActor } from './actors.ts'
import { KILL_TABLES, TENANT } from './tables.ts'

export type Victim = ServerActor | ReplicaActor

export interface KillReport {
  readonly kills: number
  /** Rows that an app was told are kept. */
  readonly kept: number
  readonly increments: number
  /** Changes that a writer was told the server has. */
  readonly answered: number
  readonly wrong: readonly string[]
}

export interface StageOptions {
  readonly replicas: number
  /** Between two writes of one writer, of which a replica has four; 0: as fast as they are acknowledged. */
  readonly pauseMs: number
}

const SETTLE_MS = 60_000
/** Starting takes longer than this: node alone takes half of it. */
const STARTING_MS_MAX = 600

export class Stage {
  readonly #place: string
  readonly #url: string
  readonly #server: ServerActor
  readonly #replicas: readonly ReplicaActor[]
  /** The network of each replica. */
  readonly wires: readonly FaultWire[]
  readonly everybody: readonly Victim[]
  readonly wrong: string[] = []

  private constructor(place: string, port: number, wires: readonly FaultWire[], pauseMs: number) {
    this.#place = place
    this.#url = `http://127.0.0.1:${port}`
    this.wires = wires
    this.#server = new ServerActor(join(place, 'server'), port)
    this.#replicas = wires.map(({ url }, at) => new ReplicaActor(join(place, `r${at}`), url, `r${at}`, pauseMs))
    this.everybody = [this.#server, ...this.#replicas]
  }

  /** Everybody is there, and works. */
  static async open({ replicas, pauseMs }: StageOptions): Promise<Stage> {
    const port = await freePort()
    const wires = await Promise.all(Array.from({ length: replicas }, () => FaultWire.open(port)))
    const stage = new Stage(mkdtempSync(join(tmpdir(), 'tidemark-kills-')), port, wires, pauseMs)
    await Promise.all(stage.everybody.map((actor) => actor.start()))
    for (const replica of stage.#replicas) replica.send({ type: 'work' })
    return stage
  }

  get kills(): number {
    return total(this.everybody, (actor) => actor.kills)
  }

  get report(): KillReport {
    return {
      kills: this.kills,
      kept: total(this.#replicas, ({ kept }) => kept.size),
      increments: total(this.#replicas, ({ increments }) => increments),
      answered: total(this.#replicas, ({ answered }) => answered),
      wrong: this.wrong,
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.everybody.map((actor) => actor.end()))
    for (const wire of this.wires) await wire.close()
    rmSync(this.#place, { recursive: true, force: true })
  }

  /** Kills some, one of them perhaps a second time while it starts again, and looks what they still have. */
  async strike(victims: readonly Victim[], random: Random): Promise<void> {
    await Promise.all(victims.map((actor) => actor.kill()))
    // Answers that were heard by now are of a server that is gone.
    const due = this.#replicas.map(({ answered }) => answered)
    if (random.chance(0.25)) await victims[0]?.startAndKill(random.between(1, STARTING_MS_MAX))
    await Promise.all(victims.map((actor) => actor.start()))
    for (const actor of victims) {
      if (actor instanceof ReplicaActor) {
        this.wrong.push(...(await actor.check()))
        actor.send({ type: 'work' })
      } else this.#inspectServer(due)
    }
  }

  #inspectServer(due: readonly number[]): void {
    for (const [index, { name, ids }] of this.#replicas.entries()) {
      const [id = ''] = ids
      const held = this.#server.held.get(id) ?? 0
      const heard = due[index] ?? 0
      if (held < heard) this.wrong.push(`${name} had an answer for change ${heard}; the server came back with ${held}`)
    }
  }

  /** Everybody comes to rest, and somebody comes who was never there. */
  async compare(): Promise<void> {
    await this.#tellAll('rest', 'rests')
    // In the first round everybody sends what it has, in the second it gets what the others had.
    await this.#tellAll('settle', 'digest')
    const digests = await this.#tellAll('settle', 'digest')
    const newcomer = await openReplica({ tenant: TENANT, store: openMemoryStore(), tables: KILL_TABLES })
    const link = connect(newcomer, { url: this.#url, transports: ['websocket'] })
    await link.settled({ timeoutMs: SETTLE_MS })
    const { rows, hash } = await newcomer.digest()
    for (const digest of digests) {
      if (digest !== `digest ${rows} ${hash} 0`) this.wrong.push(`${digest} where a newcomer has ${rows} ${hash} 0`)
    }
    for (const replica of this.#replicas) {
      const { name, kept, increments, kills, ids } = replica
      for (const id of kept) {
        if ((await newcomer.table('items').get(id)) === undefined) this.wrong.push(`the server never got ${id}`)
      }
      // Of each life that was killed, one increment may have been made that nobody was told of.
      const counted = (await newcomer.table('counts').get(name))?.n ?? 0
      if (counted < increments || counted > increments + kills) {
        this.wrong.push(`${name} counts ${counted}, where ${increments} increments were told in ${kills + 1} lives`)
      }
      if (ids.size !== 1) this.wrong.push(`${name} had the identities ${[...ids].join(', ')}`)
    }
    await link.close()
    await newcomer.close()
  }

  /** The line with which each of the replicas answers. */
  async #tellAll(type: 'rest' | 'settle', wanted: string): Promise<readonly (string | undefined)[]> {
    for (const replica of this.#replicas) replica.send({ type })
    const lines = await Promise.all(this.#replicas.map((replica) => replica.until(wanted, SETTLE_MS)))
    return lines.map((said) => said.find((line) => line.startsWith(wanted)))
  }
}

function total<Item>(items: readonly Item[], count: (item: Item) => number): number {
  return items.reduce((sum, item) => sum + count(item), 0)
}
