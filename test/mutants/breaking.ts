/**
 * Planted bugs of lines that break again and again, of new ids, and of what is taken back.
 */
import type { Mutant } from './mutant.ts'

const CUT = 'test/core/cut-line.test.ts'
const IDENTITY = 'test/core/identity.test.ts'
const WITHDRAWAL = 'test/tenant/withdraw.test.ts'

export const BREAKING: readonly Mutant[] = [
  {
    name: 'what came before the cut is dropped',
    file: 'core/session.ts',
    find: "if (!isWelcomed && this.#state !== 'streaming') return this.#leave()",
    replace: 'if (isWelcomed || !isWelcomed) return this.#leave()',
    breaks: 'a line that carries a handshake and a frame brings something in each session',
    tests: [CUT],
    bySimulator: false,
  },
  {
    name: 'snapshot begins in a commit of its own',
    file: 'core/link-reader.ts',
    find: 'new ReceiveRows(rows, cursor, clock, beginning)',
    replace: 'new ReceiveRows(rows, cursor, clock)',
    breaks: 'a snapshot that has begun can be gone on with',
    tests: [CUT],
    bySimulator: false,
  },
  {
    name: 'first frames are as large as any',
    file: 'core/limits.ts',
    find: 'FIRST_BATCH_BYTES: number = 16 * KIB',
    replace: 'FIRST_BATCH_BYTES: number = 256 * KIB',
    breaks: 'the same, for a line that carries little',
    tests: [CUT],
    bySimulator: false,
  },
  {
    name: 'renewal keeps its place in the log',
    file: 'core/identity.ts',
    find: 'if (dots > 0) draft.delete(CURSOR_KEY)',
    replace: 'if (dots < 0) draft.delete(CURSOR_KEY)',
    breaks: 'what the server has taken of the old id arrives like any other change',
    tests: [IDENTITY],
    bySimulator: false,
  },
  {
    name: 'answer to the old id counts for the new one',
    file: 'core/answer.ts',
    find: 'expectIdentity(ledger.state, this.#replica)',
    replace: 'expectIdentity(ledger.state, undefined)',
    breaks: 'a change that was issued again is pushed',
    tests: [IDENTITY],
    bySimulator: false,
  },
  {
    name: 'pushed while it is being taken back',
    file: 'core/link-writer.ts',
    find: 'if (this.#withdrawals > 0) return false',
    replace: 'if (this.#withdrawals < 0) return false',
    breaks: 'what is taken back no server accepts',
    tests: [WITHDRAWAL],
    bySimulator: false,
  },
  {
    name: 'void without content asked about for ever',
    file: 'core/handshake.ts',
    find: 'past.skip(sharedSeq)',
    replace: 'past.skip(-1)',
    breaks: 'a copied store finds out what it shares, and goes on under a new id',
    tests: [IDENTITY],
    bySimulator: false,
  },
  {
    name: 'void without content counts as the same',
    file: 'core/handshake.ts',
    find: 'return isVoid !== (refusal !== undefined)',
    replace: 'return isVoid && refusal === undefined && seq < 0',
    breaks: 'copies of a store that have both written are told apart',
    tests: [IDENTITY],
    bySimulator: false,
  },
]
