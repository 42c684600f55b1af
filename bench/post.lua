-- SPDX-License-Identifier: Apache-2.0
--
-- wrk script: posts the batches of bench/gen in turn. The token and the directory come by environment
-- (LOOM_BENCH_TOKEN, LOOM_BENCH_DATA), and requests are built beforehand, so that wrk itself costs as little as it can.
-- Ends with one line of JSON on standard error, where bench/run finds it.

local requests = {}
local next_request = 0

function init(args)
  local directory = assert(os.getenv("LOOM_BENCH_DATA"))
  wrk.method = "POST"
  wrk.path = "/api/v1/ingest"
  wrk.headers["Authorization"] = "Bearer " .. assert(os.getenv("LOOM_BENCH_TOKEN"))
  wrk.headers["Content-Type"] = "application/json"
  while true do
    local file = io.open(string.format("%s/batch-%05d.json", directory, #requests), "rb")
    if not file then break end
    requests[#requests + 1] = wrk.format(nil, nil, nil, file:read("*a"))
    file:close()
  end
  assert(#requests > 0, "no batches in " .. directory)
end

function request()
  next_request = next_request % #requests + 1
  return requests[next_request]
end

-- Milliseconds that a connection waits after an answer: for a load below what the server can do.
local delay_ms = tonumber(os.getenv("LOOM_BENCH_DELAY_MS") or "0")
if delay_ms > 0 then
  function delay()
    return delay_ms
  end
end

function done(summary, latency, _)
  local errors = summary.errors
  io.stderr:write(string.format(
    '{"requests":%d,"seconds":%.6f,"refused":%d,"broken":%d,"p50_us":%d,"p99_us":%d}\n',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout, latency:percentile(50), latency:percentile(99)))
end
