import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { applied, readMutants } from './mutants/patches.ts'

/** That each is caught, `npm run test:mutants` shows. */
const root = path.join(import.meta.dirname, '..', '..')

test.each(readMutants())('the known bug $name can still be put back, and the test that catches it is there', (mutant) => {
  for (const [file, text] of applied(mutant, root)) expect(text).not.toBe(readFileSync(path.join(root, file), 'utf8'))
  expect(mutant.file).toMatch(/^test\/(?:unit|s3|faults|patient)\/[\w-]+\.test\.ts$/)
  expect(existsSync(path.join(root, mutant.file))).toBe(true)
  if (mutant.test !== null) expect(readFileSync(path.join(root, mutant.file), 'utf8')).toContain(mutant.test)
})
