/** For the image's HEALTHCHECK: exit code 0 when the control port of this container says that the server is ready. */
import http from 'node:http'
import https from 'node:https'

const secure = (process.env.HOLDFAST_TLS_CERT_FILE ?? '') !== ''
const options = { host: '127.0.0.1', port: process.env.HOLDFAST_CONTROL_PORT ?? 9001, path: '/health/ready', timeout: 4000, rejectUnauthorized: false }
const request = (secure ? https : http).get(options, (answer) => process.exit(answer.statusCode === 200 ? 0 : 1))
request.on('timeout', () => request.destroy())
request.on('error', () => process.exit(1))
