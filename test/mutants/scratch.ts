/**
 * Scratch copies of the sources: what a check needs to run, apart from the tree that people work in.
 */
import { cpSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const ROOT: string = fileURLToPath(new URL('../..', import.meta.url))

const COPIED = [
  'bench',
  'core',
  'tenant',
  'sync-client',
  'sync-server',
  'test',
  'package.json',
  'tsconfig.json',
  'vitest.config.ts',
]

export interface Scratch {
  readonly path: string
  remove(): void
}

/** A copy of everything but what is installed, which it shares. */
export function createScratch(): Scratch {
  const path = mkdtempSync(join(tmpdir(), 'tidemark-mutant-'))
  for (const name of COPIED) cpSync(join(ROOT, name), join(path, name), { recursive: true })
  symlinkSync(join(ROOT, 'node_modules'), join(path, 'node_modules'))
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) }
}
