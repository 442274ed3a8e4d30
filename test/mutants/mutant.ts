/**
 * Planted bugs: what one is, and how it gets into a copy of the sources.
 *
 * Knows: files as text. Must never know: how a bug is found; see hunt.ts.
 *
 * Invariants:
 * PB1  A mutation names text that stands in its file once: when the code moves on, the mutation has to follow.
 * PB2  Only copies are changed, never the tree that people work in.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** One line of core, made wrong. */
export interface Mutant {
  readonly name: string
  /** From the root of the repository. */
  readonly file: string
  readonly find: string
  readonly replace: string
  /** The promise that no longer holds. */
  readonly breaks: string
  /** Tests that should fail, from the root; asked first, because they are quick. */
  readonly tests: readonly string[]
  /** True: the simulator's CI run finds it without the help of any other test. */
  readonly bySimulator: boolean
}

/** Why a mutation does not fit its file any more; undefined when it does. */
export function whyUnfit(mutant: Mutant, root: string): string | undefined {
  const { name, file, find, replace } = mutant
  const times = readFileSync(join(root, file), 'utf8').split(find).length - 1
  if (times !== 1)
    return `${name}: its text stands ${times} times in ${file}, not once; adapt it in test/mutants/mutants.ts`
  return find === replace ? `${name}: it changes nothing` : undefined
}

/** Makes the line wrong in a copy. Answers with the way back. */
export function plant(mutant: Mutant, root: string): () => void {
  const { file, find, replace } = mutant
  const why = whyUnfit(mutant, root)
  if (why !== undefined) throw new Error(why)
  const path = join(root, file)
  const text = readFileSync(path, 'utf8')
  const at = text.indexOf(find)
  writeFileSync(path, text.slice(0, at) + replace + text.slice(at + find.length))
  return () => writeFileSync(path, text)
}
