/**
 * What the demo tells people when it cannot go on.
 */
import { isTidemarkError } from 'tidemark/core'

/** A failure with a message that says what to do. */
export class DemoError extends Error {
  override readonly name: string = 'DemoError'
}

/** The message for people; undefined for what can only be a bug and needs its stack. */
export function describeFailure(error: unknown): string | undefined {
  if (error instanceof DemoError) return error.message
  if (isTidemarkError(error)) return `${error.message} (${error.code})${hintOn(error.code)}`
  return undefined
}

function hintOn(code: string): string {
  switch (code) {
    case 'unauthenticated':
    case 'forbidden':
      return '\nThe server wants to know who we are; the demo has no token. Use a server started with --dev, or --alone.'
    case 'store-foreign':
    case 'replica-restored':
    case 'replica-cloned':
    case 'gap':
      return '\nThe stores of the demo and the server do not belong together (any more): --reset starts over.'
    case 'timeout':
    case 'offline':
      return '\nThe server went away. What was written is safe: run the demo again when it is back.'
    default:
      return ''
  }
}
