/**
 * Frames that did harm once, each kept with a sentence (corpus.json). They are fired with the hand-made ones.
 */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Killer } from './killers.ts'

export interface KeptFrame {
  readonly sentence: string
  /** Base64. */
  readonly frame: string
}

export const corpusPath = fileURLToPath(new URL('corpus.json', import.meta.url))

export function keptKillers(): Killer[] {
  const kept = JSON.parse(readFileSync(corpusPath, 'utf8')) as readonly KeptFrame[]
  return kept.map(({ sentence, frame }) => ({ sentence, frame: () => Uint8Array.from(Buffer.from(frame, 'base64')) }))
}
