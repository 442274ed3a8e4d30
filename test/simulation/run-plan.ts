/**
 * Running a plan: the events in their order, then healing, convergence, silence, and the last questions.
 */
import { BrokenPromise, type PromiseName } from './broken-promise.ts'
import { askLastQuestions } from './closing.ts'
import { crash, doFault } from './faults.ts'
import { describeEvent } from './in-words.ts'
import { isWork, type Plan, type PlanEvent } from './plan.ts'
import type { Teller } from './story.ts'
import type { Subject } from './subject.ts'
import type { Tale } from './tale.ts'
import type { View } from './view.ts'
import { doWork } from './work.ts'
import { World } from './world.ts'

/** What healed replicas have to become equal. */
const CONVERGE_MS = 60_000
/** The same over lines that break: each connection waits for the end of the last. */
const CONVERGE_BROKEN_MS = 300_000
/** About what a change takes at most, and a frame brings at least, where lines break. */
const CHANGE_BYTES = 5_000
const FRAME_BYTES = 16 << 10
/** What connections are for beside frames: finding out who is who, and what overlaps. */
const CONNECTIONS_MIN = 20
/** What is still under way after that: credit, acknowledgements, sessions that only then are found dead. */
const CALM_MS = 25_000
const SILENCE_MS = 20_000
const POLL_MS = 250

export interface Failure {
  readonly promise: PromiseName
  readonly detail: string
  /** The row that it is about, where it is about one. */
  readonly row?: string | undefined
  /** When, in virtual milliseconds. */
  readonly atMs: number
}

export interface Outcome {
  readonly failure: Failure | undefined
  /** Equal for runs that did the same. */
  readonly trace: number
  readonly events: number
  readonly frames: number
  readonly changes: number
  readonly refusals: number
  readonly conflicts: number
  readonly faults: ReadonlyMap<string, number>
  /** How long the healed replicas took. */
  readonly convergedMs: number
}

export interface RunOptions {
  /** What is the user's of it. */
  readonly subject?: Subject | undefined
  /** Told of everything that happens. */
  readonly teller?: Teller | undefined
  /** Told of what came to the disks. */
  readonly tale?: Tale | undefined
}

export async function runPlan(plan: Plan, options: RunOptions = {}): Promise<Outcome> {
  const world = new World(plan, options)
  // What a listener throws surfaces as uncaught: the world's own doubts among it.
  const onStray = (error: unknown): void => world.fail(error)
  process.on('unhandledRejection', onStray)
  process.on('uncaughtException', onStray)
  let failure: Failure | undefined
  let convergedMs = 0
  try {
    convergedMs = await runAll(world)
  } catch (error) {
    failure = toFailure(error, world.scheduler.now)
  } finally {
    // A rejection that nobody handles is reported when a turn of the event loop ends.
    await new Promise((resolve) => void setImmediate(resolve))
    if (world.failure !== undefined) failure ??= toFailure(world.failure, world.scheduler.now)
    process.off('unhandledRejection', onStray)
    process.off('uncaughtException', onStray)
    await world.end()
  }
  return summarize(world, failure, convergedMs)
}

async function runAll(world: World): Promise<number> {
  const { scheduler, plan } = world
  world.network.setLineBytes(plan.options.lineBytes ?? Number.POSITIVE_INFINITY)
  for (const event of plan.events) scheduler.at(event.at, () => doEvent(world, event))
  await runFor(world, plan.options.durationMs)
  heal(world)
  const healedAt = scheduler.now
  await converge(world)
  const convergedMs = scheduler.now - healedAt
  world.network.setLineBytes(Number.POSITIVE_INFINITY)
  await runFor(world, CALM_MS)
  await expectSilence(world)
  const views = liveViews(world)
  for (const group of views) {
    const why = world.oracle.whyApart(group)
    if (why !== undefined) throw new BrokenPromise('converge', `After convergence: ${why}.`)
    for (const view of group) world.oracle.checkKept(view)
  }
  await askLastQuestions(world, (ms) => runFor(world, ms))
  return convergedMs
}

function doEvent(world: World, event: PlanEvent): void {
  world.tell(() => JSON.stringify(event))
  if (!isWork(event)) world.tale?.happens(world.scheduler.now, describeEvent(event))
  if (isWork(event)) doWork(world, event)
  else doFault(world, event)
}

function runFor(world: World, ms: number): Promise<void> {
  return world.scheduler.runUntil(world.scheduler.now + ms, () => {
    if (world.failure !== undefined) throw world.failure
  })
}

/** Whatever was broken works again, for good. */
function heal(world: World): void {
  world.tale?.happens(world.scheduler.now, 'whatever was broken works again, for good')
  world.network.heal()
  for (const machine of world.machines.values()) {
    for (const { disk } of machine.seats) disk.trouble.heal()
    // What a second process wrote to a store, the first finds with its next commit, or when it starts.
    if (machine.seats.some(({ hasSibling }) => hasSibling)) crash(world, machine, false)
    for (const seat of machine.seats) seat.hasSibling = false
    machine.noRoomUntil = 0
    machine.process?.resume()
    machine.start()
  }
}

async function converge(world: World): Promise<void> {
  const { scheduler, oracle } = world
  const withinMs = world.plan.options.lineBytes === undefined ? CONVERGE_MS : CONVERGE_BROKEN_MS
  const end = scheduler.now + withinMs
  const expectProgress = watchProgress(world)
  for (;;) {
    expectProgress()
    const why =
      whyNotUp(world) ??
      liveViews(world)
        .map((group) => oracle.whyApart(group))
        .find((each) => each !== undefined)
    if (why === undefined) return
    if (scheduler.now >= end) throw new BrokenPromise('converge', `${withinMs / 1000} seconds after healing: ${why}.`)
    await runFor(world, POLL_MS)
  }
}

/** Each connection over a line that carries a handshake and a frame brings one. */
function watchProgress(world: World): () => void {
  const { plan, dialers, oracle } = world
  if (plan.options.lineBytes === undefined) return () => {}
  const before = new Map(dialers.map((dialer) => [dialer, dialer.connections]))
  return () => {
    // Two copies of one relay take turns, and their clients wait for what the other one has.
    if ([...oracle.views].some(({ hasTwin, isTainted }) => hasTwin && !isTainted)) return
    for (const dialer of dialers) {
      const { view } = dialer.from.seatOf(dialer.tenant) ?? {}
      // Two copies of one replica take turns.
      if (view === undefined || view.isTainted || view.hasTwin || view.hasRenewed) continue
      const frames = Math.ceil((oracle.historyOf(dialer.tenant).count * CHANGE_BYTES) / FRAME_BYTES)
      const opened = dialer.connections - (before.get(dialer) ?? 0)
      if (opened > CONNECTIONS_MIN + 2 * frames)
        throw new BrokenPromise('converge', `${dialer.from.name} opened ${opened} connections for ${frames} frames.`)
    }
  }
}

function whyNotUp(world: World): string | undefined {
  for (const machine of world.machines.values()) {
    if (!machine.isUp) return `${machine.name} does not start`
    // Work from before the healing that still waits for a slow disk.
    if (machine.seats.some(({ disk }) => disk.isBusy)) return `${machine.name} still waits for its disk`
  }
  return undefined
}

/** The views that have to become equal, by tenant. Who has been told that its identity is spent stays behind. */
function liveViews(world: World): View[][] {
  return world.plan.options.tenants.map((tenant) =>
    [...world.machines.values()].flatMap((machine) => {
      const seat = machine.seatOf(tenant)
      const isStopped = world.dialers.some(
        ({ from, tenant: of, stoppedBy }) => from === machine && of === tenant && stoppedBy !== undefined,
      )
      return seat === undefined || (isStopped && seat.view.isTainted) ? [] : [seat.view]
    }),
  )
}

async function expectSilence(world: World): Promise<void> {
  const before = world.oracle.frames
  // Two copies of one replica take turns: each fences the other, until one of them writes.
  const isContested = [...world.oracle.views].some(({ isTainted, hasTwin }) => isTainted || hasTwin)
  await runFor(world, SILENCE_MS)
  const sent = world.oracle.frames - before
  if (sent > 0 && !isContested)
    throw new BrokenPromise('converge', `${sent} frames were sent after everybody was equal.`)
}

function toFailure(error: unknown, atMs: number): Failure {
  if (error instanceof BrokenPromise) return { promise: error.promise, detail: error.detail, row: error.row, atMs }
  const detail = error instanceof Error ? (error.stack ?? error.message) : String(error)
  return { promise: 'sound', detail, atMs }
}

function summarize(world: World, failure: Failure | undefined, convergedMs: number): Outcome {
  const { scheduler, oracle, faults, trace } = world
  let changes = 0
  let refusals = 0
  let conflicts = 0
  for (const history of oracle.histories.values()) {
    changes += history.count
    refusals += history.voids.size
  }
  for (const view of oracle.views) conflicts = Math.max(conflicts, view.conflictCount)
  return {
    failure,
    trace,
    events: scheduler.count,
    frames: oracle.frames,
    changes,
    refusals,
    conflicts,
    faults,
    convergedMs,
  }
}
