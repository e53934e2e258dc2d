import type { DriveSum, FsckReport } from '../storage/fsck.ts'
import type { Repaired } from '../storage/fsck-repair.ts'
import type { Finding, ScrubCounts, Share } from '../storage/scrub.ts'
import { bytesText } from './progress.ts'

/** What both reports begin with. */
interface ReportHead {
  readonly format: 1
  readonly version: string
  readonly startedAt: string
  readonly seconds: number
  /** How many differences there are; `findings` holds the first ones of them. */
  readonly differences: number
  readonly byKind: Readonly<Record<string, number>>
  readonly findings: readonly Finding[]
  /** False when a signal ended it before its end. */
  readonly complete: boolean
}

export interface ScrubReport extends ReportHead, ScrubCounts {
  readonly command: 'scrub'
  readonly share: Share | null
  readonly digests: boolean
}

export interface FsckCommandReport extends ReportHead, FsckReport {
  readonly command: 'fsck'
  readonly repaired: Repaired | null
  /** Why a repair was not made, or nothing was allowed; null when there is no reason. */
  readonly refused: string | null
  /** Drives whose sweeper may now remove the orphans that were counted. */
  readonly allowed: readonly { readonly drive: number; readonly blobs: number; readonly bytes: number }[]
}

/** Findings that a report holds, and that are printed; the count goes on. */
const findingsMax = 10_000

export interface Collector {
  add(finding: Finding): void
  head(): Pick<ReportHead, 'differences' | 'byKind' | 'findings'>
}

export function createCollector(): Collector {
  const findings: Finding[] = []
  const byKind: Record<string, number> = {}
  let differences = 0
  return {
    add(finding) {
      differences += 1
      byKind[finding.kind] = (byKind[finding.kind] ?? 0) + 1
      if (findings.length < findingsMax) findings.push(finding)
    },
    head: () => ({ differences, byKind, findings }),
  }
}

export function findingText({ kind, object, blob, place, detail }: Finding): string {
  const parts = [
    ...(object === null ? [] : [objectText(object)]), ...(blob === null ? [] : [`blob ${blob}`]), ...(place === null ? [] : [place]),
  ]
  return `${kind}: ${parts.join(', ')}${parts.length === 0 ? '' : ': '}${detail}`
}

function objectText({ bucket, key, versionId, uploadId, partNumber, isLatest }: NonNullable<Finding['object']>): string {
  // Keys may hold line breaks and escapes of terminals.
  const name = `${bucket === '' ? '(a bucket that is gone)' : bucket}/${JSON.stringify(key).slice(1, -1)}`
  if (uploadId !== null) return `${name} (part ${partNumber} of upload ${uploadId})`
  return versionId === 'null' && isLatest ? name : `${name} (version ${versionId}${isLatest ? ', the current one' : ''})`
}

export function scrubText(report: ScrubReport): string {
  const { rows, drives, share } = report
  const read = share === null ? '' : ` (the share ${share.n}/${share.of} of the keys)`
  return lines([
    ...findings(report),
    `rows to bytes: ${rows.checked} versions and parts with ${rows.extents} extents; ${bytesText(rows.bytesRead)} read${read}, digests of ${rows.digestsCompared} compared`,
    `bytes to rows: ${drives.blobs} blobs, ${bytesText(drives.bytes)}: ${drives.live} live, ${drives.released} released, ${drives.dead} dead, ${drives.young} young, ${drives.orphans} orphaned`,
    verdict(report),
  ])
}

export function fsckText(report: FsckCommandReport): string {
  const { rows, difference, busy, repaired } = report
  const compared = difference === null ? 'not compared with the drives: too many are shared'
    : difference === 0 ? 'the drives hold exactly these'
      : `the drives hold ${difference} bytes ${busy ? 'more or less, because clients wrote meanwhile' : 'more (or less) than these'}`
  return lines([
    ...findings(report),
    ...report.drives.flatMap(driveLines),
    `rows: ${rows.blobs} blobs, ${rows.bytes} bytes, of which ${rows.missing} blobs with ${rows.missingBytes} bytes are missing; ${compared}`,
    ...(report.refused === null ? [] : [`nothing was changed: ${report.refused}`]),
    ...report.allowed.map(({ drive, blobs, bytes }) => `the sweeper may remove ${blobs} orphans with ${bytes} bytes of drive ${drive}, once, within a week`),
    ...(repaired === null ? [] : repairLines(repaired)),
    verdict(report),
  ])
}

function driveLines(sum: DriveSum): string[] {
  const blobs = Object.entries(sum.blobs).map(([fate, { count, bytes }]) => row(`${fate} (${count})`, bytes))
  const overhead = Object.entries(sum.overhead).map(([name, bytes]) => row(overheadNames[name as keyof DriveSum['overhead']], bytes))
  return [`drive ${sum.drive}, ${sum.root}: ${sum.total} bytes in files`, ...blobs, ...overhead, row('not explained', sum.unexplained)]
}

const overheadNames: Readonly<Record<keyof DriveSum['overhead'], string>> = {
  segmentHeaders: 'headers of segments', recordHeaders: 'headers of records', keys: 'keys of owners', padding: 'padding of records', footers: 'block tables and tails of files',
  notes: 'notes beside segments', cutOff: 'ends that a crash cut off', damaged: 'damaged stretches', temporary: 'temporary files', trash: 'trash of repairs',
  own: 'marker, place of the scrub', foreign: 'files that are not Holdfast’s',
}

const row = (name: string, bytes: number): string => `  ${name.padEnd(34)} ${String(bytes).padStart(16)}`

function repairLines({ moved, movedBytes, relocations, trash }: Repaired): string[] {
  return [
    `repaired: ${moved} files with ${movedBytes} bytes moved to the trash, ${relocations} records made known again`,
    ...trash.flatMap(({ folder, back }) => [`  in ${folder}; to put everything back:`, `    ${back}`]),
  ]
}

function findings({ findings: found, differences }: ReportHead): string[] {
  return [...found.map(findingText), ...(differences > found.length ? [`and ${differences - found.length} more`] : [])]
}

function verdict({ differences, complete, seconds }: ReportHead): string {
  const end = complete ? '' : ' (ended before its end)'
  return `${differences === 0 ? 'no difference' : differences === 1 ? '1 difference' : `${differences} differences`} in ${seconds.toFixed(1)} s${end}`
}

const lines = (all: readonly string[]): string => `${all.join('\n')}\n`
