if not string.match(next_id, '^%d+%-%d+$') or #next_id > 41 then
  return redis.error_reply('BADARG field=next')
elseif not string.match(count, '^%d+$') or #count > 15 then
  return redis.error_reply('BADARG field=count')
elseif release ~= '0' and release ~= '1' then
  return redis.error_reply('BADARG field=release')
end
local stored = redis.call('HMGET', state, 'epoch', 'nonce', 'released', 'checkpoint', 'read', 'processed', 'paused',
  'event', 'unclean_tenures')
local stored_epoch, stored_nonce, released, checkpoint, read, processed, is_paused = unpack(stored, 1, 7)
local paused = is_paused == '1' and 1 or 0
if stored_epoch ~= epoch or stored_nonce ~= nonce then
  return redis.error_reply('FENCED epoch=' .. (stored_epoch or '0'))
elseif released == '1' then
  if release == '1' and checkpoint == next_id then return {0, paused} end
  return redis.error_reply('FENCED epoch=' .. stored_epoch .. ' released=1')
elseif checkpoint ~= prev then
  if release == '0' and checkpoint == next_id then return {0, paused} end
  return redis.error_reply('CONFLICT checkpoint=' .. checkpoint)
elseif prev ~= next_id and not newer(next_id, prev) then
  return redis.error_reply('BADARG field=next')
end
local group_id, group_read = next_id, nil
if prev ~= next_id then
  local found = redis.pcall('XRANGE', log, next_id, next_id, 'COUNT', 1)
  if not found.err and #found == 0 and redis.call('EXISTS', log) == 1 then
    -- There is no such entry. If the log now begins after it, and all entries up to it were removed, it was trimmed since it
    -- was read: the commit is right. Else it was deleted; or a server has taken over that lost the last writes, or never had
    -- them: then a checkpoint there would skip later events, or count an event that its producer sends again.
    local info = to_table(redis.call('XINFO', 'STREAM', log))
    local first, removed = info['first-entry'], info['entries-added'] - info.length
    if newer(next_id, first and first[1] or info['last-generated-id']) or removed < read + count then
      return redis.error_reply('CONFLICT checkpoint=' .. checkpoint .. ' missing=' .. next_id)
    end
    -- If `drop_oldest` removed it, the consumer group was moved past it. The group does not move back.
    for _, reply in ipairs(redis.call('XINFO', 'GROUPS', log)) do
      local group = to_table(reply)
      if group.name == processor and group['entries-read'] and newer(group['last-delivered-id'], next_id) then
        group_id, group_read = group['last-delivered-id'], string.format('%.0f', group['entries-read'])
      end
    end
  end
end
