/**
 * One of several processes that look at small worlds: takes a part of a size, tells how far it is and what it counted.
 */
import { type Census, type Part, type Size, visitWorlds } from './worlds.ts'

export interface WorldsOrder {
  readonly size: Size
  readonly part: Part
}

export type WorldsReport = { readonly type: 'progress' } | { readonly type: 'done'; readonly census: Census }

process.on('disconnect', () => process.exit(0))
process.on('message', ({ size, part }: WorldsOrder) => {
  const census = visitWorlds(size, part, () => process.send?.({ type: 'progress' } satisfies WorldsReport))
  process.send?.({ type: 'done', census } satisfies WorldsReport)
})
