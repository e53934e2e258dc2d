import { randomBytes } from 'node:crypto'
import { failpoint } from '../../domain/failpoint.ts'
import type { MultipartUpload } from '../../domain/model.ts'
import type { ListPage, MultipartStore } from '../store.ts'
import { clientError, send, type Line } from './connect.ts'
import { uploadOfRow } from './group-plan-multipart.ts'
import { uploadColumns, uploadRow } from './group-read.ts'
import { commonPrefix, pageRange } from './listing-bounds.ts'
import { upper } from './listing.ts'
import { fillPage } from './page.ts'
import { checksumOf, metadataText, tagsText, type WireRow } from './rows.ts'

export function openMultipart(line: Line, nextLine: () => Line, now: () => number): MultipartStore {
  return {
    createUpload: async (upload) => {
      const initiatedAt = now()
      const uploadId = uploadIdAt(initiatedAt)
      const values = [
        uploadId, upload.bucketId, upload.key, initiatedAt, upload.initiator.id, upload.initiator.displayName, upload.ownerAccountId,
        metadataText(upload.metadata), tagsText(upload.tags), upload.checksumAlgorithm, upload.checksumType,
      ]
      const client = await line.client()
      try {
        // The lock on the bucket's row makes a DeleteBucket wait, which then finds the upload.
        const rows = await send(client, {
          name: 'create_upload',
          text: `INSERT INTO uploads (${uploadColumns}, state)
            SELECT $1, id, $3, $4, $5, $6, $7, $8::jsonb, $9::jsonb, $10, $11, 'open' FROM buckets WHERE id = $2 FOR KEY SHARE RETURNING upload_id`,
          values,
        })
        failpoint?.('upload created')
        if (rows.length === 0) return null
      } catch (error) {
        throw clientError(error)
      }
      return uploadOfRow(uploadRow(values.map((value) => (value === null ? null : String(value)))))
    },

    upload: async (bucketId, key, uploadId) => {
      const [row] = await line.query({
        name: 'upload', text: `SELECT ${uploadColumns} FROM uploads WHERE upload_id = $1 AND bucket_id = $2 AND key = $3 AND state = 'open'`, values: [uploadId, bucketId, key],
      })
      return row === undefined ? null : uploadOfRow(uploadRow(row))
    },

    parts: async (uploadId, page) => {
      const rows = await line.query({
        name: 'list_parts',
        text: `SELECT part_number, size, etag, checksum_algorithm, checksum_type, checksum_value, last_modified
          FROM parts WHERE upload_id = $1 AND part_number > $2 ORDER BY part_number LIMIT $3`,
        values: [uploadId, page.after, page.limit + 1],
      })
      return { parts: rows.slice(0, page.limit).map(listedPart), truncated: rows.length > page.limit }
    },

    listUploads: async (bucketId, page) => {
      const listLine = nextLine()
      const scan = async (range: { from: string; to: string | null }, limit: number) => (await listLine.query({
        name: 'list_uploads',
        text: `SELECT ${uploadColumns} FROM uploads WHERE bucket_id = $1 AND key >= $2 AND key < $3 AND state = 'open' ORDER BY key, upload_id LIMIT $4`,
        values: [bucketId, range.from, upper(range), limit],
      })).map((row) => uploadOfRow(uploadRow(row)))
      const first = await sameKeyUploads(listLine, bucketId, page)
      const { rows, commonPrefixes, truncated, next, last } = await fillPage({ scan, skip: null, rest: laterUploads(listLine, bucketId) }, page, pageRange(page, false), first)
      return { uploads: rows, commonPrefixes, truncated, next, nextUploadId: last?.uploadId ?? null }
    },
  }
}

/** The uploads of the key `after` that come behind `afterUploadId`. */
async function sameKeyUploads(line: Line, bucketId: number, page: ListPage & { afterUploadId?: string }): Promise<MultipartUpload[]> {
  const { after, afterUploadId } = page
  if (afterUploadId === undefined || after === '') return []
  if (!after.startsWith(page.prefix) || commonPrefix(after, page.prefix, page.delimiter) !== null) return []
  return laterUploads(line, bucketId)({ key: after, uploadId: afterUploadId }, page.limit + 1)
}

const laterUploads = (line: Line, bucketId: number) => async ({ key, uploadId }: { key: string; uploadId: string }, limit: number): Promise<MultipartUpload[]> => {
  const rows = await line.query({
    name: 'list_uploads_of_key',
    text: `SELECT ${uploadColumns} FROM uploads WHERE bucket_id = $1 AND key = $2 AND upload_id > $3 AND state = 'open' ORDER BY upload_id LIMIT $4`,
    values: [bucketId, key, uploadId, limit],
  })
  return rows.map((row) => uploadOfRow(uploadRow(row)))
}

/** 12 hex digits of time, so that ids sort by initiation; then 128 random bits, so that nobody guesses one. */
const uploadIdAt = (ms: number): string => ms.toString(16).padStart(12, '0') + randomBytes(16).toString('hex')

function listedPart(row: WireRow) {
  return {
    partNumber: Number(row[0]),
    size: Number(row[1]),
    etag: row[2] as string,
    checksum: checksumOf(row[3] as string | null, row[4] as string | null, row[5] as string | null),
    lastModified: Number(row[6]),
  }
}
