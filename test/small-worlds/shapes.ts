/**
 * Causal shapes: who wrote when, and which changes each writer had seen; nothing about what was written.
 *
 * Knows: replicas as numbers, changes as bits of a mask. Must never know: clocks, rows, operations.
 * A shape is listed once, however many orders of writing lead to it.
 */

/** One change: the `seq`-th of its replica. */
export interface ShapedChange {
  readonly replica: number
  readonly seq: number
  /** The changes that its writer had seen, as a mask over places in the shape; its own earlier ones among them. */
  readonly seen: number
}

/** In an order in which they may have been written. */
export type Shape = readonly ShapedChange[]

/** All shapes of exactly `changes` changes by at most `replicas` replicas. */
export function allShapes(replicas: number, changes: number): Shape[] {
  let shapes = new Map<string, Shape>([['', []]])
  for (let count = 0; count < changes; count++) {
    const larger = new Map<string, Shape>()
    for (const shape of shapes.values()) {
      for (let replica = 0; replica < replicas; replica++) {
        for (const next of nextChanges(shape, replica)) {
          const grown = [...shape, next]
          larger.set(keyOf(grown), grown)
        }
      }
    }
    shapes = larger
  }
  return [...shapes.values()]
}

/** What a replica could write now: after every set of changes that it could have seen. */
function nextChanges(shape: Shape, replica: number): ShapedChange[] {
  const own = shape.filter((change) => change.replica === replica)
  const last = shape.findLastIndex((change) => change.replica === replica)
  const least = last < 0 ? 0 : (shape[last] as ShapedChange).seen | (1 << last)
  const nexts: ShapedChange[] = []
  for (let seen = 0; seen < 1 << shape.length; seen++) {
    if ((seen & least) !== least || !isClosed(shape, seen)) continue
    nexts.push({ replica, seq: own.length + 1, seen })
  }
  return nexts
}

/** True when a set of changes can have arrived somewhere: with each change, all that its writer had seen. */
export function isClosed(shape: Shape, mask: number): boolean {
  for (let at = 0; at < shape.length; at++) {
    if ((mask & (1 << at)) === 0) continue
    const { seen } = shape[at] as ShapedChange
    if ((mask & seen) !== seen) return false
  }
  return true
}

/** The same for the same changes in any order. */
function keyOf(shape: Shape): string {
  const names = shape.map(({ replica, seq }) => `${replica}.${seq}`)
  return shape
    .map(({ seen }, at) => `${names[at]}<${names.filter((_, other) => (seen & (1 << other)) !== 0).sort()}`)
    .sort()
    .join(' ')
}

/** In how many orders all changes can arrive, each after those that its writer had seen. */
export function countOrders(shape: Shape): number {
  const orders = new Array<number>(1 << shape.length).fill(0)
  orders[0] = 1
  for (let mask = 1; mask < orders.length; mask++) {
    if (!isClosed(shape, mask)) continue
    for (const at of lastOf(shape, mask)) orders[mask] = (orders[mask] ?? 0) + (orders[mask ^ (1 << at)] ?? 0)
  }
  return orders[orders.length - 1] ?? 0
}

/** The changes of a closed set that can have arrived last. */
export function lastOf(shape: Shape, mask: number): number[] {
  const last: number[] = []
  for (let at = 0; at < shape.length; at++) {
    if ((mask & (1 << at)) === 0) continue
    const isSeen = shape.some(({ seen }, other) => (mask & (1 << other)) !== 0 && (seen & (1 << at)) !== 0)
    if (!isSeen) last.push(at)
  }
  return last
}
