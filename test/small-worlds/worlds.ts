/**
 * All worlds of a size, one after the other, and what was counted on the way.
 */
import { allShapes, countOrders, type Shape } from './shapes.ts'
import { checkWorld, DEEDS, type Deed, describeWorld, type Times } from './world.ts'

export interface Size {
  readonly replicas: number
  readonly changes: number
  readonly deeds: readonly (keyof typeof DEEDS)[]
  readonly times: readonly Times[]
}

export interface Census {
  readonly shapes: number
  worlds: number
  /** Orders of arrival, each without a duplicate and with one at every place. */
  orders: number
  fault: string | undefined
}

const EVERY_DEED = ['insert', 'a', 'b', 'ab', 'delete'] as const
const FEW_DEEDS = ['insert', 'a', 'delete'] as const
const TWO_DEEDS = ['a', 'delete'] as const
const EVERY_TIME = ['causal', 'reverse', 'equal'] as const

/** Seconds: what every test run looks at. */
export const SMALL_SIZES: readonly Size[] = [
  { replicas: 3, changes: 1, deeds: EVERY_DEED, times: EVERY_TIME },
  { replicas: 3, changes: 2, deeds: EVERY_DEED, times: EVERY_TIME },
  { replicas: 3, changes: 3, deeds: EVERY_DEED, times: ['causal', 'reverse'] },
  { replicas: 3, changes: 4, deeds: FEW_DEEDS, times: ['causal'] },
  { replicas: 2, changes: 5, deeds: TWO_DEEDS, times: ['causal'] },
  { replicas: 2, changes: 6, deeds: TWO_DEEDS, times: ['causal'] },
]

/** Minutes, on several cores. */
export const LARGE_SIZES: readonly Size[] = [
  { replicas: 3, changes: 3, deeds: EVERY_DEED, times: EVERY_TIME },
  { replicas: 3, changes: 4, deeds: EVERY_DEED, times: EVERY_TIME },
  { replicas: 3, changes: 5, deeds: FEW_DEEDS, times: ['causal'] },
  { replicas: 2, changes: 6, deeds: FEW_DEEDS, times: ['causal'] },
  { replicas: 3, changes: 6, deeds: TWO_DEEDS, times: ['causal'] },
]

/** One of several equal parts of a size. */
export interface Part {
  readonly index: number
  readonly count: number
}

const WHOLE: Part = { index: 0, count: 1 }

/** Looks at every world until one is at fault. `onShape` is called after each shape. */
export function visitWorlds(size: Size, part: Part = WHOLE, onShape: () => void = () => {}): Census {
  const shapes = allShapes(size.replicas, size.changes).filter((_, at) => at % part.count === part.index)
  const census: Census = { shapes: shapes.length, worlds: 0, orders: 0, fault: undefined }
  for (const shape of shapes) {
    visitShape(shape, size, census)
    if (census.fault !== undefined) return census
    onShape()
  }
  return census
}

function visitShape(shape: Shape, { changes, deeds, times }: Size, census: Census): void {
  const orders = countOrders(shape)
  const duplicates = (changes * (changes + 1)) / 2
  const combinations = deeds.length ** changes
  for (let number = 0; number < combinations; number++) {
    const chosen: Deed[] = []
    for (let rest = number, at = 0; at < changes; at++, rest = Math.floor(rest / deeds.length)) {
      chosen.push(DEEDS[deeds[rest % deeds.length] as keyof typeof DEEDS])
    }
    for (const time of times) {
      const world = { shape, deeds: chosen, times: time }
      const fault = checkWorld(world)
      census.worlds++
      census.orders += orders * (1 + duplicates)
      if (fault === undefined) continue
      census.fault = `${fault}, in the world of\n${describeWorld(world)}`
      return
    }
  }
}

export function describeSize({ replicas, changes, deeds, times }: Size): string {
  return `${changes} changes of up to ${replicas} replicas, ${deeds.length} deeds, times ${times.join(', ')}`
}
