-- Makes the tiles of a layer the generation's own, of a key, if both are what they were when they were read.
-- KEYS: the tiles of the key in the generation and in the layer. ARGV: the epoch, the versions of both that were read or
-- nothing, then fields and what is in them of the generation from now on.
-- Returns OK; CHANGED where something else was changed; LOST where another holds the store.
for _, tiles in ipairs(KEYS) do
  if tonumber(redis.call('HGET', tiles, 'e') or '0') > tonumber(ARGV[1]) then
    return 'LOST'
  end
end
local version = redis.call('HGET', KEYS[1], 'v') or ''
if version ~= ARGV[2] or (redis.call('HGET', KEYS[2], 'v') or '') ~= ARGV[3] then
  return 'CHANGED'
end
for at = 4, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
end
redis.call('HSET', KEYS[1], 'v', tostring((tonumber(version) or 0) + 1), 'e', ARGV[1])
redis.call('UNLINK', KEYS[2])
return 'OK'
