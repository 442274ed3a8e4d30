/**
 * The replicas of the demo, A and B: each with its store, online or offline.
 */
import { openReplica, type Replica, type Store } from 'tidemark/core'
import { openLmdbStore } from 'tidemark/stores/lmdb'
import { connect, type SyncLink } from 'tidemark/sync-client'
import { TABLES } from './cities.ts'
import { countTraffic, type Traffic } from './traffic.ts'

export type DemoReplica = Replica<typeof TABLES>

/** How long nothing may happen to a link before the demo gives up on the server. */
const SETTLE_MS = 300_000

export class Party {
  readonly name: string
  readonly replica: DemoReplica
  readonly #store: Store
  #link: SyncLink | undefined
  #traffic: Traffic | undefined

  private constructor(name: string, store: Store, replica: DemoReplica) {
    this.name = name
    this.#store = store
    this.replica = replica
  }

  static open(name: string, path: string, tenant: string): Promise<Party> {
    return Party.openOn(name, openLmdbStore(path), tenant)
  }

  static async openOn(name: string, opening: Store | Promise<Store>, tenant: string): Promise<Party> {
    const store = await opening
    try {
      return new Party(name, store, await openReplica({ tenant, store, tables: TABLES }))
    } catch (error) {
      await store.close()
      throw error
    }
  }

  /** How many changes it holds, its own and others'. */
  get changes(): number {
    let changes = 0
    for (const [, seq] of this.replica.clock.entries()) changes += seq
    return changes
  }

  /** Bytes of its connection so far, both directions. */
  get trafficBytes(): number {
    return this.#traffic?.bytes ?? 0
  }

  goOnline(url: string): void {
    this.#traffic = countTraffic(url)
    // socket.io-client types `agent` for browsers, where there is none.
    const agent = this.#traffic.agent as unknown as string
    this.#link = connect(this.replica, { url, socketOptions: { agent } })
  }

  /** Waits until the server has all we have, and we have all it had. Fails when the server goes away. */
  async settled(): Promise<void> {
    await this.#link?.settled({ timeoutMs: SETTLE_MS })
  }

  async goOffline(): Promise<void> {
    await this.#link?.close()
    this.#link = undefined
  }

  async close(): Promise<void> {
    await this.goOffline()
    await this.replica.close()
    await this.#store.close()
  }
}
