import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A socket in front of a PostgreSQL, which can lose connections at the worst moment. */
export interface PostgresProxy {
  /** Folder of its socket: the `host` of a connection. */
  readonly host: string
  /** Its TCP port on the loopback address, when it stands before one; else 0. */
  readonly port: number
  /**
   * From now on, each time a COMMIT comes by: `before` cuts the connection without passing it on, `after` passes it on and
   * cuts before the answer. `count` times, then no more.
   */
  cutAtCommit(when: 'before' | 'after', count: number): void
  /** The next session that gets ready is told in the same breath that its server has died, and ends. */
  dieOnceReady(): void
  /** How often a connection was cut. */
  cuts(): number
  /** Refuses new connections and ends the present ones, or lets them in again. */
  away(isAway: boolean): void
  close(): Promise<void>
}

/** In the message Bind of the prepared statement `commit`: the empty name of the portal, and the statement's. */
const commitMessage = Buffer.from('\0commit\0')

const committedTag = Buffer.from('COMMIT\0')
const readyForQuery = Buffer.from('Z\0\0\0\x05I', 'latin1')
const dying = ((fields: string): Buffer => {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(4 + fields.length)
  return Buffer.concat([Buffer.from('E'), length, Buffer.from(fields)])
})('SFATAL\0VFATAL\0C57P01\0Mterminating connection due to unexpected postmaster exit\0\0')

/** `target`: the folder of a PostgreSQL's Unix socket, or its TCP port on the loopback address. */
export async function startProxy(target: string | number): Promise<PostgresProxy> {
  const host = await mkdtemp(join(tmpdir(), 'holdfast-proxy-'))
  const sockets = new Set<Socket>()
  let mode: { when: 'before' | 'after'; left: number } = { when: 'before', left: 0 }
  let cut = 0
  let isAway = false
  let dies = false

  const server = createServer((client) => {
    if (isAway) return void client.destroy()
    const upstream = typeof target === 'number' ? connect(target, '127.0.0.1') : connect(join(target, '.s.PGSQL.5432'))
    let deaf = false
    let fresh = true
    const end = () => {
      client.destroy()
      upstream.destroy()
    }
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        sockets.delete(socket)
        end()
      })
    }
    client.on('data', (chunk: Buffer) => {
      if (mode.left > 0 && chunk.indexOf(commitMessage) >= 0) {
        mode.left--
        cut++
        if (mode.when === 'before') return end()
        deaf = true
        upstream.write(chunk)
        return
      }
      upstream.write(chunk)
    })
    upstream.on('data', (chunk: Buffer) => {
      if (fresh && chunk.indexOf(readyForQuery) >= 0) {
        fresh = false
        if (dies) {
          dies = false
          cut++
          client.end(Buffer.concat([chunk, dying]))
          return
        }
      }
      if (!deaf) return void client.write(chunk)
      // The server has answered the COMMIT, and those before it that came along: the answers are lost.
      if (chunk.indexOf(committedTag) >= 0) end()
    })
  })
  await new Promise<void>((listening) => server.listen(typeof target === 'number' ? { port: 0, host: '127.0.0.1' } : { path: join(host, '.s.PGSQL.5432') }, listening))
  const address = server.address()
  return {
    host,
    port: typeof address === 'object' && address !== null ? address.port : 0,
    cutAtCommit: (when, left) => { mode = { when, left } },
    dieOnceReady: () => { dies = true },
    cuts: () => cut,
    away: (gone) => {
      isAway = gone
      if (gone) for (const socket of sockets) socket.destroy()
    },
    close: async () => {
      for (const socket of sockets) socket.destroy()
      await new Promise((closed) => server.close(closed))
      await rm(host, { recursive: true, force: true })
    },
  }
}
