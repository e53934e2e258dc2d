/** `npm run check`: types, lint, tidy. All three run, so that one look shows everything there is to mend. */
import path from 'node:path'
import { ensureInstalled, root } from './install.mjs'
import { runNode } from './pinned.mjs'

await ensureInstalled({ development: true })
const tool = (...parts) => path.join(root, 'node_modules', ...parts)
const steps = [
  ['types', [tool('typescript', 'bin', 'tsc'), '--noEmit', '-p', root]],
  ['lint', [tool('oxlint', 'bin', 'oxlint'), '--config', path.join(root, '.oxlintrc.json'), 'src', 'scripts', 'test', 'perf']],
  ['tidy', [tool('vitest', 'vitest.mjs'), 'run', '--project=tidy']],
]
const failed = []
for (const [name, args] of steps) {
  const code = await runNode(args)
  console.log(`${name}: ${code === 0 ? 'ok' : `failed (exit code ${code})`}`)
  if (code !== 0) failed.push(name)
}
process.exit(failed.length === 0 ? 0 : 1)
