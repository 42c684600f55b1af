-- SPDX-License-Identifier: Apache-2.0
--
-- wrk script: posts the batches of bench/gen in turn. The token and the directory come by environment
-- (LOOM_BENCH_TOKEN, LOOM_BENCH_DATA), and requests are built beforehand, so that wrk itself costs as little as it can.
-- Ends with one line of JSON on standard error, where bench/run finds it.

-- LOOM_BENCH_SENSORS above 1: as many sensors send in turn, with the token LOOM_BENCH_TOKEN-<number>. An empty token: none.

local heads, bodies = {}, {}
local next_head, next_body = 0, 0
local sensors = tonumber(os.getenv("LOOM_BENCH_SENSORS") or "1")

function init(args)
  local directory = assert(os.getenv("LOOM_BENCH_DATA"))
  local token = assert(os.getenv("LOOM_BENCH_TOKEN"))
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  wrk.headers["Authorization"] = token ~= "" and "Bearer " .. token or nil
  while true do
    local file = io.open(string.format("%s/batch-%05d.json", directory, #bodies), "rb")
    if not file then break end
    local body = file:read("*a")
    file:close()
    bodies[#bodies + 1] = sensors == 1 and wrk.format(nil, nil, nil, body) or
      string.format("Content-Length: %d\r\n\r\n%s", #body, body)
  end
  assert(#bodies > 0, "no batches in " .. directory)
  for i = 1, sensors > 1 and sensors or 0 do
    wrk.headers["Authorization"] = string.format("Bearer %s-%d", token, i - 1)
    -- Without the empty line at the end: the length comes with the body.
    heads[i] = wrk.format(nil, nil, nil, nil):sub(1, -3)
  end
end

function request()
  next_body = next_body % #bodies + 1
  if sensors == 1 then return bodies[next_body] end
  next_head = next_head % sensors + 1
  return heads[next_head] .. bodies[next_body]
end

-- Milliseconds that a connection waits after an answer, on average: for a load below what the server can do. wrk takes
-- whole ones, so a fraction is the chance of one more.
local delay_ms = tonumber(os.getenv("LOOM_BENCH_DELAY_MS") or "0")
if delay_ms > 0 then
  function delay()
    local whole = math.floor(delay_ms)
    return math.random() < delay_ms - whole and whole + 1 or whole
  end
end

function done(summary, latency, _)
  local errors = summary.errors
  io.stderr:write(string.format(
    '{"requests":%d,"seconds":%.6f,"refused":%d,"broken":%d,"p50_us":%d,"p99_us":%d}\n',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout, latency:percentile(50), latency:percentile(99)))
end
