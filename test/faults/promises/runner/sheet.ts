import { rowOrder, type Finding, type Promised } from './promise.ts'

export interface SheetLine extends Promised, Finding {
  /** File below test/faults/promises. */
  readonly module: string
  readonly seed: number
  /** How long its run took, with the start and end of its servers. */
  readonly seconds: number
}

export interface Sheet {
  readonly date: string
  readonly commit: string
  readonly machine: string
  readonly seed: number
  readonly seconds: number
  readonly lines: readonly SheetLine[]
}

export interface Rows {
  readonly passed: number
  readonly failed: number
  /** Rows that no module of this run was about. */
  readonly absent: readonly string[]
}

/** A row with several lines has passed when all of them have. */
export function rowsOf({ lines }: Sheet): Rows {
  const rows = new Set(lines.map(({ row }) => row))
  const broken = new Set(lines.filter(({ violations }) => violations.length > 0).map(({ row }) => row))
  return { passed: rows.size - broken.size, failed: broken.size, absent: rowOrder.filter((row) => !rows.has(row)) }
}

const number = (value: number): string => value.toLocaleString('en-US')

export function markdown(sheet: Sheet): string {
  const lines = sheet.lines.map(({ row, promise, method, cases, violations, seed }) => `| ${row} | ${promise} | ${method} | ${number(cases)} | ${violations.length} | ${seed} |`)
  const broken = sheet.lines.filter(({ violations }) => violations.length > 0)
  return [
    `${sheet.date}, ${sheet.commit}, ${sheet.machine}: ${sheet.seconds.toFixed(0)} s, \`npm run promises -- --seed ${sheet.seed}\``, '',
    '| row | promise | method | cases | violations | seed |', '|---|---|---|---:|---:|---:|', ...lines, '',
    ...broken.flatMap(({ row, module, violations }) => [`## Violations: ${row} (${module})`, '', ...violations.map((text) => `- ${text.replaceAll('\n', '\n  ')}`), '']),
  ].join('\n')
}

/** For a terminal: what was promised is in the Markdown. */
export function table(sheet: Sheet): string {
  const cells = [['row', 'module', 'cases', 'violations', 'seconds'], ...sheet.lines.map(({ row, module, cases, violations, seconds }) => [row, module, number(cases), number(violations.length), seconds.toFixed(0)])]
  const widths = [0, 1, 2, 3, 4].map((column) => Math.max(...cells.map((line) => line[column]?.length ?? 0)))
  return cells.map((line) => line.map((cell, column) => (column < 2 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0))).join('  ').trimEnd()).join('\n')
}
