/** Every number that bounds something, with its reason. Units last in the name. */

/** Source: Amazon S3 user guide, "Multipart upload limits" and "Object key naming guidelines". */
export const keyBytesMax = 1024
export const userMetadataBytesMax = 2048
export const putBytesMax = 5 * 1024 ** 3
export const copyBytesMax = 5 * 1024 ** 3
export const objectBytesMax = 50 * 1024 ** 4
export const partBytesMin = 5 * 1024 ** 2
export const partBytesMax = 5 * 1024 ** 3
export const partNumberMax = 10_000
export const listPageMax = 1000
export const bucketsPageMax = 10_000
export const deleteKeysMax = 1000
export const objectTagsMax = 10
export const bucketTagsMax = 50
export const tagKeyCharsMax = 128
export const tagValueCharsMax = 256
export const presignExpirySecondsMax = 604_800
export const clockSkewMs = 15 * 60 * 1000

/** All request headers together: AWS refuses above 8 KiB. */
export const headerBytesMax = 8 * 1024

/** The largest XML document that any operation takes: 10,000 parts of CompleteMultipartUpload with checksums fit below it. */
export const xmlBytesMax = 4 * 1024 ** 2
export const xmlDepthMax = 20

/** Elements of one XML document: 10,000 parts with an ETag, a number and a checksum each are 40,001. Bounds the time to parse. */
export const xmlElementsMax = 45_000

/** From this size on XML documents take turns: one of 200 keys keeps the main thread for a millisecond, and its commands fill most of a group. */
export const longDocumentBytes = 16 * 1024
/** Long documents that are worked on at once: two fill the committer's lanes while others are parsed. */
export const documentTurnsMax = 4
/** Long documents of one account that wait for their turn, and how long: SlowDown above. */
export const waitingDocumentsMax = 500
export const documentWaitMsMax = 20_000

/** All attributes of one XML document; namespaces are the only ones that clients send. */
export const xmlAttributeCharsMax = 8 * 1024

/** Bodies up to this size are packed in segments unless configured otherwise. */
export const smallBodyBytesMaxDefault = 128 * 1024

/** Unit of verification and of transfer between threads. */
export const blockBytes = 1024 ** 2

/** A segment is closed at this size: large enough that files are few, small enough that compaction moves little at once. */
export const segmentBytesMax = 64 * 1024 ** 2
/** Segments that are appended to at once: while one is being synced, the next group fills the other. */
export const segmentLanes = 2
/** One group commit: bounded by bytes, so that its buffer stays small, and by bodies, so that the last waits no longer than an fsync. */
export const batchBytesMax = 4 * 1024 ** 2
export const batchBodiesMax = 512
/** Small bodies in memory, being received or queued: 10,000 connections with 8 KiB each fit below it; SlowDown above. */
export const smallQueueBytesMax = 96 * 1024 ** 2
export const smallQueueBodiesMax = 20_000

/** The largest record that the database carries until its segment is synced: with its columns it fits a page of PostgreSQL's. */
export const carriedBytesMax = 7 * 1024
/** How long a record is carried at most, as long as the disk keeps up. */
export const carriedMs = 1000

/** Slabs of `blockBytes` for all large uploads together, which take turns: enough to keep a disk and two dozen cores busy. */
export const uploadSlabsMax = 64
/** One fills, one is hashed and written, one is on its way back. */
export const slabsPerUploadMax = 3
/** Large uploads at once; each holds a descriptor and a port. SlowDown above. */
export const uploadsMax = 4096
/** Buffers of `blockBytes` for all readers of large bodies together; further readers wait their turn. */
export const readBuffersMax = 128
/** Nobody waits longer for one: clients that take hardly anything would keep it from all others. Hundreds of quick readers have their turn within a tenth of that. */
export const readBufferWaitMs = 1_000
/** Without a buffer a block is read for so much of it, which is all that a client that takes nothing then holds. */
export const readPieceBytes = 128 * 1024
/** Descriptors of segments kept open for reading, and block tables kept in memory (20 bytes for each block). */
export const openSegmentsMax = 512
export const blockTablesMax = 512

/** A body that brings less than this over a whole window is given up (RequestTimeout), so that idle clients hold nothing. */
export const bodyBytesPerSecondMin = 1024
export const bodyRateWindowMs = 60_000

/** Bytes that no row names are swept after this age: an upload that is still being committed is never that old. */
export const orphanAgeMs = 24 * 60 * 60 * 1000
/** Time between the release of bytes and their removal: readers that resolved a version before finish it. */
export const sweepGraceMs = 15 * 60 * 1000
export const sweepIntervalMs = 60 * 1000
/**
 * Clients may not fill the last of a disk: deletes need rows and the database's log, and the sweeper needs notes and room to move
 * records, before space comes back. Four files of PostgreSQL's log at least, but never more than a quarter of a tiny disk.
 */
export function diskReserveBytes(diskBytes: number): number {
  return Math.min(1024 ** 3, Math.max(diskBytes * 0.05, Math.min(64 * 1024 ** 2, diskBytes / 4)))
}
/** Room is looked at this often, and when what was let in since has used it up. */
export const diskRoomMs = 200

/** More than this share of a drive as orphans is a sign of a wrong database, not of litter; few blobs are let go. */
export const orphanShareMax = 0.01
export const orphanBlobsFloor = 100
export const orphanBytesFloor = 1024 ** 3

/** What a disk does not notice: 350 GB a day, so that 2.5 TB are read once a week. */
export const scrubBytesPerSecondDefault = 4 * 1024 ** 2
