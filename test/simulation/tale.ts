/**
 * What happened, in words: who wrote what on top of what, who took which change, and what went wrong around them. It follows
 * the disks, so it is short where the story of frames is long.
 *
 * Knows: what the oracle knows of a commit. Must never know: whether anything of it is right.
 */

import type { Recorded } from './history.ts'
import { describeChange } from './in-words.ts'
import type { Plan } from './plan.ts'
import { runPlan } from './run-plan.ts'
import type { Subject } from './subject.ts'
import type { News, View } from './view.ts'

interface Line {
  readonly atMs: number
  readonly text: string
  /** The row that it is about; undefined: it matters to all. */
  readonly row: string | undefined
}

const LINES_MAX = 40
const SEEN_MAX = 6

export class Tale {
  readonly #lines: Line[] = []

  happens(atMs: number, text: string): void {
    this.#lines.push({ atMs, text, row: undefined })
  }

  /** What a commit brought to a disk. */
  commits(atMs: number, view: View): void {
    for (const news of view.news) this.#lines.push({ atMs, text: `${view.name} ${inWords(news)}`, row: rowOf(news) })
  }

  /** The lines about a row, or all of them; of many the first and the last. */
  tell(row: string | undefined): string[] {
    const told = this.#lines.filter((line) => row === undefined || line.row === undefined || line.row === row)
    const texts = told.map(({ atMs, text }) => `  ${atMs.toFixed(1).padStart(8)} ms  ${text}`)
    const left = this.#lines.length - told.length
    const rest = left > 0 ? [`              (${left} more about other rows)`] : []
    if (texts.length <= LINES_MAX) return [...texts, ...rest]
    const head = texts.slice(0, LINES_MAX / 4)
    const tail = texts.slice(-(LINES_MAX - head.length))
    return [...head, `              (${texts.length - LINES_MAX} more)`, ...tail, ...rest]
  }
}

/** Runs a plan that fails once more, to tell what happens in it. */
export async function retell(plan: Plan, subject?: Subject): Promise<string[]> {
  const tale = new Tale()
  const { failure } = await runPlan(plan, { subject, tale })
  return tale.tell(failure?.row)
}

function dotOf({ row, replica, seq }: Recorded): string {
  return row.history.dotName(replica, seq)
}

function rowOf(news: News): string | undefined {
  return 'change' in news ? news.change.row.name : undefined
}

function inWords(news: News): string {
  switch (news.type) {
    case 'writes': {
      const { change } = news
      const seen = change.row.list(change.seen).map(dotOf)
      const before = seen.length > SEEN_MAX ? `${seen.length} changes` : seen.join(', ')
      return `writes ${dotOf(change)}: ${describeChange(change)}, having seen ${before || 'nothing'} of it`
    }
    case 'takes':
      return `takes ${dotOf(news.change)} of ${news.change.row.name}`
    case 'refuses':
      return `${news.isFirst ? 'refuses' : 'hears that nobody takes'} ${dotOf(news.change)} of ${news.change.row.name} (${news.code})`
    case 'rejects':
      return `lists ${dotOf(news.change)} of ${news.change.row.name} as rejected`
    case 'restores':
      return `takes the rows ${news.rows.join(', ')} from a snapshot`
    case 'renews':
      return 'goes on under a new id'
  }
}
