/**
 * Makes sure that node_modules is what package-lock.json says. Plain JavaScript without dependencies that any Node from 20 on
 * runs, because it is the first thing that happens in a fresh clone.
 */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))

const modules = path.join(root, 'node_modules')
const stampFile = path.join(modules, '.holdfast-install.json')
const lockDir = path.join(root, '.install-lock')
const lockStaleMs = 15_000

/**
 * Installs what is missing. `development: false` is satisfied by the packages of a running server and by a full install;
 * `development: true` needs the full one. Ends the process when npm fails.
 */
export async function ensureInstalled({ development }) {
  if (isInstalled(development)) return
  const release = await takeLock()
  let code = 0
  try {
    if (!isInstalled(development)) code = await install(development)
    if (code === 0) writeStamp(development)
  } finally {
    release()
  }
  if (code !== 0) process.exit(code)
}

function isInstalled(development) {
  const stamp = readJson(stampFile)
  if (stamp?.lock === lockHash() && (stamp.full || !development)) return true
  if (!holds(development)) return false
  writeStamp(development)
  return true
}

/** Compares npm's own record of what it put into node_modules with the lockfile: true for an install made by hand, too. */
function holds(development) {
  const wanted = readJson(path.join(root, 'package-lock.json'))?.packages
  const present = readJson(path.join(modules, '.package-lock.json'))?.packages
  if (!wanted || !present) return false
  return Object.entries(wanted).every(([place, entry]) => {
    if (place === '' || (entry.dev && !development) || entry.devOptional) return true
    const found = present[place]
    // An optional package of another platform is never installed; one of this platform must be.
    if (!found) return entry.optional === true && !isForThisPlatform(entry)
    return found.version === entry.version && found.integrity === entry.integrity && existsSync(path.join(root, place))
  })
}

function isForThisPlatform(entry) {
  const allows = (given, value) => {
    // npm writes a list, or the single text of the package's manifest.
    const list = [given ?? []].flat()
    return !list.includes(`!${value}`) && (list.every((item) => item.startsWith('!')) || list.includes(value))
  }
  // Packages for musl carry `libc`; none of ours is needed on it, so their absence never asks for an install.
  return allows(entry.os, process.platform) && allows(entry.cpu, process.arch) && !entry.libc && Boolean(entry.os)
}

async function install(development) {
  // `npm ci` empties node_modules first, which would pull the packages away under a server that runs from this folder. What is
  // there already is therefore completed in place, by the same lockfile.
  const fresh = !existsSync(path.join(modules, '.package-lock.json'))
  const args = [fresh ? 'ci' : 'install', ...(fresh ? [] : ['--no-save']), '--ignore-scripts', '--no-audit', '--no-fund']
  args.push(development ? '--include=dev' : '--omit=dev', '--include=optional', '--loglevel=error', '--no-progress')
  process.stderr.write(`Installing the packages of package-lock.json${development ? ', with those for development' : ''} (this happens once) ...\n`)
  const code = await npm(args)
  if (code !== 0) process.stderr.write(`npm ${args[0]} failed (exit code ${code}); its messages are above.\n`)
  return code
}

/** npm by the Node that npm itself runs on: the pinned one may be replaced by this very install. */
function npm(args) {
  const cli = process.env.npm_execpath
  const own = cli && /npm-cli\.[cm]?js$/.test(cli)
  const node = process.env.npm_node_execpath && existsSync(process.env.npm_node_execpath) ? process.env.npm_node_execpath : process.execPath
  const child = own
    ? spawn(node, [cli, ...args], { cwd: root, stdio: ['ignore', 2, 2] })
    : spawn('npm', args, { cwd: root, stdio: ['ignore', 2, 2] })
  return new Promise((resolve) => {
    child.on('error', (error) => {
      process.stderr.write(`npm could not be started: ${error.message}\n`)
      resolve(1)
    })
    child.on('exit', (code) => resolve(code ?? 1))
  })
}

/**
 * One install at a time: a folder is the lock, its age the sign of life. A holder touches it every second, so that a killed
 * one is noticed without asking for process ids, which another container or user may not see.
 */
async function takeLock() {
  let told = false
  while (true) {
    try {
      mkdirSync(lockDir)
      break
    } catch (error) {
      if (error.code !== 'EEXIST') throw error
    }
    if (!told) process.stderr.write('Another start is installing the packages; waiting for it ...\n')
    told = true
    removeStaleLock()
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  const beat = setInterval(() => utimesSync(lockDir, new Date(), new Date()), 1000)
  return () => {
    clearInterval(beat)
    rmSync(lockDir, { recursive: true, force: true })
  }
}

function removeStaleLock() {
  const seen = statSync(lockDir, { throwIfNoEntry: false })
  if (!seen || Date.now() - seen.mtimeMs < lockStaleMs) return
  const aside = `${lockDir}-${process.pid}`
  try {
    renameSync(lockDir, aside)
  } catch (error) {
    if (error.code === 'ENOENT') return
    throw error
  }
  // Somebody else may have removed the stale lock and taken a new one between the two calls: give that one back.
  if (statSync(aside).ino === seen.ino) rmSync(aside, { recursive: true, force: true })
  else renameSync(aside, lockDir)
}

function writeStamp(development) {
  try {
    writeFileSync(stampFile, `${JSON.stringify({ lock: lockHash(), full: development || holds(true) })}\n`)
  } catch (error) {
    // A read-only installation works without the stamp, a little slower.
    if (!['EROFS', 'EACCES', 'EPERM'].includes(error.code)) throw error
  }
}

function lockHash() {
  return createHash('sha256').update(readFileSync(path.join(root, 'package-lock.json'))).digest('hex')
}

function readJson(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch (error) {
    // Missing, or cut off by a killed install: both mean "not installed".
    if (error.code === 'ENOENT' || error instanceof SyntaxError) return null
    throw error
  }
}
