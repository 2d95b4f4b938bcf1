-- Changes what lies in the slot of meta, all at once or not at all.
-- KEYS: the catalogue, then what the changes name by their places. ARGV: the epoch, the number of the commit, the
-- version of the catalogue that it changes or nothing, the last number that was acknowledged, then the changes: a
-- letter with its arguments.
-- Returns OK, MORE where there is more to trim, or why nothing was changed: LOST, GONE, FENCED, VERSION.
local catalogue = KEYS[1]
if redis.call('HGET', catalogue, 'epoch') ~= ARGV[1] then
  return 'LOST'
end
if tonumber(redis.call('HGET', catalogue, 'last') or '0') < tonumber(ARGV[4]) then
  return 'GONE'
end
if tonumber(ARGV[2]) <= tonumber(redis.call('HGET', catalogue, 'fence') or '0') then
  return 'FENCED'
end
if ARGV[3] ~= '' then
  if redis.call('HGET', catalogue, 'by') == ARGV[2] then
    -- It was made before, and the answer was lost.
    return 'OK'
  end
  if redis.call('HGET', catalogue, 'version') ~= ARGV[3] then
    return 'VERSION'
  end
  redis.call('HINCRBY', catalogue, 'version', 1)
  redis.call('HSET', catalogue, 'by', ARGV[2])
end
if tonumber(ARGV[2]) > tonumber(redis.call('HGET', catalogue, 'last') or '0') then
  redis.call('HSET', catalogue, 'last', ARGV[2])
end

local at = 5
local function take()
  at = at + 1
  return ARGV[at - 1]
end
local function key()
  return KEYS[tonumber(take())]
end

local changes = {}
-- Sets a field of a hash.
changes['H'] = function()
  local hash = key()
  local field = take()
  redis.call('HSET', hash, field, take())
end
-- Removes a field of a hash.
changes['D'] = function()
  local hash = key()
  redis.call('HDEL', hash, take())
end
-- Removes a key.
changes['K'] = function()
  redis.call('UNLINK', key())
end
-- Adds an entry of a source: numbers, entries, waiting; the source, the number, the bytes.
changes['E'] = function()
  local numbers, entries, waiting = key(), key(), key()
  local source, number, bytes = take(), take(), take()
  local before = 0
  if redis.call('ZADD', numbers, 0, number) == 0 then
    before = redis.call('HSTRLEN', entries, number)
  end
  redis.call('HSET', entries, number, bytes)
  redis.call('HINCRBY', waiting, source, #bytes - before)
end
-- Removes entries of a source up to a number: numbers, entries, waiting; the source, the number.
local more = false
changes['T'] = function()
  local numbers, entries, waiting = key(), key(), key()
  local source, through = take(), take()
  local trimmed = redis.call('ZRANGEBYLEX', numbers, '-', '[' .. through, 'LIMIT', 0, 1000)
  local bytes = 0
  for _, number in ipairs(trimmed) do
    bytes = bytes + redis.call('HSTRLEN', entries, number)
    redis.call('HDEL', entries, number)
    redis.call('ZREM', numbers, number)
  end
  if redis.call('ZCARD', numbers) == 0 then
    redis.call('HDEL', waiting, source)
  elseif bytes > 0 then
    redis.call('HINCRBY', waiting, source, -bytes)
  end
  more = more or #trimmed == 1000
end
-- Remembers an answer: answers, given; the source, the id, the instant, the bytes.
changes['A'] = function()
  local answers, given = key(), key()
  local source, id, instant, bytes = take(), take(), take(), take()
  local before = redis.call('HGET', answers, id)
  if before then
    redis.call('ZREM', given, string.sub(before, 1, 8) .. source .. id)
  end
  redis.call('HSET', answers, id, instant .. bytes)
  redis.call('ZADD', given, 0, instant .. source .. id)
end
-- Forgets an answer: answers, given; the source, the id, the instant.
changes['F'] = function()
  local answers, given = key(), key()
  local source, id, instant = take(), take(), take()
  local answer = redis.call('HGET', answers, id)
  if answer and string.sub(answer, 1, 8) == instant then
    redis.call('HDEL', answers, id)
  end
  redis.call('ZREM', given, instant .. source .. id)
end

while at <= #ARGV do
  changes[take()]()
end
return more and 'MORE' or 'OK'
