-- Of two stored rows, which stays. Bytes are compared one by one: how Lua compares texts depends on the locale.
local function greater(a, b)
  for at = 1, math.min(#a, #b) do
    local x, y = string.byte(a, at), string.byte(b, at)
    if x ~= y then
      return x > y
    end
  end
  return #a > #b
end

-- What rows are compared by: too few bytes to be a row are less than any.
local function order(row)
  if #row < 24 then
    return ''
  end
  return string.sub(row, 1, 24)
end

local function is_newer(row, other)
  local a, b = order(row), order(other)
  if a ~= b then
    return greater(a, b)
  end
  return greater(row, other)
end

-- Lets a row compete for a field.
local function compete(field, row)
  local stored = redis.call('HGET', KEYS[1], field)
  if not stored or is_newer(row, stored) then
    redis.call('HSET', KEYS[1], field, row)
  end
end

-- Where a row of an order is in a list of pending rows (order, length in 4 bytes, row), and how long it is.
local function find(list, order)
  local at = 1
  while at + 27 <= #list do
    local a, b, c, d = string.byte(list, at + 24, at + 27)
    local length = ((a * 256 + b) * 256 + c) * 256 + d
    if string.sub(list, at, at + 23) == order then
      return at, length
    end
    at = at + 28 + length
  end
  return nil
end

-- A list without what is at a place.
local function without(list, at, length)
  return string.sub(list, 1, at - 1) .. string.sub(list, at + 28 + length)
end
