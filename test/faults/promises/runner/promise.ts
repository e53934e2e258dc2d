/** What a module of this folder's parent exports, and what the runner makes of it. */

export interface PromiseOptions {
  readonly seed: number
  /** How long it may take; how long it takes to start and to end comes on top. */
  readonly seconds: number
  /** A line about how far it is. */
  say(text: string): void
}

export interface Finding {
  readonly cases: number
  /** Each says all that one needs to look for its cause. */
  readonly violations: readonly string[]
}

/** A line of the sheet. Several modules may have the same `row`: each is a line of its own. */
export interface Promised {
  readonly row: string
  readonly promise: string
  readonly method: string
}

/** One run that shows one row. */
export interface RowModule extends Promised {
  run(options: PromiseOptions): Promise<Finding>
  /** Its share of the time, beside others that have 1. */
  readonly weight?: number
}

/** One run that shows several rows at once; `run` finds something for each, by its name. */
export interface RowsModule {
  readonly rows: readonly Promised[]
  run(options: PromiseOptions): Promise<Readonly<Record<string, Finding>>>
  readonly weight?: number
}

/** A run as the runner sees it. */
export interface Check {
  /** Of the file, without its ending. */
  readonly name: string
  readonly rows: readonly Promised[]
  readonly weight: number
  run(options: PromiseOptions): Promise<readonly Finding[]>
}

/** Rows in the order of the sheet. A module with another row comes last. */
export const rowOrder = [
  'process kill', 'power cut', 'power cut of a server alone', 'crash at each step', 'old-or-new', 'strong consistency', 'running GET', 'complete once', 'sweeper never takes live bytes',
  'sweeper takes all dead bytes', 'full disk', 'I/O errors', 'rot', 'database death', 'listing complete under churn', 'order of versions', 'digests true',
  'only valid signatures', 'bad input cannot hurt', 'slow clients', 'no secret leaks',
] as const

export function placeOf(row: string): number {
  const place = (rowOrder as readonly string[]).indexOf(row)
  return place < 0 ? rowOrder.length : place
}

/** Null when the module is none: what several modules share. */
export function checkOf(name: string, module: object): Check | null {
  if (isRowModule(module)) return { name, rows: [{ row: module.row, promise: module.promise, method: module.method }], weight: module.weight ?? 1, run: async (options) => [await module.run(options)] }
  if (!isRowsModule(module)) return null
  const { rows } = module
  return {
    name, rows, weight: module.weight ?? 1,
    async run(options) {
      const found = await module.run(options)
      return rows.map(({ row }) => found[row] ?? { cases: 0, violations: [`${name} found nothing for this row`] })
    },
  }
}

function isRowModule(module: object): module is RowModule {
  return 'run' in module && 'row' in module && 'promise' in module && 'method' in module
}

function isRowsModule(module: object): module is RowsModule {
  return 'run' in module && 'rows' in module
}
