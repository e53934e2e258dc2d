import { spawn } from 'node:child_process'
import { request } from 'node:http'
import { createServer, type AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { createSigner, type Signer } from './presign.ts'

/** Safe against: S the loss of power, before the answer; R the death of the process only; T neither, all is in memory. */
export type DurabilityClass = 'S' | 'R' | 'T'

/** Milliseconds that the event loop was late. */
export interface LoopDelay {
  readonly p50: number
  readonly p99: number
  readonly p999: number
  readonly max: number
}

/** A server that the scenarios can be run against. Another one (a peer) is another function that makes this: see peers.ts. */
export interface Server {
  readonly name: string
  readonly host: string
  readonly port: number
  /** Its helper processes are the descendants of this one. */
  readonly pid: number
  readonly signer: Signer
  /** From the start of the process to the first answer of 200 to a signed request. */
  readonly startSeconds: number
  /** Where Holdfast tells about itself; null: not Holdfast. */
  readonly controlPort: number | null
  /** How late the event loop was since it was asked the last time; null when the server does not tell. */
  loopDelay(): Promise<LoopDelay | null>
  stop(): Promise<void>
}

export interface Launch {
  readonly name: string
  readonly command: readonly string[]
  readonly cwd: string
  readonly env: NodeJS.ProcessEnv
  readonly port: number
  readonly keys: { readonly accessKeyId: string; readonly secretAccessKey: string }
  /** The command is a tool that ends by itself after the server, which its user has to stop, and may then work on its report. */
  readonly wrapped?: boolean
  readonly controlPort?: number
  readonly loopDelay?: () => Promise<LoopDelay | null>
}

export const host = '127.0.0.1'
const region = 'us-east-1'
const startMsMax = 60_000
const stopMsMax = 30_000
const reportMsMax = 600_000

/** Starts a server and waits until it answers a signed request. Rejects with what it printed when it ends before that. */
export async function launch({ name, command: [program = '', ...args], cwd, env, port, keys, wrapped = false, controlPort, loopDelay }: Launch): Promise<Server> {
  const signer = createSigner({ host: `${host}:${port}`, region, ...keys })
  const startedAt = performance.now()
  const child = spawn(program, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] })
  let printed = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      printed = (printed + chunk.toString()).slice(-8192)
    })
  }
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  const ended = (): boolean => child.exitCode !== null || child.signalCode !== null
  while (await statusOf(port, signer.path('GET', '', '')) !== 200) {
    if (ended()) throw new Error(`${name} ended before it answered:\n${printed}`)
    if (performance.now() - startedAt > startMsMax) {
      child.kill('SIGKILL')
      throw new Error(`${name} did not answer within ${startMsMax / 1000} s:\n${printed}`)
    }
    await sleep(5)
  }
  const startSeconds = (performance.now() - startedAt) / 1000
  const stop = async (): Promise<void> => {
    if (!ended() && !wrapped) child.kill('SIGTERM')
    const force = setTimeout(() => child.kill('SIGKILL'), wrapped ? reportMsMax : stopMsMax)
    await exited
    clearTimeout(force)
    // Some peers have no orderly end.
    if (child.exitCode !== 0 && child.signalCode !== 'SIGTERM') process.stderr.write(`${name} ended with ${child.exitCode ?? child.signalCode}:\n${printed}\n`)
  }
  return { name, host, port, pid: child.pid ?? 0, signer, startSeconds, stop, controlPort: controlPort ?? null, loopDelay: loopDelay ?? (() => Promise.resolve(null)) }
}

export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, host, resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** 0 when nobody answers. */
function statusOf(port: number, target: string): Promise<number> {
  return new Promise((resolve) => {
    const asked = request({ host, port, path: target, agent: false }, (response) => {
      response.resume()
      response.on('end', () => resolve(response.statusCode ?? 0))
    })
    asked.on('error', () => resolve(0))
    asked.end()
  })
}
