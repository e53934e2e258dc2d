import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Socket } from 'node:net'
import type { Log } from '../telemetry/log.ts'
import { watchdogBytesMin, watchdogPeriodMs } from './limits.ts'

export interface Watchdog {
  add(incoming: IncomingMessage, outgoing: ServerResponse): void
  /** The answer to the last request of this connection, when that request came whole, or its answer has begun, and it is not out yet; else null. */
  answering(socket: Duplex): ServerResponse | null
  /** Bytes of all connections since the start, and how many are open. */
  traffic(): { readonly read: number; readonly written: number; readonly connections: number }
  close(): void
}

interface Connection {
  incoming: IncomingMessage
  outgoing: ServerResponse
  read: number
  written: number
}

/**
 * Ends connections on which a transfer stands still because of the client. Node's own request timeout cannot do it: it bounds
 * the whole time, and a large body over a slow line is no crime. A connection is remembered, not each request, so that a
 * request on the hot path costs one look into a map.
 */
export function createWatchdog(log: Log, periodMs = watchdogPeriodMs): Watchdog {
  const connections = new Map<Duplex, Connection>()
  /** Of connections that are closed. */
  const past = { read: 0, written: 0 }
  const timer = setInterval(() => {
    for (const [socket, connection] of connections) check(socket as Socket, connection, log)
  }, periodMs).unref()
  return {
    add(incoming, outgoing) {
      const { socket } = incoming
      const known = connections.get(socket)
      if (known !== undefined) {
        known.incoming = incoming
        known.outgoing = outgoing
        return
      }
      connections.set(socket, { incoming, outgoing, read: 0, written: 0 })
      socket.once('close', () => {
        connections.delete(socket)
        past.read += socket.bytesRead
        past.written += socket.bytesWritten
      })
    },
    answering(socket) {
      const last = connections.get(socket)
      return last !== undefined && (last.incoming.complete || last.outgoing.headersSent) && !last.outgoing.writableFinished ? last.outgoing : null
    },
    traffic() {
      let { read, written } = past
      for (const socket of connections.keys()) {
        read += (socket as Socket).bytesRead
        written += (socket as Socket).bytesWritten
      }
      return { read, written, connections: connections.size }
    },
    close: () => clearInterval(timer),
  }
}

function check(socket: Socket, connection: Connection, log: Log): void {
  const { incoming, outgoing } = connection
  const read = socket.bytesRead - connection.read
  const written = socket.bytesWritten - socket.writableLength - connection.written
  connection.read = socket.bytesRead
  connection.written = socket.bytesWritten - socket.writableLength
  if (outgoing.writableFinished) return
  // The server waits for the body: its buffer is empty, so it is not the slow one. A client that waits for 100 Continue is waited for by nobody.
  const wantsBody = !incoming.complete && incoming.readableFlowing !== false && incoming.readableLength === 0 && hasBody(incoming)
  const wantsRoom = socket.writableLength > 0
  const stuck = (wantsBody && read < watchdogBytesMin) || (wantsRoom && written < watchdogBytesMin)
  if (!stuck || socket.bytesRead === read) return
  log.info('A connection stood still and was closed', { remoteAddress: socket.remoteAddress, method: incoming.method, waitedFor: wantsBody ? 'request body' : 'response' })
  socket.destroy()
}

/** With `Expect: 100-continue` the body counts once the first byte of it came. */
function hasBody(incoming: IncomingMessage): boolean {
  return incoming.headers['transfer-encoding'] !== undefined || Number(incoming.headers['content-length'] ?? 0) > 0
}
