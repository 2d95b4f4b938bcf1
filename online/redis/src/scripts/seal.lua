-- Sees to it that no commit up to a number is made any more, and says of some whether they were.
-- KEYS: catalogue, redo. ARGV: the epoch, the number, then numbers.
-- Returns LOST; or OK, and of each number whether it is to be applied.
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then
  return {'LOST'}
end
if tonumber(ARGV[2]) > tonumber(redis.call('HGET', KEYS[1], 'fence') or '0') then
  redis.call('HSET', KEYS[1], 'fence', ARGV[2])
end
local found = {'OK'}
for at = 3, #ARGV do
  found[at - 1] = redis.call('HEXISTS', KEYS[2], ARGV[at])
end
return found
