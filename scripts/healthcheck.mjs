/**
 * For the image's HEALTHCHECK: exit code 0 when the control port of this container says that the server is ready. Which port, and whether
 * it speaks TLS, is read as the server reads it: from the environment and the file that HOLDFAST_CONFIG names.
 */
import http from 'node:http'
import https from 'node:https'
import { endpointOf } from '../src/admin/banner.ts'
import { loadConfig } from '../src/config.ts'

const { host, controlPort, tlsCertFile } = loadConfig(process.env)
const url = new URL('/health/ready', endpointOf(host, controlPort, tlsCertFile !== null))
const request = (url.protocol === 'https:' ? https : http).get(url, { timeout: 4000, rejectUnauthorized: false }, (answer) => process.exit(answer.statusCode === 200 ? 0 : 1))
request.on('timeout', () => request.destroy())
request.on('error', () => process.exit(1))
