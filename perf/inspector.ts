import { writeFileSync } from 'node:fs'

export interface Profiler {
  start(): Promise<void>
  /** Ends the profile and writes it. */
  stop(file: string): Promise<void>
  close(): void
}

const intervalMicroseconds = 250

interface Answer {
  readonly id?: number
  readonly result?: { readonly profile?: unknown }
  readonly error?: { readonly message: string }
}

/** CPU profiles of the main thread of a Node that was started with --inspect, each over one scenario. */
export async function connectProfiler(port: number): Promise<Profiler> {
  const targets = await (await fetch(`http://127.0.0.1:${port}/json/list`)).json() as readonly { readonly webSocketDebuggerUrl: string }[]
  const socket = new WebSocket(targets[0]?.webSocketDebuggerUrl ?? '')
  const waiting = new Map<number, (answer: Answer) => void>()
  socket.addEventListener('message', ({ data }) => {
    const answer = JSON.parse(String(data)) as Answer
    if (answer.id !== undefined) waiting.get(answer.id)?.(answer)
  })
  await new Promise<void>((resolve, reject) => {
    socket.addEventListener('open', () => resolve())
    socket.addEventListener('error', () => reject(new Error('The inspector refused the connection.')))
  })
  let lastId = 0
  const ask = async (method: string, params: object = {}): Promise<Answer> => {
    const id = ++lastId
    const { promise, resolve } = Promise.withResolvers<Answer>()
    waiting.set(id, resolve)
    socket.send(JSON.stringify({ id, method, params }))
    const answer = await promise
    waiting.delete(id)
    if (answer.error !== undefined) throw new Error(`${method}: ${answer.error.message}`)
    return answer
  }
  await ask('Profiler.enable')
  await ask('Profiler.setSamplingInterval', { interval: intervalMicroseconds })
  return {
    start: async () => void await ask('Profiler.start'),
    stop: async (file) => writeFileSync(file, JSON.stringify((await ask('Profiler.stop')).result?.profile)),
    close: () => socket.close(),
  }
}
