import { createRequire } from 'node:module'

let loaded: typeof import('yaml') | null = null

/** The package that reads and writes YAML, loaded when the first document comes: most servers have none, and it is a thirtieth of their start. */
export const yaml = (): typeof import('yaml') => (loaded ??= createRequire(import.meta.url)('yaml') as typeof import('yaml'))
