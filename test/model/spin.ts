/**
 * The model checker Spin, as a program: from a model to a verdict.
 *
 * Knows: Spin, the C compiler, what their output says. Must never know: what a model is about.
 *
 * Invariant SP1: a search that did not come to its end proves nothing, and is an error.
 */
import { execFile, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Model } from './models.ts'

export interface SpinVerdict {
  readonly states: number
  readonly seconds: number
  /** The steps of the shortest counterexample; undefined when there is none. */
  readonly story: readonly string[] | undefined
}

const FOLDER = fileURLToPath(new URL('.', import.meta.url))
/** More than any run of these models is long; Spin keeps a stack of so many steps. */
const DEPTH = 10_000
const MEMORY_MB = 6_000
const OUTPUT_MAX = 1 << 26

/** What is missing to run models; empty when nothing is. */
export function missingPrograms(): string[] {
  return ['spin', 'gcc'].filter((program) => spawnSync(program, [program === 'spin' ? '-V' : '--version']).status !== 0)
}

export async function runModel(model: Model): Promise<SpinVerdict> {
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-model-'))
  const startedAt = performance.now()
  try {
    const source = join(FOLDER, model.file)
    // The shortest counterexample is found by breadth, and a proof takes less memory by depth.
    const isFailing = model.failsBecause !== undefined
    const defines = [...model.defines, ...(isFailing ? ['BREADTH'] : [])].map((each) => `-D${each}`)
    await run('spin', [...defines, '-a', source], folder)
    const search = isFailing ? ['-DBFS'] : model.isLong ? ['-DHC4'] : ['-DCOLLAPSE']
    await run('gcc', ['-O2', '-w', '-DSAFETY', ...search, `-DMEMLIM=${MEMORY_MB}`, '-o', 'pan', 'pan.c'], folder)
    const output = await run(join(folder, 'pan'), [`-m${DEPTH}`, '-E'], folder)
    const seconds = (performance.now() - startedAt) / 1_000
    const states = Number(/(\d+) states, stored/.exec(output)?.[1] ?? 0)
    const trail = join(folder, `${model.file}.trail`)
    if (existsSync(trail)) return { states, seconds, story: await tell(source, defines, trail, folder) }
    if (
      !/errors: 0\b/.test(output) ||
      /not completed|too small|memory/.test(output.replaceAll(/^.*(usage|used for).*$/gm, ''))
    )
      throw new Error(`the search did not come to its end:\n${output.slice(-2_000)}`)
    return { states, seconds, story: undefined }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** The steps of a counterexample, as the model prints them. */
async function tell(source: string, defines: readonly string[], trail: string, folder: string): Promise<string[]> {
  const output = await run('spin', [...defines, '-k', trail, '-T', source], folder)
  const lines = output.split('\n').map((line) => line.trim())
  return lines.filter((line) => /^(replica|member|the server|node) /.test(line))
}

function run(program: string, options: readonly string[], folder: string): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(program, options, { cwd: folder, maxBuffer: OUTPUT_MAX }, (error, stdout, stderr) => {
      if (error === null) return resolve(stdout)
      // A model that fails ends well; what does not is a program that could not do its work.
      reject(new Error(`${program} ${options.join(' ')}: ${error.message}\n${stdout.slice(-2_000)}${stderr}`))
    })
  })
}
