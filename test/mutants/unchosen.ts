/**
 * Planted bugs that nobody thought of: lines that were broken at random, and that no check had found. Each has one now.
 */
import type { Mutant } from './mutant.ts'

const READING = 'test/core/reading.test.ts'
const PRESENCE = 'an app inserts what it is not shown, and updates what it is'

export const UNCHOSEN: readonly Mutant[] = [
  {
    name: 'rows in conflict are always there for who writes',
    file: 'core/local-write.ts',
    find: 'const isAlive = header.op === undefined ?',
    replace: 'const isAlive = header.op !== undefined ?',
    breaks: PRESENCE,
    tests: [],
    bySimulator: true,
  },
  {
    name: 'a policy of two sides is not asked whether there is a row',
    file: 'core/settle.ts',
    find: 'if (row.heads.length > 1 && rules.policy.decide !== undefined) return settleRow(',
    replace: 'if (row.heads.length > 2 && rules.policy.decide !== undefined) return settleRow(',
    breaks: PRESENCE,
    tests: [],
    bySimulator: true,
  },
  {
    name: 'a limit may be 0',
    file: 'core/limits.ts',
    find: '|| value < 1 || value > ceiling',
    replace: '|| (value < 1 && value > ceiling)',
    breaks: 'limits are whole numbers from 1, and only lowered',
    tests: ['test/core/limits.test.ts'],
    bySimulator: false,
  },
  {
    name: 'a query answers with one change more',
    file: 'core/replica-log.ts',
    find: 'if (changes.length >= limit) break',
    replace: 'if (changes.length > limit) break',
    breaks: 'a query answers with as many as were asked for',
    tests: [READING],
    bySimulator: false,
  },
  {
    name: 'a table ends after its first page',
    file: 'core/replica.ts',
    find: 'if (last === undefined || page.length < SCAN_PAGE) return',
    replace: 'if (last === undefined || page.length >= SCAN_PAGE) return',
    breaks: 'a scan goes through all rows',
    tests: [READING],
    bySimulator: false,
  },
  {
    name: 'a scan by prefix begins and ends where it should not',
    file: 'core/keys.ts',
    find: 'if (left[at] !== right[at]) return (left[at] as number) < (right[at] as number)',
    replace: 'if (left[at] !== right[at]) return (left[at] as number) >= (right[at] as number)',
    breaks: 'a scan has the rows that were asked for, and no other',
    tests: [READING],
    bySimulator: false,
  },
  {
    name: 'a large block is never pushed',
    file: 'core/log-reader.ts',
    find: 'if (lastSeq > throughSeq || (bytes > 0 && bytes + block.block.length > bytesMax)) return blocks',
    replace: 'if (lastSeq > throughSeq || bytes + block.block.length > bytesMax) return blocks',
    breaks: 'what is on the disk is pushed, however large its block is',
    tests: [READING],
    bySimulator: false,
  },
  {
    name: 'a welcome with as many refusals as fit answers everything',
    file: 'core/handshake.ts',
    find: 'records.length < REFUSALS_MAX ? undefined',
    replace: 'records.length <= REFUSALS_MAX ? undefined',
    breaks: 'what does not fit into a welcome is answered later',
    tests: ['test/core/handshake.test.ts'],
    bySimulator: false,
  },
  {
    name: 'another hash',
    file: 'core/hash.ts',
    find: 'high ^= Math.imul(tail, 0xcc9e2d51)',
    replace: '',
    breaks: 'replicas of different versions compare the same hashes',
    tests: ['test/core/hash.test.ts'],
    bySimulator: false,
  },
]
