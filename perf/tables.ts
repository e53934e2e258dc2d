import type { Sample } from './figure.ts'
import type { Results } from './report.ts'
import { byRound, ratiosOf, spreadOf, type Spread } from './samples.ts'
import { targets, type Check } from './targets.ts'

/** A check with what was found. */
export interface Finding {
  readonly label: string
  readonly what: string
  readonly must: string
  readonly aim: string
  /** Null: these samples have no figure for it. */
  readonly measured: string | null
  readonly mustHolds: boolean | null
  readonly aimHolds: boolean | null
}

/** Every goal, also those that this run has no figure for. */
export function findings(samples: readonly Sample[]): Finding[] {
  return targets.flatMap(({ label, checks }) => checks.map((check) => findingOf(label, check, samples)))
}

function findingOf(label: string, check: Check, samples: readonly Sample[]): Finding {
  const { figure, ours = 'holdfast', against, must, aim, better, bestOf, unit = '' } = check
  const present = against?.filter((peer) => samples.some((sample) => sample.server === peer && sample.name === figure))
  const matches = typeof figure === 'string' ? [figure] : [...new Set(samples.filter((sample) => sample.server === ours && figure.test(sample.name)).map(({ name }) => name))]
  const spreads = matches.flatMap((name) => {
    const spread = spreadOf(present === undefined ? [...byRound(samples, ours, name).values()] : ratiosOf(samples, name, ours, present))
    return spread === null ? [] : [{ name, spread }]
  })
  // Of several that one goal asks about, the worst counts.
  const worst = spreads.reduce<{ name: string; spread: Spread } | null>((best, each) => (best === null || (better === 'more') === (each.spread.median < best.spread.median) ? each : best), null)
  const name = worst?.name ?? (typeof figure === 'string' ? figure : '')
  const goal = (value: number | null): string => (value === null ? '' : present === undefined ? `${value} ${unit}`.trim() : `${value} x`)
  const holds = (value: number | null): boolean | null => {
    if (value === null || worst === null) return null
    return better === 'more' ? worst.spread.median >= value : worst.spread.median <= value
  }
  return {
    label,
    what: `${name}${against === undefined ? '' : ` to ${bestOf === undefined ? '' : `the best of class ${bestOf}: `}${present?.join(', ') || against.join(', ')}`}${ours === 'holdfast' ? '' : ` (${ours})`}`,
    must: goal(must), aim: goal(aim),
    measured: worst === null ? null : `${spreadText(worst.spread)}${present === undefined ? ` ${unit}` : ' x'}`.trim(),
    mustHolds: holds(must), aimHolds: holds(aim),
  }
}

const answer = (holds: boolean | null): string => (holds === null ? '' : holds ? 'yes' : '**no**')

const goalColumns = ['goal', 'figure', 'must', 'aim', 'measured (min to max)', 'must holds', 'aim holds']
const cellsOf = ({ label, what, must, aim, measured, mustHolds, aimHolds }: Finding, unmeasured: string): string[] =>
  [label, what, must, aim, measured ?? unmeasured, answer(mustHolds), answer(aimHolds)]

export function findingsTable(samples: readonly Sample[]): string[] {
  return table(goalColumns, findings(samples).map((finding) => cellsOf(finding, 'not in this run')))
}

/** Each figure of each server as its median with the spread, and Holdfast's ratio to each peer: the median of the rounds' own ratios. */
export function figuresTable(samples: readonly Sample[]): string[] {
  const servers = [...new Set(samples.map(({ server }) => server))]
  const peers = servers.filter((server) => !server.startsWith('holdfast'))
  const own = servers.filter((server) => server.startsWith('holdfast'))
  const pairs = own.flatMap((ours) => peers.map((peer) => ({ ours, peer })))
  const names = [...new Map(samples.map(({ name, unit }) => [name, unit]))]
  return table(
    ['figure', ...servers, ...pairs.map(({ ours, peer }) => `${ours} / ${peer}`)],
    names.map(([name, unit]) => [
      `${name}${unit === '' ? '' : `, ${unit}`}`,
      ...servers.map((server) => spreadText(spreadOf([...byRound(samples, server, name).values()]))),
      ...pairs.map(({ ours, peer }) => spreadText(spreadOf(ratiosOf(samples, name, ours, [peer])))),
    ]),
  )
}

/** Medians of two runs beside each other. */
export function comparisonLines(samples: readonly Sample[], before: readonly Sample[], shown: (sample: Sample) => boolean): string[] {
  const seen = new Map(samples.filter(shown).map((sample) => [`${sample.server} ${sample.name}`, sample]))
  return [...seen.values()].flatMap(({ server, name, unit }) => {
    const [now, then] = [spreadOf([...byRound(samples, server, name).values()]), spreadOf([...byRound(before, server, name).values()])]
    if (now === null || then === null || then.median === 0) return []
    return [`${server.padEnd(18)}${name.padEnd(40)}${short(then.median).padStart(12)}${short(now.median).padStart(12)} ${unit.padEnd(4)}${`${(now.median / then.median).toFixed(2)} x`.padStart(9)}`]
  })
}

/** The page of one run or of several, which are different parts of one comparison. */
export function markdown(runs: readonly Results[]): string {
  const samples = merged(runs)
  const versions = new Map(runs.flatMap(({ servers }) => servers.map((round) => [round.server, round])))
  return [
    '# Measured', '',
    ...runs.flatMap((run) => [`- ${startOf(run)}`, `  on ${Object.entries(run.machine).map(([name, value]) => `${name} ${value}`).join(', ')}`]),
    '',
    ...table(['server', 'version', 'class', 'settings'], [...versions.values()].map(({ server, version, durability, settings }) => [server, version, durability, Object.entries(settings).map(([name, value]) => `${name} ${value}`).join(', ')])),
    '', 'Class S survives the loss of power before the answer, R the death of the process only, T is all in memory. perf/README.md says what each figure means.', '',
    '## Goals', '', ...findingsTable(samples), '', '## All figures', '', 'Medians of the rounds (lowest to highest); ratios are the median of the ratios within each round.', '', ...figuresTable(samples), '',
  ].join('\n')
}

/** A run that was kept, and its page beside which it lies. */
export interface Kept {
  readonly page: string
  readonly results: Results
}

/**
 * Each goal once, with the newest run that has a figure for it, whether it was a good hour or not. Of several peers each has a row of
 * its own: a run seldom has them all.
 */
export function goalsPage(kept: readonly Kept[]): string {
  const newest = kept.toSorted((a, b) => b.results.date.localeCompare(a.results.date))
  const values = newestSamples(newest)
  const rows = targets.flatMap(({ label, checks }) => checks.flatMap(apart).map((check) => {
    const measuring = newest.find(({ results }) => findingOf(label, check, results.samples).measured !== null)
    // A ratio is of one run.
    const finding = findingOf(label, check, check.against === undefined ? values : measuring?.results.samples ?? [])
    const run = check.against === undefined ? newest.find(({ results }) => results.samples.some(({ name }) => name === finding.what)) : measuring
    return [...cellsOf(finding, 'in none of these runs'), run === undefined ? '' : linkTo(run)]
  }))
  return [
    '# Goals', '', 'Each goal with the newest of the runs below that has a figure for it: the median of its rounds, and from the lowest to the highest.', '',
    ...table([...goalColumns, 'run'], rows), '', ...newest.map((run) => `- ${linkTo(run)}, ${startOf(run.results)}`), '',
  ].join('\n')
}

const apart = (check: Check): Check[] => check.against?.map((peer) => ({ ...check, against: [peer] })) ?? [check]
const linkTo = ({ page }: Kept): string => `[${page}](${page}.md)`
const startOf = ({ date, commit, command }: Results): string => `${date.slice(0, 16).replace('T', ' ')}, commit ${commit ?? 'unknown'}: \`${command}\``

/** Each figure as the newest run has it, so that of several that a goal asks about the worst is found wherever it was measured. */
function newestSamples(newest: readonly Kept[]): Sample[] {
  const seen = new Set<string>()
  return newest.flatMap(({ results: { samples } }) => {
    const fresh = samples.filter(({ server, name }) => !seen.has(`${server} ${name}`))
    for (const { server, name } of fresh) seen.add(`${server} ${name}`)
    return fresh
  })
}

/** Rounds of different runs are no neighbours: their names tell them apart. */
export function merged(runs: readonly Results[]): Sample[] {
  return runs.flatMap(({ samples }, index) => samples.map((sample) => ({ ...sample, round: `${index}.${sample.round}` })))
}

function spreadText(spread: Spread | null): string {
  if (spread === null) return ''
  const { median, min, max, rounds } = spread
  return rounds === 1 ? short(median) : `${short(median)} (${short(min)} to ${short(max)})`
}

/** Three digits that count. */
function short(value: number): string {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2
  return value.toLocaleString('en-US', { minimumFractionDigits: Number.isInteger(value) ? 0 : digits, maximumFractionDigits: digits })
}

/** As Markdown that also reads as text. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const widths = head.map((name, column) => Math.max(name.length, 3, ...rows.map((row) => row[column]?.length ?? 0)))
  const line = (cells: readonly string[]): string => `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`
  return [line(head), `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`, ...rows.map(line)]
}
