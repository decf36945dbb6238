#!lua flags=no-writes
-- digest -- a number that changes when anything in the database does; for tests only: it reads every key.
local function sorted_pairs(flat)
  local found = {}
  for i = 1, #flat, 2 do found[#found + 1] = #flat[i] .. ' ' .. flat[i] .. ' ' .. #flat[i + 1] .. ' ' .. flat[i + 1] end
  table.sort(found)
  return table.concat(found, '\n')
end

local function read_stream(key)
  local found = {}
  for _, entry in ipairs(redis.call('XRANGE', key, '-', '+')) do
    found[#found + 1] = entry[1] .. ' ' .. table.concat(entry[2], '\n')
  end
  local info = redis.call('XINFO', 'STREAM', key)
  for i = 1, #info, 2 do
    if info[i] == 'entries-added' or info[i] == 'last-generated-id' then found[#found + 1] = tostring(info[i + 1]) end
  end
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', key)) do
    for i = 2, #group, 2 do found[#found + 1] = tostring(group[i]) end
  end
  return table.concat(found, '\n')
end

local read = {
  string = function(key) return redis.call('GET', key) end,
  hash = function(key) return sorted_pairs(redis.call('HGETALL', key)) end,
  zset = function(key) return table.concat(redis.call('ZRANGE', key, 0, -1, 'WITHSCORES'), '\n') end,
  set = function(key)
    local found = redis.call('SMEMBERS', key)
    table.sort(found)
    return table.concat(found, '\n')
  end,
  stream = read_stream,
}
local names, sum = redis.call('KEYS', '*'), ''
table.sort(names)
for _, name in ipairs(names) do
  local expires = redis.call('PTTL', name) >= 0 and ' expires ' or ' stays '
  sum = redis.sha1hex(sum .. name .. expires .. read[redis.call('TYPE', name).ok](name))
end
return tonumber(string.sub(sum .. '0', 1, 12), 16)
