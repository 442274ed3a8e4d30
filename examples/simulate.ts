/**
 * A policy and a store adapter in the simulator: the policy looks at the clock, and is found. Run it with
 * `npx tsx examples/simulate.ts`.
 */

// docs/simulation.md: begin
import fc from 'fast-check'
import { customField, table } from 'tidemark/core'
import { createMemoryDisk } from 'tidemark/stores/memory'
import { type SimulatedPlace, simulate } from 'tidemark/testing'

const rows = fc.record({ title: fc.constantFrom('red', 'green'), votes: fc.nat(9) })
const highest = customField('highest', 1, (versions) => Math.max(...versions.map(({ value }) => Number(value))))
const newest = customField(
  'newest',
  1,
  (versions) => versions.find(({ time }) => time > Date.now() - 5_000)?.value ?? 0,
)

/** Where one of your stores keeps its data: here in memory, which a crash leaves alone. */
function createPlace(): SimulatedPlace {
  const disk = createMemoryDisk()
  return { open: async () => disk.open(), crash: () => {}, cleanup: () => {} }
}

for (const policy of [highest, newest]) {
  const result = await simulate({
    schedules: 100,
    seed: 'example',
    tables: { tasks: { table: table({ fields: { votes: policy } }), rows } },
    stores: createPlace,
  })
  console.log(`${policy.name}: ${result.held ? 'every promise held' : result.failure?.text}`)
}
// docs/simulation.md: end
