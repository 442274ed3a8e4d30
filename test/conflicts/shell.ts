/**
 * A shell: runs a command of the command line in this process, and gathers what it prints and how it exits.
 */
import type { Command } from 'commander'
import { vi } from 'vitest'

export interface Outcome {
  readonly out: string
  readonly problem: string
  readonly code: number
}

export async function runCommand(program: Command, args: readonly string[]): Promise<Outcome> {
  const outcome = { out: '', problem: '', code: 0 }
  const gather = (to: 'out' | 'problem') => {
    return (text: string | Uint8Array): boolean => {
      outcome[to] += String(text)
      return true
    }
  }
  const toOut = vi.spyOn(process.stdout, 'write').mockImplementation(gather('out'))
  const toProblem = vi.spyOn(process.stderr, 'write').mockImplementation(gather('problem'))
  const exitCode = process.exitCode
  for (const each of [program, ...program.commands]) each.exitOverride()
  try {
    await program.parseAsync([...args], { from: 'user' })
    outcome.code = Number(process.exitCode ?? 0)
  } catch (error) {
    outcome.code = (error as { exitCode?: number }).exitCode ?? 70
    if (outcome.code === 70) throw error
  } finally {
    process.exitCode = exitCode
    toOut.mockRestore()
    toProblem.mockRestore()
  }
  return outcome
}
