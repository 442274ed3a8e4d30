/**
 * Shrinking: takes events out of a plan, and then trouble out of its options, as long as it breaks the same promise.
 *
 * Source: Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (2002): halves, then quarters, and so
 * on. It works because each event's luck comes from a stream of its own (see random.ts).
 */
import type { Plan, PlanEvent, PlanOptions } from './plan.ts'
import { type Outcome, runPlan } from './run-plan.ts'
import type { Subject } from './subject.ts'

const RUNS_MAX = 600
/** Whoever waits for a counterexample waits no longer. */
const TIME_MAX_MS = 20_000

export interface Shrunk {
  readonly plan: Plan
  readonly outcome: Outcome
  readonly runs: number
}

/** The plan must fail. */
export async function shrinkPlan(plan: Plan, outcome: Outcome, subject?: Subject): Promise<Shrunk> {
  const shrinking = new Shrinking(plan, outcome, subject)
  await shrinking.leaveRelays()
  await shrinking.shrinkEvents()
  await shrinking.calmOptions()
  await shrinking.shrinkEvents()
  return shrinking.best
}

class Shrinking {
  best: Shrunk
  readonly #subject: Subject | undefined
  readonly #endsAt = performance.now() + TIME_MAX_MS

  constructor(plan: Plan, outcome: Outcome, subject: Subject | undefined) {
    this.best = { plan, outcome, runs: 0 }
    this.#subject = subject
  }

  get #isOver(): boolean {
    return this.best.runs >= RUNS_MAX || performance.now() > this.#endsAt
  }

  async #attempt(plan: Plan): Promise<boolean> {
    const { runs } = this.best
    const outcome = await runPlan(plan, { subject: this.#subject })
    const isSame = outcome.failure !== undefined && outcome.failure.promise === this.best.outcome.failure?.promise
    this.best = isSame ? { plan, outcome, runs: runs + 1 } : { ...this.best, runs: runs + 1 }
    return isSame
  }

  /** Many machines make long plans: where relays are no part of the trouble, they go first. */
  async leaveRelays(): Promise<void> {
    const { plan } = this.best
    if (plan.options.topology !== 'relays') return
    await this.#attempt({ ...plan, options: { ...plan.options, topology: 'star', upstreams: [], homes: [] } })
  }

  async shrinkEvents(): Promise<void> {
    for (let size = Math.ceil(this.best.plan.events.length / 2); size >= 1 && !this.#isOver; ) {
      const before = this.best.plan.events.length
      for (let at = 0; at < this.best.plan.events.length && !this.#isOver; ) {
        const { plan } = this.best
        const events: readonly PlanEvent[] = [...plan.events.slice(0, at), ...plan.events.slice(at + size)]
        if (!(await this.#attempt({ ...plan, events }))) at += size
      }
      // What could not go alone may go now that others have gone.
      if (size > 1) size = Math.ceil(size / 2)
      else if (this.best.plan.events.length === before) break
    }
  }

  /** What is left of the trouble is needed for the failure, or is at least part of the story. */
  async calmOptions(): Promise<void> {
    for (const calmer of CALMER) {
      if (this.#isOver) return
      const { plan } = this.best
      const options = { ...plan.options, ...calmer(plan) }
      if (JSON.stringify(options) !== JSON.stringify(plan.options)) await this.#attempt({ ...plan, options })
    }
  }
}

/** Ways to make a plan simpler; each may turn out to be one too many. */
const CALMER: readonly ((plan: Plan) => Partial<PlanOptions>)[] = [
  ({ options }) => ({ upstreams: (options.upstreams ?? []).slice(0, -1) }),
  ({ options }) => ({ upstreams: (options.upstreams ?? []).slice(0, -1) }),
  () => ({ old: [] }),
  () => ({ judge: undefined }),
  () => ({ hasSnapshots: false }),
  () => ({ network: { latencyMs: 1, jitterMs: 1, bandwidth: 1_000 } }),
  () => ({ disk: { flushMs: 0.5, slowReads: 0, readMs: 0.5 } }),
  () => ({ creditBytes: 1 << 20 }),
  // Lines that break and what makes them break belong together.
  ({ options: { lineBytes, valueLength } }) =>
    lineBytes === undefined ? { valueLength: 0 } : { valueLength: valueLength ?? 0 },
  () => ({ turnWait: 0 }),
  ({ options, events }) => ({
    tables: options.tables.filter(({ name }) => events.some((event) => JSON.stringify(event).includes(`"${name}"`))),
  }),
  ({ options }) => ({ tenants: options.tenants.slice(0, 1) }),
  ({ options }) => ({ clients: options.topology !== 'mesh' ? Math.max(1, options.clients - 1) : options.clients }),
  ({ options }) => ({ clients: options.topology !== 'mesh' ? Math.max(1, options.clients - 1) : options.clients }),
  ({ options }) => ({ clients: options.topology !== 'mesh' ? Math.max(1, options.clients - 1) : options.clients }),
]
