-- Returns the id below which entries must go so that `more` fit, or nil if none need to go; a refusal if they may not go;
-- and who loses how many. The entry at the lowest checkpoint always stays, unless the policy is to drop the oldest.
local function room(log_key, meta_key, limit, more)
  local over = math.min(redis.call('XLEN', log_key) + more - limit, 1000)
  if over <= 0 then return nil end
  local oldest = redis.call('XRANGE', log_key, '-', '+', 'COUNT', over + 1)
  if #oldest <= over then return nil, 'FULL processor= limit=' .. limit end
  local bound, groups, known = oldest[over + 1][1], {}, 0
  local function unread(behind)
    local number = 0
    for i = 1, over do
      if newer(oldest[i][1], behind) then number = number + 1 end
    end
    return number
  end
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', log_key)) do
    local shown = named(group)
    groups[shown.name] = shown
  end
  local stored, dropped = redis.call('HGETALL', meta_key), {}
  for i = 1, #stored, 2 do
    local name = string.match(stored[i], '^passed:(.+)$')
    if name then
      known = known + 1
      if policy == 'drop_oldest' then
        local lost, group, read = unread(stored[i + 1]), groups[name], nil
        local ahead = lost > 0 and group and group['entries-read'] and unread(group['last-delivered-id']) or 0
        if ahead > 0 then read = string.format('%.0f', group['entries-read'] + ahead) end
        if lost > 0 then dropped[name] = {number = lost, read = read, last = oldest[over][1]} end
      elseif not groups[name] then
        return nil, 'FULL processor=' .. name .. ' limit=' .. limit .. ' group=missing'
      elseif newer(bound, stored[i + 1]) then
        return nil, 'FULL processor=' .. name .. ' limit=' .. limit .. ' checkpoint=' .. stored[i + 1]
      end
    end
  end
  if known == 0 and policy ~= 'drop_oldest' then return nil, 'FULL processor= limit=' .. limit end
  must('XTRIM', log_key, 'MINID', '=', bound)
  if next(dropped) then
    must('HINCRBY', meta_key, 'dropped:', '1')
    must('XGROUP', 'SETID', log_key, '-', '$')
  end
  return bound, nil, dropped
end

-- Makes that room. The consumer group of who loses something moves along: what is gone is no lag.
local function clear(log_key, meta_key, bound, dropped)
  redis.call('XTRIM', log_key, 'MINID', '=', bound)
  for name, loss in pairs(dropped) do
    redis.call('HINCRBY', meta_key, 'dropped:' .. name, loss.number)
    if loss.read then redis.pcall('XGROUP', 'SETID', log_key, name, loss.last, 'ENTRIESREAD', loss.read) end
  end
end
