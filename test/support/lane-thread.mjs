import { serveLane } from '../../src/workers/lanes.ts'

/** A thread of lanes that answers with what it was given, and dies when it is told to. It loads no native code, so that it may end at any moment. */
export const serveBatches = (lane) => serveLane(lane, (task) => (task.dies ? process.exit(1) : task))
