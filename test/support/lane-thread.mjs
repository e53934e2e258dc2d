import { receiveMessageOnPort } from 'node:worker_threads'

/** A thread of lanes that answers with what it was given, and dies when it is told to. It loads nothing, so that it may end at any moment. */
export function serveBatches({ port, bell }) {
  for (let rung = 0; ;) {
    Atomics.wait(bell, 0, rung)
    rung = Atomics.load(bell, 0)
    for (let got = receiveMessageOnPort(port); got !== undefined; got = receiveMessageOnPort(port)) {
      if (got.message === null) return
      if (got.message.dies) process.exit(1)
      port.postMessage(got.message)
    }
  }
}
