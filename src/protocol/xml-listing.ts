import type { ListedObject } from '../domain/model.ts'
import { isoDate } from './dates.ts'
import { element, escapeText, optional, type XmlElement } from './xml.ts'

/**
 * The `Contents` of a page of objects. What `element` would give, by hand: a page has a thousand rows, and all but the key, the
 * ETag and the size are the same in most of them.
 */
export function objectContents(objects: readonly ListedObject[], encode: (key: string) => string, owner: readonly XmlElement[]): XmlElement {
  const ownerXml = owner.map(({ xml }) => xml).join('')
  let xml = ''
  let lastModified = Number.NaN
  let afterKey = ''
  let algorithm: ListedObject['checksumAlgorithm'] = null
  let type: ListedObject['checksumType'] = null
  let checksumXml = ''
  for (const object of objects) {
    if (object.lastModified !== lastModified) {
      lastModified = object.lastModified
      afterKey = `</Key>${element('LastModified', isoDate(lastModified)).xml}<ETag>&quot;`
    }
    if (object.checksumAlgorithm !== algorithm || object.checksumType !== type) {
      algorithm = object.checksumAlgorithm
      type = object.checksumType
      checksumXml = [...optional('ChecksumAlgorithm', algorithm), ...optional('ChecksumType', type)].map((each) => each.xml).join('')
    }
    xml += `<Contents><Key>${escapeText(encode(object.key))}${afterKey}${object.etag}&quot;</ETag>${checksumXml}<Size>${object.size}</Size>${ownerXml}${classXml}</Contents>`
  }
  return { xml }
}

const classXml = element('StorageClass', 'STANDARD').xml
