/** The numbers of HTTP, each with its reason. Units last in the name. */

/** Node's parser gives up here: the 8 KiB of headers that S3 takes, and a request line with a long key and a presigned query. */
export const parserHeaderBytesMax = 16 * 1024

/** A client that has not sent its headers by then is holding a connection for nothing. */
export const headersTimeoutMs = 60_000

/** As long may the handshake of TLS take. */
export const tlsHandshakeMs = 20_000

/** A certificate that was renewed is in use after this time: three calls of stat. */
export const tlsLookMs = 1000

/** New limits hold after this time. */
export const limitsLookMs = 1000

/** Addresses, keys, accounts and buckets whose rates are remembered: some 200 bytes each. Whoever is forgotten begins anew. */
export const limitedNamesMax = 50_000

/** How often the event loop and the memory are looked at where limits name them. */
export const loadLookMs = 100

/** Longer than the idle time of common clients and load balancers (60 s), so that they close first and never write into a closed connection. */
export const keepAliveTimeoutMs = 75_000

/** Each costs some 20 KiB and a file descriptor; 10,000 clients at once are the aim. */
export const connectionsMax = 20_000

/** After an answer, an unread request body up to this size is read and dropped, so that the connection can be used again. */
export const unreadBodyBytesMax = 256 * 1024

/** Of a longer one this much is read, so that a client that writes before it reads still sees the answer, then the connection closes. */
export const lingerBytesMax = 16 * 1024 ** 2
export const lingerMs = 3_000

/** A long operation answers white space from then on, this often: well below the read timeouts of clients (60 s). */
export const keepAliveFirstMs = 5_000
export const keepAliveEveryMs = 5_000

/** The slowest transfer that is waited for: this many bytes in each period, in either direction. */
export const watchdogPeriodMs = 30_000
export const watchdogBytesMin = 4 * 1024
