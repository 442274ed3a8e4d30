/**
 * The judge of a world: everything that an app can see of a replica, spelled out, and whether those with equal clocks say the
 * same.
 *
 * Knows: what two replicas must have in common, and what is each one's own affair: how long it remembers conflicts, whether it
 * tells values, and how far back its log goes. Must never know: what any of it should be.
 */
import type { Conflict, Explanation, Replica, VectorClock } from '../../core/index.ts'
import { readingReplica } from '../../core/server-door.ts'
import { definitionOf } from './definitions.ts'
import type { Cells, Member } from './member.ts'
import { IDS, spell } from './values.ts'
import type { World } from './world.ts'

/** Somebody who answers: a member, or the server by its operator's view. */
interface Witness {
  readonly name: string
  readonly replica: Replica<Cells>
  /** It has every change in its log. */
  readonly hasWholeLog: boolean
  /** It tells of every settled conflict. */
  readonly tellsAll: boolean
  readonly isRedacted: boolean
}

export interface WorldCensus {
  comparisons: number
  conflicts: number
  crowded: number
  settled: number
  fallbacks: number
}

export const EMPTY_CENSUS: WorldCensus = { comparisons: 0, conflicts: 0, crowded: 0, settled: 0, fallbacks: 0 }

/** Compares all who have equal clocks. Throws where two of them differ. */
export async function compareWitnesses(world: World, census: WorldCensus, isEnd: boolean): Promise<void> {
  const groups = new Map<string, Witness[]>()
  for (const witness of await witnessesOf(world)) {
    const clock = spellClock(witness.replica.clock)
    groups.set(clock, [...(groups.get(clock) ?? []), witness])
  }
  if (isEnd && groups.size > 1)
    throw new Error(`clocks differ after everything was exchanged: ${[...groups.keys()].join(' / ')}`)
  for (const witnesses of groups.values()) {
    if (witnesses.length < 2) continue
    await compareGroup(world, witnesses, census)
    if (!isEnd) continue
    for (const view of world.plan.views) {
      await compareGroup(
        world,
        witnesses.map((witness) => withDefinition(world, witness, view)),
        census,
      )
    }
  }
}

async function witnessesOf(world: World): Promise<Witness[]> {
  const witnesses: Witness[] = []
  for (const member of world.members) if (await member.isSettled()) witnesses.push(await toWitness(member))
  const server = world.viewOfServer(world.definition)
  if (server !== undefined)
    witnesses.push({ name: 'the server', replica: server, hasWholeLog: true, tellsAll: true, isRedacted: false })
  return witnesses
}

async function toWitness({ name, replica, journal, follower, hasErased }: Member): Promise<Witness> {
  await expectFollowed(name, replica, follower)
  return {
    name,
    replica,
    hasWholeLog: holdsEveryChange(replica),
    tellsAll: journal.isKept && journal.keptDays === undefined && !hasErased,
    isRedacted: journal.isRedacted,
  }
}

/** What a snapshot brought is not in the log. */
function holdsEveryChange({ clock, ledger }: Replica<Cells>): boolean {
  let changes = 0
  for (const [, seq] of clock.entries()) changes += seq
  return ledger.state.meta.nextPosition - 1 === changes
}

function withDefinition(world: World, witness: Witness, view: string): Witness {
  const definition = { ...definitionOf(view), journal: { isKept: true, isRedacted: false } }
  const replica = readingReplica(witness.replica.ledger, new Map([['cells', definition]]), world.now)
  const { name, hasWholeLog } = witness
  return {
    name: `${name} by ${view}`,
    replica: replica as unknown as Replica<Cells>,
    hasWholeLog,
    tellsAll: false,
    isRedacted: false,
  }
}

function spellClock(clock: VectorClock): string {
  return [...clock.entries()]
    .filter(([, seq]) => seq > 0)
    .map(([replica, seq]) => `${replica}:${seq}`)
    .sort()
    .join(' ')
}

// ── Comparing ───────────────────────────────────────────────────────────────────────────────────────────────────────

async function compareGroup(world: World, witnesses: readonly Witness[], census: WorldCensus): Promise<void> {
  const [first, ...others] = witnesses as [Witness, ...Witness[]]
  const answers = await answersOf(first, world)
  count(answers, census)
  for (const other of others) {
    const theirs = await answersOf(other, world)
    const lens: Lens = {
      hasLog: first.hasWholeLog && other.hasWholeLog,
      isRedacted: first.isRedacted || other.isRedacted,
    }
    census.comparisons++
    for (const [question, answer] of answers.shown) {
      expectSame(
        `${first.name} and ${other.name}: ${question}`,
        see(answer, lens),
        see(theirs.shown.get(question), lens),
      )
    }
    for (const [id, report] of answers.reports) {
      const their = theirs.reports.get(id)
      if (their === undefined ? !other.tellsAll : report === undefined && !first.tellsAll) continue
      if (!lens.hasLog && [report, their].some((each) => each === undefined || each.isPartial === true)) continue
      expectSame(`${first.name} and ${other.name}: report ${id}`, see(report, lens), see(their, lens))
    }
  }
}

interface Answers {
  readonly shown: ReadonlyMap<string, unknown>
  readonly reports: ReadonlyMap<string, Conflict | undefined>
  readonly open: readonly Conflict[]
  readonly explanations: readonly Explanation[]
}

async function answersOf({ replica }: Witness, world: World): Promise<Answers> {
  const shown = new Map<string, unknown>()
  const explanations: Explanation[] = []
  const cells = replica.table('cells')
  for (const [name, id] of Object.entries(IDS)) {
    shown.set(`row ${name}`, await cells.get(id))
    const explanation = await replica.explain('cells', id)
    explanations.push(explanation)
    shown.set(`explanation of ${name}`, explanation)
  }
  const rows: unknown[] = []
  for await (const row of cells.scan()) rows.push(row)
  shown.set('all rows', rows)
  const open: Conflict[] = []
  for await (const conflict of replica.conflicts.open()) open.push(conflict)
  open.sort((a, b) => (a.id < b.id ? -1 : 1))
  shown.set('open conflicts', open)
  shown.set('digest', await replica.digest())
  shown.set('rows in conflict', replica.ledger.state.meta.conflicts)
  const reports = new Map<string, Conflict | undefined>()
  for (const id of world.ids) reports.set(id, await replica.conflicts.get(id))
  for (const conflict of open)
    expectSame(`open report ${conflict.id}`, spell(conflict), spell(reports.get(conflict.id)))
  return { shown, reports, open, explanations }
}

function count({ open, explanations, reports }: Answers, census: WorldCensus): void {
  census.conflicts += open.length
  census.crowded += explanations.filter(({ heads }) => heads.length > 2).length
  census.fallbacks += explanations.filter(({ fallback }) => fallback !== undefined).length
  census.settled += [...reports.values()].filter((report) => report !== undefined).length - open.length
}

// ── Through what is each one's own affair ───────────────────────────────────────────────────────────────────────────

interface Lens {
  readonly hasLog: boolean
  readonly isRedacted: boolean
}

/** The answer without what only the log knows, or without values, where one of the two does not tell. */
function see(answer: unknown, lens: Lens): string {
  return spell(without(answer, hidden(lens)))
}

const OF_THE_LOG = ['context', 'base', 'overwrote']
const OF_VALUES = ['values', 'base', 'overwrote', 'competedWith', 'fallback', 'reason']

function hidden({ hasLog, isRedacted }: Lens): ReadonlySet<string> {
  return new Set([...(hasLog ? [] : OF_THE_LOG), ...(isRedacted ? OF_VALUES : [])])
}

function without(answer: unknown, names: ReadonlySet<string>): unknown {
  if (names.size === 0 || typeof answer !== 'object' || answer === null) return answer
  if (answer instanceof Date || answer instanceof Uint8Array) return answer
  if (Array.isArray(answer)) return answer.map((each) => without(each, names))
  return Object.fromEntries(
    Object.entries(answer)
      .filter(([name]) => !names.has(name))
      .map(([name, value]) => [name, without(value, names)]),
  )
}

function expectSame(what: string, left: string, right: string): void {
  if (left === right) return
  let at = 0
  while (left[at] === right[at]) at++
  const around = (text: string): string => `${at > 300 ? '…' : ''}${text.slice(Math.max(0, at - 300), at + 500)}`
  throw new Error(`they differ in ${what}\n   one: ${around(left)}\n other: ${around(right)}`)
}

/** What an app that goes by events alone knows is what a question would have told it. */
async function expectFollowed(name: string, replica: Replica<Cells>, follower: Member['follower']): Promise<void> {
  const rows = new Map<string, string>()
  for await (const row of replica.table('cells').scan()) rows.set(row.id, spell(row))
  expectSame(`${name}: rows by events`, spellMap(follower.rows), spellMap(rows))
  const open = new Map<string, Conflict>()
  for await (const conflict of replica.conflicts.open()) open.set(conflict.id, conflict)
  const lens: Lens = { hasLog: false, isRedacted: false }
  const form = (conflicts: ReadonlyMap<string, Conflict>): string =>
    spellMap(new Map([...conflicts].map(([id, conflict]) => [id, see(conflict, lens)])))
  expectSame(`${name}: conflicts by events`, form(follower.open), form(open))
}

function spellMap(map: ReadonlyMap<string, string>): string {
  return [...map.keys()]
    .sort()
    .map((key) => `${key} ${map.get(key)}`)
    .join('\n')
}
