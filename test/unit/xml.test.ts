import { XMLParser } from 'fast-xml-parser'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { element, encodeKey, escapeText, optional, parseXml, renderXml } from '../../src/protocol/xml.ts'

const refused = (code: string) => expect.objectContaining({ code })
const keys = (document: string): (string | undefined)[] => parseXml(document, 'Delete').children('Object').map((node) => node.text('Key'))
const oneKey = (text: string): string | undefined => keys(`<Delete><Object><Key>${text}</Key></Object></Delete>`)[0]

describe('reading', () => {
  it.each(['001', '1e5', 'true', ' a ', '', '\n\t x \n', '0x10', 'null', '-0', '1.10', '😀', 'é', ']]', "it's", '"quoted"',
    '>'])('text stays text: %j', (text) => {
    expect(oneKey(text)).toBe(text)
  })

  it.each([
    ['a&amp;b', 'a&b'], ['&lt;&gt;&quot;&apos;', '<>"\''], ['&#65;&#x42;&#x1F600;', 'AB😀'], ['&#x1;&#31;&#13;', '\x01\x1f\r'], ['&amp;lt;', '&lt;'],
    ['a<![CDATA[<b>&amp;]]>c', 'a<b>&amp;c'], ['a<!-- x -->b', 'ab'], ['a<?pi x?>b', 'ab'], ['a\r\nb\rc', 'a\nb\nc'], ['&#x0010ffff;', '\u{10ffff}'],
  ])('%j means %j', (written, meant) => expect(oneKey(written)).toBe(meant))

  it('takes namespaces, prefixes, attributes, a declaration and a BOM', () => {
    const document = '\ufeff<?xml version="1.0" encoding="UTF-8"?>\n<!-- x --><s:Delete xmlns:s="http://s3.amazonaws.com/doc/2006-03-01/">\n'
      + ' <s:Object a="1>2" b=\'"\'><s:Key >k</s:Key ></s:Object>\n</s:Delete>\n<!-- end -->\n'
    expect(keys(document)).toEqual(['k'])
  })

  it('names lead to their own children only', () => {
    const root = parseXml('<A><B>1</B><C><B>2</B></C><B/><__proto__>x</__proto__><constructor>y</constructor></A>', 'Other', 'A')
    expect(root.name).toBe('A')
    expect(root.children('B').map((node) => node.value)).toEqual(['1', ''])
    expect(root.child('C')?.text('B')).toBe('2')
    expect(root.text('__proto__')).toBe('x')
    expect(root.text('constructor')).toBe('y')
    expect(root.text('toString')).toBeUndefined()
    expect(root.elements.map((node) => node.name)).toEqual(['B', 'C', 'B', '__proto__', 'constructor'])
  })

  it.each([
    '', ' ', 'text', '<A>', '<A', '<', '</A>', '<A></A', '<A></B>', '<A><B></A></B>', '<A/><A/>', '<A></A>x', 'x<A></A>', '<A></A></A>', '<B/>',
      '<a/>', '<A><></></A>', '<A>< B/></A>',
    '<A b/>', '<A b=c/>', '<A b="1" b="2"/>', '<A b="/>', '<A><1/></A>', '<A>&</A>', '<A>&foo;</A>', '<A>&#0;</A>', '<A>&#xD800;</A>',
      '<A>&#x110000;</A>', '<A>&#;</A>', '<A>&#x;</A>',
    '<A>&#6a;</A>', '<A>&#xg;</A>', '<A>&#-1;</A>', '<A>& amp;</A>', '<A>&amp</A>', '<A>a < b</A>', '<A><!-- </A>', '<A><![CDATA[x</A>',
      '<A><?pi </A>', '<![CDATA[x]]><A/>', '&#65;<A/>',
    '<!DOCTYPE A><A/>', '<!DOCTYPE A [<!ENTITY x "y">]><A>&x;</A>', '<A><!ENTITY x "y"></A>', '<!doctype A><A/>', '<A>\0</A>', '<A>\x01</A>',
      '<A>\ud800</A>', '<A/>\0', '{"a":1}',
  ])('%j is MalformedXML', (document) => expect(() => parseXml(document, 'A')).toThrowError(refused('MalformedXML')))

  it('bounds depth, elements, attributes and size', () => {
    const nested = (depth: number) => '<A>'.repeat(depth) + '</A>'.repeat(depth)
    expect(parseXml(nested(20), 'A').name).toBe('A')
    expect(() => parseXml(nested(21), 'A')).toThrowError(refused('MalformedXML'))
    expect(() => parseXml(nested(20_000), 'A')).toThrowError(refused('MalformedXML'))
    expect(() => parseXml(`<A>${'<B/>'.repeat(100_000)}</A>`, 'A')).toThrowError(refused('MalformedXML'))
    expect(() => parseXml(`<A ${'b="1" '.repeat(10_000)}/>`, 'A')).toThrowError(refused('MalformedXML'))
    expect(() => parseXml(`<A b="${'x'.repeat(100_000)}"/>`, 'A')).toThrowError(refused('MalformedXML'))
    expect(() => parseXml(`<A>${'&#65;'.repeat(1_000_000)}</A>`, 'A')).toThrowError(refused('MaxMessageLengthExceeded'))
  })

  it('takes the largest documents of S3', () => {
    const part = '<Part><PartNumber>1</PartNumber><ETag>"d41d8cd98f00b204e9800998ecf8427e"</ETag><ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part>'
    expect(parseXml(`<CompleteMultipartUpload>${part.repeat(10_000)}</CompleteMultipartUpload>`,
      'CompleteMultipartUpload').children('Part')).toHaveLength(10_000)
    expect(parseXml(`<A>${'&#65;'.repeat(800_000)}</A>`, 'A').value).toBe('A'.repeat(800_000))
  })

  it('never throws anything but S3 errors', () => {
    const scraps = fc.array(fc.constantFrom('<A>', '</A>', '<B/>', '<A x="', '"', '&', ';', '#x41', '<!--', '-->', '<![CDATA[', ']]>', '<?', '?>',
      '\r', 'x', '<', '>', '\ufeff', '<!DOCTYPE'), { maxLength: 20 })
    fc.assert(fc.property(scraps, (pieces) => {
      try {
        parseXml(pieces.join(''), 'A')
      } catch (error) {
        expect(error).toEqual(refused('MalformedXML'))
      }
    }), { numRuns: 2000 })
  })
})

describe('writing', () => {
  it('a document with namespace, children and attributes', () => {
    const document = renderXml('List', [element('Name', 'a&b'), element('Max', 10), element('Cut', false), element('In', [element('Id', 'x',
      { 'xsi:type': 'a"b' })]), ...optional('No', undefined), ...optional('Nil', null)])
    expect(document).toBe('<?xml version="1.0" encoding="UTF-8"?>\n<List xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
      + '<Name>a&amp;b</Name><Max>10</Max><Cut>false</Cut>'
      + '<In><Id xsi:type="a&quot;b">x</Id></In></List>')
  })

  it('escapes what XML does not take', () => expect(escapeText('<a>&"\r\x01\uffff\n\t\'')).toBe('&lt;a&gt;&amp;&quot;&#13;&#1;&#65535;\n\t\''))

  it('is read back as it was, by us and by a parser of its own', () => {
    const parser = new XMLParser({ parseTagValue: false, trimValues: false, processEntities: true, htmlEntities: true })
    fc.assert(fc.property(fc.string({ unit: 'binary' }).filter((text) => !text.includes('\0')), (text) => {
      expect(parseXml(renderXml('A', [element('B', text)]), 'A').text('B')).toBe(text)
    }))
    fc.assert(fc.property(fc.string({ unit: 'grapheme-ascii', minLength: 1 }), (text) => {
      expect(parser.parse(renderXml('A', [element('B', text)]))).toMatchObject({ A: { B: text } })
    }))
  })
})

describe('encoding-type=url', () => {
  it.each([['a b', 'a%20b'], ['a+b', 'a%2Bb'], ['a/b', 'a/b'], ["!'()*~", '%21%27%28%29%2A~'],
    ['é😀', '%C3%A9%F0%9F%98%80'], ['a\x01\n', 'a%01%0A'],
    ['100%', '100%25'], ['-_.', '-_.']])('%j is %s', (key, encoded) => {
    expect(encodeKey(key, 'url')).toBe(encoded)
    expect(encodeKey(key, undefined)).toBe(key)
  })

  it('is read alike by decoders that take + as a space and those that do not', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (key) => {
      const encoded = encodeKey(key, 'url')
      expect(decodeURIComponent(encoded)).toBe(key)
      expect(decodeURIComponent(encoded.replaceAll('+', ' '))).toBe(key)
    }))
  })
})
