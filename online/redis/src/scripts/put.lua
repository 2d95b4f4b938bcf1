-- Changes the tiles of a key, if they are what they were when they were read.
-- KEYS: the tiles of the key. ARGV: the epoch, the number of the commit that is applied or nothing, the least number
-- of a commit that may still be applied, the version that was read or nothing, then fields and what is in them from
-- now on, where nothing stands for none.
-- A commit that was applied before changes nothing: "b" has those that were, as long as they may come again.
-- Returns OK; CHANGED where something else was changed; LOST where another holds the store.
local tiles = KEYS[1]
local read = redis.call('HMGET', tiles, 'v', 'b', 'e')
local version, applied, epoch = read[1] or '', read[2] or '', read[3] or '0'
if tonumber(epoch) > tonumber(ARGV[1]) then
  return 'LOST'
end
local number = ARGV[2]
if number ~= '' and string.find(' ' .. applied .. ' ', ' ' .. number .. ' ', 1, true) then
  return 'OK'
end
if version ~= ARGV[4] then
  return 'CHANGED'
end
for at = 5, #ARGV, 2 do
  if ARGV[at + 1] == '' then
    redis.call('HDEL', tiles, ARGV[at])
  else
    redis.call('HSET', tiles, ARGV[at], ARGV[at + 1])
  end
end
if number ~= '' then
  local kept = {number}
  for known in string.gmatch(applied, '%d+') do
    if tonumber(known) >= tonumber(ARGV[3]) or #kept < 8 then
      kept[#kept + 1] = known
    end
  end
  redis.call('HSET', tiles, 'b', table.concat(kept, ' '))
end
redis.call('HSET', tiles, 'v', tostring((tonumber(version) or 0) + 1), 'e', ARGV[1])
return 'OK'
