/**
 * The folder of the demo: one for each pair of tenant and server, because a replica that has synced with one server cannot
 * go on with another that lacks its past.
 *
 * Invariant: one demo at a time works in a folder. Two would be two programs that both think they are replica A.
 */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { DemoError } from './failure.ts'

export interface DemoFolder {
  readonly path: string
  readonly a: string
  readonly b: string
  /** Of the server that the demo starts itself. */
  readonly server: string
  release(): Promise<void>
}

/** `server`: the address of the server, or `own`. */
export async function claimFolder(data: string, tenant: string, server: string, isReset: boolean): Promise<DemoFolder> {
  const path = resolve(data, `${tenant}@${folderNameOf(server)}`)
  const lock = join(path, 'demo.pid')
  try {
    await mkdir(path, { recursive: true })
    await claim(lock)
  } catch (error) {
    if (error instanceof DemoError) throw error
    throw new DemoError(`${path} cannot be used: ${error instanceof Error ? error.message : String(error)}`)
  }
  const [a, b, own] = [join(path, 'a'), join(path, 'b'), join(path, 'server')]
  if (isReset) for (const store of [a, b, own]) await rm(store, { recursive: true, force: true })
  return { path, a, b, server: own, release: () => rm(lock, { force: true }) }
}

/** `http://localhost:7300` and `http://127.0.0.1:7300/` are one server. */
function folderNameOf(server: string): string {
  if (!URL.canParse(server)) return server
  const { host, pathname } = new URL(server)
  return `${host.replace('localhost', '127.0.0.1')}${pathname}`.replace(/\/$/, '').replaceAll(/[^A-Za-z0-9.]+/g, '-')
}

async function claim(lock: string): Promise<void> {
  for (;;) {
    try {
      return await writeFile(lock, String(process.pid), { flag: 'wx' })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
    const pid = Number(await readFile(lock, 'utf8').catch(() => '0'))
    if (isRunning(pid)) {
      throw new DemoError(
        `another demo (process ${pid}) works in this folder. Wait for it, or give another folder with --data. ` +
          `If there is none, delete ${lock}`,
      )
    }
    // Left behind by a demo that was killed: its stores are none the worse for it.
    await rm(lock, { force: true })
  }
}

function isRunning(pid: number): boolean {
  if (!Number.isInteger(pid) || pid < 1) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
