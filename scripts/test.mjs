/** `npm test`, `npm run test:patient` and `npm run test:clients`: installs what is missing, then vitest on the pinned Node. Arguments go to vitest. */
import path from 'node:path'
import { ensureInstalled, root } from './install.mjs'
import { runNode } from './pinned.mjs'

await ensureInstalled({ development: true })
const vitest = path.join(root, 'node_modules', 'vitest', 'vitest.mjs')
const compileCache = path.join(root, 'node_modules', '.cache', 'holdfast')
process.exit(await runNode([vitest, 'run', ...process.argv.slice(2)], { env: { ...process.env, NODE_COMPILE_CACHE: compileCache } }))
