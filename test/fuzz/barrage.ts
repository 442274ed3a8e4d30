/**
 * The barrage: everything made by hand, fired at the port of one server while a well-behaved pair works there.
 *
 * Knows: who must not be hurt. Must never know: what a killer is made of.
 */
import { type Assault, allAssaults } from './assaults.ts'
import { keptKillers } from './corpus.ts'
import { TENANT } from './job.ts'
import { allKillers } from './killers.ts'
import { Lane, type Outcome } from './lane.ts'
import { Pair } from './pair.ts'
import { ServerProcess, type StoreKind } from './server-process.ts'

/** A stall is told by the server when it is over. */
const STALL_TOLD_MS = 20
/** Killers are fired in groups; when a group hurts, one by one. */
const GROUP_KILLERS = 20
const AGAIN_MAX = 3

/** The server and the pair that everything is fired at, and what was seen of them since the last look. */
export class FiringRange {
  readonly server: ServerProcess
  readonly #pair: Pair
  #stalls = 0
  #troubles = 0
  #failures = 0

  private constructor(server: ServerProcess, pair: Pair) {
    this.server = server
    this.#pair = pair
    pair.start()
  }

  static async open(store: StoreKind): Promise<FiringRange> {
    const server = await ServerProcess.start(store)
    return new FiringRange(server, await Pair.open(server.url, TENANT))
  }

  /** What was hurt since the last time. */
  async inspect(outcomes: readonly Outcome[]): Promise<string[]> {
    await new Promise((resolve) => setTimeout(resolve, STALL_TOLD_MS))
    const { stalls, troubles } = this.server.health
    const { failures } = this.#pair
    const hurt = [
      ...new Set(outcomes.flatMap(({ failure }) => failure ?? [])),
      ...troubles.slice(this.#troubles),
      ...stalls.slice(this.#stalls).map(({ busyMs }) => `the server stalled for ${busyMs.toFixed(0)} ms`),
      ...failures.slice(this.#failures).map((failure) => `the well-behaved pair: ${failure}`),
    ]
    this.#stalls = stalls.length
    this.#troubles = troubles.length
    this.#failures = failures.length
    return hurt
  }

  async close(): Promise<string[]> {
    const before = this.#failures
    const failures = await this.#pair.end()
    await this.server.end()
    return failures.slice(before).map((failure) => `the well-behaved pair: ${failure}`)
  }
}

/** All killers, before and after hello. Answers with a sentence for each that hurts somebody. */
export async function fireKillers(store: StoreKind): Promise<string[]> {
  const range = await FiringRange.open(store)
  const lane = new Lane(range.server.address, TENANT, 'killers')
  const hurt: string[] = []
  const killers = [...allKillers(), ...keptKillers()].flatMap(({ sentence, frame }) => [
    { sentence, fire: () => lane.fire(frame(lane.target)) },
    { sentence: `Before hello: ${sentence}`, fire: () => lane.fireBeforeHello(frame(lane.target)) },
  ])
  for (let at = 0; at < killers.length; at += GROUP_KILLERS) {
    const group = killers.slice(at, at + GROUP_KILLERS)
    const outcomes: Outcome[] = []
    for (const { fire } of group) outcomes.push(await fire())
    const together = await range.inspect(outcomes)
    if (together.length === 0) continue
    const alone: string[] = []
    for (const { sentence, fire } of group) {
      const what = await range.inspect([await fire()])
      if (what.length > 0) alone.push(`${sentence} ${what.join('; ')}`)
    }
    // A stall that does not come again was the machine's.
    const others = together.filter((what) => !isStall(what))
    if (alone.length === 0 && others.length > 0)
      alone.push(`${group[0]?.sentence} and those after it: ${others.join('; ')}`)
    hurt.push(...alone)
  }
  lane.hangUp()
  return [...hurt, ...(await range.close())]
}

/** All assaults, one after the other. A server that was hurt is replaced. */
export async function fireAssaults(store: StoreKind): Promise<string[]> {
  let range = await FiringRange.open(store)
  const hurt: string[] = []
  for (const assault of allAssaults()) {
    const what = await fireAssault(range, assault)
    if (what.length === 0) continue
    hurt.push(`${assault.sentence} ${what.join('; ')}`)
    await range.close()
    range = await FiringRange.open(store)
  }
  return [...hurt, ...(await range.close())]
}

/** A stall that does not come again was the machine's. */
export async function fireAssault(range: FiringRange, assault: Assault): Promise<string[]> {
  let hurt = await fireOnce(range, assault)
  for (let again = 0; again < AGAIN_MAX && hurt.length > 0 && hurt.every(isStall); again++) {
    hurt = await fireOnce(range, assault)
  }
  return hurt
}

async function fireOnce(range: FiringRange, { run }: Assault): Promise<string[]> {
  try {
    return await range.inspect(await run(range.server.address, TENANT))
  } catch (error) {
    return [String(error), ...(await range.inspect([]))]
  }
}

function isStall(what: string): boolean {
  return what.startsWith('the server stalled')
}
