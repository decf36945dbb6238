-- Returns what a processor with this checkpoint loses if the first `number` of these entries are removed; nil if it loses none.
local function loss_of(oldest, number, checkpoint, group)
  local function count_after(id)
    local found = 0
    for i = 1, number do
      if newer(oldest[i][1], id) then found = found + 1 end
    end
    return found
  end
  local lost = count_after(checkpoint)
  local ahead = lost > 0 and group and group['entries-read'] and count_after(group['last-delivered-id']) or 0
  local read = ahead > 0 and string.format('%.0f', group['entries-read'] + ahead) or nil
  return lost > 0 and {number = lost, read = read, last = oldest[number][1]} or nil
end

local function check_drop(log_key, meta_key)
  check_allowed('HINCRBY', meta_key, 'dropped:', '1')
  check_allowed('XGROUP', 'SETID', log_key, '-', '$')
end

-- Removes these entries. The consumer group of a processor that loses some moves past them, so that they are no lag.
local function trim(log_key, meta_key, bound, losses)
  redis.call('XTRIM', log_key, 'MINID', '=', bound)
  for name, loss in pairs(losses) do
    redis.call('HINCRBY', meta_key, 'dropped:' .. name, loss.number)
    if loss.read then redis.pcall('XGROUP', 'SETID', log_key, name, loss.last, 'ENTRIESREAD', loss.read) end
  end
end
