import { parseArgs } from 'node:util'
import { calledBy } from './called-by.ts'
import type { Share } from '../storage/scrub.ts'

/** What the operator asked for. */
export type Command =
  | { readonly name: 'help'; readonly text: string }
  | ({ readonly name: 'scrub'; readonly share: Share | null; readonly digests: boolean } & ReportOptions)
  | ({ readonly name: 'fsck'; readonly repair: boolean; readonly allowOrphans: boolean } & ReportOptions)

export interface ReportOptions {
  /** Print the report as JSON and nothing else. */
  readonly json: boolean
  /** File for the report as JSON; null: none. */
  readonly reportFile: string | null
}

/** The command line is not understood. */
export class UsageError extends Error {}

const common = `  --json          print the report as JSON, and nothing else, on standard output
  --report FILE   write the report as JSON to FILE as well
  --help          this text

It runs beside a running server of the same version and data folder, or without one: then it takes the data folder and runs the
embedded PostgreSQL for itself. Which data folder and database: HOLDFAST_DATA_DIR, HOLDFAST_DATABASE_URL, HOLDFAST_CONFIG, as for
the server. A progress bar is shown on a terminal only.

Exit codes: 0 everything is in order; 1 differences were found; 2 not understood, or it could not be run to its end.
`

export const scrubHelp = `${calledBy} scrub [options]

Compares rows with bytes and bytes with rows; changes nothing.
  Rows to bytes: each extent of each version, current or not, and of each part of an open upload is there, has its length and the
  checksum (CRC32C) that it was written with. What differs is named by bucket, key and version.
  Bytes to rows: each record of a segment and each blob file is named by a row, waits for the sweeper, was moved, or is younger
  than a day.
What is written while it runs is left to the next run; what is deleted or moved meanwhile is looked up again and is no difference.

  --subset n/t    read the bytes of the nth of t equal shares of the keys only; of the other keys it is only seen that their bytes are
                  there and have the right length. Runs from 1/t to t/t read everything once
  --digests       compute MD5 (ETag) and checksum of each object that is read once more, parts included, and compare them
${common}`

export const fsckHelp = `${calledBy} fsck [options]

Accounts for each byte of the drives (live, released, dead, young, orphaned, and what belongs to them: headers, keys, padding, footers,
notes, temporary files), sees that all bytes that rows name are there, and compares the sums. It reads headers and footers of large
blobs, not their bytes: scrub does that. Without an option it changes nothing.

  --repair          move what no row names, and is older than a day, to a folder below trash/ on its own drive; nothing is deleted, and
                    the command that puts everything back is printed. Records of which the database has lost the place, as after the
                    restore of a backup from before a compaction, are made known to it again; rows that are there are not changed.
                    Refused while a drive is missing or foreign or the database is younger than a drive
  --allow-orphans   after you have looked: let go more than 1 % of a drive as orphans. With --repair they are moved; without it the
                    sweeper of the server, which stops at so many, may remove as many as were counted now, once, within a week
${common}`

/** @throws UsageError in one line. */
export function parseCommand(name: 'scrub' | 'fsck', argv: readonly string[]): Command {
  const { values } = parsed(argv)
  if (values.help) return { name: 'help', text: name === 'scrub' ? scrubHelp : fsckHelp }
  const report = { json: values.json ?? false, reportFile: values.report ?? null }
  const foreign = Object.keys(values).find((option) => (name === 'scrub' ? ['repair', 'allow-orphans'] : ['subset', 'digests']).includes(option))
  if (foreign !== undefined) throw new UsageError(`--${foreign} is no option of ${name}; ${name} --help shows what there is`)
  if (name === 'fsck') return { name, repair: values.repair ?? false, allowOrphans: values['allow-orphans'] ?? false, ...report }
  return { name, share: shareOf(values.subset), digests: values.digests ?? false, ...report }
}

function parsed(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      options: {
        subset: { type: 'string' }, digests: { type: 'boolean' }, repair: { type: 'boolean' }, 'allow-orphans': { type: 'boolean' },
        json: { type: 'boolean' }, report: { type: 'string' }, help: { type: 'boolean' },
      },
    })
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error), { cause: error })
  }
}

const sharesMax = 10_000

function shareOf(text: string | undefined): Share | null {
  if (text === undefined) return null
  const match = /^(\d{1,5})\/(\d{1,5})$/.exec(text)
  const [n, of] = [Number(match?.[1]), Number(match?.[2])]
  if (!(n >= 1 && n <= of && of <= sharesMax)) throw new UsageError(`--subset ${text}: allowed are two numbers like 2/7, the first not above the second, the second not above ${sharesMax}`)
  return { n, of }
}
