/** `npm run check:helm`: the chart against its tools. `-- --update` writes the golden files and the schema's part that the program decides. */
import path from 'node:path'
import { ensureInstalled, root } from './install.mjs'
import { runNode } from './pinned.mjs'

await ensureInstalled({ development: false })
process.exit(await runNode([path.join(root, 'scripts', 'helm', 'check.ts'), ...process.argv.slice(2)]))
