#!/usr/bin/env node
/**
 * `npm run build:executable -- --target linux-x64|linux-arm64 [--out FILE]`: one file with Node, the program, its packages and
 * PostgreSQL in it. Packages of the target come from npm by the lockfile, whose hashes npm verifies, and none of their scripts runs:
 * any machine builds for any target. The same sources make the same bytes.
 */
import { execFileSync } from 'node:child_process'
import { createHash, hash } from 'node:crypto'
import { chmodSync, cpSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, readlinkSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { constants, zstdCompressSync } from 'node:zlib'
import { ensureInstalled, root } from './install.mjs'
import { isPinned, pinnedNode, runNode, serverFlags } from './pinned.mjs'
import { pruneModules } from './prune-modules.mjs'

const targets = ['linux-x64', 'linux-arm64']
/** Larger ones compress a little better, and take more memory to unpack. */
const pieceBytesMin = 4 * 1024 ** 2
const usage = `npm run build:executable -- --target ${targets.join('|')} [--out FILE]`

await ensureInstalled({ development: false })
// Only the pinned one can write what the target's, which is of the same version, reads.
if (!isPinned()) process.exit(await runNode([import.meta.filename, ...process.argv.slice(2)]))

const { target, out } = options()
const work = mkdtempSync(path.join(tmpdir(), 'holdfast-build-'))
const began = performance.now()
try {
  build()
} finally {
  rmSync(work, { recursive: true, force: true })
}

function options() {
  try {
    const { values } = parseArgs({ options: { target: { type: 'string', default: `${process.platform}-${process.arch}` }, out: { type: 'string' } } })
    if (!targets.includes(values.target)) throw new Error(`There is no executable for ${values.target}.`)
    return { target: values.target, out: path.resolve(values.out ?? path.join(root, 'test-results', `holdfast-${values.target}`)) }
  } catch (error) {
    process.stderr.write(`${error.message}\nUsage: ${usage}\n`)
    process.exit(2)
  }
}

function build() {
  const tree = path.join(work, 'tree')
  const arch = target.split('-')[1]
  mkdirSync(tree)
  for (const name of ['package.json', 'package-lock.json', '.npmrc']) cpSync(path.join(root, name), path.join(tree, name))
  npmInstall(tree, arch)
  const node = path.join(work, 'node')
  renameSync(path.join(tree, 'node_modules', `node-${target}`, 'bin', 'node'), node)
  pruneModules(path.join(tree, 'node_modules'), arch)
  // npm's own record of the install.
  for (const name of ['.npmrc', 'package-lock.json', path.join('node_modules', '.package-lock.json'), path.join('node_modules', '.bin')]) rmSync(path.join(tree, name), { recursive: true, force: true })
  for (const name of ['src', 'drizzle', 'LICENSE']) cpSync(path.join(root, name), path.join(tree, name), { recursive: true })
  cpSync(path.join(root, 'scripts', 'executable', 'entry.cjs'), path.join(tree, 'entry.cjs'))

  const { entries, pieces, archive, bytes } = pack(tree)
  const file = (name) => path.join(work, name)
  writeFileSync(file('manifest'), JSON.stringify({ entries, pieces }))
  writeFileSync(file('archive'), archive)
  writeFileSync(file('sea.json'), JSON.stringify({
    main: path.join(root, 'scripts', 'executable', 'launcher.mjs'), mainFormat: 'module', executable: node, output: file('holdfast'),
    disableExperimentalSEAWarning: true, execArgv: serverFlags, assets: { manifest: file('manifest'), archive: file('archive') },
  }))
  execFileSync(pinnedNode(), ['--build-sea', file('sea.json')], { stdio: ['ignore', 'ignore', 'inherit'] })
  chmodSync(file('holdfast'), 0o755)
  mkdirSync(path.dirname(out), { recursive: true })
  // A running one can be replaced, not written to.
  const beside = `${out}.new-${process.pid}`
  cpSync(file('holdfast'), beside)
  renameSync(beside, out)
  const seconds = ((performance.now() - began) / 1000).toFixed(0)
  const sizes = [out, node, file('archive')].map((name) => (statSync(name).size / 1e6).toFixed(0))
  console.log(`${out}: ${sizes[0]} MB (Node ${sizes[1]}, the program ${sizes[2]}, unpacked ${(bytes / 1e6).toFixed(0)} MB in ${entries.length} files), built in ${seconds} s`)
  console.log(`sha256 ${createHash('sha256').update(readFileSync(out)).digest('hex')}`)
}

function npmInstall(folder, arch) {
  const args = ['ci', '--omit=dev', '--include=optional', '--ignore-scripts', '--os=linux', `--cpu=${arch}`, '--libc=glibc', '--no-audit', '--no-fund', '--prefer-offline', '--loglevel=error', '--no-progress']
  // The variables of the npm that runs this script name another project.
  const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_(?:package|lifecycle|config_local_prefix)/.test(name)))
  execFileSync('npm', args, { cwd: folder, env: environment, stdio: ['ignore', 2, 'inherit'] })
}

/** Everything below `tree`, in the order of its names, without times and owners; compressed in pieces of whole files. */
function pack(tree) {
  const entries = []
  const pieces = []
  const archive = []
  let [piece, pieceBytes, count, bytes] = [[], 0, 0, 0]
  const endPiece = () => {
    const compressed = zstdCompressSync(Buffer.concat(piece), { params: { [constants.ZSTD_c_compressionLevel]: 17 } })
    pieces.push({ count, compressed: compressed.length })
    archive.push(compressed)
    bytes += pieceBytes
    piece = []
    pieceBytes = count = 0
  }
  for (const name of filesBelow(tree, '')) {
    const absolute = path.join(tree, name)
    const stat = lstatSync(absolute)
    if (stat.isSymbolicLink()) {
      entries.push({ path: name, link: readlinkSync(absolute) })
    } else {
      const content = readFileSync(absolute)
      entries.push({ path: name, bytes: content.length, sha256: hash('sha256', content), ...((stat.mode & 0o100) === 0 ? {} : { executable: true }) })
      piece.push(content)
      pieceBytes += content.length
    }
    count += 1
    if (pieceBytes >= pieceBytesMin) endPiece()
  }
  endPiece()
  return { entries, pieces, archive: Buffer.concat(archive), bytes }
}

function filesBelow(tree, below) {
  const found = readdirSync(path.join(tree, below), { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))
  return found.flatMap((entry) => (entry.isDirectory() ? filesBelow(tree, path.join(below, entry.name)) : [path.join(below, entry.name)]))
}
