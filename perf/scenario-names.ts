/** In the order that they run: what PUT leaves behind is what DELETE takes. */
export const scenarioNames = [
  'put', 'put-128k', 'get', 'get-zipf', 'head', 'head-zipf', 'list', 'list-delimiter', 'delete', 'delete-many',
  'mixed-800', 'mixed-4000', 'meta', 'saturated', 'put-large', 'get-large',
] as const
export type ScenarioName = (typeof scenarioNames)[number]

const connectionsByScenario: Readonly<Record<ScenarioName, readonly number[]>> = {
  put: [1, 16, 64, 256],
  'put-128k': [64],
  get: [1, 64],
  'get-zipf': [64],
  head: [1, 64],
  'head-zipf': [64],
  list: [4],
  'list-delimiter': [4],
  delete: [64],
  'delete-many': [4],
  'mixed-800': [64],
  'mixed-4000': [256],
  meta: [400],
  saturated: [256, 512],
  'put-large': [1, 8],
  'get-large': [1, 8],
}

export const quickScenarios: readonly ScenarioName[] = ['put', 'put-128k', 'get', 'head', 'list', 'list-delimiter', 'delete', 'delete-many', 'mixed-800', 'meta', 'put-large', 'get-large']

const quickConnections: Readonly<Partial<Record<ScenarioName, readonly number[]>>> = { put: [1, 64], 'put-large': [8], 'get-large': [8] }

/** How many connections a scenario is measured with, one line for each. */
export function connectionsOf(scenario: ScenarioName, { connections, quick }: { connections: readonly number[] | null; quick: boolean }): readonly number[] {
  const own = quick ? quickConnections[scenario] ?? connectionsByScenario[scenario] : connectionsByScenario[scenario]
  return connections === null || scenario.endsWith('-large') ? own : connections
}
