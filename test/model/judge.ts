/**
 * Whether a model is as it should be.
 *
 * Invariant JU1: a search that meets none of the events it is for is as bad as one that fails.
 */
import { compareStates } from './agreement.ts'
import type { Expectation, Model } from './models.ts'
import { type Found, searchModel } from './spin.ts'

export interface Verdict {
  readonly model: Model
  /** What is not as it should be; undefined when all is. */
  readonly complaint: string | undefined
  /** In a few words, with figures. */
  readonly outcome: string
  /** The steps of a counterexample; empty when there is none. */
  readonly story: readonly string[]
}

type OnStates = (states: number) => void

export async function judge(model: Model, onStates: OnStates): Promise<Verdict> {
  const { expected } = model
  switch (expected.type) {
    case 'holds':
      return judgeHolds(model, expected.meets, onStates)
    case 'fails':
      return judgeFails(model, onStates)
    case 'agrees':
      return judgeAgrees(model, expected, onStates)
  }
}

async function judgeHolds(model: Model, meets: readonly string[], onStates: OnStates): Promise<Verdict> {
  const defines = meets.length === 0 ? model.defines : [...model.defines, 'MEET']
  const found = await searchModel({ file: model.file, defines, order: 'depth', onStates })
  const missed = meets.filter((event) => !found.said.has(`met: ${event}`))
  if (found.story !== undefined)
    return { model, complaint: 'it has to hold', outcome: `fails, ${figuresOf(found)}`, story: found.story }
  const complaint = missed.length === 0 ? undefined : `it never happened that ${missed.join('; that ')}`
  const met = meets.length === 0 ? '' : `, ${meets.length - missed.length} of ${meets.length} events met`
  return { model, complaint, outcome: `holds, ${figuresOf(found)}${met}`, story: [] }
}

async function judgeFails(model: Model, onStates: OnStates): Promise<Verdict> {
  const found = await searchModel({ file: model.file, defines: model.defines, order: 'breadth', onStates })
  if (found.story === undefined)
    return { model, complaint: 'it has to fail', outcome: `holds, ${figuresOf(found)}`, story: [] }
  return { model, complaint: undefined, outcome: `fails as it should, ${figuresOf(found)}`, story: found.story }
}

async function judgeAgrees(
  model: Model,
  { other, otherDefines }: Extract<Expectation, { type: 'agrees' }>,
  onStates: OnStates,
): Promise<Verdict> {
  const { file, defines } = model
  const mine = await searchModel({ file, defines: [...defines, 'TELL'], order: 'depth', onStates })
  const theirs = await searchModel({ file: other, defines: [...otherDefines, 'TELL'], order: 'depth', onStates })
  const { common, onlyLeft, onlyRight } = compareStates(mine.said, theirs.said)
  const outcome = `${common.toLocaleString('en')} states of nodes in common; ${figuresOf(mine)}, and ${other} ${figuresOf(theirs)}`
  const isRight = common > 0 && onlyLeft.length === 0 && onlyRight.length === 0
  const complaint = isRight ? undefined : `${onlyLeft.length} only here, ${onlyRight.length} only in ${other}`
  return { model, complaint, outcome, story: [...onlyLeft, ...onlyRight].slice(0, 10) }
}

function figuresOf({ states, seconds }: Found): string {
  return `${states.toLocaleString('en')} states, ${seconds.toFixed(1)} s`
}
