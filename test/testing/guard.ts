/**
 * A guard for code that may never come back, and another world for code that looks around.
 *
 * Knows: Node's way to stop what runs, and the globals that tell the time. Must never know: policies.
 */
import { createContext, Script } from 'node:vm'

/** The code ran longer than it may. */
export class EndlessError extends Error {
  override readonly name: string = 'EndlessError'
}

const sandbox: { run: () => unknown } = createContext({ run: () => undefined }) as { run: () => unknown }
const script = new Script('run()')

/** Runs synchronous code. Throws `EndlessError` when it is not done in time; the code is stopped then, wherever it is. */
export function runGuarded<Result>(timeoutMs: number, run: () => Result): Result {
  sandbox.run = run
  try {
    return script.runInContext(sandbox, { timeout: timeoutMs }) as Result
  } catch (error) {
    if (isTimeout(error)) throw new EndlessError(`it was not done after ${timeoutMs} ms`)
    throw error
  } finally {
    sandbox.run = () => undefined
    // What is stopped runs no `finally` of its own.
    comeBack()
  }
}

/** The error is of the sandbox's realm, where `Error` is another class. */
function isTimeout(error: unknown): boolean {
  return typeof error === 'object' && error !== null && 'code' in error && error.code === 'ERR_SCRIPT_EXECUTION_TIMEOUT'
}

// ── Another world ───────────────────────────────────────────────────────────────────────────────────────────────────

const DAY_MS = 86_400_000
/** What a stopwatch that was started with the process counts from: 2023. */
const EPOCH_MS = 1_672_531_200_000
/** Long enough for another hour, day, month and year. */
const LATER_MS = 500 * DAY_MS + 7_654_321

/** What code can look at beside its arguments. */
export interface Surroundings {
  /** Unix milliseconds. */
  now(): number
  random(): number
  /** By which texts are sorted when nobody says how. */
  readonly language: string
  readonly timeZone: string
}

/** Puts back what `runWithin` has changed; does nothing when everything is as it was. */
let comeBack = (): void => {}

/**
 * Runs code at another time, in another time zone, where other numbers are random and texts are sorted by another
 * language. Code that cannot tell the difference does not look.
 */
export function runElsewhere<Result>(run: () => Result): Result {
  const { now } = globalThis.Date
  const { random } = Math
  const elsewhere: Surroundings = {
    now: () => now() + LATER_MS,
    random: () => 0.999_999 - random() / 2,
    language: 'sv',
    timeZone: process.env.TZ === 'Pacific/Kiritimati' ? 'America/Anchorage' : 'Pacific/Kiritimati',
  }
  return runWithin(elsewhere, run)
}

/** Runs code in these surroundings. */
export function runWithin<Result>(surroundings: Surroundings, run: () => Result): Result {
  const { Date: RealDate, performance: realPerformance } = globalThis
  const { random } = Math
  const { localeCompare } = String.prototype
  const zone = process.env.TZ
  comeBack = () => {
    comeBack = () => {}
    globalThis.Date = RealDate
    Math.random = random
    String.prototype.localeCompare = localeCompare
    setPerformance(realPerformance)
    if (zone === undefined) delete process.env.TZ
    else process.env.TZ = zone
  }
  globalThis.Date = dateOf(surroundings, RealDate)
  Math.random = () => surroundings.random()
  String.prototype.localeCompare = function (this: string, other: string, locales?: unknown, options?: unknown) {
    return localeCompare.call(
      this,
      other,
      (locales as string | undefined) ?? surroundings.language,
      options as Intl.CollatorOptions,
    )
  } as typeof localeCompare
  setPerformance({ now: () => surroundings.now() - EPOCH_MS })
  process.env.TZ = surroundings.timeZone
  try {
    return run()
  } finally {
    comeBack()
  }
}

function setPerformance(value: Pick<Performance, 'now'>): void {
  Object.defineProperty(globalThis, 'performance', { configurable: true, writable: true, value })
}

/** The class of dates, for which now is what the surroundings say. Dates that are given a time are ordinary ones. */
function dateOf({ now }: Surroundings, RealDate: DateConstructor): DateConstructor {
  return new Proxy(RealDate, {
    apply: () => new RealDate(now()).toString(),
    construct: (target, parts: unknown[]) =>
      parts.length === 0 ? new target(now()) : (Reflect.construct(target, parts) as Date),
    get: (target, key) => (key === 'now' ? () => now() : (Reflect.get(target, key) as unknown)),
  })
}
