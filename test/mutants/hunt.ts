/**
 * The hunt for one planted bug: the checks that may find it, the quick ones first, until one does.
 *
 * Knows: which checks concern which bug. Must never know: how many are hunted at once.
 */
import { type Check, describeCheck, runCheck, type Verdict } from './check.ts'
import { type Mutant, plant } from './mutant.ts'

/** Of the schedules that CI simulates, the first; a test holds the seed together with package.json. */
export const HUNT_SCHEDULES = 400
export const CI_SEED = 'ci'
const SMALL_WORLDS = 'test/small-worlds/small-worlds.test.ts'
/** What small worlds are made of: nothing else can show there. */
const MERGE_FILES: ReadonlySet<string> = new Set(['core/row.ts', 'core/clock.ts', 'core/conflict.ts', 'core/settle.ts'])

export interface HuntOptions {
  /** Asks every check, and not only until one has found the bug. */
  readonly isThorough: boolean
  readonly schedules: number
}

export interface Finding extends Verdict {
  readonly check: string
}

export interface Hunt {
  readonly mutant: Mutant
  /** One for each check that was asked. */
  readonly findings: readonly Finding[]
  /** Why this is no planted bug: it does not compile, or is found by the compiler. */
  readonly flaw: string | undefined
  readonly seconds: number
}

export function isCaught({ findings }: Hunt): boolean {
  return findings.some(({ finding }) => finding !== undefined)
}

/** What is wrong with the outcome; undefined when the bug was found by those that should find it. */
export function complaintOf(hunt: Hunt, { isThorough }: HuntOptions): string | undefined {
  const { mutant, flaw, findings } = hunt
  if (flaw !== undefined) return `does not compile: ${flaw}`
  if (!isCaught(hunt)) return 'SURVIVES'
  const simulator = findings.find(({ check }) => check === 'simulator')
  if (isThorough && mutant.bySimulator && simulator?.finding === undefined) return 'survives the simulator'
  return undefined
}

export async function hunt(mutant: Mutant, root: string, options: HuntOptions): Promise<Hunt> {
  const startedAt = performance.now()
  const undo = plant(mutant, root)
  try {
    const { finding: flaw } = await runCheck({ type: 'compiler' }, root)
    const findings = flaw === undefined ? await ask(checksOf(mutant, options), root, options) : []
    return { mutant, findings, flaw, seconds: (performance.now() - startedAt) / 1_000 }
  } finally {
    undo()
  }
}

async function ask(checks: readonly Check[], root: string, { isThorough }: HuntOptions): Promise<Finding[]> {
  const findings: Finding[] = []
  for (const check of checks) {
    const verdict = await runCheck(check, root)
    findings.push({ ...verdict, check: describeCheck(check) })
    if (verdict.finding !== undefined && !isThorough) break
  }
  return findings
}

function checksOf({ file, tests }: Mutant, { schedules }: HuntOptions): Check[] {
  const files = MERGE_FILES.has(file) ? new Set([...tests, SMALL_WORLDS]) : new Set(tests)
  return [
    ...[...files].map((each) => ({ type: 'tests', files: [each] }) as const),
    { type: 'simulator', schedules, seed: CI_SEED },
  ]
}
