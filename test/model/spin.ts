/**
 * The model checker Spin, as a program: from a model to what a search of it found.
 *
 * Knows: Spin, the C compiler, what their output says. Must never know: what a model is about.
 *
 * Invariants:
 * SP1  A search that did not come to its end proves nothing, and is an error.
 * SP2  States are stored whole. Hashes of 64 bits in their place left out 0.7 % of ten million.
 */
import { execFile, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

export interface Search {
  readonly file: string
  readonly defines: readonly string[]
  /** The shortest counterexample is found by breadth, and a proof takes less memory by depth. */
  readonly order: 'breadth' | 'depth'
  /** Told from time to time how many states there are. */
  readonly onStates: (states: number) => void
}

export interface Found {
  readonly states: number
  readonly seconds: number
  /** The steps of a counterexample; undefined when there is none. */
  readonly story: readonly string[] | undefined
  /** The lines that the model printed while it was searched, each once. */
  readonly said: ReadonlySet<string>
}

const FOLDER = fileURLToPath(new URL('.', import.meta.url))
/** More than any run of these models is long; Spin keeps a stack of so many steps. */
const DEPTH = 10_000
const MEMORY_MB = 7_000
const OUTPUT_MAX = 1 << 26
/** How the lines begin that models print to be read here; all others are Spin's. */
const SAID = /^(met:|state) /
const TOLD = /^(replica|member|the server|node) /

/** What is missing to run models; empty when nothing is. */
export function missingPrograms(): string[] {
  return ['spin', 'gcc'].filter((program) => spawnSync(program, [program === 'spin' ? '-V' : '--version']).status !== 0)
}

export async function searchModel({ file, defines, order, onStates }: Search): Promise<Found> {
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-model-'))
  const startedAt = performance.now()
  try {
    const source = join(FOLDER, file)
    const switches = [...defines, ...(order === 'breadth' ? ['BREADTH'] : [])].map((each) => `-D${each}`)
    await run('spin', [...switches, '-a', source], folder)
    const search = [order === 'breadth' ? '-DBFS' : '-DCOLLAPSE', ...(defines.includes('TELL') ? ['-DPRINTF'] : [])]
    await run('gcc', ['-O2', '-w', '-DSAFETY', ...search, `-DMEMLIM=${MEMORY_MB}`, '-o', 'pan', 'pan.c'], folder)
    const { output, said } = await watch(join(folder, 'pan'), [`-m${DEPTH}`, '-E'], folder, onStates)
    const seconds = (performance.now() - startedAt) / 1_000
    const states = Number(/(\d+) states, stored/.exec(output)?.[1] ?? 0)
    const trail = join(folder, `${file}.trail`)
    if (existsSync(trail)) return { states, seconds, story: await tell(source, switches, trail, folder), said }
    if (
      !/errors: 0\b/.test(output) ||
      /not completed|too small|memory/.test(output.replaceAll(/^.*(usage|used for).*$/gm, ''))
    )
      throw new Error(`the search did not come to its end:\n${output.slice(-2_000)}`)
    return { states, seconds, story: undefined, said }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** The steps of a counterexample, as the model prints them, up to the first thing that is wrong. */
async function tell(
  source: string,
  switches: readonly string[],
  trail: string,
  folder: string,
): Promise<readonly string[]> {
  const output = await run('spin', [...switches, '-k', trail, '-T', source], folder)
  const lines = output.split('\n').map((line) => line.trim())
  const wrong = lines.findIndex((line) => /assertion violated/.test(line))
  return lines.slice(0, wrong < 0 ? undefined : wrong).filter((line) => TOLD.test(line))
}

/** Runs a search, and hears it out line by line: what a model says may be more than fits into one text. */
async function watch(
  program: string,
  options: readonly string[],
  folder: string,
  onStates: (states: number) => void,
): Promise<{ output: string; said: Set<string> }> {
  const child = spawn(program, options, { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = new Promise<number>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => resolve(code ?? 1))
  })
  const said = new Set<string>()
  let output = ''
  for await (const line of createInterface({ input: child.stdout })) {
    const trimmed = line.trim()
    const states = /^Depth=.*States=\s*(\S+)/.exec(trimmed)?.[1]
    if (states !== undefined) onStates(Number(states))
    else if (SAID.test(trimmed)) said.add(trimmed)
    else if (!TOLD.test(trimmed) && output.length < OUTPUT_MAX) output += `${line}\n`
  }
  const code = await ended
  // A model that fails ends well; what does not is a program that could not do its work.
  if (code !== 0) throw new Error(`the search ended with ${code}:\n${output.slice(-2_000)}`)
  return { output, said }
}

function run(program: string, options: readonly string[], folder: string): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(program, options, { cwd: folder, maxBuffer: OUTPUT_MAX }, (error, stdout, stderr) => {
      if (error === null) return resolve(stdout)
      reject(new Error(`${program} ${options.join(' ')}: ${error.message}\n${stdout.slice(-2_000)}${stderr}`))
    })
  })
}
