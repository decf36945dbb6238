-- Decides which of the oldest entries are removed so that `more` entries fit. Returns the id below which entries are
-- removed, or nil if none are; a refusal if they must not be removed; and for each processor what it loses. Unless the
-- when_full is drop_oldest, only entries that every processor has committed are removed, and the entry at the lowest
-- checkpoint stays; with drop_unread also others while there is neither a processor nor a consumer group. `passed` has
-- checkpoints that this call moves.
local function plan_trim(log_key, meta_key, limit, more, passed)
  local excess = math.min(redis.call('XLEN', log_key) + more - limit, 1000)
  if excess <= 0 then return nil end
  local oldest = redis.call('XRANGE', log_key, '-', '+', 'COUNT', excess + 1)
  if #oldest <= excess then return nil, 'FULL processor= limit=' .. limit end
  local bound, groups, registered = oldest[excess + 1][1], {}, 0
  for _, reply in ipairs(redis.call('XINFO', 'GROUPS', log_key)) do
    local group = to_table(reply)
    groups[group.name] = group
  end
  local stored, losses = redis.call('HGETALL', meta_key), {}
  for i = 1, #stored, 2 do
    local name = string.match(stored[i], '^checkpoint:(.+)$')
    if name then
      local checkpoint = passed and passed[name] or stored[i + 1]
      registered = registered + 1
      if when_full == 'drop_oldest' then
        losses[name] = loss_of(oldest, excess, checkpoint, groups[name])
      elseif not groups[name] then
        return nil, 'FULL processor=' .. name .. ' limit=' .. limit .. ' group=missing'
      elseif newer(bound, checkpoint) then
        return nil, 'FULL processor=' .. name .. ' limit=' .. limit .. ' checkpoint=' .. checkpoint
      end
    end
  end
  if registered == 0 and when_full ~= 'drop_oldest' and (when_full ~= 'drop_unread' or next(groups)) then
    return nil, 'FULL processor= limit=' .. limit .. (when_full == 'drop_unread' and ' reader=' .. next(groups) or '')
  end
  check_allowed('XTRIM', log_key, 'MINID', '=', bound)
  if next(losses) then check_drop(log_key, meta_key) end
  return bound, nil, losses
end
