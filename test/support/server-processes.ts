import { readFile } from 'node:fs/promises'
import http from 'node:http'
import { familyOf } from './processes.ts'
import { signedRequest, type Endpoint } from './raw.ts'

/** The server processes that a supervisor started. */
export async function serverProcesses(supervisor: number): Promise<number[]> {
  const [, ...children] = await familyOf(supervisor)
  const commands = await Promise.all(children.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')))
  return children.filter((_, index) => commands[index]?.includes('server-process'))
}

/** A connection to each of `count` processes that share a port, by the name that they answer with in x-amz-id-2. */
export async function connectionsToEach(server: Endpoint, count: number): Promise<http.Agent[]> {
  const agents = new Map<string, http.Agent>()
  for (let tries = 0; agents.size < count; tries++) {
    if (tries > 500) throw new Error(`only ${agents.size} of ${count} processes answer`)
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
    const answer = await signedRequest({ server, path: '/', agent })
    const name = answer.headers['x-amz-id-2'] ?? ''
    if (agents.has(name)) agent.destroy()
    else agents.set(name, agent)
  }
  return [...agents.values()]
}
