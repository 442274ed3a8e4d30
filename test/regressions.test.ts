/** docs/regressions.md against the tests: every mistake has one with its number, or waits for what is not built. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const MISTAKES = 30
/** Change capture and collection are not built. */
const WAITING = [16, 18, 19, 20]

const root = fileURLToPath(new URL('..', import.meta.url))
const read = (path: string): string => readFileSync(join(root, path), 'utf8')

const rows = [...read('docs/regressions.md').matchAll(/^\| (\d+) \| [^|]+ \| ([^|]+) \|$/gm)].map(
  ([, number, place = '']) => ({ number: Number(number), place }),
)

/** The numbers that the names of a file's tests carry: "regression 7", "regressions 4 and 5". */
function numbersIn(path: string): Set<number> {
  const named = read(path).matchAll(/regressions? (\d+)(?: and (\d+))?/gi)
  return new Set([...named].flatMap(([, ...numbers]) => numbers.filter((text) => text !== undefined).map(Number)))
}

test('every mistake is listed once', () => {
  expect(rows.map(({ number }) => number)).toEqual(Array.from({ length: MISTAKES }, (_, at) => at + 1))
})

test('each is tried in the files that are named, under its number, or waits', () => {
  const wrong: string[] = []
  for (const { number, place } of rows) {
    const files = [...place.matchAll(/`([^`]+)`/g)].map(([, file = '']) => file)
    if (WAITING.includes(number) ? files.length > 0 || !place.startsWith('waits for') : files.length === 0) {
      wrong.push(`${number}: ${place}`)
    }
    for (const file of files) if (!numbersIn(file).has(number)) wrong.push(`${file} has no regression ${number}`)
  }
  expect(wrong).toEqual([])
})
