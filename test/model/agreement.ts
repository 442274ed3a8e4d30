/**
 * Whether two models of collection say the same: the states that a node can be in, as both print them.
 *
 * Knows: the line that the models print for a state. Must never know: how they were searched.
 *
 * Invariant AG1: members have no names. States that differ in who is who are the same state; the server is always the server.
 */

const MEMBERS = 3
const WRITES = 2
const CHANGES = MEMBERS * WRITES

/** Every order of three. */
const ORDERS: readonly (readonly number[])[] = [
  [0, 1, 2],
  [0, 2, 1],
  [1, 0, 2],
  [1, 2, 0],
  [2, 0, 1],
  [2, 1, 0],
]

/** What one of the two has and the other lacks. */
export interface Agreement {
  readonly common: number
  readonly onlyLeft: readonly string[]
  readonly onlyRight: readonly string[]
}

export function compareStates(left: ReadonlySet<string>, right: ReadonlySet<string>): Agreement {
  const [mine, theirs] = [nameless(left), nameless(right)]
  const onlyLeft = [...mine].filter((state) => !theirs.has(state))
  const onlyRight = [...theirs].filter((state) => !mine.has(state))
  return { common: mine.size - onlyLeft.length, onlyLeft, onlyRight }
}

function nameless(lines: ReadonlySet<string>): Set<string> {
  const states = new Set<string>()
  for (const line of lines) {
    const numbers = line.split(' ').slice(1).map(Number)
    if (numbers.length !== 6 + CHANGES + MEMBERS || numbers.some(Number.isNaN))
      throw new Error(`this is no state: ${line}`)
    const renamed = ORDERS.map((order) => rename(numbers, order).join(' '))
    states.add(renamed.reduce((least, each) => (each < least ? each : least)))
  }
  return states
}

/** A state: node, held, inserts, deletes, what each change had seen, heads, versions, clock. */
function rename(numbers: readonly number[], order: readonly number[]): number[] {
  const at = (index: number): number => numbers[index] ?? 0
  const memberOf = (member: number): number => order[member] ?? member
  const changeOf = (change: number): number => memberOf(Math.floor(change / WRITES)) * WRITES + (change % WRITES)
  const setOf = (set: number): number => {
    let renamed = 0
    for (let change = 0; change < CHANGES; change++) if ((set >> change) & 1) renamed |= 1 << changeOf(change)
    return renamed
  }
  const seen = new Array<number>(CHANGES).fill(0)
  for (let change = 0; change < CHANGES; change++) seen[changeOf(change)] = setOf(at(4 + change))
  const clock = new Array<number>(MEMBERS).fill(0)
  for (let member = 0; member < MEMBERS; member++) clock[memberOf(member)] = at(6 + CHANGES + member)
  const node = at(0) === MEMBERS ? MEMBERS : memberOf(at(0))
  const sets = [at(1), at(2), at(3)].map(setOf)
  return [node, ...sets, ...seen, setOf(at(4 + CHANGES)), setOf(at(5 + CHANGES)), ...clock]
}
