/**
 * The last step of an image's build: what a start would otherwise write beside the program, where a read-only file system takes nothing,
 * is made here, and what this platform never loads goes.
 */
import { chmodSync, chownSync, mkdirSync, readdirSync, statSync } from 'node:fs'
import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { pruneModules } from './prune-modules.mjs'

const root = path.resolve(import.meta.dirname, '..')

pruneModules(path.join(root, 'node_modules'), process.arch)

// Fills the compile cache with everything that a start loads. Node keeps one for each user, which only that user may read: the image's makes
// it, and root owns it after that, so that nothing that runs in the image can change the program. YAML is loaded with the first file of it.
const user = 10001
const cache = path.join(root, '.compile-cache')
mkdirSync(cache)
chownSync(cache, user, user)
for (const entry of [['src/main.ts', '--help'], ['src/start.ts'], ['src/workers/worker.ts'], ['node_modules/yaml/dist/index.js']]) {
  const { status } = spawnSync(process.execPath, entry, { cwd: root, uid: user, gid: user, stdio: ['ignore', 'ignore', 'inherit'], env: { ...process.env, NODE_COMPILE_CACHE: cache } })
  if (status !== 0) throw new Error(`${entry.join(' ')} does not start in the image (exit code ${status}).`)
}
for (const name of ['.', ...readdirSync(cache, { recursive: true })]) {
  const made = path.join(cache, name)
  chownSync(made, 0, 0)
  chmodSync(made, statSync(made).isDirectory() ? 0o755 : 0o644)
}
