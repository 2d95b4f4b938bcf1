-- Goes on holding the store, as long as nobody else has taken it.
-- KEYS: lease, catalogue. ARGV: who asks, milliseconds, the epoch.
-- Returns 1; or 0 and the holder.
local holder = redis.call('GET', KEYS[1])
if redis.call('HGET', KEYS[2], 'epoch') ~= ARGV[3] or (holder and holder ~= ARGV[1]) then
  return {0, holder or ''}
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {1, ''}
