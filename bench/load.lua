-- wrk -t1 -c16 -d3s -s load.lua URL -- METHOD BODIES|- ["HEADER: VALUE"]...
-- BODIES has one body a line; each request sends the next one. Prints one line of figures.
local requests, at = {}, 0

function init(args)
  local headers = {}
  for i = 3, #args do
    local name, value = args[i]:match("([^:]+):%s*(.*)")
    headers[name] = value
  end
  if args[2] == "-" then
    requests[1] = wrk.format(args[1], nil, headers)
    return
  end
  for body in io.lines(args[2]) do
    requests[#requests + 1] = wrk.format(args[1], nil, headers, body)
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d %d\n", summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(99), errors.connect + errors.read + errors.write + errors.timeout, errors.status))
end
