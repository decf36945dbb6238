-- Returns the lowest checkpoint: entries before it have been committed by every processor. Or `+` if nobody reads the stream
-- and it keeps nothing for that case. Or nil and the name of a processor if nothing may be removed, because its consumer group
-- is missing, or an empty name if nobody reads the stream.
local function lowest_checkpoint(log_key, meta_key)
  local groups, lowest, holder = {}, nil, ''
  for _, each in ipairs(redis.call('XINFO', 'GROUPS', log_key)) do groups[to_table(each).name] = true end
  local fields = redis.call('HGETALL', meta_key)
  for i = 1, #fields, 2 do
    local name = string.match(fields[i], '^checkpoint:(.+)$')
    if name and not groups[name] then return nil, name end
    if name and (not lowest or newer(lowest, fields[i + 1])) then lowest, holder = fields[i + 1], name end
  end
  if not lowest and when_full == 'drop_unread' and not next(groups) then lowest = '+' end
  return lowest, holder
end

-- Decides which entries leave because they are older than `most_ms`. Returns the id below which they are removed, nil if none
-- are; the id from which entries are young enough; and what `lowest_checkpoint` says. An id tells the age of its entry.
local function plan_age(log_key, meta_key, most_ms, now_ms)
  local young = string.format('%.0f-0', math.max(now_ms - most_ms, 0))
  if young == '0-0' or redis.call('XLEN', log_key) == 0 then return nil, '0-0' end
  local lowest, holder = lowest_checkpoint(log_key, meta_key)
  local bound = lowest
  if bound and (bound == '+' or newer(bound, young)) then bound = young end
  check_allowed('HSET', meta_key, 'trimmed_at', '0')
  check_allowed('XTRIM', log_key, 'MINID', '0')
  return bound ~= '0-0' and bound or nil, young, lowest, holder
end

-- Removes at most 1100 entries: first whole nodes of the stream, of which Redis reads no entry, then up to 100 entries one by
-- one, which are in one node. If more are left, the next call looks again. Returns how many it removed, and whether more are.
local function trim_age(log_key, meta_key, bound, now_ms)
  local removed, more = 0, false
  if bound then
    removed = redis.call('XTRIM', log_key, 'MINID', '~', bound, 'LIMIT', 1000)
    more = removed > 800
    local rest = more and {} or redis.call('XRANGE', log_key, '-', '(' .. bound, 'COUNT', 101)
    if rest[101] then bound, more = rest[101][1], true end
    if rest[1] then removed = removed + redis.call('XTRIM', log_key, 'MINID', '=', bound) end
  end
  redis.call('HSET', meta_key, 'trimmed_at', more and '0' or string.format('%.0f', now_ms))
  return removed, more
end
