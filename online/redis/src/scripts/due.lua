-- Lets pending rows of a key compete. After `newest.lua`.
-- KEYS: the rows of the key. ARGV: the field of the row, that of the pending ones, then orders.
-- Returns how many there were.
local list = redis.call('HGET', KEYS[1], ARGV[2]) or ''
local count = 0
for number = 3, #ARGV do
  local found, length = find(list, ARGV[number])
  if found then
    compete(ARGV[1], string.sub(list, found + 28, found + 27 + length))
    list = without(list, found, length)
    count = count + 1
  end
end
if count > 0 then
  if list == '' then
    redis.call('HDEL', KEYS[1], ARGV[2])
  else
    redis.call('HSET', KEYS[1], ARGV[2], list)
  end
end
return count
