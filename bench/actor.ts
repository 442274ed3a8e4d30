/**
 * A helper process with methods, for measurements that need a server or clients of their own.
 *
 * Knows: calls over the process channel. Must never know: what a method does.
 * 1. The process lives until `stop`, or until the process that started it is gone.
 * 2. Every call has a time limit.
 */
import { fileURLToPath } from 'node:url'
import { forkFile } from './child.ts'

/** What an actor's factory returns; arguments and results are values that structured clone can carry. */
// biome-ignore lint/suspicious/noExplicitAny: a method takes whatever its own caller agreed on with it.
export type Methods = { readonly [name: string]: (argument: any) => unknown }
export type Actor<Offered extends Methods> = {
  readonly call: <Name extends keyof Offered & string>(
    name: Name,
    argument: Parameters<Offered[Name]>[0],
  ) => Promise<Awaited<ReturnType<Offered[Name]>>>
  readonly stop: () => void
}

type Birth = { readonly file: string; readonly factory: string; readonly argument: unknown }
type Call = { readonly id: number; readonly name: string; readonly argument: unknown }
type Reply = { readonly id: number; readonly value?: unknown; readonly failure?: string }

const callSecondsMax = 120

/** Starts `factory(argument)` of the module `file` (a URL) in a process of its own. */
export async function startActor<Offered extends Methods>(
  file: string,
  factory: string,
  argument: unknown,
): Promise<Actor<Offered>> {
  const child = forkFile(new URL(import.meta.url))
  const waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>()
  let calls = 0
  const failAll = (message: string) => {
    for (const { reject } of waiting.values()) reject(new Error(message))
    waiting.clear()
  }
  child.on('message', ({ id, value, failure }: Reply) => {
    const caller = waiting.get(id)
    waiting.delete(id)
    if (failure === undefined) caller?.resolve(value)
    else caller?.reject(new Error(failure))
  })
  child.once('exit', (code, signal) => failAll(`${factory} ended (${signal ?? `code ${code}`})`))
  const request = (message: object) =>
    new Promise<unknown>((resolve, reject) => {
      const id = calls++
      const limit = setTimeout(
        () => reject(new Error(`${factory}: no answer in ${callSecondsMax} s`)),
        callSecondsMax * 1000,
      )
      const settled =
        <Value>(settle: (value: Value) => void) =>
        (value: Value) => {
          clearTimeout(limit)
          settle(value)
        }
      waiting.set(id, { resolve: settled(resolve), reject: settled(reject) })
      child.send({ ...message, id })
    })
  await request({ file, factory, argument } satisfies Birth)
  return {
    call: (name, argument) => request({ name, argument }) as never,
    stop: () => void child.kill('SIGKILL'),
  }
}

function serveActor(): void {
  let methods: Methods = {}
  const answer = async (message: Call & Birth): Promise<unknown> => {
    if (message.file === undefined) return methods[message.name](message.argument)
    const module = (await import(message.file)) as Record<string, (argument: unknown) => Methods | Promise<Methods>>
    methods = await module[message.factory](message.argument)
    return undefined
  }
  process.once('disconnect', () => process.exit(1))
  process.on('message', (message: Call & Birth) => {
    const reply = (result: Omit<Reply, 'id'>) => process.send?.({ id: message.id, ...result })
    answer(message).then(
      (value) => reply({ value }),
      (error: unknown) => reply({ failure: error instanceof Error ? String(error.stack) : String(error) }),
    )
  })
}

if (process.send && process.argv[1] === fileURLToPath(import.meta.url)) serveActor()
