import { S3Error } from '../domain/errors.ts'
import { element, renderXml, type XmlContent } from '../protocol/xml.ts'
import { bucketOperation, serviceOperation, type Operation } from './operation.ts'

/** What S3 answers where nothing was configured, and the honest answer where something cannot be. */

/** An operation that we do not have: 501 by its name. The bucket is not looked up, so the answer never hides behind NoSuchBucket. */
export function notImplemented(name: string, route: string, action = `s3:${name}`): Operation {
  return serviceOperation({
    name, route, action, body: 'none',
    input: () => {
      throw new S3Error('NotImplemented', `${name} is not implemented.`, { fields: { Operation: name } })
    },
    run: async () => ({ status: 501 }),
  })
}

/** A setting that is not there: S3's own error for it. */
export function unset(name: string, route: string, code: string, action = `s3:${name}`): Operation {
  return bucketOperation({
    name, route, action, body: 'none',
    input: () => null,
    async run(_input, { bucket }) {
      throw new S3Error(code, undefined, { fields: { BucketName: bucket.name } })
    },
  })
}

/** A setting whose default S3 shows as a document. */
export function defaultDocument(name: string, route: string, root: string, content: XmlContent = [], action = `s3:${name}`): Operation {
  const body = renderXml(root, content)
  return bucketOperation({ name, route, action, body: 'none', input: () => null, run: async () => ({ status: 200, body }) })
}

/** Taking away a setting that cannot be there is done already. */
export function deletesNothing(name: string, route: string, action = `s3:${name}`): Operation {
  return bucketOperation({ name, route, action, body: 'none', input: () => null, run: async () => ({ status: 204 }) })
}

/**
 * The settings that come by id, of which a bucket may have many: listing shows none, each id is unknown. `root` is the root
 * element of the list, which the API reference names differently for each.
 */
export function noneById(subject: string, param: string, root: string): readonly Operation[] {
  const list = `ListBucket${subject}Configurations`
  const action = `s3:Get${subject}Configuration`
  return [
    defaultDocument(list, `GET bucket ?${param}`, root, [element('IsTruncated', false)], action),
    unset(`GetBucket${subject}Configuration`, `GET bucket ?${param}&id`, 'NoSuchConfiguration', action),
    unset(`DeleteBucket${subject}Configuration`, `DELETE bucket ?${param}`, 'NoSuchConfiguration', `s3:Put${subject}Configuration`),
    notImplemented(`PutBucket${subject}Configuration`, `PUT bucket ?${param}`, `s3:Put${subject}Configuration`),
  ]
}
