-- How a parked key has failed, as it is stored behind its number. If replays of that event have failed, a line feed follows,
-- how many of them have, and when the last one did. `before` is what was stored.
local function as_stored(before, now_failed, replayed)
  local replays, at = string.match(before, '\n(%d+) (%d+)$')
  if not replays or string.match(before, '^%S+') ~= string.match(now_failed, '^%S+') then replays = '0' end
  if replayed then replays, at = string.format('%.0f', math.min(replays + 1, 999999)), string.format('%.0f', now) end
  return replays == '0' and now_failed or now_failed .. '\n' .. replays .. ' ' .. at
end
