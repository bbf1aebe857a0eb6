-- The requests that wrk sends, and its report. Arguments after `--`:
--   method path body  the request; in path and body, {task} is a task's id,
--                     {n} a number never used before, {tasks} the ids of many tasks,
--                     {caller} the id of the caller, {group} of their group, {own} of one of their tasks,
--                     {same} one of their task ids, the same for the whole run
--   skip              where {n} begins: at least the number of requests sent so far
--   first step count  the ids of the tasks: first, first + step, ...; after `count` ids, from first again
--   users             number of users; task 1 belongs to user 2, task 2 to user 3, and so on
--   many              number of ids in {tasks}
--   callers each      a file with the id, the group and the Authorization header of each caller, and how
--                     many tasks each has; empty and 0 if wrk sets the header
--   threads run       number of threads, of which each sends the requests of its own callers in turn;
--                     number of earlier runs
local method, path, body, skip, first, step, count, users, many, is_fixed
local callers, each, threads, run = {}, 0, 1, 0
local started = 0

function setup(thread)
  thread:set('number', started)
  started = started + 1
end

local function read_callers(file)
  local line_number = 0
  for line in io.lines(file) do
    if line_number % threads == number then
      local id, group, header = string.match(line, '^(%d+) (%d+) (.+)$')
      local headers = { Authorization = header, ['Content-Type'] = wrk.headers['Content-Type'] }
      callers[#callers + 1] = { id = tonumber(id), group = group, headers = headers }
    end
    line_number = line_number + 1
  end
end

function init(args)
  method, path, body = args[1], args[2], args[3]
  skip, first, step = tonumber(args[4]), tonumber(args[5]), tonumber(args[6])
  count, users, many = tonumber(args[7]), tonumber(args[8]), tonumber(args[9])
  if body ~= '' then wrk.headers['Content-Type'] = 'application/json' else body = nil end
  each, threads, run = tonumber(args[11]), tonumber(args[12]), tonumber(args[13])
  if args[10] ~= '' then read_callers(args[10])
  elseif not string.find(path .. (body or ''), '{%l+}') then is_fixed = wrk.format(method, path, nil, body) end
  skip = skip + number
end

local function task(n) return string.format('%d', first + step * (n % count)) end

local function add_caller(values)
  local requests = math.floor(skip / threads) -- of this thread
  local caller, turn = callers[requests % #callers + 1], math.floor(requests / #callers)
  values.caller, values.group = string.format('%d', caller.id), caller.group
  values.own = string.format('%d', caller.id - 1 + users * (turn % each))
  values.same = string.format('%d', caller.id - 1 + users * (run % each))
  return caller.headers
end

function request()
  if is_fixed then return is_fixed end
  local id = task(skip)
  local values = { task = id, n = string.format('%d', skip) }
  if many > 1 then
    local ids = {}
    for i = 1, many do ids[i] = task(skip * many + i) end
    values.tasks = table.concat(ids, ',')
  end
  local headers = #callers > 0 and add_caller(values) or nil
  skip = skip + threads
  return wrk.format(method, string.gsub(path, '{(%l+)}', values), headers,
    body and string.gsub(body, '{(%l+)}', values))
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format('RESULT %d %d %d %d %d %d %d\n', summary.requests,
    summary.duration, latency:percentile(50), latency:percentile(99), latency.max, e.status,
    e.connect + e.read + e.write + e.timeout))
end
