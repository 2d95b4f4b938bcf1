-- Takes the store, unless another holds it; makes it where it is not there.
-- KEYS: lease, catalogue. ARGV: who asks, milliseconds, an id, the format.
-- Returns 0, the holder and the milliseconds that are left; 2 and the format of a newer store; or 1, the epoch, the
-- id, "new" where the store is not made to the end, and the last number of a commit.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return {0, holder, redis.call('PTTL', KEYS[1])}
end
local format = redis.call('HGET', KEYS[2], 'format')
if format and tonumber(format) > tonumber(ARGV[4]) then
  return {2, format}
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if not redis.call('HGET', KEYS[2], 'id') then
  redis.call('HSET', KEYS[2], 'id', ARGV[3], 'format', ARGV[4], 'state', 'new', 'version', '0', 'last', '0', 'fence', '0')
end
local epoch = redis.call('HINCRBY', KEYS[2], 'epoch', 1)
local found = redis.call('HMGET', KEYS[2], 'id', 'state', 'last')
return {1, tostring(epoch), found[1], found[2] or '', found[3] or '0'}
