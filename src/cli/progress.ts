import type { Progress } from '../storage/scrub.ts'

/** A line on a terminal that says how far a check has come. */
export interface ProgressBar {
  show(progress: Progress): void
  /** Takes the line away. */
  end(): void
}

const everyMs = 200
const cells = 30

/** `total`: bytes of the rows, about. Shows nothing when `write` is not a terminal's. */
export function progressBar(write: (text: string) => void, isTerminal: boolean, total: number): ProgressBar {
  if (!isTerminal) return { show: () => undefined, end: () => undefined }
  let shownAt = 0
  return {
    show(progress) {
      const now = performance.now()
      if (now - shownAt < everyMs) return
      shownAt = now
      write(`\r\x1b[K${barText(progress, total)}`)
    },
    end: () => write('\r\x1b[K'),
  }
}

export function barText({ phase, blobs, bytes }: Progress, total: number): string {
  const share = total === 0 ? 1 : Math.min(1, bytes / total)
  const full = Math.round(share * cells)
  const what = phase === 'rows' ? 'rows to bytes' : 'bytes to rows'
  return `${what} [${'#'.repeat(full)}${'.'.repeat(cells - full)}] ${String(Math.floor(share * 100)).padStart(3)} %  ${blobs} ${phase === 'rows' ? 'objects' : 'blobs'}, ${bytesText(bytes)}`
}

const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const

export function bytesText(bytes: number): string {
  const power = Math.min(units.length - 1, bytes < 1024 ? 0 : Math.floor(Math.log2(bytes) / 10))
  return power === 0 ? `${bytes} bytes` : `${(bytes / 1024 ** power).toFixed(1)} ${units[power]}`
}
