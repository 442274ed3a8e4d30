/**
 * From figures to a table and to results.json.
 *
 * Knows: medians, units, ratios, the machine. Must never know: how anything was measured.
 * 1. A ratio compares medians of the same run of the command, and above 1 always means that Tidemark is better.
 * 2. results.json keeps runs with and without peers apart; a new run replaces the workloads it measured, no others.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus, release, totalmem, type } from 'node:os'
import { type FigureKind, type FigureName, type Figures, figureKinds, type WorkloadId, workloads } from './workloads.ts'

export type Spread = { readonly median: number; readonly min: number; readonly max: number; readonly runs: number }
export type SubjectResult = {
  readonly figures: Readonly<Partial<Record<FigureName, Spread>>>
  /** Why runs are missing: the first line of the error. */
  readonly failures: readonly string[]
}
export type Section = {
  readonly title: string
  readonly measuredAt: string
  readonly machine: Machine
  readonly subjects: Readonly<Record<string, SubjectResult>>
  /** Tidemark subject → peer → figure → how many times better Tidemark is. */
  readonly ratios: Readonly<Record<string, Readonly<Record<string, Readonly<Partial<Record<FigureName, number>>>>>>>
}
export type Machine = {
  readonly cpu: string
  readonly cores: number
  readonly memoryGB: number
  readonly system: string
  readonly node: string
}

export function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  const median = sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
  return { median, min: sorted[0], max: sorted[sorted.length - 1], runs: sorted.length }
}

export function subjectResult(runs: readonly Figures[], failures: readonly string[]): SubjectResult {
  const names = new Set(runs.flatMap((figures) => Object.keys(figures) as FigureName[]))
  const spreads = [...names].map((name) => [name, spreadOf(runs.flatMap((figures) => figures[name] ?? []))])
  return { figures: Object.fromEntries(spreads), failures: failures.map((failure) => failure.split('\n')[0]) }
}

export function createSection(
  workload: WorkloadId,
  subjects: Readonly<Record<string, SubjectResult>>,
  isTidemark: (name: string) => boolean,
): Section {
  const names = Object.keys(subjects)
  const peersOf = (own: string) =>
    names.filter((name) => !isTidemark(name)).map((peer) => [peer, ratiosOf(subjects[own], subjects[peer])])
  const ratios = names.filter(isTidemark).map((own) => [own, Object.fromEntries(peersOf(own))])
  return {
    title: workloads[workload].title,
    measuredAt: new Date().toISOString(),
    machine: describeMachine(),
    subjects,
    ratios: Object.fromEntries(ratios),
  }
}

function ratiosOf(own: SubjectResult, peer: SubjectResult): Partial<Record<FigureName, number>> {
  const ratios: Partial<Record<FigureName, number>> = {}
  for (const name of Object.keys(own.figures) as FigureName[]) {
    const [a, b] = [own.figures[name]?.median, peer.figures[name]?.median]
    if (!a || !b) continue
    ratios[name] = Number((figureKinds[name].better === 'more' ? a / b : b / a).toFixed(3))
  }
  return ratios
}

export function describeMachine(): Machine {
  const processors = cpus()
  return {
    cpu: processors[0]?.model.trim() ?? 'unknown',
    cores: processors.length,
    memoryGB: Math.round(totalmem() / 2 ** 30),
    system: `${type()} ${release()} ${process.arch}`,
    node: process.version,
  }
}

/** One line for people. */
export function machineLine(): string {
  const { cpu, cores, memoryGB, system, node } = describeMachine()
  return `${cpu}, ${cores} cores, ${memoryGB} GB, ${system}, Node ${node}, ${new Date().toISOString().slice(0, 10)}`
}

export function saveSections(
  file: string,
  kind: 'alone' | 'withPeers',
  sections: Readonly<Partial<Record<WorkloadId, Section>>>,
): void {
  const kept = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Record<string, object>) : {}
  const order = Object.keys(workloads)
  const merged = Object.entries({ ...kept[kind], ...sections }).sort(([a], [b]) => order.indexOf(a) - order.indexOf(b))
  writeFileSync(file, `${JSON.stringify({ ...kept, [kind]: Object.fromEntries(merged) }, null, 2)}\n`)
}

/** The section as text: figures of every subject, then one ratio row per Tidemark subject and peer. */
export function sectionText(workload: WorkloadId, section: Section): string {
  const listed: readonly FigureName[] = workloads[workload].figures
  const names = listed.filter((name) => Object.values(section.subjects).some(({ figures }) => figures[name]))
  const figureRows = Object.entries(section.subjects).map(([subject, { figures }]) => [
    subject,
    ...names.map((name) => spreadText(name, figures[name])),
  ])
  const ratioRows = Object.entries(section.ratios).flatMap(([own, peers]) =>
    Object.entries(peers)
      .filter(([, ratios]) => Object.keys(ratios).length > 0)
      .map(([peer, ratios]) => [
        `${own} : ${peer}`,
        ...names.map((name) => (ratios[name] === undefined ? '' : `${ratios[name].toPrecision(3)}×`)),
      ]),
  )
  const head = [`${workload}`, ...names.map((name) => figureKinds[name].label)]
  const failures = Object.entries(section.subjects).flatMap(([subject, { failures }]) =>
    failures.map((failure) => `  ! ${subject}: ${failure}`),
  )
  return [`${workload}  ${section.title}`, ...tableLines(head, [...figureRows, ...ratioRows]), ...failures].join('\n')
}

function spreadText(name: FigureName, spread: Spread | undefined): string {
  if (!spread) return '-'
  const { unit }: FigureKind = figureKinds[name]
  const [median, min, max] = [spread.median, spread.min, spread.max].map((amount) => amountText(amount, unit))
  return min === max ? median : `${median} (${min}-${max})`
}

export function amountText(amount: number, unit: FigureKind['unit']): string {
  if (unit === 'per second') return amount >= 10_000 ? `${(amount / 1000).toFixed(0)}k` : amount.toFixed(0)
  if (unit === 'MB') return `${(amount / 1e6).toFixed(1)} MB`
  if (unit === 'bytes') return `${amount.toFixed(amount < 100 ? 1 : 0)} B`
  if (unit === 'times') return `${Number(amount.toFixed(2))}`
  if (unit === 's') return `${amount.toFixed(3)} s`
  return `${amount.toFixed(amount < 100 ? 1 : 0)} ${unit}`
}

function tableLines(head: readonly string[], body: readonly (readonly string[])[]): string[] {
  const widths = head.map((title, column) => Math.max(title.length, ...body.map((row) => row[column].length)))
  const line = (row: readonly string[]) =>
    `  ${row.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column]))).join('  ')}`
  return [line(head), `  ${widths.map((width) => '-'.repeat(width)).join('  ')}`, ...body.map(line)]
}
