/**
 * Holds the detector against the history of any git repository:
 *
 *   npm run git-oracle -- PATH [--merges N]
 *
 * Goes through the merges that HEAD leads to, newest first, and ends with 1 when the detector and git disagree about a file.
 */
import { parseArgs } from 'node:util'
import { GitRepository } from './git.ts'
import { type GitClass, judgeMerge } from './git-oracle.ts'

const USAGE = 'usage: npm run git-oracle -- PATH [--merges N]'
const MISTAKES_SHOWN = 20

const { path, limit } = parseCommand()
const repository = new GitRepository(path)
const merges = await repository.mergeCommits(limit)
const counts: Record<GitClass | 'judged' | 'skipped' | 'agreed' | 'unmerged' | 'putBack' | 'renewed', number> = {
  judged: 0,
  skipped: 0,
  UU: 0,
  AA: 0,
  UD: 0,
  DU: 0,
  agreed: 0,
  unmerged: 0,
  putBack: 0,
  renewed: 0,
}
const mistakes: string[] = []

for (const [index, [commit, left, right]] of merges.entries()) {
  progress(`${index + 1} of ${merges.length} merges, ${mistakes.length} mistakes`)
  const merge = await repository.merge(commit, left, right)
  if (merge === undefined) {
    counts.skipped++
    continue
  }
  const verdict = await judgeMerge(repository, merge, index % 2 === 0)
  counts.judged++
  for (const name of verdict.classes.values()) counts[name]++
  for (const name of ['agreed', 'unmerged', 'putBack', 'renewed'] as const) counts[name] += verdict[name]
  for (const mistake of verdict.mistakes) mistakes.push(`${commit.slice(0, 12)} ${mistake}`)
}
progress('')
tell()

function tell(): void {
  const { judged, skipped, UU, AA, UD, DU, agreed, unmerged, putBack, renewed } = counts
  for (const mistake of mistakes.slice(0, MISTAKES_SHOWN)) console.error(mistake)
  if (mistakes.length > MISTAKES_SHOWN) console.error(`… and ${mistakes.length - MISTAKES_SHOWN} more`)
  console.log(`merges    ${judged} judged, ${skipped} skipped (no single base)`)
  console.log(
    `files     ${UU} UU, ${AA} AA, ${UD} UD, ${DU} DU changed on both sides; in ${unmerged} of them git finds conflicting lines`,
  )
  console.log(`agreement ${agreed} changed to the same on both sides`)
  console.log(`ways      ${putBack} put back by one side, ${renewed} removed and added again by both`)
  console.log(`mistakes  ${mistakes.length}`)
  process.exitCode = mistakes.length > 0 || judged === 0 ? 1 : 0
}

function parseCommand(): { readonly path: string; readonly limit: number } {
  try {
    const { values, positionals } = parseArgs({ allowPositionals: true, options: { merges: { type: 'string' } } })
    const most = values.merges === undefined ? Number.POSITIVE_INFINITY : Number(values.merges)
    const [first, ...others] = positionals
    const isCount = most === Number.POSITIVE_INFINITY || (Number.isSafeInteger(most) && most > 0)
    if (first !== undefined && others.length === 0 && isCount) return { path: first, limit: most }
  } catch (error) {
    console.error(error instanceof Error ? error.message : error)
  }
  console.error(USAGE)
  process.exit(2)
}

/** A line that is written over, where there is a terminal. */
function progress(text: string): void {
  if (process.stderr.isTTY === true) process.stderr.write(`\r\x1b[K${text}`)
}
