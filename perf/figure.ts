import type { Options } from './options.ts'

/** One number of a long run, with the direction that is good. */
export interface Figure {
  readonly name: string
  readonly unit: string
  readonly value: number
  readonly better: 'more' | 'less'
}

/** A run that is too long for every day: `npm run perf -- --only NAME` starts it, nothing else does. */
export interface LongRun {
  readonly name: string
  run(options: Options): Promise<Figure[]>
}
