-- Removes fields of a key, each if it has what was read.
-- KEYS: the rows of the key. ARGV: fields, each with what was read.
for at = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[at]) == ARGV[at + 1] then
    redis.call('HDEL', KEYS[1], ARGV[at])
  end
end
return 1
