/**
 * Planted bugs in what replicas say of their rows and conflicts: equal clocks, and other words.
 */
import type { Mutant } from './mutant.ts'

const SAME = 'test/conflicts/same-everywhere.test.ts'
const WORLDS = 'test/worlds/worlds.test.ts'
const BREAKS = 'replicas with equal clocks show, report and explain the same'

export const TELLING: readonly Mutant[] = [
  {
    name: 'fields in the order in which names were learned',
    file: 'core/settle.ts',
    find: 'for (const version of byName(versions, names)) values',
    replace: 'for (const version of versions) values',
    breaks: BREAKS,
    tests: [WORLDS],
    bySimulator: false,
  },
  {
    name: 'a refused change has a side in a conflict',
    file: 'core/conflict-finder.ts',
    find: 'if (await isRefused(this.#ledger, dot)) continue',
    replace: '',
    breaks: BREAKS,
    tests: [SAME],
    bySimulator: false,
  },
  {
    name: 'the past of a row under code of an app goes back for some fields only',
    file: 'core/row-past.ts',
    find: "return policy.decide === undefined ? fields : 'all'",
    replace: 'return policy === undefined ? [] : fields',
    breaks: BREAKS,
    tests: [SAME],
    bySimulator: false,
  },
  {
    name: 'what lies beneath the last change of a side is left out',
    file: 'core/row-past.ts',
    find: 'if (!isShared(entry)) news.push(entry)',
    replace: 'if (tips.some((tip) => tip === entry)) news.push(entry)',
    breaks: 'a side of a conflict is told with all that it did',
    tests: [SAME],
    bySimulator: false,
  },
  {
    name: 'a table that was settled by fields shows fragments of rows',
    file: 'core/settle.ts',
    find: 'if (!writesWholeRow(head.op)) return settleFields(leftBy(row, head, rules), rules, dictionaries)',
    replace: '',
    breaks: 'a row is whole whichever side wins',
    tests: ['test/conflicts/definitions.test.ts'],
    bySimulator: false,
  },
  {
    name: 'ties go to whoever this store met first',
    file: 'core/row.ts',
    find: 'return replicas.textOf(left.replica) < replicas.textOf(right.replica) ? -1 : 1',
    replace: 'return left.replica < right.replica ? -1 : 1',
    breaks: BREAKS,
    tests: [WORLDS],
    bySimulator: true,
  },
  {
    name: 'a policy is asked with its versions as the store numbers replicas',
    file: 'core/settle.ts',
    find: 'return row.heads.map((head) => {',
    replace: 'return [...row.heads].sort((a, b) => a.replica - b.replica).map((head) => {',
    breaks: BREAKS,
    tests: [WORLDS],
    bySimulator: false,
  },
]
