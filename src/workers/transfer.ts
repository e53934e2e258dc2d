import type { MessagePort } from 'node:worker_threads'
import { move, transferableSymbol, valueSymbol } from 'piscina'

/** A task whose port moves to the thread that takes it. */
export function withPort<Task extends { readonly port: MessagePort }>(task: Task): ReturnType<typeof move> {
  return move({ [transferableSymbol]: task.port, [valueSymbol]: task })
}
