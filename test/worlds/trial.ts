/**
 * One world from its beginning to its end, judged after every step that brings two together, and in the end.
 */
import { compareWitnesses, type WorldCensus } from './judge.ts'
import type { Step, WorldPlan } from './plan.ts'
import { type CreateStore, World } from './world.ts'

/** After these, somebody may have what somebody else has. */
const MEETINGS: readonly Step['type'][] = ['sync', 'snapshot', 'repair', 'redefine', 'renew', 'restart']

/** Throws where two replicas with equal clocks differ, or where the engine fails. */
export async function tryWorld(plan: WorldPlan, census: WorldCensus, createStore?: CreateStore): Promise<void> {
  const world = await World.begin(plan, createStore)
  for (const step of plan.steps) {
    await world.take(step)
    if (MEETINGS.includes(step.type)) await compareWitnesses(world, census, false)
  }
  await world.settle()
  await compareWitnesses(world, census, true)
  for (const member of world.members) await member.open(world.definition)
  await compareWitnesses(world, census, true)
}

/** The plan as code: a test for it to be kept. */
export function planToCode(plan: WorldPlan): string {
  const { steps, ...rest } = plan
  const lines = Object.entries(rest).map(([name, value]) => `  ${name}: ${toLiteral(value)},`)
  return ['{', ...lines, '  steps: [', ...steps.map((step) => `    ${toLiteral(step)},`), '  ],', '}'].join('\n')
}

function toLiteral(value: unknown): string {
  if (typeof value === 'string') return `'${value}'`
  if (Array.isArray(value)) return `[${value.map(toLiteral).join(', ')}]`
  if (typeof value !== 'object' || value === null) return String(value)
  const entries = Object.entries(value).map(([name, each]) => `${name}: ${toLiteral(each)}`)
  return entries.length === 0 ? '{}' : `{ ${entries.join(', ')} }`
}
