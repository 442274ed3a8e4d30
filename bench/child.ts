/**
 * A process of the benchmark: one task, one answer.
 *
 * Knows: how to start a task in a fresh process and how to bound it. Must never know: what the task measures.
 * 1. A process does one task and ends; it also ends when its parent is gone.
 * 2. Every task has a time limit, after which its process is killed and the task has failed.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Figures, RunContext, Subject } from './workloads.ts'

export type Task =
  | { readonly type: 'list'; readonly file: string }
  | {
      readonly type: 'prepare' | 'run'
      readonly file: string
      readonly subject: SubjectKey
      readonly context: RunContext
    }
export type SubjectKey = Pick<Subject, 'name' | 'workload' | 'runsMax'> & { readonly isPrepared: boolean }
type Answer = { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly message: string }

export async function listSubjects(file: string): Promise<SubjectKey[]> {
  return (await runTask({ type: 'list', file }, 60)) as SubjectKey[]
}

export async function prepareSubject(file: string, subject: SubjectKey, context: RunContext): Promise<void> {
  if (subject.isPrepared) await runTask({ type: 'prepare', file, subject, context }, 300)
}

export async function runSubject(file: string, subject: SubjectKey, context: RunContext): Promise<Figures> {
  return (await runTask({ type: 'run', file, subject, context }, 300)) as Figures
}

function runTask(task: Task, secondsMax: number): Promise<unknown> {
  const child = forkFile(new URL(import.meta.url))
  return new Promise((resolve, reject) => {
    const limit = setTimeout(() => {
      child.kill('SIGKILL')
      reject(new Error(`no answer within ${secondsMax} s`))
    }, secondsMax * 1000)
    child.once('message', (answer: Answer) => {
      clearTimeout(limit)
      if (answer.ok) resolve(answer.value)
      else reject(new Error(answer.message))
    })
    child.once('exit', (code, signal) => {
      clearTimeout(limit)
      reject(new Error(`process ended without an answer (${signal ?? `code ${code}`})`))
    })
    child.send(task)
  })
}

/** Typed arrays survive the way (`advanced`); `--expose-gc` lets a measurement begin on a clean heap. */
export function forkFile(file: URL): ChildProcess {
  return fork(fileURLToPath(file), [], {
    serialization: 'advanced',
    // Without the path aliases of the repository: what is measured is the built package, as its users load it.
    env: { ...process.env, TSX_TSCONFIG_PATH: fileURLToPath(new URL('tsconfig.json', import.meta.url)) },
    execArgv: [...process.execArgv.filter((argument) => argument !== '--expose-gc'), '--expose-gc'],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
}

/** Most memory this process ever had. The kernel's own mark, because getrusage starts from the parent's. */
export function peakRssBytes(): number {
  try {
    const mark = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))
    if (mark) return Number(mark[1]) * 1024
  } catch {
    // not Linux
  }
  return process.resourceUsage().maxRSS * 1024
}

async function answer(task: Task): Promise<unknown> {
  const { subjects } = (await import(task.file)) as { subjects: readonly Subject[] }
  if (task.type === 'list') return subjects.map(subjectToKey)
  const subject = subjects.find(
    ({ name, workload }) => name === task.subject.name && workload === task.subject.workload,
  )
  if (!subject) throw new Error(`${task.file} has no ${task.subject.name} for ${task.subject.workload}`)
  if (task.type === 'prepare') return subject.prepare?.(task.context)
  const figures = await subject.run(task.context)
  return { peakRssBytes: peakRssBytes(), ...figures }
}

function subjectToKey({ name, workload, runsMax, prepare }: Subject): SubjectKey {
  return { name, workload, runsMax, isPrepared: prepare !== undefined }
}

async function serveTask(task: Task): Promise<void> {
  const result: Answer = await answer(task).then(
    (value) => ({ ok: true as const, value }),
    (error: unknown) => ({ ok: false as const, message: error instanceof Error ? String(error.stack) : String(error) }),
  )
  process.send?.(result, () => process.exit(0))
}

if (process.send && process.argv[1] === fileURLToPath(import.meta.url)) {
  process.once('disconnect', () => process.exit(1))
  process.once('message', (task: Task) => void serveTask(task))
}
