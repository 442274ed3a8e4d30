/**
 * How a command ends that could not do what it was asked for: with what is wrong, what to do, and exit code 1.
 */
import { isTidemarkError } from '../../core/index.ts'

/** Bugs go on to the process, with their stack. */
export async function orFail(work: () => Promise<void>, prefix = ''): Promise<void> {
  try {
    await work()
  } catch (error) {
    if (!isTidemarkError(error)) throw error
    for (const line of error.message.split('\n')) process.stderr.write(`tidemark: ${prefix}${line}\n`)
    process.exitCode = 1
  }
}
