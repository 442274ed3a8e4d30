/**
 * The log for people: the same lines as log.ts writes, as time, message and fields.
 */
import { pino } from 'pino'
import type { Logger } from './log.ts'

/** pino's number for the level. */
const WARN = 40
/** Shown first, or not at all. */
const HIDDEN = new Set(['level', 'time', 'msg'])

export function createPrettyLogger(level: string): Logger {
  return pino({ level, base: null }, { write: (line: string) => void process.stdout.write(toText(line)) })
}

function toText(line: string): string {
  const fields = JSON.parse(line) as Record<string, unknown>
  const { time, level, msg } = fields
  const clock = new Date(Number(time)).toLocaleTimeString('en-GB')
  const isTrouble = Number(level) >= WARN
  const shown = Object.entries(fields)
    .filter(([name]) => !HIDDEN.has(name))
    .map(([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
  return `${clock} ${isTrouble ? '! ' : ''}${String(msg)}  ${shown.join(' ')}\n`
}
