/**
 * Planted bugs of servers that pass changes on to each other, and of clients that go from one to another.
 *
 * Knows: lines of core. Must never know: how a bug is found.
 */
import type { Mutant } from './mutant.ts'

const RELAYS = 'test/core/relay.test.ts'

export const RELAYING: readonly Mutant[] = [
  {
    name: 'unanswered changes pushed to another server',
    file: 'core/family.ts',
    find: 'Math.min(known.offeredSeq, meta.ownSeq) > meta.ackedSeq',
    replace: 'Math.min(known.offeredSeq, meta.ownSeq) < meta.ackedSeq',
    breaks: 'a change that was sent to the home and is not answered is pushed nowhere else',
    tests: [RELAYS],
    bySimulator: false,
  },
  {
    name: 'what the last home has accepted since the hello judged again',
    file: 'core/family.ts',
    find: 'if (isMoving && meta.ackedSeq > this.#answeredSeq)',
    replace: 'if (isMoving && meta.ackedSeq < this.#answeredSeq)',
    breaks: 'a change is judged once',
    tests: [RELAYS],
    bySimulator: false,
  },
  {
    name: 'session with the last home goes on',
    file: 'core/family.ts',
    find: 'if (name === undefined || family === undefined || family.home === logId) return',
    replace: "if (name === undefined || family === undefined || logId !== '') return",
    breaks: 'a change is pushed to one server',
    tests: [RELAYS],
    bySimulator: false,
  },
  {
    name: 'relay serves before it has caught up',
    file: 'core/family.ts',
    find: 'if (!isCatchingUp(state)) return',
    replace: 'if (!isCatchingUp(state) || isRelay(state)) return',
    breaks: 'a relay that never met its upstream answers nobody',
    tests: [RELAYS],
    bySimulator: true,
  },
  {
    name: 'change refused that builds on what a relay has still to bring',
    file: 'core/admit.ts',
    find: '(isRecovering(state, nowMs) || hasRelatives(state))',
    replace: 'isRecovering(state, nowMs)',
    breaks: 'what builds on something that was admitted elsewhere waits for it',
    tests: [RELAYS],
    bySimulator: false,
  },
  {
    name: 'refusals of other servers forgotten',
    file: 'core/receive.ts',
    find: 'draft.addVoid(entry, NO_FINGERPRINT)',
    replace: 'void NO_FINGERPRINT',
    breaks: 'every server of a family can say what was refused',
    tests: [RELAYS],
    bySimulator: true,
  },
  {
    name: 'place in a relay’s log saved before its changes',
    file: 'core/link-reader.ts',
    find: 'const job = new ReceiveChanges(blocks,',
    replace:
      'await ledger.submit(new ReceiveChanges([], { save: this.#saving(cursor) }))\n      const job = new ReceiveChanges(blocks,',
    breaks: 'a cursor moves in the commit that stores what it stands behind, in both directions',
    tests: [RELAYS],
    bySimulator: false,
  },
  {
    name: 'relay passes on without the scope',
    file: 'core/handshake.ts',
    find: "role === 'server' && gate.mayRelay?.() === true",
    replace: "role === 'server' && gate.mayRelay !== null",
    breaks: 'who may not relay passes nothing on',
    tests: [RELAYS],
    bySimulator: false,
  },
  {
    name: 'a crash while changes are sent leaves no trace',
    file: 'core/family.ts',
    find: 'setFamily(draft, { ...family, epoch, offeredSeq: ANY_SEQ })',
    replace: 'setFamily(draft, { ...family, epoch })',
    breaks: 'a change that may have been sent to the home is pushed nowhere else',
    tests: [RELAYS],
    bySimulator: false,
  },
  {
    name: 'readers of a relay go on after a snapshot',
    file: 'core/snapshot.ts',
    find: 'if (this.#epoch !== undefined) meta.epoch =',
    replace: 'if (this.#epoch === 0) meta.epoch =',
    breaks: 'what a snapshot brings to a relay reaches those who follow its log',
    tests: [RELAYS],
    bySimulator: false,
  },
  {
    name: 'one dot with two contents between servers',
    file: 'core/receive.ts',
    find: 'if (isBetweenServers) await this.#expectSame(ledger)',
    replace: 'if (isBetweenServers && this.#decoded.length < 0) await this.#expectSame(ledger)',
    breaks: 'two contents of one change are found where servers meet',
    tests: [RELAYS],
    bySimulator: false,
  },
]
