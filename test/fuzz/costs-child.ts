/**
 * Measures what decoding takes, frame by frame, and tells its parent: `costs-child.ts <mutated frames>`.
 *
 * Of several runs the fastest counts, for other processes want the processor too; of what they allocate the median.
 */
import { memoryUsage } from 'node:process'
import { Random } from '../simulation/random.ts'
import { keptKillers } from './corpus.ts'
import { createMaterial, drawFrame } from './draw.ts'
import { decodeOnly, startWatch } from './judge.ts'
import { allKillers, type Target } from './killers.ts'

export interface FrameCost {
  readonly sentence: string
  readonly isRefused: boolean
  readonly ms: number
  /** Allocated while it was decoded, whether it is kept or not. */
  readonly bytes: number
}

const RUNS = 5
/** Above this a measurement is repeated even more often. */
const DEAR_MS = 15
const RUNS_OF_DEAR = 30
const SEED = 1
/** The young generation has 64 MiB, and no frame may take more than 12. */
const ROOM_BYTES = 32 * 1024 * 1024
let heapFloor = 0

const TARGET: Target = {
  tenant: 'acme',
  replica: '0a000000-0000-4000-8000-000000000001',
  nextSeq: 1,
  server: '0b000000-0000-4000-8000-000000000002',
  logId: '0c000000-0000-4000-8000-000000000003',
  epoch: 1,
  position: 10,
}

function* frames(mutated: number): Generator<{ readonly sentence: string; readonly frame: Uint8Array }> {
  for (const { sentence, frame } of [...allKillers(), ...keptKillers()]) yield { sentence, frame: frame(TARGET) }
  const material = createMaterial(SEED, TARGET, new Random('costs'))
  for (let number = 0; number < mutated; number++) {
    const frame = drawFrame(material, TARGET, new Random(`${SEED}/${number}`))
    yield { sentence: `Mutated frame ${number} of seed ${SEED}.`, frame }
  }
}

function measure(sentence: string, frame: Uint8Array): FrameCost {
  let ms = Number.POSITIVE_INFINITY
  let isRefused = false
  const allocated: number[] = []
  for (let run = 0; run < RUNS || (ms > DEAR_MS && run < RUNS_OF_DEAR); run++) {
    makeRoom()
    const before = memoryUsage()
    const watch = startWatch()
    const outcome = decodeOnly(frame)
    ms = Math.min(ms, watch())
    const after = memoryUsage()
    const bytes = after.heapUsed + after.external - before.heapUsed - before.external
    // Less than before: a collection came all the same.
    if (bytes >= 0) allocated.push(bytes)
    isRefused = outcome.code !== undefined
  }
  allocated.sort((a, b) => a - b)
  return { sentence, isRefused, ms, bytes: allocated[allocated.length >> 1] ?? Number.POSITIVE_INFINITY }
}

/** No collection may fall into a measurement: it would take away what was just allocated. */
function makeRoom(): void {
  if (memoryUsage().heapUsed - heapFloor < ROOM_BYTES) return
  globalThis.gc?.()
  heapFloor = memoryUsage().heapUsed
}

const costs: FrameCost[] = []
for (const { sentence, frame } of frames(Number(process.argv[2]))) costs.push(measure(sentence, frame))
process.send?.(costs, () => process.disconnect())
