-- What wrk sends, and its results as one line of JSON.
-- Arguments after "--": nothing | cycle FILE | random FILE | upload BYTES
-- A line of FILE: path, tab, value of the Cookie header. Requests are made before the clock starts.

local function prepared(name)
   local requests = {}
   for line in io.lines(name) do
      local path, cookie = line:match("^([^\t]*)\t(.*)$")
      local headers = {}
      for key, value in pairs(wrk.headers) do headers[key] = value end
      headers["Cookie"] = cookie
      requests[#requests + 1] = wrk.format(nil, path, headers)
   end
   return requests, #requests
end

local function cycle(name)
   local requests, count = prepared(name)
   local at = 0
   function request()
      at = at % count + 1
      return requests[at]
   end
end

local function random(name)
   local requests, count = prepared(name)
   math.randomseed(1)
   function request() return requests[math.random(count)] end
end

function init(args)
   if args[1] == "cycle" then
      cycle(args[2])
   elseif args[1] == "random" then
      random(args[2])
   elseif args[1] == "upload" then
      wrk.method = "POST"
      wrk.body = string.rep("x", tonumber(args[2]))
   end
   -- The collector would walk through all requests again and again while the clock runs.
   collectgarbage()
   collectgarbage("stop")
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      'RESULT {"requests": %d, "seconds": %.6f, "bytes": %d, "socket_errors": %d, "status_errors": %d, ' ..
      '"p50_ms": %.4f, "p99_ms": %.4f}\n',
      summary.requests, summary.duration / 1e6, summary.bytes,
      errors.connect + errors.read + errors.write + errors.timeout, errors.status,
      latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
