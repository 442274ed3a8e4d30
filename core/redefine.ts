/**
 * Another definition of a table, from an operator.
 *
 * Knows: what a definition looks like. Must never know: sessions. Those that go by the old one have to end.
 *
 * Invariant DF3: a definition is replaced only by who names the one that is in force.
 */
import { readDefinitions } from './definitions.ts'
import type { Draft } from './draft.ts'
import { TidemarkError } from './errors.ts'
import { tableKey } from './keys.ts'
import type { Job, Ledger } from './ledger.ts'
import { quote } from './names.ts'
import { packRecord } from './packing.ts'

const CHARACTERS_MAX = 16_384
const IDENTITY = '[A-Za-z][A-Za-z0-9_]*@\\d+'
const DEFINITION_FORM = new RegExp(`^(?:fields|row) ${IDENTITY}(?: [A-Za-z][A-Za-z0-9_]*:${IDENTITY})*$`)

export class Redefine implements Job<void> {
  readonly weight = 1
  readonly startsGroup = true
  readonly #table: string
  readonly #from: string
  readonly #to: string
  readonly #nowMs: number
  #inForce: string | undefined

  /** Throws `bad-option` for what is no definition. */
  constructor(table: string, from: string, to: string, nowMs: number) {
    if (!DEFINITION_FORM.test(to) || to.length > CHARACTERS_MAX) {
      throw new TidemarkError('bad-option', `${quote(to)} is not a definition`, {
        remedy:
          'Write it as a refused replica tells it: "fields lastWriteWins@1", "row causal@1", "fields own@2 votes:max@1"',
      })
    }
    this.#table = table
    this.#from = from
    this.#to = to
    this.#nowMs = Math.floor(nowMs)
  }

  async prepare(ledger: Ledger): Promise<void> {
    const [inForce] = await readDefinitions(ledger, [this.#table])
    this.#inForce = inForce
  }

  apply(draft: Draft): void {
    const { family, meta } = draft.state
    if (family !== undefined && meta.authority === 2) {
      throw new TidemarkError('bad-option', 'the definitions of a relayed tenant are those of its upstream', {
        remedy: 'Redefine the table there',
      })
    }
    if (this.#inForce === undefined) {
      throw new TidemarkError('bad-option', `nobody has defined a table ${quote(this.#table)}`)
    }
    // Given twice, it has done its work.
    if (this.#inForce === this.#to) return
    if (this.#inForce !== this.#from) {
      throw new TidemarkError('bad-option', `table ${this.#table} is defined as ${quote(this.#inForce)}`, {
        remedy: 'Name the definition that is in force, so that no other one is replaced',
      })
    }
    draft.put(tableKey(this.#table), packRecord([this.#to, '', this.#nowMs]))
  }
}
