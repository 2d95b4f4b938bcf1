-- Lets a row of an order wait in a list of pending rows; of the same order the greater bytes stay.
local function wait(field, order, row)
  local list = redis.call('HGET', KEYS[1], field) or ''
  local found, length = find(list, order)
  if found and not greater(row, string.sub(list, found + 28, found + 27 + length)) then
    return
  end
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
