-- Reads the tiles of a key in a generation and its layers as they are at one moment.
-- KEYS: the tiles of the key in each. ARGV: fields; without any, all.
-- Returns for each what HMGET or HGETALL does.
local found = {}
for place, tiles in ipairs(KEYS) do
  if #ARGV == 0 then
    found[place] = redis.call('HGETALL', tiles)
  else
    found[place] = redis.call('HMGET', tiles, unpack(ARGV))
  end
end
return found
