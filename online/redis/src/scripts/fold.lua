-- Makes the rows of a layer the generation's own, of a key. After `newest.lua` and `wait.lua`.
-- KEYS: the rows of the key. ARGV: the fields of the row and of the pending rows, of the layer and then of the
-- generation.
local row = redis.call('HGET', KEYS[1], ARGV[1])
if row then
  compete(ARGV[3], row)
end
local list = redis.call('HGET', KEYS[1], ARGV[2])
if list then
  local at = 1
  while at + 27 <= #list do
    local a, b, c, d = string.byte(list, at + 24, at + 27)
    local length = ((a * 256 + b) * 256 + c) * 256 + d
    wait(ARGV[4], string.sub(list, at, at + 23), string.sub(list, at + 28, at + 27 + length))
    at = at + 28 + length
  end
end
redis.call('HDEL', KEYS[1], ARGV[1], ARGV[2])
return 1
