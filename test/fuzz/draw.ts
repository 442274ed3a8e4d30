/**
 * The frames of a fuzzing run: number i of a seed, for a client that stands where `target` says.
 *
 * Knows: samples and mutations. Must never know: what becomes of a frame.
 */
import type { Random } from '../simulation/random.ts'
import { bytesOf } from './craft.ts'
import { pushOf, type Target } from './killers.ts'
import { mutate } from './mutate.ts'
import { sampleBlocks, sampleFrames, sampleOwnBlock } from './samples.ts'

/** What frames are made from; the same for the same seed. */
export interface Material {
  readonly blocks: readonly Uint8Array[]
  readonly donors: readonly Uint8Array[]
}

export function createMaterial(seed: number, target: Target, random: Random): Material {
  const blocks = sampleBlocks(seed)
  return { blocks, donors: sampleFrames(target, blocks, random) }
}

const KINDS = { 'own push': 2, 'own block': 4, 'any frame': 5, 'valid push': 1 } as const

/** A frame that was valid once; now and then one that still is. */
export function drawFrame({ blocks, donors }: Material, target: Target, random: Random): Uint8Array {
  switch (random.weighted(KINDS)) {
    case 'valid push':
      return pushOf(sampleOwnBlock(target, random))
    case 'own push':
      return mutate(pushOf(sampleOwnBlock(target, random)), donors, random)
    case 'own block':
      return pushOf(mutateBody(sampleOwnBlock(target, random), donors, random))
    case 'any frame':
      return mutate(random.pick(sampleFrames(target, blocks, random)), donors, random)
  }
}

/** Format, counts, and the only author's id. */
const HEAD_BYTES = 4 + 16

/** Mutates what comes after the author's id, mostly: a push of somebody else is refused before it is looked at. */
function mutateBody(block: Uint8Array, donors: readonly Uint8Array[], random: Random): Uint8Array {
  const bodyAt = random.chance(0.8) ? HEAD_BYTES : 0
  return bytesOf(block.subarray(0, bodyAt), mutate(block.subarray(bodyAt), donors, random))
}
