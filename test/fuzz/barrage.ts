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
/** Killers are fired in groups, so many from each lane; when a group hurts, one by one. */
const GROUP_KILLERS = 20
const LANES = 6
const ASSAULTS_AT_ONCE = 4
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

interface Shot {
  readonly sentence: string
  readonly fire: (lane: Lane) => Promise<Outcome>
}

/** All killers, before and after hello. Answers with a sentence for each that hurts somebody. */
export async function fireKillers(store: StoreKind): Promise<string[]> {
  const range = await FiringRange.open(store)
  const lanes = Array.from({ length: LANES }, (_, at) => new Lane(range.server.address, TENANT, `killers/${at}`))
  const hurt: string[] = []
  const shots = [...allKillers(), ...keptKillers()].flatMap(({ sentence, frame }): Shot[] => [
    { sentence, fire: (lane) => lane.fire(frame(lane.target)) },
    { sentence: `Before hello: ${sentence}`, fire: (lane) => lane.fireBeforeHello(frame(lane.target)) },
  ])
  const size = GROUP_KILLERS * LANES
  for (let at = 0; at < shots.length; at += size)
    hurt.push(...(await fireGroup(range, lanes, shots.slice(at, at + size))))
  for (const lane of lanes) lane.hangUp()
  return [...hurt, ...(await range.close())]
}

/** From all lanes at once; when somebody was hurt, one by one. */
async function fireGroup(range: FiringRange, lanes: readonly Lane[], group: readonly Shot[]): Promise<string[]> {
  const outcomes = await Promise.all(
    lanes.map(async (lane, number) => {
      const own: Outcome[] = []
      for (let at = number; at < group.length; at += lanes.length) own.push(await (group[at] as Shot).fire(lane))
      return own
    }),
  )
  const together = await range.inspect(outcomes.flat())
  if (together.length === 0) return []
  const alone: string[] = []
  for (const { sentence, fire } of group) {
    const what = await range.inspect([await fire(lanes[0] as Lane)])
    if (what.length > 0) alone.push(`${sentence} ${what.join('; ')}`)
  }
  // A stall that does not come again was the machine's.
  const others = together.filter((what) => !isStall(what))
  if (alone.length === 0 && others.length > 0)
    alone.push(`${group[0]?.sentence} and those after it: ${others.join('; ')}`)
  return alone
}

/** All assaults, some at once. When somebody was hurt, those go again one by one; a server that was hurt is replaced. */
export async function fireAssaults(store: StoreKind, share = 1): Promise<string[]> {
  const assaults = allAssaults(share)
  const hurt: string[] = []
  let range = await FiringRange.open(store)
  for (let at = 0; at < assaults.length; at += ASSAULTS_AT_ONCE) {
    const some = assaults.slice(at, at + ASSAULTS_AT_ONCE)
    const together = await fireTogether(range, some)
    if (together.length === 0) continue
    await range.close()
    range = await FiringRange.open(store)
    const found = hurt.length
    for (const assault of some) {
      const what = await fireAssault(range, assault)
      if (what.length === 0) continue
      hurt.push(`${assault.sentence} ${what.join('; ')}`)
      await range.close()
      range = await FiringRange.open(store)
    }
    const others = together.filter((what) => !isStall(what))
    if (hurt.length === found && others.length > 0)
      hurt.push(`${some.map(({ sentence }) => sentence).join(' Together with: ')} ${others.join('; ')}`)
  }
  return [...hurt, ...(await range.close())]
}

async function fireTogether(range: FiringRange, assaults: readonly Assault[]): Promise<string[]> {
  const runs = await Promise.allSettled(assaults.map(({ run }) => run(range.server.address, TENANT)))
  const errors = runs.flatMap((each) => (each.status === 'rejected' ? [String(each.reason)] : []))
  const outcomes = runs.flatMap((each) => (each.status === 'fulfilled' ? each.value : []))
  return [...errors, ...(await range.inspect(outcomes))]
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
