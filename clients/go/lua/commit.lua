#!lua flags=allow-oom
-- commit -- move a processor's checkpoint, and its consumer group with it; optionally release the lease.
-- KEYS[1]  log        stream  runnel:{APP:SOURCE:N}:STREAM:log
-- KEYS[2]  meta       hash    runnel:{APP:SOURCE:N}:STREAM:meta
-- KEYS[3]  state      hash    runnel:{APP:SOURCE:N}:STREAM:processor:PROCESSOR
-- ARGV[1]  processor  str     name of the processor and of its consumer group
-- ARGV[2]  epoch      int     of the token
-- ARGV[3]  nonce      str     of the token
-- ARGV[4]  prev       id      the checkpoint before this commit
-- ARGV[5]  next       id      the checkpoint after it; the same as prev to release only
-- ARGV[6]  count      int     events finished after prev, up to next
-- ARGV[7]  release    int     1 to release the lease, else 0
-- REPLY    applied    int     1, or 0 if the call repeats one that was applied
-- REPLY    paused     int     1 if an operator has paused the processor
-- ERROR    BADARG     an argument is malformed
-- ERROR    FENCED     the token is not the partition's, or was released; epoch=STORED
-- ERROR    CONFLICT   the stored checkpoint is not prev, and this is no repeat; checkpoint=STORED; or next was lost; missing=NEXT
-- ERROR    MISSING    the log, the consumer group or the checkpoint in meta is missing; as for CONFLICT
-- REPEAT   recognised by epoch, nonce, next, release: 0, while next is the checkpoint
-- WRITES   yes
-- BOUND    constant
-- VERSION  1
local log, meta, state = KEYS[1], KEYS[2], KEYS[3]
local processor, epoch, nonce, prev, next_id, count, release = unpack(ARGV, 1, 7)

-- >>> clock
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- <<< clock

-- >>> ids
-- Is id `a` larger than id `b`? The digits are compared as text, because numbers lose precision above 2^53.
local function newer(a, b)
  local a_ms, a_seq = string.match(a, '^0*(%d+)%-0*(%d+)$')
  local b_ms, b_seq = string.match(b, '^0*(%d+)%-0*(%d+)$')
  if a_ms ~= b_ms then
    return #a_ms > #b_ms or (#a_ms == #b_ms and a_ms > b_ms)
  end
  return #a_seq > #b_seq or (#a_seq == #b_seq and a_seq > b_seq)
end
-- <<< ids

-- >>> table
-- XINFO replies with a flat list of names and values. This makes it a table.
local function to_table(reply)
  local found = {}
  for i = 1, #reply, 2 do found[reply[i]] = reply[i + 1] end
  return found
end
-- <<< table

-- >>> allowed
-- Redis does not undo a script's writes when the ACL refuses a later command, so each command is checked before the first
-- write. A command that is refused is then called: nothing has been written yet, and Redis words the refusal.
local function check_allowed(...)
  if not redis.acl_check_cmd(...) then redis.call(...) end
end
-- <<< allowed

-- >>> history
-- Notes what happened to the lease, for people who ask who had the partition. The newest 20 notes are kept, one in a line:
-- time, what, epoch, member or `-` for an operator, and what else there is to say.
local function note_lease(state_key, what, lease_epoch, who, more)
  local kept = redis.call('HMGET', state_key, 'history')[1] or ''
  local _, lines = string.gsub(kept, '\n', '')
  if lines > 19 then kept = string.match(kept, '^[^\n]*\n(.*)$') end
  local said = string.sub(who or '-', 1, 200) .. (more and ' ' .. string.sub(more, 1, 200) or '')
  redis.call('HSET', state_key, 'history', kept .. string.format('%.0f', now) .. ' ' .. what .. ' ' .. (lease_epoch or '0') .. ' '
    .. string.gsub(said, '%c', '?') .. '\n')
end
-- <<< history

if #KEYS ~= 3 or #ARGV ~= 7 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
end

-- >>> commit
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
-- <<< commit

if prev ~= next_id then
  local new_read, new_processed = string.format('%.0f', read + count), string.format('%.0f', (processed or 0) + count)
  if redis.call('HEXISTS', meta, 'checkpoint:' .. processor) == 0 then
    return redis.error_reply('MISSING processor=' .. processor)
  end
  local event, unclean_tenures = stored[8], stored[9]
  local has_event, event_is_ahead = event and event ~= '', false
  if has_event then
    -- Failures of an event after the new checkpoint stay recorded: it is not finished yet.
    event_is_ahead = string.match(event, '^%d+%-%d+$') and newer(event, next_id)
  end
  check_allowed('XGROUP', 'SETID', log, processor, next_id)
  check_allowed('HSET', state, 'checkpoint', next_id)
  if has_event then check_allowed('HDEL', state, 'error_type') end
  local moved = redis.pcall('XGROUP', 'SETID', log, processor, group_id, 'ENTRIESREAD', group_read or new_read)
  if moved.err then
    return redis.error_reply('MISSING processor=' .. processor)
  end
  redis.call('HSET', meta, 'checkpoint:' .. processor, next_id)
  redis.call('HSET', state, 'checkpoint', next_id, 'read', new_read, 'processed', new_processed,
    'moved_at', string.format('%.0f', now))
  if has_event or (unclean_tenures or '0') ~= '0' then
    redis.call('HSET', state, 'unclean_tenures', '0')
    if not event_is_ahead then
      redis.call('HSET', state, 'attempts', '0', 'deaths', '0', 'event', '', 'started', '')
      redis.call('HDEL', state, 'error_type', 'error_message', 'error_event', 'error_at', 'error_traceback')
    end
  end
end
if release == '1' then
  redis.call('HSET', state, 'released', '1')
  note_lease(state, 'released', epoch, redis.call('HMGET', state, 'owner')[1])
end
return {1, paused}
