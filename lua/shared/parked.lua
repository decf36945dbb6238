-- Counts one parked event more, or with -1 one fewer, for its key. What stands behind the number stays: it is how the last
-- replay of the key failed. A key without parked events is not parked, and is not replayed.
local function count_parked(counts, marks, name, change)
  local value = redis.call('HGET', counts, name) or '0'
  local left = (tonumber(string.match(value, '^%d+')) or 0) + change
  if left > 0 then
    redis.call('HSET', counts, name, left .. (string.match(value, '^%d+(.*)$') or ''))
  else
    redis.call('HDEL', counts, name)
    redis.call('HDEL', marks, name)
  end
end
