-- Writes rows of a key. After `newest.lua`.
-- KEYS: the rows of the key. ARGV: for each row "r", the field, the row, for one that competes; or "p", the field,
-- the order, the row, for one that waits.
local at = 1
while at <= #ARGV do
  local field = ARGV[at + 1]
  if ARGV[at] == 'r' then
    compete(field, ARGV[at + 2])
    at = at + 3
  else
    local order, row = ARGV[at + 2], ARGV[at + 3]
    local list = redis.call('HGET', KEYS[1], field) or ''
    local found, length = find(list, order)
    if not found or greater(row, string.sub(list, found + 28, found + 27 + length)) then
      if found then
        list = without(list, found, length)
      end
      local size = #row
      local bytes = string.char(
        math.floor(size / 16777216) % 256,
        math.floor(size / 65536) % 256,
        math.floor(size / 256) % 256,
        size % 256
      )
      redis.call('HSET', KEYS[1], field, list .. order .. bytes .. row)
    end
    at = at + 4
  end
end
return 1
