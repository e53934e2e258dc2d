/** One number of a run, with the direction that is good. */
export interface Figure {
  readonly name: string
  readonly unit: string
  readonly value: number
  readonly better: 'more' | 'less'
}

/** A run that is too long for every day: `npm run perf -- --only NAME` starts it, nothing else does. */
export interface LongRun {
  readonly name: string
  run(options: { readonly dir: string | null }): Promise<readonly Figure[]>
}

/** A figure of one server in one round: what ratios are made of. */
export interface Sample extends Figure {
  readonly server: string
  /** Rounds of one run are numbered from 0; samples of the same round are neighbours in time. */
  readonly round: string
}
