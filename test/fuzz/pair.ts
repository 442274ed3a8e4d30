/**
 * The well-behaved pair: two replicas of the real client that write and sync all the time, and must not notice a thing.
 *
 * Knows: the public doors. Must never know: what else the server is sent.
 */

import { openReplica, type Replica, table } from '../../core/index.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import { connect, type SyncLink } from '../../sync-client/index.ts'
import { OwnTime } from '../faults/own-time.ts'

interface Note {
  readonly id: string
  readonly text: string
}

const TABLES = { calm: table<Note>() }
type Calm = Replica<typeof TABLES>

const WRITE_EVERY_MS = 25
/** No single write may take longer by the clock of this process; the figure by the ordinary one is printed. */
const ARRIVAL_OWN_MS_MAX = 5_000
const ROWS = 50

export class Pair {
  readonly #replicas: readonly Calm[]
  readonly #links: readonly SyncLink[]
  readonly #sentAtMs = new Map<string, { readonly ms: number; readonly ownMs: number }>()
  readonly #own = new OwnTime()
  readonly failures: string[] = []
  #writes = 0
  #arrivalMsMax = 0
  #arrivalOwnMsMax = 0
  #timer: ReturnType<typeof setInterval> | undefined
  #isOver = false

  private constructor(replicas: readonly Calm[], url: string) {
    this.#replicas = replicas
    this.#links = replicas.map((replica) => connect(replica, { url, transports: ['websocket'] }))
    for (const [index, replica] of replicas.entries()) {
      replica.subscribe({}, ({ origin, row }) => {
        if (origin === 'remote' && row !== undefined) this.#arrived(row.text)
      })
      let isOnline = true
      this.#links[index]?.onStatus(({ state, lastError }) => {
        const wasOnline = isOnline
        isOnline = state !== 'offline'
        if (!wasOnline || isOnline || this.#isOver) return
        this.failures.push(`it was thrown out: ${lastError?.message}`)
      })
    }
  }

  static async open(url: string, tenant: string): Promise<Pair> {
    const open = (): Promise<Calm> => openReplica({ tenant, store: openMemoryStore(), tables: TABLES })
    const pair = new Pair([await open(), await open()], url)
    await pair.settle()
    return pair
  }

  /** The slowest write so far, from one replica to the other, in milliseconds. */
  get arrivalMsMax(): number {
    return this.#arrivalMsMax
  }

  get writes(): number {
    return this.#writes
  }

  start(): void {
    this.#timer ??= setInterval(() => {
      this.write().catch((error: unknown) => this.failures.push(`a write failed: ${String(error)}`))
    }, WRITE_EVERY_MS)
  }

  /** Stops writing, and waits until both have everything. */
  async pause(): Promise<void> {
    clearInterval(this.#timer)
    this.#timer = undefined
    await this.settle()
  }

  async settle(): Promise<void> {
    for (const link of [...this.#links, ...this.#links]) await link.settled({ timeoutMs: 30_000 })
  }

  async write(): Promise<void> {
    const number = ++this.#writes
    const text = `write ${number}`
    this.#sentAtMs.set(text, { ms: performance.now(), ownMs: this.#own.now() })
    await this.#replicas[number % 2]?.table('calm').upsert({ id: `row-${number % ROWS}`, text })
  }

  /** Ends both, and says what went wrong. */
  async end(): Promise<readonly string[]> {
    try {
      await this.pause()
    } catch (error) {
      this.failures.push(`it could not settle: ${String(error)}`)
    }
    this.#isOver = true
    const digests = await Promise.all(this.#replicas.map((replica) => replica.digest()))
    if (new Set(digests.map(({ hash }) => hash)).size !== 1) this.failures.push('its replicas ended different')
    this.#own.stop()
    if (this.#arrivalOwnMsMax > ARRIVAL_OWN_MS_MAX) {
      this.failures.push(`a write took ${this.#arrivalMsMax.toFixed(0)} ms to the other replica`)
    }
    await Promise.all(this.#links.map((link) => link.close()))
    await Promise.all(this.#replicas.map((replica) => replica.close()))
    return this.failures
  }

  #arrived(text: string): void {
    const sent = this.#sentAtMs.get(text)
    if (sent === undefined) return
    this.#sentAtMs.delete(text)
    this.#arrivalMsMax = Math.max(this.#arrivalMsMax, performance.now() - sent.ms)
    this.#arrivalOwnMsMax = Math.max(this.#arrivalOwnMsMax, this.#own.now() - sent.ownMs)
  }
}
