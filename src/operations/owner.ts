import { element, type XmlElement } from '../protocol/xml.ts'
import type { Context } from './operation.ts'

/** `<Owner><ID/><DisplayName/></Owner>` of an account. */
export async function renderOwner(name: string, accountId: string, { principal, metadata }: Context): Promise<XmlElement> {
  const account = principal.account.id === accountId ? principal.account : await metadata.account(accountId)
  return element(name, account === null ? [] : [element('ID', account.canonicalId), element('DisplayName', account.displayName)])
}
