/**
 * Numbers on the command lines of the long tests: whole, and from a bound; anything else is told to whoever typed it.
 */
import { InvalidArgumentError } from 'commander'

/** A parser for an option of commander. */
export const wholeNumber =
  (least: number) =>
  (text: string): number => {
    const number = Number(text)
    if (!Number.isInteger(number) || number < least)
      throw new InvalidArgumentError(`It is not a whole number from ${least}.`)
    return number
  }

export const count: (text: string) => number = wholeNumber(1)
