import type { MessagePort } from 'node:worker_threads'
import type { Piscina } from 'piscina'

type TransferList = NonNullable<NonNullable<Parameters<Piscina['run']>[1]>['transferList']>

/** The package infers the type of its list from an overload of Node's that is not the one with a list. */
export function withPort(port: MessagePort): { transferList: TransferList } {
  return { transferList: [port] as unknown as TransferList }
}
