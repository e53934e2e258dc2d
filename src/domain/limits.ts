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

/** Bodies up to this size are packed in segments unless configured otherwise. */
export const smallBodyBytesMaxDefault = 128 * 1024

/** Unit of verification and of transfer between threads. */
export const blockBytes = 1024 ** 2
