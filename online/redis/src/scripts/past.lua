-- Removes chunks of a key, and the key where nothing else is left of it.
-- KEYS: the tiles of the key. ARGV: fields.
for at = 1, #ARGV do
  redis.call('HDEL', KEYS[1], ARGV[at])
end
local own = 0
for _, field in ipairs({'v', 'b', 'e'}) do
  own = own + redis.call('HEXISTS', KEYS[1], field)
end
if redis.call('HLEN', KEYS[1]) == own then
  redis.call('UNLINK', KEYS[1])
end
return 1
