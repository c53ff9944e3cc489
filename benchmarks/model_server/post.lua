-- wrk: POSTs the file that $BODY names, and prints what it saw as one line of JSON (latencies in microseconds).

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local file = assert(io.open(os.getenv("BODY"), "rb"))
wrk.body = file:read("*a")
file:close()

function done(summary, latency, requests)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  print(string.format(
    '{"requests": %d, "seconds": %f, "failed": %d, "p50": %f, "p99": %f, "p999": %f, "longest": %f}',
    summary.requests, summary.duration / 1e6, failed, latency:percentile(50), latency:percentile(99),
    latency:percentile(99.9), latency.max))
end
