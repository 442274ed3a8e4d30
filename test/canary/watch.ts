/**
 * Canaries: many tenants of one server under load, each with its own canary in every row and row id. While they write,
 * delete, lose their connections, come back and are new, every row that any replica ever shows is looked at. No canary may
 * be seen anywhere but at home.
 *
 * Knows: replicas, links, tokens. Must never know: how tenants are kept apart.
 */
import { openReplica, type Replica, type TableDefinition, table } from '../../core/index.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import { connect, type SyncLink } from '../../sync-client/index.ts'
import { Random } from '../simulation/random.ts'

interface Bird {
  readonly id: string
  readonly song: string
}

type Birds = { readonly birds: TableDefinition<Bird> }

export interface CanaryOptions {
  readonly url: string
  readonly tenants: readonly string[]
  readonly tokenOf: (tenant: string, subject: string) => Promise<string>
  readonly forMs: number
  readonly seed: string
  /** Told about once a second. */
  readonly onProgress?: (figures: CanaryFigures) => void
}

export interface CanaryFigures {
  written: number
  /** Rows that were looked at, as they came. */
  seen: number
  reconnects: number
  /** Replicas that began anew. */
  begun: number
  /** Sentences about canaries that were where they should not be. */
  readonly strays: string[]
}

const ROWS = 40
/** A hundred tenants that are opened and connected to at once take their time. */
const START_MS = 60_000
/** All tenants together: what one core carries besides all the replicas, which live in the same process. */
const WRITES_PER_SECOND = 100

/** Runs for as long as it is told, then settles everything and looks at all rows once more. */
export async function watchCanaries(options: CanaryOptions): Promise<CanaryFigures> {
  const figures: CanaryFigures = { written: 0, seen: 0, reconnects: 0, begun: 0, strays: [] }
  const random = new Random(options.seed)
  const progress = setInterval(() => options.onProgress?.(figures), 1_000)
  try {
    const cages = options.tenants.map((tenant) => new Cage(tenant, options, figures, random.fork(tenant)))
    await Promise.all(cages.map((cage) => cage.run()))
  } finally {
    clearInterval(progress)
  }
  return figures
}

interface Perch {
  readonly subject: string
  readonly replica: Replica<Birds>
  link: SyncLink
}

/** One tenant: two replicas that write, one of which comes and goes. */
class Cage {
  readonly #tenant: string
  readonly #options: CanaryOptions
  readonly #figures: CanaryFigures
  readonly #random: Random

  constructor(tenant: string, options: CanaryOptions, figures: CanaryFigures, random: Random) {
    this.#tenant = tenant
    this.#options = options
    this.#figures = figures
    this.#random = random
  }

  async run(): Promise<void> {
    const steady = await this.#open('steady')
    let restless = await this.#open('restless')
    await Promise.all([steady, restless].map(({ link }) => link.settled({ timeoutMs: START_MS })))
    const endAtMs = performance.now() + this.#options.forMs
    const everyMs = (1_000 * this.#options.tenants.length) / WRITES_PER_SECOND
    while (performance.now() < endAtMs) {
      await this.#write(this.#random.chance(0.5) ? steady : restless)
      if (this.#random.chance(0.02)) {
        this.#figures.reconnects++
        await restless.link.close()
        restless.link = this.#connect(restless.replica, restless.subject)
      }
      if (this.#random.chance(0.005)) {
        this.#figures.begun++
        await restless.link.settled()
        await this.#close(restless)
        restless = await this.#open('restless')
      }
      await new Promise((resolve) => setTimeout(resolve, this.#random.below(2 * everyMs)))
    }
    for (const { link } of [steady, restless, steady]) await link.settled()
    await this.#compare(steady, restless)
    await Promise.all([this.#close(steady), this.#close(restless)])
  }

  async #open(subject: string): Promise<Perch> {
    const replica = await openReplica({
      tenant: this.#tenant,
      store: openMemoryStore(),
      tables: { birds: table<Bird>() },
    })
    replica.subscribe({ table: 'birds' }, ({ id, row }) => this.#look(id, row?.song, 'an event'))
    return { subject, replica, link: this.#connect(replica, subject) }
  }

  #connect(replica: Replica<Birds>, subject: string): SyncLink {
    const { url, tokenOf } = this.#options
    return connect(replica, { url, token: () => tokenOf(this.#tenant, subject), backoff: { baseMs: 50, capMs: 1_000 } })
  }

  async #close({ link, replica }: Perch): Promise<void> {
    await link.close()
    await replica.close()
  }

  async #write({ replica }: Perch): Promise<void> {
    const birds = replica.table('birds')
    const id = `${this.#tenant}/${this.#random.below(ROWS)}`
    this.#figures.written++
    if (this.#random.chance(0.2) && (await birds.get(id)) !== undefined) return void (await birds.delete(id))
    await birds.upsert({ id, song: `canary of ${this.#tenant}, ${this.#figures.written}` })
  }

  /** Both have the same rows, and nothing but their own. */
  async #compare(steady: Perch, restless: Perch): Promise<void> {
    for (const { replica } of [steady, restless]) {
      for await (const { id, song } of replica.table('birds').scan()) this.#look(id, song, 'the end')
    }
    const [left, right] = [await steady.replica.digest(), await restless.replica.digest()]
    if (left.hash !== right.hash) this.#figures.strays.push(`the replicas of ${this.#tenant} differ at the end`)
  }

  #look(id: string, song: unknown, where: string): void {
    this.#figures.seen++
    const isSong = song === undefined || String(song).startsWith(`canary of ${this.#tenant},`)
    if (id.startsWith(`${this.#tenant}/`) && isSong) return
    this.#figures.strays.push(`${where} of ${this.#tenant} shows ${JSON.stringify([id, song])}`)
  }
}
