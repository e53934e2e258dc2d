import { XMLValidator } from 'fast-xml-parser'
import { S3Error } from '../domain/errors.ts'
import { xmlAttributeCharsMax, xmlBytesMax, xmlDepthMax, xmlElementsMax } from '../domain/limits.ts'

/*
 * Reading. One scan takes the document apart into tags and runs of text. fast-xml-parser's validator judges the tags alone
 * (names, attributes, nesting); what a client wrote between them never passes through a parser that has opinions on
 * numbers, spaces or entities. Its parser is not used: it mangles names, forgets which text was CDATA, and takes half a
 * second for four megabytes of text, which would hold up every other request.
 */

/** An element of a parsed document. Names are local names: a namespace prefix is dropped. */
export interface XmlNode {
  readonly name: string
  /** All child elements in document order. */
  readonly elements: readonly XmlNode[]
  /** Text of this element alone, exactly as written: nothing trimmed, references decoded. */
  readonly value: string
  /** The first child element of this name. */
  child(name: string): XmlNode | undefined
  /** Every child element of this name. */
  children(name: string): readonly XmlNode[]
  /** Text of the first child element of this name; undefined when there is none, '' when it is empty. */
  text(name: string): string | undefined
}

/**
 * Parses a request document whose root must be one of `rootNames`. Namespaces, attributes, comments, CDATA and a BOM are
 * tolerated. Throws MalformedXML for anything else than one well-formed element, for DOCTYPE, for nesting beyond
 * `xmlDepthMax`; MaxMessageLengthExceeded for documents beyond `xmlBytesMax`.
 */
export function parseXml(text: string, ...rootNames: readonly string[]): XmlNode {
  if (text.length > xmlBytesMax) throw new S3Error('MaxMessageLengthExceeded')
  // Raw control characters and lone surrogates are no XML, and PostgreSQL's text refuses NUL.
  if (forbidden.test(text) || !text.isWellFormed()) throw malformed()
  const { root, tags } = scan(lineEnds(text))
  if (!rootNames.includes(root.name) || XMLValidator.validate(tags) !== true) throw malformed()
  return root
}

/** C0 controls without tab, line feed and carriage return; written as `not (anything but a control, or an allowed one)`. */
const forbidden = /[^\P{Cc}\t\n\r\u007f-\u009f]|[\ufffe\uffff]/u

const malformed = (): S3Error => new S3Error('MalformedXML')

class Node implements XmlNode {
  readonly name: string
  readonly elements: Node[] = []
  value = ''

  constructor(name: string) {
    this.name = name
  }

  child(name: string): XmlNode | undefined {
    return this.elements.find((node) => node.name === name)
  }

  children(name: string): readonly XmlNode[] {
    return this.elements.filter((node) => node.name === name)
  }

  text(name: string): string | undefined {
    return this.child(name)?.value
  }
}

/** Builds the nodes and copies the tags for the validator. Linear: every step moves forward by indexOf. */
function scan(text: string): { root: XmlNode; tags: string } {
  const top = new Node('')
  const tree = new Tree(top)
  let at = text.charCodeAt(0) === 0xfeff ? 1 : 0
  while (at < text.length) {
    const open = text.indexOf('<', at)
    if (open !== at) tree.text(decodeText(text.slice(at, open < 0 ? text.length : open)))
    if (open < 0) break
    if (text.startsWith('<!--', open)) {
      at = after(text, '-->', open + 4)
    } else if (text.startsWith('<![CDATA[', open)) {
      at = after(text, ']]>', open + 9)
      tree.data(text.slice(open + 9, at - 3))
    } else if (text.startsWith('<?', open)) {
      at = after(text, '?>', open + 2)
    } else {
      at = tagEnd(text, open)
      tree.tag(text.slice(open, at))
    }
  }
  const root = top.elements[0]
  if (!root || top.elements.length > 1) throw malformed()
  return { root, tags: tree.tags }
}

/** The open elements of a scan. That an end tag has the right name is the validator's business. */
class Tree {
  tags = ''
  private readonly path: Node[]
  private elements = 0
  private attributeChars = 0

  constructor(top: Node) {
    this.path = [top]
  }

  text(run: string): void {
    const node = this.path.at(-1)
    if (this.path.length > 1 && node) node.value += run
    else if (/[^ \t\r\n]/.test(run)) throw malformed()
  }

  data(run: string): void {
    if (this.path.length === 1) throw malformed()
    this.text(run)
  }

  tag(tag: string): void {
    this.tags += tag
    if (tag.charCodeAt(1) === slash) {
      if (this.path.length === 1) throw malformed()
      this.path.pop()
      return
    }
    const nameEnd = tag.search(/[ \t\r\n/>]/)
    const closesItself = tag.endsWith('/>')
    this.attributeChars += tag.length - nameEnd - (closesItself ? 2 : 1)
    if (++this.elements > xmlElementsMax || this.attributeChars > xmlAttributeCharsMax) throw malformed()
    const qualified = tag.slice(1, nameEnd)
    const node = new Node(qualified.slice(qualified.indexOf(':') + 1))
    this.path.at(-1)?.elements.push(node)
    if (!closesItself && this.path.push(node) > xmlDepthMax + 1) throw malformed()
  }
}

const slash = 0x2f
const hash = 0x23

/** The offset behind the next `mark`. */
function after(text: string, mark: string, from: number): number {
  const found = text.indexOf(mark, from)
  if (found < 0) throw malformed()
  return found + mark.length
}

/** The offset behind the `>` that ends the tag at `open`; a `>` inside a quoted attribute does not end it. DOCTYPE is refused. */
function tagEnd(text: string, open: number): number {
  if (text.charCodeAt(open + 1) === 0x21) throw malformed()
  const longest = Math.min(text.length, open + xmlAttributeCharsMax)
  for (let at = open + 1; at < longest; at++) {
    const code = text.charCodeAt(at)
    if (code === 0x3e) return at + 1
    if (code === 0x3c) throw malformed()
    if (code === 0x22 || code === 0x27) {
      at = text.indexOf(text.charAt(at), at + 1)
      if (at < 0) throw malformed()
    }
  }
  throw malformed()
}

/**
 * XML 1.0, 2.11: a reader sees every line end as one line feed; a carriage return that is meant comes as `&#13;`. Bytes are
 * moved in place, because a replacement for each of four million carriage returns takes a fifth of a second.
 */
function lineEnds(text: string): string {
  if (!text.includes('\r')) return text
  const bytes = Buffer.from(text, 'utf8')
  let length = 0
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at] ?? 0
    if (byte !== 0x0d) bytes[length++] = byte
    else if (bytes[at + 1] !== 0x0a) bytes[length++] = 0x0a
  }
  return bytes.toString('utf8', 0, length)
}

const named: ReadonlyMap<string, string> = new Map([['amp', '&'], ['lt', '<'], ['gt', '>'], ['quot', '"'], ['apos', "'"]])

function decodeText(text: string): string {
  let decoded = ''
  let from = 0
  for (let at = text.indexOf('&'); at >= 0; at = text.indexOf('&', from)) {
    const end = text.indexOf(';', at)
    // `&#x0010ffff;` has twelve characters in front of its semicolon: a far one belongs to something else.
    if (end < 0 || end - at > 12) throw malformed()
    if (at > from) decoded += text.slice(from, at)
    const character = text.charCodeAt(at + 1) === hash ? numbered(text, at + 2, end) : named.get(text.slice(at + 1, end))
    if (character === undefined) throw malformed()
    decoded += character
    from = end + 1
  }
  return from === 0 ? text : decoded + text.slice(from)
}

/**
 * The character of `65` or `x41`. Numbers that XML 1.0 forbids are accepted, as AWS does for keys; NUL and surrogates are
 * not. Digit by digit: a document can have a million references.
 */
function numbered(text: string, start: number, end: number): string | undefined {
  const base = text.charCodeAt(start) === 0x78 ? 16 : 10
  let code = 0
  for (let at = base === 16 ? start + 1 : start; at < end; at++) {
    const unit = text.charCodeAt(at)
    // `a` and `A` differ by the bit 0x20; digits have it already.
    const digit = unit <= 0x39 ? unit - 0x30 : (unit | 0x20) - 0x61 + 10
    if (digit < 0 || digit >= base || (unit > 0x39 && digit < 10)) return undefined
    code = code * base + digit
  }
  return code === 0 || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff) ? undefined : String.fromCodePoint(code)
}

/*
 * Writing, by concatenation. An element is its own rendered text, so that a page of a thousand keys is a thousand strings.
 */

/** A rendered element; only `element` makes one, so that no text gets in unescaped. */
export interface XmlElement {
  readonly xml: string
}

export type XmlContent = string | number | boolean | readonly XmlElement[]

/** `<name>text or children</name>`. Text is escaped. `attributes` are rendered in their order. */
export function element(name: string, content: XmlContent, attributes?: Readonly<Record<string, string>>): XmlElement {
  let open = name
  if (attributes) for (const [key, value] of Object.entries(attributes)) open += ` ${key}="${escapeText(value)}"`
  return { xml: `<${open}>${renderContent(content)}</${name}>` }
}

/** The element when there is something to say; nothing for undefined and null. Spread it into a list of children. */
export function optional(name: string, content: XmlContent | undefined | null): readonly XmlElement[] {
  return content === undefined || content === null ? [] : [element(name, content)]
}

const declaration = '<?xml version="1.0" encoding="UTF-8"?>\n'
const namespaceAttribute = { xmlns: 'http://s3.amazonaws.com/doc/2006-03-01/' }

/** A whole document. `namespace: false` for error documents, which AWS writes without it. */
export function renderXml(root: string, content: XmlContent, options: { namespace?: boolean } = {}): string {
  return declaration + element(root, content, options.namespace === false ? undefined : namespaceAttribute).xml
}

function renderContent(content: XmlContent): string {
  if (typeof content === 'string') return escapeText(content)
  if (typeof content === 'number' || typeof content === 'boolean') return String(content)
  let xml = ''
  for (const child of content) xml += child.xml
  return xml
}

const special = /[&<>"\ufffe\uffff]|[^\P{Cc}\t\n\u007f-\u009f]/u
const forbiddenInText = /[^\P{Cc}\t\n\u007f-\u009f]|[\ufffe\uffff]/u
const allForbidden = new RegExp(forbiddenInText, 'gu')

/** Forbidden characters become numeric references as AWS writes them; clients that need strict XML ask for encoding-type=url. */
export function escapeText(text: string): string {
  if (!special.test(text)) return text
  // One plain replacement for each is several times faster than a callback: every ETag of a listing has two quotes.
  const escaped = text.replaceAll('&', '&amp;').replaceAll('"', '&quot;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
  return forbiddenInText.test(escaped) ? escaped.replace(allForbidden, (character) => `&#${character.charCodeAt(0)};`) : escaped
}

/**
 * A key, prefix, delimiter or marker of a listing by `encoding-type`. Unreserved characters and `/` stay, everything else
 * is percent-encoded by UTF-8 bytes. A space is written `%20`, where AWS writes `+`: some clients read `+` as a space
 * (botocore, rclone) and some as a plus (plain decodeURIComponent), while all of them read `%20` and `%2B`.
 */
export function encodeKey(value: string, encodingType: 'url' | undefined): string {
  if (encodingType === undefined || /^[A-Za-z0-9/._-]*$/.test(value)) return value
  return encodeURIComponent(value).replaceAll('%2F', '/').replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`)
}
