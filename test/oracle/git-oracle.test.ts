/**
 * The detector against git: for the merges of a repository it names the files that git names, with the class that git gives.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { generateRepository } from './generated-repository.ts'
import { type GitMerge, GitRepository } from './git.ts'
import { type Detector, detectWithReplicas, type GitClass, judgeMerge } from './git-oracle.ts'

let directory: string
let repository: GitRepository

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'tidemark-oracle-'))
  generateRepository(directory)
  repository = new GitRepository(directory)
})

afterAll(() => rmSync(directory, { recursive: true, force: true }))

/** The merges of the generated repository, oldest first. */
async function merges(): Promise<GitMerge[]> {
  const found: GitMerge[] = []
  for (const [commit, left, right] of (await repository.mergeCommits()).reverse()) {
    const merge = await repository.merge(commit, left, right)
    if (merge !== undefined) found.push(merge)
  }
  return found
}

describe('for the merges of the generated repository', () => {
  test.each([true, false])(
    'the detector says what git says, whichever side was later (left: %s)',
    async (isLeftLater) => {
      for (const merge of await merges()) {
        expect((await judgeMerge(repository, merge, isLeftLater)).mistakes).toEqual([])
      }
    },
  )

  test('git names files of all four classes, and the differences in kind are there as well', async () => {
    const [first, ...later] = await merges()
    const verdict = await judgeMerge(repository, first as GitMerge, false)
    expect(Object.fromEntries(verdict.classes)).toEqual({
      'base/insert-insert.txt': 'UU',
      'base/insert-update.txt': 'UU',
      'base/insert-delete.txt': 'UD',
      'base/update-insert.txt': 'UU',
      'base/update-update.txt': 'UU',
      'base/update-delete.txt': 'UD',
      'base/delete-insert.txt': 'DU',
      'base/delete-update.txt': 'DU',
      'none/insert-insert.txt': 'AA',
      'none/insert-update.txt': 'AA',
      'none/update-insert.txt': 'AA',
      'none/update-update.txt': 'AA',
      'many/updates.txt': 'UU',
      'odd/space and "quotes"\tand tab.txt': 'UD',
      [Buffer.from('odd/Größe 尺寸 😀.txt').toString('latin1')]: 'DU',
      ['__proto__']: 'UU',
      [`odd/${'long/'.repeat(150)}end.txt`]: 'AA',
    })
    // Both removed; three times the same; added and removed again on both sides is nothing to git.
    expect(verdict.agreed).toBe(4)
    expect(verdict.unmerged).toBe(verdict.classes.size)
    // One side added and removed again what the other added; and one came back to what the base had.
    expect(verdict.putBack).toBe(5)
    expect(verdict.renewed).toBe(1)
    expect(later).toHaveLength(2)
  })
})

describe('a detector that is wrong is found out: one that', () => {
  test.each<[string, (classes: Map<string, GitClass>) => void, string]>([
    ['misses a file', (classes) => classes.delete('base/update-update.txt'), 'git says UU, the detector nothing'],
    ['names a file too many', (classes) => classes.set('one/left.txt', 'UU'), 'git says nothing, the detector UU'],
    [
      'takes one side for the other',
      (classes) => classes.set('base/update-delete.txt', 'DU'),
      'git says UD, the detector DU',
    ],
  ])('%s', async (_name, spoil, mistake) => {
    const [merge] = await merges()
    const detector: Detector = async (...given) => {
      const { classes, mistakes } = await detectWithReplicas(...given)
      const spoilt = new Map(classes)
      spoil(spoilt)
      return { classes: spoilt, mistakes }
    }
    const verdict = await judgeMerge(repository, merge as GitMerge, true, detector)
    expect(verdict.mistakes).toEqual([expect.stringContaining(mistake)])
  })
})

test('the sides of a merge can change places', async () => {
  const [first] = await merges()
  const { left, right, ...rest } = first as GitMerge
  const verdict = await judgeMerge(repository, { ...rest, left: right, right: left }, true)
  expect(verdict.mistakes).toEqual([])
  expect(verdict.classes.get('base/update-delete.txt')).toBe('DU')
})
