/**
 * A small repository, made anew for each run and the same each time: one merge for each way in which two sides can treat the
 * files that they share.
 *
 * Knows: git's fast-import stream. Must never know: what a detector says.
 */
import { spawnSync } from 'node:child_process'

/** What a side does to a file, commit by commit. */
export type Deed = 'add' | 'update' | 'remove'

/** A file of the shared part: what was there before, and what each side does to it. */
export interface FileStory {
  readonly path: string
  readonly isInBase: boolean
  readonly left: readonly Deed[]
  readonly right: readonly Deed[]
  /** Both sides write the same content. */
  readonly isSame?: boolean
  /** The left side ends with the content that the base had. */
  readonly isPutBack?: boolean
}

/** How each side may leave a file that the base has, or has not: all nine pairs of last operations, both ways. */
const WAYS: Readonly<Record<string, readonly Deed[]>> = {
  'base insert': ['remove', 'add'],
  'base update': ['update'],
  'base delete': ['remove'],
  'none insert': ['add'],
  'none update': ['add', 'update'],
  'none delete': ['add', 'remove'],
}
const OPS = ['insert', 'update', 'delete'] as const

export const STORIES: readonly FileStory[] = [
  ...(['base', 'none'] as const).flatMap((base) =>
    OPS.flatMap((left) =>
      OPS.map(
        (right): FileStory => ({
          path: `${base}/${left}-${right}.txt`,
          isInBase: base === 'base',
          left: WAYS[`${base} ${left}`] ?? [],
          right: WAYS[`${base} ${right}`] ?? [],
        }),
      ),
    ),
  ),
  { path: 'same/update.txt', isInBase: true, left: ['update'], right: ['update'], isSame: true },
  { path: 'same/many-updates.txt', isInBase: true, left: ['update', 'update'], right: ['update'], isSame: true },
  { path: 'same/insert.txt', isInBase: false, left: ['add'], right: ['add'], isSame: true },
  { path: 'many/updates.txt', isInBase: true, left: ['update', 'update', 'update'], right: ['update', 'update'] },
  { path: 'put-back/updates.txt', isInBase: true, left: ['update', 'update'], right: ['update'], isPutBack: true },
  { path: 'one/left.txt', isInBase: true, left: ['update'], right: [] },
  { path: 'one/right.txt', isInBase: true, left: [], right: ['remove'] },
  { path: 'one/new.txt', isInBase: false, left: ['add', 'update'], right: [] },
  { path: 'one/neither.txt', isInBase: true, left: [], right: [] },
  // Names that a program could trip over.
  { path: 'odd/space and "quotes"\tand tab.txt', isInBase: true, left: ['update'], right: ['remove'] },
  { path: 'odd/Größe 尺寸 😀.txt', isInBase: true, left: ['remove'], right: ['update'] },
  { path: '__proto__', isInBase: true, left: ['update'], right: ['update'] },
  { path: `odd/${'long/'.repeat(150)}end.txt`, isInBase: false, left: ['add'], right: ['add'] },
]

/** Merges of these stories, and of ones after them, into an empty directory. */
export function generateRepository(directory: string): void {
  run(['init', '--quiet', '--bare', directory])
  const stream = new ImportStream()
  const base = stream.commit(
    'base',
    [],
    STORIES.filter(({ isInBase }) => isInBase).map(({ path }) => [path, lineOf(path, 'base')]),
  )
  const left = writeSide(stream, 'left', base)
  const right = writeSide(stream, 'right', base)
  const merge = stream.commit('merge', [left, right], [])
  // A second merge, in which the sides have changed places, and one side has a merge of its own.
  const later = stream.commit(
    'later',
    [merge],
    [
      ['many/updates.txt', 'later\n'],
      ['one/neither.txt', 'later\n'],
    ],
  )
  const branch = stream.commit(
    'branch',
    [merge],
    [
      ['many/updates.txt', 'branch\n'],
      ['one/left.txt', undefined],
    ],
  )
  const inner = stream.commit('inner', [later], [['one/left.txt', 'inner\n']])
  const joined = stream.commit('joined', [later, inner], [['one/left.txt', 'inner\n']])
  stream.commit('last', [joined, branch], [])
  run(['-C', directory, 'fast-import', '--quiet'], stream.text)
  run(['-C', directory, 'symbolic-ref', 'HEAD', 'refs/heads/main'])
}

/** As many commits as the longest story has deeds. */
function writeSide(stream: ImportStream, side: 'left' | 'right', base: number): number {
  let parent = base
  const length = Math.max(...STORIES.map((story) => story[side].length))
  for (let step = 0; step < length; step++) {
    const files = STORIES.filter((story) => step < story[side].length).map((story): FileWrite => {
      const isLast = step === story[side].length - 1
      const author = story.isSame === true && isLast ? 'both' : `${side} ${step}`
      if (story[side][step] === 'remove') return [story.path, undefined]
      const isBase = story.isPutBack === true && side === 'left' && isLast
      return [story.path, lineOf(story.path, isBase ? 'base' : author)]
    })
    parent = stream.commit(`${side} ${step}`, [parent], files)
  }
  return parent
}

function lineOf(path: string, author: string): string {
  return `${path} by ${author}\n`
}

/** A path with its content; undefined removes it. */
type FileWrite = readonly [path: string, content: string | undefined]

/** Commits as a stream for `git fast-import`, with fixed authors and dates. */
class ImportStream {
  text = ''
  #marks = 0

  commit(message: string, parents: readonly number[], files: readonly FileWrite[]): number {
    const mark = ++this.#marks
    const who = `Nobody <nobody@example.com> ${1_700_000_000 + mark * 60} +0000`
    const [from, ...merged] = parents
    this.text += `commit refs/heads/main\nmark :${mark}\nauthor ${who}\ncommitter ${who}\n${data(message)}`
    // Without a parent named, a commit would continue the branch.
    if (from !== undefined) this.text += `from :${from}\n`
    for (const parent of merged) this.text += `merge :${parent}\n`
    for (const [path, content] of files) {
      this.text += content === undefined ? `D ${quote(path)}\n` : `M 100644 inline ${quote(path)}\n${data(content)}`
    }
    this.text += '\n'
    return mark
  }
}

function data(text: string): string {
  return `data ${Buffer.byteLength(text)}\n${text}\n`
}

function quote(path: string): string {
  return `"${path.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`
}

function run(args: readonly string[], input = ''): void {
  const { status, stderr, error } = spawnSync('git', args, { input, encoding: 'utf8' })
  if (status !== 0) throw new Error(`git ${args.join(' ')} failed: ${stderr ?? error?.message}`)
}
