/**
 * An ordered map from bytes to bytes: a B+tree that compares numbers before it compares keys.
 *
 * Knows: keys as unsigned bytes, and the order in which they are asked for. Must never know: commits, heads, handles.
 *
 * T1  Every key that can ever be looked for in a node lies in [low, high), so all of them share the bytes that `low`
 *     and `high` share (`skip`). The six bytes after those are kept as one number per key, side by side: a search runs
 *     over numbers in one piece of memory and touches the bytes of a key only where six of them are equal. Row keys
 *     begin with the same kind and table; without the skip, the numbers would all be equal too.
 * T2  No node but the root is empty. Nodes are not merged: a store shrinks at the start of its log, where whole leaves
 *     go, or not at all.
 * T3  A node that overflows at its end gives the newcomer a node of its own, so that a log fills its leaves.
 */

const HINT_BYTES = 6
const EMPTY = new Uint8Array(0)

interface Leaf {
  readonly type: 'leaf'
  readonly values: Uint8Array[]
}

interface Branch {
  readonly type: 'branch'
  /** The key at the same place is the `low` of the child; the first is also the `low` of the branch. */
  readonly children: Node[]
}

interface Node {
  low: Uint8Array
  /** `undefined`: no end. */
  high: Uint8Array | undefined
  skip: number
  readonly keys: Uint8Array[]
  /** One number per key, and room for one key more than a node may keep. */
  readonly hints: Float64Array
  readonly body: Leaf | Branch
}

export class ByteTree {
  #root: Node

  /** `fanout` is how many keys a node may have: an even number, and a small one only to grow a deep tree in a test. */
  constructor(fanout = 64) {
    this.#root = createNode(fanout, EMPTY, undefined, [], { type: 'leaf', values: [] })
  }

  get(key: Uint8Array): Uint8Array | undefined {
    let node = this.#root
    while (node.body.type === 'branch') node = node.body.children[childPlace(node, key)] as Node
    const place = search(node, key)
    return place < 0 ? undefined : node.body.values[place]
  }

  /** Only where a node has to be split does anything above the leaf change. */
  set(key: Uint8Array, value: Uint8Array): void {
    let node = this.#root
    while (node.body.type === 'branch') node = node.body.children[childPlace(node, key)] as Node
    const place = search(node, key)
    if (place >= 0) {
      node.keys[place] = key
      node.body.values[place] = value
      return
    }
    if (node.keys.length < fanoutOf(node)) {
      node.body.values.splice(~place, 0, value)
      insertKey(node, ~place, key)
      return
    }
    const right = insert(this.#root, key, value)
    if (right === undefined) return
    const children = [this.#root, right]
    this.#root = createNode(fanoutOf(right), EMPTY, undefined, [EMPTY, right.low], { type: 'branch', children })
  }

  delete(key: Uint8Array): void {
    remove(this.#root, key)
    let root = this.#root
    while (root.body.type === 'branch' && root.body.children.length === 1) root = root.body.children[0] as Node
    this.#root = root
  }

  /** Gives the entries of [from, to) to `take`, in order or in reverse, until it answers false. */
  scan(from: Uint8Array, to: Uint8Array, reverse: boolean, take: Take): void {
    if (reverse) scanDown(this.#root, from, to, take)
    else scanUp(this.#root, from, to, take)
  }
}

export type Take = (key: Uint8Array, value: Uint8Array) => boolean

// ── Search ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The place of `key`, or the complement of the place where it belongs. */
function search(node: Node, key: Uint8Array): number {
  const { keys, hints, skip } = node
  const hint = hintOf(key, skip)
  let low = 0
  let high = keys.length
  while (low < high) {
    const middle = (low + high) >>> 1
    let order = (hints[middle] as number) - hint
    if (order === 0) {
      const other = keys[middle] as Uint8Array
      // Who writes a row again mostly hands over the same array.
      order = other === key ? 0 : compareBytes(other, key, skip)
      if (order === 0) return middle
    }
    if (order < 0) low = middle + 1
    else high = middle
  }
  return ~low
}

/** The place of the first key that is not below `key`. */
function lowerBound(node: Node, key: Uint8Array): number {
  const place = search(node, key)
  return place < 0 ? ~place : place
}

function childPlace(branch: Node, key: Uint8Array): number {
  const place = search(branch, key)
  return place < 0 ? ~place - 1 : place
}

/** Six bytes from `skip` on as a number, as if zeros followed the key. Equal numbers say nothing about the keys. */
function hintOf(key: Uint8Array, skip: number): number {
  let hint = 0
  for (let at = skip; at < skip + HINT_BYTES; at++) hint = hint * 256 + (at < key.length ? (key[at] as number) : 0)
  return hint
}

function compareBytes(left: Uint8Array, right: Uint8Array, from: number): number {
  const end = Math.min(left.length, right.length)
  for (let at = from; at < end; at++) {
    const difference = (left[at] as number) - (right[at] as number)
    if (difference !== 0) return difference
  }
  return left.length - right.length
}

// ── Change ──────────────────────────────────────────────────────────────────────────────────────────────────────────

function createNode(
  fanout: number,
  low: Uint8Array,
  high: Uint8Array | undefined,
  keys: Uint8Array[],
  body: Leaf | Branch,
): Node {
  const node: Node = { low, high, skip: 0, keys, hints: new Float64Array(fanout + 1), body }
  bound(node, low, high)
  return node
}

function fanoutOf(node: Node): number {
  return node.hints.length - 1
}

function bound(node: Node, low: Uint8Array, high: Uint8Array | undefined): void {
  node.low = low
  node.high = high
  node.skip = high === undefined ? 0 : sharedLength(low, high)
  for (let place = 0; place < node.keys.length; place++) {
    node.hints[place] = hintOf(node.keys[place] as Uint8Array, node.skip)
  }
}

function sharedLength(left: Uint8Array, right: Uint8Array): number {
  let length = 0
  while (length < left.length && length < right.length && left[length] === right[length]) length++
  return length
}

/** Answers with the right half when the node had to be split. */
function insert(node: Node, key: Uint8Array, value: Uint8Array): Node | undefined {
  const { body } = node
  if (body.type === 'branch') {
    const place = childPlace(node, key)
    const right = insert(body.children[place] as Node, key, value)
    if (right === undefined) return undefined
    body.children.splice(place + 1, 0, right)
    return insertKey(node, place + 1, right.low)
  }
  const place = ~search(node, key)
  body.values.splice(place, 0, value)
  return insertKey(node, place, key)
}

function insertKey(node: Node, place: number, key: Uint8Array): Node | undefined {
  node.hints.copyWithin(place + 1, place, node.keys.length)
  node.hints[place] = hintOf(key, node.skip)
  node.keys.splice(place, 0, key)
  const fanout = fanoutOf(node)
  if (node.keys.length <= fanout) return undefined
  return split(node, place === fanout ? fanout : fanout >>> 1)
}

function split(node: Node, place: number): Node {
  const { body, keys, low, high } = node
  const middle = keys[place] as Uint8Array
  const half: Leaf | Branch =
    body.type === 'leaf'
      ? { type: 'leaf', values: body.values.splice(place) }
      : { type: 'branch', children: body.children.splice(place) }
  const right = createNode(fanoutOf(node), middle, high, keys.splice(place), half)
  bound(node, low, middle)
  return right
}

function remove(node: Node, key: Uint8Array): void {
  const { body } = node
  if (body.type === 'leaf') {
    const place = search(node, key)
    if (place < 0) return
    removeKey(node, place)
    body.values.splice(place, 1)
    return
  }
  const place = childPlace(node, key)
  const child = body.children[place] as Node
  remove(child, key)
  if (child.keys.length > 0) return
  removeKey(node, place)
  body.children.splice(place, 1)
  // Somebody has to own the range of the child that is gone (T1).
  if (place > 0) extendHigh(body.children[place - 1] as Node, child.high)
  else if (body.children.length > 0) extendLow(node, child.low)
}

function removeKey(node: Node, place: number): void {
  node.keys.splice(place, 1)
  node.hints.copyWithin(place, place + 1, node.keys.length + 1)
}

function extendHigh(node: Node, high: Uint8Array | undefined): void {
  bound(node, node.low, high)
  if (node.body.type === 'branch') extendHigh(node.body.children.at(-1) as Node, high)
}

/** Moves the start of the first child, and of its first child, to `low`. */
function extendLow(branch: Node, low: Uint8Array): void {
  if (branch.body.type === 'leaf') return
  const child = branch.body.children[0] as Node
  branch.keys[0] = low
  branch.hints[0] = hintOf(low, branch.skip)
  bound(child, low, child.high)
  extendLow(child, low)
}

// ── Scan ────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** False when the scan is over. `from` is absent in the nodes after the one it lies in (T1). */
function scanUp(node: Node, from: Uint8Array | undefined, to: Uint8Array, take: Take): boolean {
  const { body, keys } = node
  if (body.type === 'branch') {
    let place = 0
    if (from !== undefined) {
      place = childPlace(node, from)
      if (!scanUp(body.children[place++] as Node, from, to, take)) return false
    }
    for (; place < keys.length; place++) {
      if (!scanUp(body.children[place] as Node, undefined, to, take)) return false
    }
    return true
  }
  for (let place = from === undefined ? 0 : lowerBound(node, from); place < keys.length; place++) {
    const key = keys[place] as Uint8Array
    if (compareBytes(key, to, 0) >= 0 || !take(key, body.values[place] as Uint8Array)) return false
  }
  return true
}

/** The mirror of `scanUp`: `to` is absent in the nodes before the one it lies in. */
function scanDown(node: Node, from: Uint8Array, to: Uint8Array | undefined, take: Take): boolean {
  const { body, keys } = node
  if (body.type === 'branch') {
    let place = keys.length - 1
    if (to !== undefined) {
      place = childPlace(node, to)
      if (!scanDown(body.children[place--] as Node, from, to, take)) return false
    }
    for (; place >= 0; place--) {
      if (!scanDown(body.children[place] as Node, from, undefined, take)) return false
    }
    return true
  }
  for (let place = (to === undefined ? keys.length : lowerBound(node, to)) - 1; place >= 0; place--) {
    const key = keys[place] as Uint8Array
    if (compareBytes(key, from, 0) < 0 || !take(key, body.values[place] as Uint8Array)) return false
  }
  return true
}
