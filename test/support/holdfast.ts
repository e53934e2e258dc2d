import { spawn } from 'node:child_process'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { FsckCommandReport, ScrubReport } from '../../src/cli/report.ts'
import { foreignVariables } from './server.ts'

const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url))

export interface Ran {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs a command of the program on a data folder: `holdfast(dataDir, 'scrub', '--json')`. */
export async function holdfast(dataDir: string, ...args: readonly string[]): Promise<Ran> {
  const env = { ...foreignVariables(), HOLDFAST_DATA_DIR: dataDir, NODE_COMPILE_CACHE: path.join(path.dirname(main), '..', 'node_modules', '.cache', 'holdfast') }
  const child = spawn(process.execPath, [main, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  const output = { stdout: '', stderr: '' }
  child.stdout.on('data', (chunk: Buffer) => { output.stdout += chunk.toString() })
  child.stderr.on('data', (chunk: Buffer) => { output.stderr += chunk.toString() })
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  return { code, ...output }
}

export async function scrubReport(dataDir: string, ...args: readonly string[]): Promise<ScrubReport & { code: number | null }> {
  return reportOf(await holdfast(dataDir, 'scrub', '--json', ...args)) as ScrubReport & { code: number | null }
}

export async function fsckReport(dataDir: string, ...args: readonly string[]): Promise<FsckCommandReport & { code: number | null }> {
  return reportOf(await holdfast(dataDir, 'fsck', '--json', ...args)) as FsckCommandReport & { code: number | null }
}

function reportOf({ code, stdout, stderr }: Ran): object {
  if (stdout === '') throw new Error(`no report (exit code ${code}): ${stderr}`)
  return { ...(JSON.parse(stdout) as object), code }
}
