/**
 * A fuzzing job: a run of numbered frames, each through the decoders and then at the real port of a server of its own.
 *
 * What has to hold, frame by frame and after each epoch:
 * 1  Decoders answer with a value or a typed refusal, in time (judge.ts).
 * 2  The server answers or hangs up, never blames itself, throws nothing, logs no error, and does not stall.
 * 3  Nobody else notices: a well-behaved pair of the same tenant keeps its connection and syncs in time (pair.ts).
 * 4  What is refused changes nothing: every fourth epoch has only such frames, and the tenant's content stays as it was.
 *
 * Knows: lanes, the pair, the server process. Must never know: who runs it, or how many of it run.
 */
import { Random } from '../simulation/random.ts'
import { createMaterial, drawFrame, type Material } from './draw.ts'
import { judge } from './judge.ts'
import { Lane, type Outcome } from './lane.ts'
import { Pair } from './pair.ts'
import { ServerProcess, type StoreKind } from './server-process.ts'

export interface JobOptions {
  readonly seed: number
  /** The first frame, and the one after the last. */
  readonly from: number
  readonly to: number
  readonly store: StoreKind
}

/** A frame that did what no frame may do. */
export interface Finding {
  /** `seed/number`, and what happened. */
  readonly sentence: string
  /** Base64; empty when it was not one frame that did it. */
  readonly frame: string
}

export interface Tally {
  frames: number
  /** Of those, refused by a decoder. */
  refused: number
  closed: number
  readonly codes: Record<string, number>
  readonly findings: Finding[]
  /** Stalls that did not come again when the same frames were sent one by one: the machine's, as far as one can tell. */
  unexplainedStalls: number
  memoryBytesMax: number
  calmWrites: number
  arrivalMsMax: number
}

export const TENANT = 'acme'
const LANES = 8
const EPOCH_FRAMES = 500
const EPOCHS_PER_AUDIT = 4
const DRAWS_MAX = 20
/** A decoder may take eight times the bytes of a frame; what several lanes leave behind is the collector's. */
const MEMORY_BYTES_MAX = 700 * 1024 * 1024
const FINDINGS_MAX = 20

export function createTally(): Tally {
  return {
    frames: 0,
    refused: 0,
    closed: 0,
    codes: {},
    findings: [],
    unexplainedStalls: 0,
    memoryBytesMax: 0,
    calmWrites: 0,
    arrivalMsMax: 0,
  }
}

/** `isStopped` ends it early, with what has been done so far. */
export async function runJob(
  options: JobOptions,
  onProgress: (frames: number) => void = () => {},
  isStopped: () => boolean = () => false,
): Promise<Tally> {
  const server = await ServerProcess.start(options.store)
  try {
    return await new Job(options, server, await Pair.open(server.url, TENANT)).run(onProgress, isStopped)
  } finally {
    await server.end()
  }
}

interface Shot {
  readonly number: number
  readonly frame: Uint8Array
  readonly isBeforeHello: boolean
}

class Job {
  readonly #options: JobOptions
  readonly #server: ServerProcess
  readonly #pair: Pair
  readonly #lanes: readonly Lane[]
  readonly #material: Material
  readonly #tally = createTally()

  constructor(options: JobOptions, server: ServerProcess, pair: Pair) {
    this.#options = options
    this.#server = server
    this.#pair = pair
    const name = `fuzz/${options.seed}/${options.from}`
    this.#lanes = Array.from({ length: LANES }, (_, at) => new Lane(server.address, TENANT, `${name}/${at}`))
    const [lane] = this.#lanes
    this.#material = createMaterial(options.seed, (lane as Lane).target, new Random(name))
  }

  async run(onProgress: (frames: number) => void, isStopped: () => boolean): Promise<Tally> {
    const { from, to } = this.#options
    this.#pair.start()
    for (let epoch = 0, at = from; at < to && this.#tally.findings.length < FINDINGS_MAX && !isStopped(); epoch++) {
      const end = Math.min(to, at + EPOCH_FRAMES)
      if (epoch % EPOCHS_PER_AUDIT === EPOCHS_PER_AUDIT - 1) await this.#runAudited(at, end)
      else await this.#runEpoch(at, end, false)
      onProgress(end - at)
      at = end
    }
    await this.#finish()
    return this.#tally
  }

  /** Only frames that are refused, while nobody else writes. */
  async #runAudited(from: number, to: number): Promise<void> {
    await this.#pair.pause()
    const before = await this.#server.audit(TENANT)
    await this.#runEpoch(from, to, true)
    const after = await this.#server.audit(TENANT)
    // What a server has learned in memory alone gets to disk with the next commit.
    await this.#pair.write()
    await this.#pair.settle()
    const { names } = await this.#server.audit(TENANT)
    const range = `between ${from} and ${to}`
    if (after.content !== before.content) this.#find(`refused frames ${range} changed the content of the tenant`)
    if (names !== before.names) this.#find(`refused frames ${range} taught the tenant ${names - before.names} names`)
    this.#pair.start()
  }

  async #runEpoch(from: number, to: number, isRefused: boolean): Promise<void> {
    const shots: Shot[] = []
    let next = from
    const work = async (lane: Lane): Promise<void> => {
      while (next < to) {
        const shot = this.#draw(next++, lane, isRefused)
        shots.push(shot)
        await this.#fire(lane, shot)
      }
    }
    const stalls = this.#server.health.stalls.length
    await Promise.all(this.#lanes.map((lane) => work(lane)))
    if (this.#server.health.stalls.length > stalls) await this.#explainStall(shots)
  }

  #draw(number: number, lane: Lane, isRefused: boolean): Shot {
    const random = new Random(`${this.#options.seed}/${number}`)
    let frame = drawFrame(this.#material, lane.target, random)
    let verdict = judge(frame)
    for (let draws = 1; isRefused && verdict.code === undefined && verdict.failure === undefined; draws++) {
      frame = draws < DRAWS_MAX ? drawFrame(this.#material, lane.target, random) : Uint8Array.of(0xc1)
      verdict = judge(frame)
    }
    this.#tally.frames++
    if (verdict.code !== undefined) this.#tally.refused++
    if (verdict.failure !== undefined) this.#find(`${this.#name(number)}: ${verdict.failure}`, frame)
    return { number, frame, isBeforeHello: random.chance(0.12) }
  }

  async #fire(lane: Lane, { number, frame, isBeforeHello }: Shot): Promise<void> {
    const troubles = this.#server.health.troubles.length
    let outcome: Outcome
    try {
      outcome = isBeforeHello ? await lane.fireBeforeHello(frame) : await lane.fire(frame)
    } catch (error) {
      return this.#find(`${this.#name(number)}: ${String(error)}`, frame)
    }
    if (outcome.end === 'closed') this.#tally.closed++
    for (const code of outcome.codes) this.#tally.codes[code] = (this.#tally.codes[code] ?? 0) + 1
    if (outcome.failure !== undefined) this.#find(`${this.#name(number)}: ${outcome.failure}`, frame)
    for (const trouble of this.#server.health.troubles.slice(troubles)) {
      this.#find(`at ${this.#name(number)} or beside it: ${trouble}`, frame)
    }
  }

  /** Sends the frames again, one by one, to find the one that stalls the server. */
  async #explainStall(shots: readonly Shot[]): Promise<void> {
    const { stalls } = this.#server.health
    const [lane] = this.#lanes as readonly [Lane]
    for (const { number, frame, isBeforeHello } of shots) {
      const before = stalls.length
      await (isBeforeHello ? lane.fireBeforeHello(frame) : lane.fire(frame))
      // The server looks at its own clock every 5 ms.
      await new Promise((resolve) => setTimeout(resolve, 10))
      const stall = stalls[before]
      if (stall !== undefined)
        return this.#find(`${this.#name(number)}: it stalls the server for ${stall.ms.toFixed(0)} ms`, frame)
    }
    this.#tally.unexplainedStalls++
  }

  async #finish(): Promise<void> {
    for (const lane of this.#lanes) lane.hangUp()
    for (const failure of await this.#pair.end()) this.#find(`the well-behaved pair: ${failure}`)
    const { memoryBytesMax } = this.#server.health
    if (memoryBytesMax > MEMORY_BYTES_MAX) {
      this.#find(`the server took ${Math.round(memoryBytesMax / 1024 / 1024)} MiB of memory`)
    }
    this.#tally.memoryBytesMax = memoryBytesMax
    this.#tally.calmWrites = this.#pair.writes
    this.#tally.arrivalMsMax = this.#pair.arrivalMsMax
  }

  #name(number: number): string {
    return `frame ${number} of seed ${this.#options.seed}`
  }

  #find(sentence: string, frame: Uint8Array = new Uint8Array(0)): void {
    this.#tally.findings.push({ sentence, frame: Buffer.from(frame).toString('base64') })
  }
}

/** Sums up two tallies. */
export function addTally(sum: Tally, more: Tally): void {
  sum.frames += more.frames
  sum.refused += more.refused
  sum.closed += more.closed
  for (const [code, count] of Object.entries(more.codes)) sum.codes[code] = (sum.codes[code] ?? 0) + count
  sum.findings.push(...more.findings)
  sum.unexplainedStalls += more.unexplainedStalls
  sum.memoryBytesMax = Math.max(sum.memoryBytesMax, more.memoryBytesMax)
  sum.calmWrites += more.calmWrites
  sum.arrivalMsMax = Math.max(sum.arrivalMsMax, more.arrivalMsMax)
}
