-- Writes rows of a key. After `newest.lua` and `wait.lua`.
-- KEYS: the rows of the key. ARGV: for each row "r", the field, the row, for one that competes; or "p", the field,
-- the order, the row, for one that waits.
local at = 1
while at <= #ARGV do
  if ARGV[at] == 'r' then
    compete(ARGV[at + 1], ARGV[at + 2])
    at = at + 3
  else
    wait(ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
    at = at + 4
  end
end
return 1
