/**
 * Git as an outside witness: the two sides of a merge are lived through again by two replicas, and what the detector then reports
 * is held against what git says of the same files.
 *
 * A file is a row with granularity `row`, its mode and object are the content, and each side's commits are the changes of one
 * replica. Git compares the ends of the two sides with the base; a replica knows the way as well. So there are two differences,
 * and both are checked to be exactly what they are said to be:
 *   put back   a file that one side changed and changed back is unchanged to git; here it was written, and may conflict.
 *   renewed    a file that both sides removed and added again is modified to git, and new to both here.
 */
import {
  type Conflict,
  openReplica,
  type Replica,
  syncDirectly,
  type TableDefinition,
  table,
} from '../../core/index.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import type { FileChange, FileContent, GitMerge, GitRepository, UnmergedStages } from './git.ts'

/** What git's status calls a file that both sides changed: U updated, A added, D deleted, left side first. */
export type GitClass = 'UU' | 'AA' | 'UD' | 'DU'

export interface MergeVerdict {
  /** Files that both sides changed since the base, to different ends, by what git calls that. */
  readonly classes: ReadonlyMap<string, GitClass>
  /** Files that both sides changed to the same end: agreement. */
  readonly agreed: number
  /** Files of `classes` in whose content git finds conflicts; the others it merges line by line. */
  readonly unmerged: number
  /** Files reported here because one side changed them and changed them back. */
  readonly putBack: number
  readonly renewed: number
  /** What the detector got wrong; empty when it agrees with git. */
  readonly mistakes: readonly string[]
}

interface FileRow {
  readonly id: string
  readonly content: string
}
type Files = { readonly files: TableDefinition<FileRow> }

const STEPS_MAX = 100
const TRANSACTION_CHANGES = 400
const ID_BYTES_MAX = 500

/** Files that conflict, with their class, given the base and the steps of both sides. */
export type Detector = (
  base: ReadonlyMap<string, string>,
  leftSteps: readonly FileChange[][],
  rightSteps: readonly FileChange[][],
  isLeftLater: boolean,
) => Promise<Detected>

/** `isLeftLater`: the left side's replica has the later timestamps. */
export async function judgeMerge(
  repository: GitRepository,
  merge: GitMerge,
  isLeftLater: boolean,
  detector: Detector = detectWithReplicas,
): Promise<MergeVerdict> {
  const { base, left, right } = merge
  const [leftSteps, rightSteps, leftNet, rightNet, stages, conflicting] = await Promise.all([
    repository.steps(base, left, STEPS_MAX),
    repository.steps(base, right, STEPS_MAX),
    repository.diff(base, left),
    repository.diff(base, right),
    repository.unmerged(merge),
    repository.contentConflicts(merge),
  ])
  const { classes, agreed } = classify(leftNet, rightNet)
  const files = await baseOf(repository, base, [leftSteps, rightSteps])
  const detected = await detector(files, leftSteps, rightSteps, isLeftLater)
  const { classes: explained, putBack, renewed } = explain(leftSteps, rightSteps, classes)
  const mistakes = [
    ...detected.mistakes,
    ...differences('git', explained, 'the detector', detected.classes),
    // Git says it in two ways: by what changed on each side, and by what its merge of trees leaves open.
    ...differences('git', classes, 'its index', classesOf(stages)),
  ]
  const unmerged = [...classes.keys()].filter((path) => conflicting.has(path)).length
  return { classes, agreed, unmerged, putBack, renewed, mistakes }
}

function differences(
  one: string,
  expected: ReadonlyMap<string, GitClass>,
  other: string,
  actual: ReadonlyMap<string, GitClass>,
): string[] {
  const paths = [...new Set([...expected.keys(), ...actual.keys()])].filter(
    (path) => expected.get(path) !== actual.get(path),
  )
  return paths.map((path) => {
    return `${path}: ${one} says ${expected.get(path) ?? 'nothing'}, ${other} ${actual.get(path) ?? 'nothing'}`
  })
}

/** A path in one stage alone is a file where the other side has a directory: changed on one side. */
function classesOf(stages: ReadonlyMap<string, UnmergedStages>): Map<string, GitClass> {
  const classes = new Map<string, GitClass>()
  for (const [path, each] of stages) {
    const name = STAGES[[...each].sort().join('')]
    if (name !== undefined) classes.set(path, name)
  }
  return classes
}

const STAGES: Readonly<Record<string, GitClass>> = { '123': 'UU', '23': 'AA', '12': 'UD', '13': 'DU' }

// ── What git says ───────────────────────────────────────────────────────────────────────────────────────────────────

/** From the net changes of both sides. */
function classify(
  left: readonly FileChange[],
  right: readonly FileChange[],
): { readonly classes: Map<string, GitClass>; readonly agreed: number } {
  const classes = new Map<string, GitClass>()
  const rightByPath = new Map(right.map((change) => [change.path, change]))
  let agreed = 0
  for (const { path, before, after } of left) {
    const other = rightByPath.get(path)
    if (other === undefined) continue
    if (other.after === after) agreed++
    else classes.set(path, classOf(before, after, other.after))
  }
  return { classes, agreed }
}

function classOf(base: FileContent, left: FileContent, right: FileContent): GitClass {
  if (left === undefined) return 'DU'
  if (right === undefined) return 'UD'
  return base === undefined ? 'AA' : 'UU'
}

interface Way {
  readonly base: FileContent
  readonly end: FileContent
  /** True when the last step added the file. */
  readonly isAdded: boolean
}

/** What the detector should say, given the ways as well as the ends. */
function explain(
  leftSteps: readonly FileChange[][],
  rightSteps: readonly FileChange[][],
  classes: ReadonlyMap<string, GitClass>,
): { readonly classes: ReadonlyMap<string, GitClass>; readonly putBack: number; readonly renewed: number } {
  const explained = new Map<string, GitClass>()
  const rightWays = waysOf(rightSteps)
  let putBack = 0
  let renewed = 0
  for (const [path, left] of waysOf(leftSteps)) {
    const right = rightWays.get(path)
    if (right === undefined || left.end === right.end) continue
    const isRenewed = left.base !== undefined && left.isAdded && right.isAdded
    const expected = isRenewed ? 'AA' : classOf(left.base, left.end, right.end)
    if (!classes.has(path)) putBack++
    else if (expected !== classes.get(path)) renewed++
    explained.set(path, expected)
  }
  for (const path of classes.keys()) {
    if (!explained.has(path)) throw new Error(`${path} changed, but in no step of a side`)
  }
  return { classes: explained, putBack, renewed }
}

function waysOf(steps: readonly FileChange[][]): Map<string, Way> {
  const ways = new Map<string, Way>()
  for (const { path, before, after } of steps.flat()) {
    const way = ways.get(path)
    ways.set(path, {
      base: way === undefined ? before : way.base,
      end: after,
      isAdded: before === undefined && after !== undefined,
    })
  }
  return ways
}

// ── What the detector says ──────────────────────────────────────────────────────────────────────────────────────────

/** The base as far as the sides touch it. */
async function baseOf(
  repository: GitRepository,
  base: string,
  sides: readonly (readonly FileChange[][])[],
): Promise<ReadonlyMap<string, string>> {
  const paths = new Set(sides.flat(2).map(({ path }) => path))
  return repository.files(base, paths)
}

export interface Detected {
  readonly classes: ReadonlyMap<string, GitClass>
  readonly mistakes: readonly string[]
}

/** Two replicas live through the sides and sync. */
export const detectWithReplicas: Detector = async (base, leftSteps, rightSteps, isLeftLater) => {
  let ms = 1_800_000_000_000
  const open = (): Promise<Replica<Files>> => {
    const tables = { files: table<FileRow>({ granularity: 'row' }) }
    return openReplica({ tenant: 'git', store: openMemoryStore(), tables, authority: 'self', now: () => ms })
  }
  const [origin, left, right] = await Promise.all([open(), open(), open()])
  const ids = new RowIds()
  await write(
    origin,
    [...base].map(([path, after]) => ({ path, before: undefined, after })),
    ids,
  )
  for (const side of [left, right]) await sync(origin, side)
  const sides = [
    [left, leftSteps],
    [right, rightSteps],
  ] as const
  for (const [side, steps] of isLeftLater ? [...sides].reverse() : sides) {
    ms += 60_000
    for (const step of steps) {
      ms += 1_000
      await write(side, step, ids)
    }
  }
  await sync(left, right)
  const mistakes: string[] = []
  const classes = await reported(left, left.id, ids)
  for (const [path, actual] of await reported(right, left.id, ids)) {
    if (classes.get(path) !== actual) mistakes.push(`${path}: the two replicas say ${classes.get(path)} and ${actual}`)
  }
  const [leftDigest, rightDigest] = await Promise.all([left.digest(), right.digest()])
  if (leftDigest.hash !== rightDigest.hash) mistakes.push('the two replicas differ after they synced')
  return { classes, mistakes }
}

/** Paths as row ids, which have a limit and are text; and back. */
class RowIds {
  readonly #paths = new Map<string, string>()
  readonly #ids = new Map<string, string>()

  of(path: string): string {
    const known = this.#ids.get(path)
    if (known !== undefined) return known
    const text = `/${path}`
    const id = Buffer.byteLength(text) <= ID_BYTES_MAX ? text : `${this.#ids.size}/${text.slice(-100)}`
    this.#ids.set(path, id)
    this.#paths.set(id, path)
    return id
  }

  pathOf(id: string): string {
    return this.#paths.get(id) ?? id
  }
}

async function write(replica: Replica<Files>, step: readonly FileChange[], ids: RowIds): Promise<void> {
  for (let from = 0; from < step.length; from += TRANSACTION_CHANGES) {
    await replica.transact((transaction) => {
      const files = transaction.table('files')
      for (const { path, before, after } of step.slice(from, from + TRANSACTION_CHANGES)) {
        const id = ids.of(path)
        if (after === undefined) files.delete(id)
        else if (before === undefined) files.insert({ id, content: after })
        else files.update(id, { content: after })
      }
    })
  }
}

async function sync(left: Replica<Files>, right: Replica<Files>): Promise<void> {
  const link = syncDirectly(left as unknown as Replica, right as unknown as Replica)
  await link.settled()
  link.close()
}

async function reported({ conflicts }: Replica<Files>, leftId: string, ids: RowIds): Promise<Map<string, GitClass>> {
  const classes = new Map<string, GitClass>()
  for await (const conflict of conflicts.open()) classes.set(ids.pathOf(conflict.row), toGitClass(conflict, leftId))
  return classes
}

/** The sides of a report stand in canonical order, those of a merge in git's. */
function toGitClass({ type, sides }: Conflict, leftId: string): GitClass {
  const isSwapped = sides[0].dot.replica !== leftId
  switch (type) {
    case 'update-update':
      return 'UU'
    case 'insert-insert':
      return 'AA'
    case 'update-delete':
      return isSwapped ? 'DU' : 'UD'
    case 'delete-update':
      return isSwapped ? 'UD' : 'DU'
    case 'merged':
      throw new Error('a row that is one register cannot be merged')
  }
}
