/**
 * Planted bugs of servers that go on from a backup, and of clocks that jump.
 */
import type { Mutant } from './mutant.ts'

const RESTORED = 'test/core/recovery.test.ts'

export const RECOVERING: readonly Mutant[] = [
  {
    name: 'restored server refuses what builds on lost changes',
    file: 'core/admit.ts',
    find: '(isRecovering(state, nowMs) || hasRelatives(state))',
    replace: '(isRecovering(state, Number.POSITIVE_INFINITY) || hasRelatives(state))',
    breaks: 'a server that goes on from a backup gets back what it lost',
    tests: [RESTORED],
    bySimulator: false,
  },
  {
    name: 'restored server voids what it had accepted',
    file: 'core/admit.ts',
    find: "const isAnswered = transaction.some(({ op, seq }) => op !== 'void' && seq <= answeredSeq)",
    replace: 'const isAnswered = transaction.length === 0 && answeredSeq < 0',
    breaks: 'a dot that was accepted once never becomes void',
    tests: [RESTORED],
    bySimulator: false,
  },
  {
    name: 'waiting writer is not told',
    file: 'core/link-admitter.ts',
    find: 'this.#awaited = awaited\n',
    replace: 'this.#awaited = undefined\n',
    breaks: 'healed replicas converge within a minute',
    tests: [RESTORED],
    bySimulator: false,
  },
  {
    name: 'refused changes pushed again as changes',
    file: 'core/feeds.ts',
    find: 'state.lastRejectedSeq > afterSeq ?',
    replace: 'state.lastRejectedSeq < 0 ?',
    breaks: 'what a server has refused stays refused',
    tests: [RESTORED],
    bySimulator: false,
  },
  {
    name: 'restored server writes under its old id',
    file: 'core/recovery.ts',
    find: 'meta.replicaId = replicaIdOf(meta.replicaId, meta.epoch)',
    replace: 'if (meta.epoch < 0) meta.replicaId = replicaIdOf(meta.replicaId, meta.epoch)',
    breaks: 'no dot is given out twice',
    tests: [RESTORED],
    bySimulator: false,
  },
  {
    name: 'epochs counted',
    file: 'core/recovery.ts',
    find: 'meta.epoch = Math.max(meta.epoch + 1, nowMs)',
    replace: 'meta.epoch = meta.epoch + 1',
    breaks: 'a cursor of another life of the log is an error, also when one backup is restored twice',
    tests: [RESTORED],
    bySimulator: false,
  },
  {
    name: 'sessions outlive their epoch',
    file: 'core/recovery.ts',
    find: 'if (state.meta.epoch === epoch) return',
    replace: 'if (epoch !== 0 || state.meta.epoch === epoch) return',
    breaks: 'no session goes on in a part of the log that was lost',
    tests: [RESTORED],
    bySimulator: false,
  },
  {
    name: 'snapshot resumed with the clock of another',
    file: 'core/snapshot.ts',
    find: 'const clock = bytes ?? base',
    replace: 'const clock = base ?? bytes',
    breaks: 'what a clock covers is there',
    tests: ['test/core/cut-line.test.ts'],
    bySimulator: false,
  },
  {
    name: 'issued again over what came meanwhile',
    file: 'core/reissue.ts',
    find: 'context: contextOver(entry, row, own), versions }',
    replace: 'context: row.header.clock, versions }',
    breaks: 'no side of a conflict is lost in silence',
    tests: [],
    bySimulator: true,
  },
  {
    name: 'timestamps stay ahead after a jump',
    file: 'core/reissue.ts',
    find: '    meta.lastTimestamp = last\n',
    replace: '    if (last < 0) meta.lastTimestamp = last\n',
    breaks: 'a clock that is right again is taken again',
    tests: ['test/core/reissue.test.ts'],
    bySimulator: false,
  },
]
