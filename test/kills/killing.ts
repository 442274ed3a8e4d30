/**
 * Killing processes for real: a server and two replicas on LMDB under load, and SIGKILL at moments drawn from a seed: one
 * of them, all at once, or one that has only just begun to start.
 *
 * What has to hold:
 * 1  A replica that starts again has every row and every increment that its app was told is kept.
 * 2  A server that starts again has, before anybody can push to it, every change that a writer had its answer for.
 * 3  Nobody needs another identity: what was sent had been on the disk.
 * 4  In the end all hold the same rows, one who comes anew too, with every row that was ever said to be kept, and no
 *    increment twice.
 *
 * Knows: processes, what they say, when they die. Must never know: how anything is stored.
 */

import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openReplica } from '../../core/index.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import { connect } from '../../sync-client/index.ts'
import { Random } from '../simulation/random.ts'
import { ReplicaActor, ServerActor } from './actors.ts'
import { KILL_TABLES, TENANT } from './tables.ts'

export interface KillOptions {
  readonly kills: number
  readonly seed: number
  readonly onKill?: (done: number) => void
}

export interface KillReport {
  readonly kills: number
  /** Rows that an app was told are kept. */
  readonly kept: number
  readonly increments: number
  /** Changes that a writer was told the server has. */
  readonly answered: number
  readonly wrong: readonly string[]
}

const REPLICAS = ['x', 'y'] as const
const SETTLE_MS = 60_000
/** Processes are killed after so long under load. */
const LOAD_MS_MAX = 400
/** Starting takes longer than this: node alone takes half of it. */
const STARTING_MS_MAX = 600

export async function killAll(options: KillOptions): Promise<KillReport> {
  const place = mkdtempSync(join(tmpdir(), 'tidemark-kills-'))
  const stage = new Stage(place, await freePort())
  try {
    return await stage.play(options)
  } finally {
    await stage.clear()
    rmSync(place, { recursive: true, force: true })
  }
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const address = probe.address()
  probe.close()
  await once(probe, 'close')
  return typeof address === 'object' && address !== null ? address.port : 0
}

class Stage {
  readonly #url: string
  readonly #server: ServerActor
  readonly #replicas: readonly ReplicaActor[]
  readonly #everybody: readonly (ServerActor | ReplicaActor)[]
  readonly #wrong: string[] = []

  constructor(place: string, port: number) {
    this.#url = `http://127.0.0.1:${port}`
    this.#server = new ServerActor(join(place, 'server'), port)
    this.#replicas = REPLICAS.map((name) => new ReplicaActor(join(place, name), this.#url, name))
    this.#everybody = [this.#server, ...this.#replicas]
  }

  async play({ kills, seed, onKill = () => {} }: KillOptions): Promise<KillReport> {
    const random = new Random(`kills/${seed}`)
    await Promise.all(this.#everybody.map((actor) => actor.start()))
    for (const replica of this.#replicas) replica.send({ type: 'work' })
    while (this.#kills < kills && this.#wrong.length === 0) {
      await new Promise((resolve) => setTimeout(resolve, random.between(1, LOAD_MS_MAX)))
      await this.#strike(random.chance(0.15) ? this.#everybody : [random.pick(this.#everybody)], random)
      onKill(Math.min(this.#kills, kills))
    }
    if (this.#wrong.length === 0) await this.#compare()
    return {
      kills: this.#kills,
      kept: total(this.#replicas, ({ kept }) => kept.size),
      increments: total(this.#replicas, ({ increments }) => increments),
      answered: total(this.#replicas, ({ answered }) => answered),
      wrong: this.#wrong,
    }
  }

  async clear(): Promise<void> {
    await Promise.all(this.#everybody.map((actor) => actor.end()))
  }

  get #kills(): number {
    return total(this.#everybody, (actor) => actor.kills)
  }

  async #strike(victims: readonly (ServerActor | ReplicaActor)[], random: Random): Promise<void> {
    await Promise.all(victims.map((actor) => actor.kill()))
    // Answers that were heard by now are of a server that is gone.
    const due = this.#replicas.map(({ answered }) => answered)
    if (random.chance(0.25)) await victims[0]?.startAndKill(random.between(1, STARTING_MS_MAX))
    await Promise.all(victims.map((actor) => actor.start()))
    for (const actor of victims) {
      if (actor instanceof ReplicaActor) {
        this.#wrong.push(...(await actor.check()))
        actor.send({ type: 'work' })
      } else this.#inspectServer(due)
    }
  }

  #inspectServer(due: readonly number[]): void {
    for (const [index, { name, ids }] of this.#replicas.entries()) {
      const [id = ''] = ids
      const held = this.#server.held.get(id) ?? 0
      const heard = due[index] ?? 0
      if (held < heard) this.#wrong.push(`${name} had an answer for change ${heard}; the server came back with ${held}`)
    }
  }

  /** Everybody comes to rest, and somebody comes who was never there. */
  async #compare(): Promise<void> {
    await this.#tellAll('rest', 'rests')
    // In the first round everybody sends what it has, in the second it gets what the others had.
    await this.#tellAll('settle', 'digest')
    const digests = await this.#tellAll('settle', 'digest')
    const newcomer = await openReplica({ tenant: TENANT, store: openMemoryStore(), tables: KILL_TABLES })
    const link = connect(newcomer, { url: this.#url, transports: ['websocket'] })
    await link.settled({ timeoutMs: SETTLE_MS })
    const { rows, hash } = await newcomer.digest()
    for (const digest of digests) {
      if (digest !== `digest ${rows} ${hash} 0`) this.#wrong.push(`${digest} where a newcomer has ${rows} ${hash} 0`)
    }
    for (const replica of this.#replicas) {
      const { name, kept, increments, kills, ids } = replica
      for (const id of kept) {
        if ((await newcomer.table('items').get(id)) === undefined) this.#wrong.push(`the server never got ${id}`)
      }
      // Of each life that was killed, one increment may have been made that nobody was told of.
      const counted = (await newcomer.table('counts').get(name))?.n ?? 0
      if (counted < increments || counted > increments + kills) {
        this.#wrong.push(`${name} counts ${counted}, where ${increments} increments were told in ${kills + 1} lives`)
      }
      if (ids.size !== 1) this.#wrong.push(`${name} had the identities ${[...ids].join(', ')}`)
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
