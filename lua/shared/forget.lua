-- Returns the 100 fields of a hash whose last append is oldest, among those that begin with `prefix`; none if there are fewer
-- than 1100. A value is a number and the id of an event, separated by a space. Ids only rise, even if the clock goes back;
-- padded with zeros they can be sorted as text.
local function oldest_senders(key, prefix)
  if redis.call('HLEN', key) < 1100 then return {} end
  local all, ages, zeros, oldest = redis.call('HGETALL', key), {}, string.rep('0', 20), {}
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, #prefix) == prefix then
      local ms, seq = string.match(all[i + 1], ' (%d+)%-(%d+) ')
      ages[#ages + 1] = {string.sub(zeros .. (ms or ''), -20) .. string.sub(zeros .. (seq or ''), -20), all[i]}
    end
  end
  if #ages < 1100 then return {} end
  table.sort(ages, function(a, b) return a[1] < b[1] end)
  for i = 1, 100 do oldest[i] = ages[i][2] end
  check_allowed('HDEL', key, 'f')
  return oldest
end
