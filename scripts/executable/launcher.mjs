/**
 * What the executable runs first, compiled into it: makes sure that the program, which it carries as an archive, lies unpacked and
 * unchanged in a cache folder, and goes on there. Every start looks at every file: what is missing or differs, however that came
 * about, is written again before anything of it runs, so that nothing has to be synced. Only built-in modules can be imported here.
 */
import { spawnSync } from 'node:child_process'
import { createHash, hash as digest, randomBytes } from 'node:crypto'
import fs from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { getRawAsset } from 'node:sea'
import { zstdDecompressSync } from 'node:zlib'

const manifest = Buffer.from(getRawAsset('manifest'))
/** Of the list of all files with their hashes, so of everything. */
const programHash = digest('sha256', manifest)
/**
 * Entries, in the order of their bytes in the archive: `{ path, bytes, sha256, executable? }` or `{ path, link }`. Pieces of the archive:
 * how many entries, and how many bytes compressed; one at a time, because what the first start takes in memory it keeps.
 */
const { entries, pieces } = JSON.parse(manifest.toString())
const uid = process.getuid()

/** The first folder that can be written and is this user's alone. */
function cacheFolder() {
  const { XDG_CACHE_HOME, CACHE_DIRECTORY, HOME } = process.env
  const candidates = [
    XDG_CACHE_HOME && path.join(XDG_CACHE_HOME, 'holdfast'),
    // systemd's, of a unit with CacheDirectory=.
    CACHE_DIRECTORY,
    HOME && path.join(HOME, '.cache', 'holdfast'),
    // Anybody may have made this one before: its owner is looked at.
    `/var/tmp/holdfast-${uid}`,
  ].filter((folder) => folder && path.isAbsolute(folder))
  const problems = []
  for (const folder of candidates) {
    try {
      fs.mkdirSync(folder, { recursive: true, mode: 0o700 })
      assertOwn(folder)
      fs.accessSync(folder, fs.constants.W_OK | fs.constants.X_OK)
      return folder
    } catch (error) {
      problems.push(error.message)
    }
  }
  throw new Error(`There is no folder to unpack the program into; XDG_CACHE_HOME can name one.\n${problems.join('\n')}`)
}

function assertOwn(folder) {
  const { uid: owner, mode } = fs.lstatSync(folder)
  if ((mode & fs.constants.S_IFMT) !== fs.constants.S_IFDIR || owner !== uid || (mode & 0o022) !== 0) throw new Error(`${folder} is no folder that only its owner, user ${uid}, can write`)
}

/** Indexes of the entries that are not there as they should be; removes what is no entry. */
function differences(tree) {
  const wanted = new Map(entries.map((entry, index) => [entry.path, index]))
  const folders = new Set(entries.flatMap((entry) => parents(entry.path)))
  const visit = (below) => {
    for (const found of fs.readdirSync(path.join(tree, below), { withFileTypes: true })) {
      const name = path.join(below, found.name)
      const absolute = path.join(tree, name)
      if (found.isDirectory() && folders.has(name)) visit(name)
      else if (wanted.has(name) && isAsPacked(entries[wanted.get(name)], absolute, found)) wanted.delete(name)
      // Another start may be mending the same: it writes a whole file in one step, or finds this one gone.
      else fs.rmSync(absolute, { recursive: true, force: true })
    }
  }
  visit('')
  return [...wanted.values()]
}

function isAsPacked(entry, absolute, found) {
  if (entry.link !== undefined) return found.isSymbolicLink() && fs.readlinkSync(absolute) === entry.link
  if (!found.isFile()) return false
  const { size, mode } = fs.statSync(absolute)
  return size === entry.bytes && (mode & 0o777) === modeOf(entry) && hashOf(absolute) === entry.sha256
}

const buffer = Buffer.allocUnsafeSlow(256 * 1024)

function hashOf(name) {
  const descriptor = fs.openSync(name, 'r')
  try {
    let count = fs.readSync(descriptor, buffer)
    if (count < buffer.length) return digest('sha256', buffer.subarray(0, count))
    const hash = createHash('sha256')
    for (; count > 0; count = fs.readSync(descriptor, buffer)) hash.update(buffer.subarray(0, count))
    return hash.digest('hex')
  } finally {
    fs.closeSync(descriptor)
  }
}

const modeOf = ({ executable }) => (executable ? 0o700 : 0o600)

function parents(name) {
  const parent = path.dirname(name)
  return parent === '.' ? [] : [...parents(parent), parent]
}

/** Writes these entries below `tree`, each in one step by way of `aside`, a folder on the same file system. */
function restore(tree, indexes, aside) {
  const archive = new Uint8Array(getRawAsset('archive'))
  const chosen = new Set(indexes)
  let [index, offset] = [0, 0]
  for (const { count, compressed } of pieces) {
    const numbers = Array.from({ length: count }, (_, number) => index + number)
    if (numbers.some((number) => chosen.has(number))) {
      const bytes = decompress(archive.subarray(offset, offset + compressed))
      let start = 0
      for (const number of numbers) {
        const content = bytes.subarray(start, start + (entries[number].bytes ?? 0))
        start += content.length
        if (chosen.has(number)) write(tree, entries[number], content, path.join(aside, String(number)))
      }
    }
    index += count
    offset += compressed
  }
}

const damaged = (what) => new Error(`This executable is damaged: ${what} in it is not what it was built from. Download it again.`)

function decompress(piece) {
  try {
    return zstdDecompressSync(piece)
  } catch {
    throw damaged('a piece of the archive')
  }
}

function write(tree, entry, content, temporary) {
  const target = path.join(tree, entry.path)
  fs.mkdirSync(path.dirname(target), { recursive: true, mode: 0o700 })
  if (entry.link !== undefined) {
    fs.symlinkSync(entry.link, temporary)
  } else {
    if (digest('sha256', content) !== entry.sha256) throw damaged(entry.path)
    fs.writeFileSync(temporary, content, { mode: modeOf(entry), flag: 'wx' })
  }
  fs.renameSync(temporary, target)
}

/** Argument of the process that only unpacks. */
const unpackOnly = '--unpack-only'

/** Unpacks everything into a folder that appears in one step. */
function unpack(cache, tree) {
  withTemporary(cache, (whole) => withTemporary(cache, (aside) => {
    restore(whole, entries.keys(), aside)
    try {
      fs.renameSync(whole, tree)
    } catch (error) {
      // Another start was faster.
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error
    }
  }))
}

/** Afterwards `tree` is the program as it was built, or an error is thrown. */
function unpacked(cache, tree) {
  if (!fs.existsSync(tree)) {
    // Unpacking takes 150 MB, which a process of its own gives back and a server would keep. Where that did not work, it is done here, or says why not.
    spawnSync(process.execPath, [unpackOnly], { stdio: 'ignore' })
    if (!fs.existsSync(tree)) unpack(cache, tree)
  }
  assertOwn(tree)
  const wrong = differences(tree)
  if (wrong.length === 0) return
  process.stderr.write(`${wrong.length} of ${entries.length} files in ${tree} are not as they were unpacked; they are unpacked again.\n`)
  withTemporary(cache, (aside) => restore(tree, wrong, aside))
  if (differences(tree).length > 0) throw new Error(`${tree} does not keep what is written to it.`)
}

const temporaryPrefix = '.unpacking-'
const abandonedMs = 3_600_000

function withTemporary(cache, use) {
  for (const name of fs.readdirSync(cache)) {
    const other = path.join(cache, name)
    // Of a start that was killed.
    if (name.startsWith(temporaryPrefix) && fs.statSync(other, { throwIfNoEntry: false })?.mtimeMs < Date.now() - abandonedMs) fs.rmSync(other, { recursive: true, force: true })
  }
  const folder = path.join(cache, `${temporaryPrefix}${randomBytes(8).toString('hex')}`)
  fs.mkdirSync(folder, { mode: 0o700 })
  try {
    use(folder)
  } finally {
    fs.rmSync(folder, { recursive: true, force: true })
  }
}

/**
 * A server process that a supervisor starts: its first argument is the file to run. That may be one of an older program, whose
 * executable was replaced while it runs, if the system does not let it start itself by way of /proc.
 */
function forkedFile(cache) {
  const [, , file] = process.argv
  if (process.channel === undefined || file === undefined || !path.isAbsolute(file)) return null
  const [hash, ...rest] = path.relative(cache, file).split(path.sep)
  if (hash !== programHash) throw new Error('This executable was replaced by another version while its server runs: start the server again.')
  return path.join(...rest)
}

try {
  process.umask(0o077)
  const cache = cacheFolder()
  const tree = path.join(cache, programHash)
  if (process.argv[2] === unpackOnly) {
    unpack(cache, tree)
  } else {
    const file = forkedFile(cache)
    unpacked(cache, tree)
    createRequire(path.join(tree, 'entry.cjs'))('./entry.cjs')({ tree, file, compiled: path.join(cache, 'compiled') })
  }
} catch (error) {
  process.stderr.write(`Holdfast could not start: ${error.message}\n`)
  process.exitCode = 1
}
