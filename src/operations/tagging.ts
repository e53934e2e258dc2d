import { S3Error } from '../domain/errors.ts'
import { bucketTagsMax, objectTagsMax } from '../domain/limits.ts'
import type { Tag } from '../domain/model.ts'
import { checkTags } from '../domain/names.ts'
import { element, parseXml, type XmlElement, type XmlNode } from '../protocol/xml.ts'

/** The Tagging document of objects and buckets. Throws MalformedXML, InvalidTag, BadRequest (too many). */
export function parseTagging(xml: string, owner: 'object' | 'bucket'): Tag[] {
  const sets = parseXml(xml, 'Tagging').children('TagSet')
  if (sets.length !== 1) throw new S3Error('MalformedXML')
  return tagsOf(sets[0], owner)
}

/** Tags from an element that holds `Tag` elements. */
export function tagsOf(set: XmlNode | undefined, owner: 'object' | 'bucket'): Tag[] {
  const tags = (set?.children('Tag') ?? []).map((tag) => {
    const key = tag.text('Key')
    const value = tag.text('Value')
    if (key === undefined || value === undefined) throw new S3Error('MalformedXML')
    return { key, value }
  })
  const most = owner === 'object' ? objectTagsMax : bucketTagsMax
  if (tags.length > most) throw new S3Error('BadRequest', `${owner === 'object' ? 'Object' : 'Bucket'} tags cannot be greater than ${most}`)
  checkTags(tags)
  return tags
}

export function renderTags(tags: readonly Tag[]): XmlElement {
  return element('TagSet', tags.map((tag) => element('Tag', [element('Key', tag.key), element('Value', tag.value)])))
}
