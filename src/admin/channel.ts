/** Calls between two processes, by name. Input and answer are plain data: what the structured clone takes, without functions. */
export type Handlers<Calls> = { readonly [Name in keyof Calls]: Calls[Name] extends (input: infer Input) => infer Output ? (input: Input) => Output | Promise<Output> : never }

type InputOf<Call> = Call extends (input: infer Input) => unknown ? Input : never
type OutputOf<Call> = Call extends (input: never) => infer Output ? Output : never

/** One end of a channel to a process that answers `Calls`. */
export interface Channel<Calls> {
  /** Rejects with the error of the other side, when the other process ends, and when it does not answer within `waitMs`. */
  call<Name extends keyof Calls & string>(name: Name, input: InputOf<Calls[Name]>, waitMs: number): Promise<OutputOf<Calls[Name]>>
}

/** What Node's IPC looks like from either side: a ChildProcess, or `process` in the child. */
export interface Ipc {
  send?(message: unknown, callback: (error: Error | null) => void): boolean
  on(event: 'message', listener: (message: unknown) => void): unknown
  once(event: 'disconnect', listener: () => void): unknown
}

type Message =
  | { readonly call: number; readonly name: string; readonly input: unknown }
  | { readonly answer: number; readonly value: unknown }
  | { readonly answer: number; readonly error: string }

interface Waiting {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: Error) => void
}

/** Opens one end: `handlers` answers what the other side calls. The channel closes with the processes. */
export function openChannel<Theirs, Mine>(ipc: Ipc, handlers: Handlers<Mine>): Channel<Theirs> {
  const waiting = new Map<number, Waiting>()
  let last = 0
  let closed = false

  const send = (message: Message, failed: (error: Error) => void): void => {
    if (closed || ipc.send === undefined) return failed(new Error('the process has ended'))
    ipc.send(message, (error) => {
      if (error !== null) failed(error)
    })
  }

  async function answer(call: number, name: string, input: unknown): Promise<void> {
    // Nobody is there any more to be told that an answer could not be sent.
    const unheard = (): void => undefined
    try {
      const handler = (handlers as Readonly<Record<string, (input: unknown) => unknown>>)[name]
      if (handler === undefined) throw new Error(`there is no call ${name}`)
      send({ answer: call, value: await handler(input) }, unheard)
    } catch (error) {
      send({ answer: call, error: error instanceof Error ? error.message : String(error) }, unheard)
    }
  }

  ipc.on('message', (received) => {
    const message = received as Message
    if ('call' in message) {
      void answer(message.call, message.name, message.input)
      return
    }
    const asked = waiting.get(message.answer)
    waiting.delete(message.answer)
    if ('error' in message) asked?.reject(new Error(message.error))
    else asked?.resolve(message.value)
  })
  ipc.once('disconnect', () => {
    closed = true
    for (const { reject } of waiting.values()) reject(new Error('the process has ended'))
    waiting.clear()
  })

  return {
    call: (name, input, waitMs) => new Promise((resolve, reject) => {
      const call = ++last
      const timer = setTimeout(() => {
        waiting.delete(call)
        reject(new Error(`no answer to ${name} within ${waitMs / 1000} s`))
      }, waitMs)
      const settled = <Value>(settle: (value: Value) => void) => (value: Value): void => {
        clearTimeout(timer)
        settle(value)
      }
      const asked: Waiting = { resolve: settled(resolve as (value: unknown) => void), reject: settled(reject) }
      waiting.set(call, asked)
      send({ call, name, input }, (error) => {
        waiting.delete(call)
        asked.reject(error)
      })
    }),
  }
}
