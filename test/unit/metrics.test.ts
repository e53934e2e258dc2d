import { readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { countOne, createMeters, Histogram, merged, metricNames, metrics, metricsMarkdown, metricsText, type Metric } from '../../src/telemetry/metrics.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const chartFile = (name: string): string => readFileSync(path.join(root, 'helm', 'holdfast', 'files', name), 'utf8')

test('the page of metrics is the table’s', async () => {
  await expect(metricsMarkdown()).toMatchFileSnapshot('../../src/telemetry/METRICS.md')
})

describe('names', () => {
  test('follow Prometheus’ rules', () => {
    for (const name of metricNames) {
      const { type, labels, help } = metrics[name] as Metric
      expect(name).toMatch(/^holdfast_[a-z_]+$/)
      expect([name, name.endsWith('_total')]).toEqual([name, type === 'counter'])
      expect(name).not.toMatch(/_(?:count|sum|bucket|info_total|milliseconds|ms|kib|mib)$/)
      for (const label of labels) expect(label).toMatch(/^[a-z_]+$/)
      expect(help).toMatch(/^\S.*\.$/)
    }
  })

  /** All that an expression names, the series of a histogram as the histogram. */
  const namesIn = (text: string): string[] => [...new Set(text.match(/\bholdfast_[a-z_]+/g))].map((name) => {
    const base = name.replace(/_(?:bucket|sum|count)$/, '')
    return (metrics as Readonly<Record<string, Metric>>)[base]?.type === 'histogram' ? base : name
  })

  test('that alerts use are there', () => {
    const { groups } = parse(chartFile('alerts.yaml')) as { groups: { rules: { expr: string; annotations: Record<string, string> }[] }[] }
    const used = groups.flatMap(({ rules }) => rules.flatMap(({ expr, annotations }) => namesIn([expr, ...Object.values(annotations)].join(' '))))
    expect(used.length).toBeGreaterThan(15)
    expect(used.filter((name) => !(name in metrics))).toEqual([])
  })

  test('that the dashboard uses are there, and nearly all metrics are on it', () => {
    const text = chartFile('dashboard.json')
    const { panels } = JSON.parse(text) as { panels: { id: number; targets?: { expr: string }[] }[] }
    const used = namesIn(JSON.stringify(panels))
    expect(used.filter((name) => !(name in metrics))).toEqual([])
    expect(namesIn(text).filter((name) => !(name in metrics))).toEqual([])
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length)
    const left = metricNames.filter((name) => !namesIn(text).includes(name))
    expect(left).toEqual(['holdfast_sweeper_passes_total', 'holdfast_scrubber_passes_total', 'holdfast_scrubber_rows_total', 'holdfast_buckets', 'holdfast_bucket_versions'])
  })
})

describe('what is counted', () => {
  test('falls into the bucket whose bound it does not exceed', () => {
    const histogram = new Histogram([1, 10])
    for (const value of [0, 1, 1.5, 10, 11]) histogram.observe(value)
    expect([...histogram.counts]).toEqual([2, 2, 1])
    expect(histogram.sum).toBe(23.5)
  })

  test('is told in Prometheus’ text format', () => {
    const meters = createMeters()
    meters.requests.answered('PutObject', 200, 0.003)
    meters.requests.answered('PutObject', 204, 100)
    meters.requests.answered('none', 0, 0.1)
    meters.requests.refused('GetObject', 'NoSuchKey')
    const lines = metricsText(meters.snapshot()).split('\n')
    expect(lines).toEqual(expect.arrayContaining([
      '# TYPE holdfast_requests_total counter',
      'holdfast_requests_total{operation="PutObject",status="2xx"} 2',
      'holdfast_requests_total{operation="none",status="gone"} 1',
      '# TYPE holdfast_request_duration_seconds histogram',
      'holdfast_request_duration_seconds_bucket{operation="PutObject",status="2xx",le="0.0025"} 0',
      'holdfast_request_duration_seconds_bucket{operation="PutObject",status="2xx",le="0.005"} 1',
      'holdfast_request_duration_seconds_bucket{operation="PutObject",status="2xx",le="60"} 1',
      'holdfast_request_duration_seconds_bucket{operation="PutObject",status="2xx",le="+Inf"} 2',
      'holdfast_request_duration_seconds_count{operation="PutObject",status="2xx"} 2',
      'holdfast_request_errors_total{operation="GetObject",code="NoSuchKey"} 1',
    ]))
  })

  test('escapes what a label may hold', () => {
    expect(metricsText({ holdfast_bucket_bytes: [{ labels: ['a"b\\c\nd'], value: 1 }] })).toContain('{bucket="a\\"b\\\\c\\nd"} 1')
  })

  test('of several processes is added up, or the highest, or kept apart', () => {
    const one = createMeters()
    const other = createMeters()
    for (const [meters, suspect] of [[one, 0], [other, 1]] as const) {
      meters.requests.answered('GetObject', 200, 0.003)
      meters.eventLoopDelay.observe(0.2)
      countOne(meters.limited, 'uploads', 2)
      meters.watch('holdfast_drive_suspect', () => [['1', suspect]])
      meters.watch('holdfast_queue_length', () => [['batch', 3]])
    }
    const text = metricsText(merged([{ process: 'server-1', snapshot: structuredClone(one.snapshot()) }, { process: 'server-2', snapshot: structuredClone(other.snapshot()) }]))
    for (const line of [
      'holdfast_requests_total{operation="GetObject",status="2xx"} 2', 'holdfast_request_duration_seconds_bucket{operation="GetObject",status="2xx",le="0.005"} 2',
      'holdfast_limited_requests_total{limit="uploads"} 4', 'holdfast_drive_suspect{drive="1"} 1', 'holdfast_queue_length{queue="batch"} 6',
      'holdfast_event_loop_delay_seconds_count{process="server-1"} 1', 'holdfast_event_loop_delay_seconds_count{process="server-2"} 1',
    ]) expect(text.split('\n')).toContain(line)
  })
})
