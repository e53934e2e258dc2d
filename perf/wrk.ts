import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import type { Load, LoadResult } from './load.ts'

const run = promisify(execFile)
const script = path.join(import.meta.dirname, 'replay.lua')

/** Whether wrk (Debian: `apt-get install wrk`) is there. */
export async function hasWrk(): Promise<boolean> {
  // `wrk --version` prints the version and exits with 1.
  return run('wrk', ['--version']).then(() => true, (error: { code?: unknown }) => error.code !== 'ENOENT')
}

/**
 * Runs one load by wrk, on one thread unless told otherwise: that one sends more than 100,000 requests a second, and a second one would only take time
 * from the server on the same cores. wrk cannot do HEAD, because it waits for the body that Content-Length announces.
 */
export async function loadByWrk(load: Load, threads = 1): Promise<LoadResult> {
  const folder = mkdtempSync(path.join(tmpdir(), 'holdfast-wrk-'))
  try {
    const pathFile = path.join(folder, 'paths')
    const bodyFile = path.join(folder, 'body')
    writeFileSync(pathFile, `${load.paths.join('\n')}\n`)
    if (load.body !== null) writeFileSync(bodyFile, load.body)
    const headerFile = path.join(folder, 'headers')
    writeFileSync(headerFile, Object.entries(load.headers ?? {}).map(([name, value]) => `${name}: ${value}\r\n`).join(''))
    const { stdout } = await run('wrk', [
      `-t${threads}`, `-c${load.connections}`, `-d${Math.ceil(load.seconds)}s`, '--timeout', '30s', '-s', script, `http://${load.host}:${load.port}/`, '--',
      load.method, pathFile, load.body === null ? '-' : bodyFile, load.once ? 'once' : 'again', String(threads), headerFile, load.stamp ?? '-',
    ])
    const line = /^RESULT (.*)$/m.exec(stdout)?.[1]
    if (line === undefined) throw new Error(`wrk printed no result:\n${stdout}`)
    return JSON.parse(line) as LoadResult
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
