/** Finds and runs the Node that the lockfile pins, whatever Node started the script. */
import { spawn } from 'node:child_process'
import { existsSync, realpathSync } from 'node:fs'
import path from 'node:path'
import { root } from './install.mjs'

/** Type stripping without a flag came with 23.6; even releases are the supported ones. */
const oldestMajor = 24

/** Path of a Node that runs TypeScript as it stands; ends the process with a message when there is none. */
export function pinnedNode() {
  const pinned = path.join(root, 'node_modules', `node-${process.platform}-${process.arch}`, 'bin', 'node')
  if (existsSync(pinned)) return realpathSync(pinned)
  if (Number(process.versions.node.split('.')[0]) >= oldestMajor) return process.execPath
  process.stderr.write(
    `Holdfast needs Node ${oldestMajor} or later; this is ${process.version}, and there is no packaged Node for ${process.platform}-${process.arch}.\n`
    + 'Install a newer Node (https://nodejs.org) and start again.\n',
  )
  process.exit(1)
}

export function isPinned() {
  return realpathSync(process.execPath) === pinnedNode()
}

/**
 * How the server's Node is tuned. A young generation of 32 MiB outlives a burst of requests: at 64 connections it saved a fifth of
 * the CPU of a small request for 15 MB of memory. Two threads that collect it beside the main one, not four: on two cores they waited
 * for each other, for a tenth of the CPU of a PUT. More I/O threads than four, so that reads do not wait behind the fsyncs of uploads.
 * `npm start` in package.json has the flags too, for when npm's Node is the pinned one already.
 */
export const serverFlags = ['--max-semi-space-size=32', '--v8-pool-size=2']

export function serverEnvironment(env) {
  return { UV_THREADPOOL_SIZE: '16', ...env }
}

/** Runs the pinned Node with these arguments on this terminal, passes signals on, and resolves to the exit code. */
export function runNode(args, { env = process.env } = {}) {
  const node = pinnedNode()
  const bin = path.join(root, 'node_modules', '.bin')
  const child = spawn(node, args, { cwd: root, stdio: 'inherit', env: { ...env, PATH: `${bin}${path.delimiter}${env.PATH ?? ''}` } })
  const forward = (signal) => child.kill(signal)
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR2']
  for (const signal of signals) process.on(signal, forward)
  return new Promise((resolve) => {
    child.on('error', (error) => {
      process.stderr.write(`${node} could not be started: ${error.message}\n`)
      resolve(1)
    })
    child.on('exit', (code, signal) => {
      for (const name of signals) process.off(name, forward)
      resolve(code ?? (signal === 'SIGINT' ? 130 : 1))
    })
  })
}
