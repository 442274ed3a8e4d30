/**
 * Reading git repositories: merges, the ways of their two sides, and what git itself makes of them.
 *
 * Paths are kept as their bytes, one character for each, so that any path is a text. Renames are off everywhere: a file is its
 * path.
 */
import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A merge of two sides that have one base. */
export interface GitMerge {
  readonly commit: string
  readonly base: string
  readonly left: string
  readonly right: string
}

/** A file at one end of a step; undefined where it is not. Mode and object, as one text. */
export type FileContent = string | undefined

/** What became of a file. */
export interface FileChange {
  readonly path: string
  readonly before: FileContent
  readonly after: FileContent
}

/** Which of the three a path is in, where git leaves it unmerged: 1 base, 2 left, 3 right. */
export type UnmergedStages = ReadonlySet<1 | 2 | 3>

const OUTPUT_MAX = 1 << 30
const EMPTY_TREE = '4b825dc642cb6eb9a060e54bf8d69288fbee4904'

export class GitRepository {
  readonly path: string

  constructor(path: string) {
    this.path = path
  }

  /** Merges of two parents that are reachable from HEAD, newest first. `limit` most of them; all by default. */
  async mergeCommits(
    limit = Number.POSITIVE_INFINITY,
  ): Promise<(readonly [commit: string, left: string, right: string])[]> {
    const count = Number.isFinite(limit) ? [`--max-count=${limit}`] : []
    const text = await this.#git(['rev-list', '--min-parents=2', '--max-parents=2', '--parents', ...count, 'HEAD'])
    return lines(text).map((line) => line.split(' ') as unknown as readonly [string, string, string])
  }

  /** The merge with its base; undefined where there is none, or several (a criss-cross). */
  async merge(commit: string, left: string, right: string): Promise<GitMerge | undefined> {
    const bases = lines(await this.#git(['merge-base', '--all', left, right], { allowed: [1] }))
    const [base] = bases
    return base === undefined || bases.length > 1 ? undefined : { commit, base, left, right }
  }

  /** What changed between two commits, net. */
  async diff(from: string, to: string): Promise<FileChange[]> {
    const text = await this.#git(['diff-tree', '-r', '-z', '--no-renames', '--raw', '--no-abbrev', from, to])
    return parseChanges(text.split('\0'))
  }

  /**
   * A side step by step, oldest first: the commits on its own line that descend from the base. What came in by merges of other
   * lines is part of the step that merged it. At most `stepsMax` steps, of neighbours made one.
   */
  async steps(base: string, side: string, stepsMax: number): Promise<FileChange[][]> {
    const range = `${base}..${side}`
    const [line, descendants] = await Promise.all([
      this.#git(['rev-list', '--first-parent', '--reverse', range]),
      this.#git(['rev-list', '--ancestry-path', range]),
    ])
    const isDescendant = new Set(lines(descendants))
    const commits = lines(line).filter((commit) => isDescendant.has(commit))
    const places = [base, ...thin(commits, stepsMax)]
    if (places.at(-1) !== side) places.push(side)
    const trees = lines(await this.#git(['rev-parse', ...places.map((place) => `${place}^{tree}`)]))
    const pairs = trees.slice(1).map((tree, index) => `${trees[index]} ${tree}\n`)
    const args = ['diff-tree', '--stdin', '-r', '-z', '--no-renames', '--raw', '--no-abbrev']
    return parseSteps(await this.#git(args, { input: pairs.join('') }), pairs.length)
  }

  /** All files of a commit among these paths. */
  async files(commit: string, paths: ReadonlySet<string>): Promise<ReadonlyMap<string, string>> {
    const changes = await this.diff(EMPTY_TREE, commit)
    const held = changes.filter(({ path, after }) => after !== undefined && paths.has(path))
    return new Map(held.map(({ path, after }) => [path, after as string]))
  }

  /**
   * Paths that both sides changed to different ends, with their stages, as git's three-way merge of trees leaves them in an
   * index. It looks at no content and at no renames.
   */
  async unmerged({ base, left, right }: GitMerge): Promise<ReadonlyMap<string, UnmergedStages>> {
    const directory = await mkdtemp(join(tmpdir(), 'tidemark-index-'))
    const env = { GIT_INDEX_FILE: join(directory, 'index') }
    try {
      await this.#git(['read-tree', '-i', '-m', '--aggressive', base, left, right], { env })
      return parseStages(await this.#git(['ls-files', '--unmerged', '-z'], { env }))
    } finally {
      await rm(directory, { recursive: true, force: true })
    }
  }

  /** Paths in whose content git's merge finds conflicts; it follows renames. */
  async contentConflicts({ left, right }: GitMerge): Promise<ReadonlySet<string>> {
    const args = ['merge-tree', '--write-tree', '-z', '--no-messages', left, right]
    return new Set(parseStages(await this.#git(args, { allowed: [1] })).keys())
  }

  /** Runs git. Answers with its output, a character for each byte; other exit codes than 0 and `allowed` throw. */
  #git(args: readonly string[], { allowed = [], input = '', env = {} }: GitOptions = {}): Promise<string> {
    return new Promise((resolve, reject) => {
      const settings = { ...process.env, LC_ALL: 'C', ...env }
      const options = { maxBuffer: OUTPUT_MAX, encoding: 'latin1', env: settings } as const
      const child = execFile('git', ['-C', this.path, ...args], options, (error, stdout, stderr) => {
        if (error === null || allowed.includes(Number(error.code))) resolve(stdout)
        else reject(new Error(`git ${args.join(' ')} failed: ${stderr || error.message}`))
      })
      child.stdin?.on('error', () => {})
      child.stdin?.end(input, 'latin1')
    })
  }
}

interface GitOptions {
  readonly allowed?: readonly number[]
  readonly input?: string
  readonly env?: Readonly<Record<string, string>>
}

/** Records of `mode object stage`, then the path. */
function parseStages(text: string): ReadonlyMap<string, UnmergedStages> {
  const stages = new Map<string, Set<1 | 2 | 3>>()
  for (const entry of text.split('\0')) {
    const [, stage, path] = /^\d+ [0-9a-f]+ ([123])\t([\s\S]*)$/.exec(entry) ?? []
    if (stage === undefined || path === undefined) continue
    const known = stages.get(path) ?? new Set()
    stages.set(path, known.add(Number(stage) as 1 | 2 | 3))
  }
  return stages
}

function lines(text: string): string[] {
  return text.split('\n').filter((line) => line !== '')
}

/** At most `max` of the items, evenly spread, always with the last. */
function thin<Item>(items: readonly Item[], max: number): Item[] {
  if (items.length <= max) return [...items]
  return Array.from({ length: max }, (_, index) => items[Math.ceil(((index + 1) * items.length) / max) - 1] as Item)
}

const NO_OBJECT = /^0+$/

/** Records of `--raw -z`: `:mode mode object object status`, then the path. */
function parseChanges(tokens: readonly string[]): FileChange[] {
  const changes: FileChange[] = []
  for (let at = 0; at + 1 < tokens.length; at += 2) {
    const [modeBefore, modeAfter, before, after] = (tokens[at] as string).slice(1).split(' ') as [
      string,
      string,
      string,
      string,
    ]
    changes.push({
      path: tokens[at + 1] as string,
      before: NO_OBJECT.test(before) ? undefined : `${modeBefore} ${before}`,
      after: NO_OBJECT.test(after) ? undefined : `${modeAfter} ${after}`,
    })
  }
  return changes
}

/** The output for several pairs of trees: each pair on a line, then its records. */
function parseSteps(text: string, count: number): FileChange[][] {
  const parts = text.split(/(?:^|(?<=\0|\n))[0-9a-f]{40,64} [0-9a-f]{40,64}\n/).slice(1)
  if (parts.length !== count) throw new Error(`git told of ${parts.length} steps, not ${count}`)
  return parts.map((part) => parseChanges(part.split('\0')))
}
