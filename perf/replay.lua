-- Replays presigned requests in order: wrk -s replay.lua URL -- METHOD PATHS BODY|- once|again THREADS HEADERS STAMP|-
-- PATHS has one request target a line, BODY is the file that every request carries. With `once`, each line is sent once and the
-- run ends with the last; with `again`, it begins again. HEADERS is a file of header lines
-- that every request carries; STAMP is eight digits that with eight more of a counter take the place of the body's first sixteen bytes. There is no `response` function: it would make wrk buffer whole bodies.
local ffi = require('ffi')
ffi.cdef('typedef struct { long s; long us; } holdfast_time; int gettimeofday(holdfast_time *, void *);')
local clock = ffi.new('holdfast_time')

local function now()
  ffi.C.gettimeofday(clock, nil)
  return tonumber(clock.s) + tonumber(clock.us) / 1e6
end

local threads = {}

function setup(thread)
  thread:set('place', #threads)
  threads[#threads + 1] = thread
end

local paths, head, tail, rest, stamp, once, at

function init(args)
  local method, pathFile, bodyFile = args[1], args[2], args[3]
  local body = ''
  if bodyFile and bodyFile ~= '-' then
    local file = assert(io.open(bodyFile, 'rb'))
    body = file:read('*a')
    file:close()
  end
  once = args[4] == 'once'
  paths = {}
  local line = 0
  for path in io.lines(pathFile) do
    -- The threads take turns, so that none sends what another one sends.
    if line % wrk_threads(args) == place then paths[#paths + 1] = path end
    line = line + 1
  end
  local headers = ''
  if args[6] then
    local file = assert(io.open(args[6], 'rb'))
    headers = file:read('*a')
    file:close()
  end
  local length = (body ~= '' or method == 'PUT') and ('Content-Length: ' .. #body .. '\r\n') or ''
  head = method .. ' '
  tail = ' HTTP/1.1\r\nHost: ' .. wrk.host .. ':' .. wrk.port .. '\r\n' .. headers .. length .. '\r\n'
  stamp = args[7] ~= '-' and args[7] or nil
  if stamp then rest = body:sub(17) else tail = tail .. body end
  at = 0
  started = now()
  finished = 0
  sent = 0
end

function wrk_threads(args)
  return tonumber(args[5] or '1')
end

local looked = false

local function unsent()
  return stamp and stamp .. '00000000' .. rest or ''
end

function request()
  -- wrk asks once for a request that it never sends, to look at it.
  if not looked and place == 0 then
    looked = true
    return head .. paths[1] .. tail .. unsent()
  end
  if at == #paths then
    if once then
      if finished == 0 then finished = now() end
      wrk.thread:stop()
      return head .. paths[1] .. tail .. unsent()
    end
    at = 0
  end
  at = at + 1
  sent = sent + 1
  if stamp then return head .. paths[at] .. tail .. stamp .. string.format('%08x', sent - 1) .. rest end
  return head .. paths[at] .. tail
end

function done(summary, latency)
  local begun, ended, count = math.huge, 0, 0
  for _, thread in ipairs(threads) do
    begun = math.min(begun, thread:get('started'))
    ended = math.max(ended, thread:get('finished'))
    count = count + thread:get('sent')
  end
  local errors = summary.errors
  local seconds = ended > 0 and ended - begun or summary.duration / 1e6
  io.write(string.format(
    'RESULT {"requests":%d,"sent":%d,"seconds":%.6f,"bytes":%d,"exhausted":%s,"refused":%d,"broken":%d,"p50Ms":%.3f,"p99Ms":%.3f,"p999Ms":%.3f,"maxMs":%.3f}\n',
    summary.requests, count, seconds, summary.bytes, ended > 0 and 'true' or 'false', errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency:percentile(99.9) / 1e3, latency.max / 1e3))
end
