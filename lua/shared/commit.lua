if not string.match(next_id, '^%d+%-%d+$') or #next_id > 41 then
  return redis.error_reply('BADARG field=next')
elseif not string.match(count, '^%d+$') or #count > 15 then
  return redis.error_reply('BADARG field=count')
elseif release ~= '0' and release ~= '1' then
  return redis.error_reply('BADARG field=release')
end
local is = redis.call('HMGET', state, 'epoch', 'nonce', 'released', 'checkpoint', 'read', 'processed', 'paused',
  'event', 'tenures')
local paused = is[7] == '1' and 1 or 0
local shown, shown_read = next_id, nil
if is[1] ~= epoch or is[2] ~= nonce then
  return redis.error_reply('FENCED epoch=' .. (is[1] or '0'))
elseif is[3] == '1' then
  if release == '1' and is[4] == next_id then return {0, paused} end
  return redis.error_reply('FENCED epoch=' .. is[1] .. ' released=1')
elseif is[4] ~= prev then
  if release == '0' and is[4] == next_id then return {0, paused} end
  return redis.error_reply('CONFLICT checkpoint=' .. is[4])
elseif prev ~= next_id and not newer(next_id, prev) then
  return redis.error_reply('BADARG field=next')
elseif prev ~= next_id then
  local there = redis.pcall('XRANGE', log, next_id, next_id, 'COUNT', 1)
  if not there.err and #there == 0 and redis.call('EXISTS', log) == 1 then
    -- Gone from the front of the log, trimmed since it was read: then it was there. Or missing where a server took over
    -- that lost the last writes: a checkpoint there would pass over events that are yet to come.
    local first, last = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1], nil
    if not first then last = named(redis.call('XINFO', 'STREAM', log))['last-generated-id'] end
    if newer(next_id, first and first[1] or last) then
      return redis.error_reply('CONFLICT checkpoint=' .. is[4] .. ' missing=' .. next_id)
    end
    -- Where retention dropped it, it has moved the group on, which does not go back.
    for _, group in ipairs(redis.call('XINFO', 'GROUPS', log)) do
      local at = named(group)
      if at.name == processor and at['entries-read'] and newer(at['last-delivered-id'], next_id) then
        shown, shown_read = at['last-delivered-id'], string.format('%.0f', at['entries-read'])
      end
    end
  end
end
