import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A small disk that only the server sees: it lives in the server's own mount namespace and is gone when the server ends. */
export interface SmallDisk {
  /** Where the server finds it: its data folder. */
  readonly folder: string
  /** For `startServer`: makes the disk, then becomes the server. */
  readonly wrapper: readonly string[]
  /** The same folder as others see it while the server runs. */
  seenFrom(pid: number): string
  remove(): Promise<void>
}

/** Root may mount; any other user may in a user namespace of its own. */
export async function smallDisk(megabytes: number): Promise<SmallDisk> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-disk-'))
  const namespace = process.getuid?.() === 0 ? ['--mount'] : ['--user', '--map-root-user', '--mount']
  const script = 'mount -t tmpfs -o "size=$1,mode=0700" tmpfs "$2" && shift 2 && exec "$@"'
  return {
    folder,
    wrapper: ['unshare', ...namespace, 'sh', '-c', script, 'sh', `${megabytes}m`, folder],
    seenFrom: (pid) => `/proc/${pid}/root${folder}`,
    remove: () => rm(folder, { recursive: true, force: true }),
  }
}
