/**
 * Lines that can be broken: every place of a file where one small change makes another program.
 *
 * Knows: the syntax tree. Must never know: what a line is for, and who would find that it is broken.
 *
 * Invariants:
 * LB1  Each change stands on its own: one operator, one number, one condition, one statement.
 * LB2  The same file has the same list, in the order of its text.
 */
import { parseSync } from 'oxc-parser'

/** One small change to a file. */
export interface BrokenLine {
  readonly file: string
  /** From 1. */
  readonly line: number
  readonly start: number
  readonly end: number
  readonly replace: string
  /** Which kind of change, in a few words. */
  readonly kind: string
}

interface Node {
  readonly type: string
  readonly start: number
  readonly end: number
  readonly [key: string]: unknown
}

type Change = Pick<BrokenLine, 'start' | 'end' | 'replace' | 'kind'>

const SWAPPED: ReadonlyMap<string, readonly string[]> = new Map([
  ['<', ['<=', '>=']],
  ['<=', ['<', '>']],
  ['>', ['>=', '<=']],
  ['>=', ['>', '<']],
  ['===', ['!==']],
  ['!==', ['===']],
  ['&&', ['||']],
  ['||', ['&&']],
  ['+', ['-']],
  ['-', ['+']],
  ['*', ['/']],
  ['%', ['*']],
  ['<<', ['>>']],
  ['>>>', ['<<']],
  ['&', ['|']],
  ['|', ['&']],
  ['+=', ['-=']],
  ['-=', ['+=']],
  ['++', ['--']],
  ['--', ['++']],
])

const METHODS: ReadonlyMap<string, string> = new Map([
  ['min', 'max'],
  ['max', 'min'],
  ['some', 'every'],
  ['every', 'some'],
])

export function breakableLines(file: string, text: string): BrokenLine[] {
  const { program, errors } = parseSync(file, text, { sourceType: 'module' })
  if (errors.length > 0) throw new Error(`${file} cannot be read: ${errors[0]?.message}`)
  const changes: Change[] = []
  walk(program as unknown as Node, text, changes)
  changes.sort((a, b) => a.start - b.start || a.end - b.end || (a.replace < b.replace ? -1 : 1))
  return changes.map((change) => ({ ...change, file, line: text.slice(0, change.start).split('\n').length }))
}

/** The file with one line broken. */
export function breakLine(text: string, { start, end, replace }: BrokenLine): string {
  return text.slice(0, start) + replace + text.slice(end)
}

function walk(node: Node, text: string, changes: Change[]): void {
  // Types are the compiler's; they do nothing when the program runs.
  if (node.type.startsWith('TS') && !KEEPS_CODE.has(node.type)) return
  addChanges(node, text, changes)
  for (const value of Object.values(node)) {
    for (const child of Array.isArray(value) ? value : [value]) if (isNode(child)) walk(child, text, changes)
  }
}

const KEEPS_CODE: ReadonlySet<string> = new Set(['TSAsExpression', 'TSSatisfiesExpression', 'TSNonNullExpression'])

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && typeof (value as Node).type === 'string'
}

function addChanges(node: Node, text: string, changes: Change[]): void {
  switch (node.type) {
    case 'BinaryExpression':
    case 'LogicalExpression':
    case 'AssignmentExpression':
      return addOperators(node, text, changes)
    case 'UpdateExpression':
    case 'UnaryExpression':
      return addUnary(node, text, changes)
    case 'Literal':
      return addLiteral(node, changes)
    case 'IfStatement':
    case 'WhileStatement':
    case 'ConditionalExpression': {
      const test = node.test as Node
      const condition = text.slice(test.start, test.end)
      changes.push({ start: test.start, end: test.end, replace: `!(${condition})`, kind: 'condition turned round' })
      if (node.type === 'IfStatement' && node.alternate === null)
        changes.push({ start: node.start, end: node.end, replace: ';', kind: 'guarded statement dropped' })
      return
    }
    case 'ExpressionStatement':
      changes.push({ start: node.start, end: node.end, replace: ';', kind: 'statement dropped' })
      return
    case 'CallExpression': {
      const name = (node.callee as Node).property as Node | undefined
      const other = name?.type === 'Identifier' ? METHODS.get(String(name.name)) : undefined
      if (name !== undefined && other !== undefined)
        changes.push({ start: name.start, end: name.end, replace: other, kind: `${name.name} becomes ${other}` })
      return
    }
    case 'FunctionDeclaration':
    case 'FunctionExpression':
    case 'ArrowFunctionExpression': {
      const body = node.body as Node | null
      if (body?.type === 'BlockStatement' && (body.body as unknown[]).length > 0)
        changes.push({ start: body.start + 1, end: body.start + 1, replace: ' return;', kind: 'returns at once' })
      return
    }
    default:
  }
}

function addOperators(node: Node, text: string, changes: Change[]): void {
  const operator = String(node.operator)
  const left = node.left as Node
  const start = text.indexOf(operator, left.end)
  for (const other of SWAPPED.get(operator) ?? [])
    changes.push({ start, end: start + operator.length, replace: other, kind: `${operator} becomes ${other}` })
}

function addUnary(node: Node, text: string, changes: Change[]): void {
  const operator = String(node.operator)
  const argument = node.argument as Node
  if (operator === '!') changes.push({ start: node.start, end: argument.start, replace: '', kind: 'negation dropped' })
  const start = node.prefix === true ? node.start : text.indexOf(operator, argument.end)
  for (const other of node.type === 'UpdateExpression' ? (SWAPPED.get(operator) ?? []) : [])
    changes.push({ start, end: start + operator.length, replace: other, kind: `${operator} becomes ${other}` })
}

function addLiteral({ start, end, value }: Node, changes: Change[]): void {
  if (typeof value === 'boolean')
    changes.push({ start, end, replace: String(!value), kind: `${value} becomes ${!value}` })
  if (typeof value === 'number') {
    const other = value === 1 ? 0 : value + 1
    changes.push({ start, end, replace: String(other), kind: `${value} becomes ${other}` })
  }
}
