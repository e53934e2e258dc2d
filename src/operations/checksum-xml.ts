import { algorithmByName, checksumElementName } from '../checksums/algorithms.ts'
import { S3Error } from '../domain/errors.ts'
import type { Checksum, ChecksumAlgorithm } from '../domain/model.ts'
import type { Headers } from '../protocol/request.ts'
import { element, type XmlElement } from '../protocol/xml.ts'

/** `<ChecksumCRC32>` and, for a whole object, `<ChecksumType>`; nothing for null. A part's checksum has no type of its own. */
export function checksumElements(checksum: Checksum | null, of: 'object' | 'part' = 'object'): readonly XmlElement[] {
  if (checksum === null) return []
  const value = element(checksumElementName(checksum.algorithm), checksum.value)
  return of === 'part' ? [value] : [value, element('ChecksumType', checksum.type)]
}

/** x-amz-checksum-algorithm of CopyObject: which checksum the copy shall have, null for the source's. */
export function copyChecksumAlgorithm(headers: Headers): ChecksumAlgorithm | null {
  const name = headers.get('x-amz-checksum-algorithm')
  if (name === undefined) return null
  const algorithm = algorithmByName(name)
  if (algorithm === undefined) {
    throw new S3Error('InvalidRequest', 'Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]')
  }
  return algorithm
}
