#!lua
-- emit -- a commit that also adds entries to one derived stream of the partition, all or nothing: dead letters.
-- KEYS[1]  log        stream  runnel:{APP:SOURCE:N}:STREAM:log
-- KEYS[2]  meta       hash    runnel:{APP:SOURCE:N}:STREAM:meta
-- KEYS[3]  state      hash    runnel:{APP:SOURCE:N}:STREAM:processor:PROCESSOR
-- KEYS[4]  sink_log   stream  runnel:{APP:SOURCE:N}:STREAM:log
-- KEYS[5]  sink_meta  hash    runnel:{APP:SOURCE:N}:STREAM:meta
-- ARGV[1]  processor  str     name of the processor and of its consumer group
-- ARGV[2]  epoch      int     of the token
-- ARGV[3]  nonce      str     of the token
-- ARGV[4]  prev       id      the checkpoint before this commit
-- ARGV[5]  next       id      the checkpoint after it
-- ARGV[6]  count      int     events finished after prev, up to next
-- ARGV[7]  release    int     1 to release the lease, else 0
-- ARGV[8]  size       int     entries that the derived partition may hold
-- ARGV[9]  when_full  str     refuse, or drop_oldest to drop entries that no processor has committed
-- ARGV[10+] entries   str     1 to 200 entries, each: the number of values, then fields and values in turn
-- REPLY    applied    int     1, or 0 if the call repeats one that was applied
-- REPLY    paused     int     1 if an operator has paused the processor
-- ERROR    BADARG     an argument is malformed or over a limit
-- ERROR    FENCED     the token is not the partition's, or was released; epoch=STORED
-- ERROR    CONFLICT   the stored checkpoint is neither prev nor next; checkpoint=STORED; or next does not exist; missing=NEXT
-- ERROR    MISSING    the log, the consumer group or the checkpoint in meta is missing; as for CONFLICT
-- ERROR    FULL       the derived stream has no room; processor=NAME has not committed its oldest entries; sink=KEY
-- WRITES   yes
-- BOUND    200 entries added, 1000 removed
-- VERSION  1
local log, meta, state, sink_log, sink_meta = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local processor, epoch, nonce, prev, next_id, count, release, size, when_full = unpack(ARGV, 1, 9)

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

-- >>> trim
-- Decides which of the oldest entries are removed so that `more` entries fit. Returns the id below which entries are
-- removed, or nil if none are; a refusal if they must not be removed; and for each processor what it loses. Unless the
-- when_full is drop_oldest, only entries that every processor has committed are removed, and the entry at the lowest
-- checkpoint stays.
local function plan_trim(log_key, meta_key, limit, more)
  local excess = math.min(redis.call('XLEN', log_key) + more - limit, 1000)
  if excess <= 0 then return nil end
  local oldest = redis.call('XRANGE', log_key, '-', '+', 'COUNT', excess + 1)
  if #oldest <= excess then return nil, 'FULL processor= limit=' .. limit end
  local bound, groups, registered = oldest[excess + 1][1], {}, 0
  local function count_after(id)
    local number = 0
    for i = 1, excess do
      if newer(oldest[i][1], id) then number = number + 1 end
    end
    return number
  end
  for _, reply in ipairs(redis.call('XINFO', 'GROUPS', log_key)) do
    local group = to_table(reply)
    groups[group.name] = group
  end
  local stored, losses = redis.call('HGETALL', meta_key), {}
  for i = 1, #stored, 2 do
    local name = string.match(stored[i], '^checkpoint:(.+)$')
    if name then
      registered = registered + 1
      if when_full == 'drop_oldest' then
        local lost, group, read = count_after(stored[i + 1]), groups[name], nil
        local ahead = lost > 0 and group and group['entries-read'] and count_after(group['last-delivered-id']) or 0
        if ahead > 0 then read = string.format('%.0f', group['entries-read'] + ahead) end
        if lost > 0 then losses[name] = {number = lost, read = read, last = oldest[excess][1]} end
      elseif not groups[name] then
        return nil, 'FULL processor=' .. name .. ' limit=' .. limit .. ' group=missing'
      elseif newer(bound, stored[i + 1]) then
        return nil, 'FULL processor=' .. name .. ' limit=' .. limit .. ' checkpoint=' .. stored[i + 1]
      end
    end
  end
  if registered == 0 and when_full ~= 'drop_oldest' then return nil, 'FULL processor= limit=' .. limit end
  check_allowed('XTRIM', log_key, 'MINID', '=', bound)
  if next(losses) then
    check_allowed('HINCRBY', meta_key, 'dropped:', '1')
    check_allowed('XGROUP', 'SETID', log_key, '-', '$')
  end
  return bound, nil, losses
end

-- Removes these entries. The consumer group of a processor that loses some moves past them, so that they are no lag.
local function trim(log_key, meta_key, bound, losses)
  redis.call('XTRIM', log_key, 'MINID', '=', bound)
  for name, loss in pairs(losses) do
    redis.call('HINCRBY', meta_key, 'dropped:' .. name, loss.number)
    if loss.read then redis.pcall('XGROUP', 'SETID', log_key, name, loss.last, 'ENTRIESREAD', loss.read) end
  end
end
-- <<< trim

if #KEYS ~= 5 or #ARGV < 12 then
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
    -- There is no such entry. If the log now begins after it, it was trimmed since it was read: the commit is right. Else it
    -- was deleted, or a server that lost the last writes has taken over: then a checkpoint there would skip later events.
    local first, last = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1], nil
    if not first then last = to_table(redis.call('XINFO', 'STREAM', log))['last-generated-id'] end
    if newer(next_id, first and first[1] or last) then
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

if not string.match(size, '^%d+$') or #size > 15 or tonumber(size) < 2 then
  return redis.error_reply('BADARG field=size')
elseif when_full ~= 'refuse' and when_full ~= 'drop_oldest' then
  return redis.error_reply('BADARG field=when_full')
elseif prev == next_id then
  return redis.error_reply('BADARG field=next')
end
size = tonumber(size)
local entries, at = 0, 10
while at <= #ARGV do
  local width = tonumber(ARGV[at])
  if not width or width < 2 or width > 1000 or width % 2 ~= 0 or at + width > #ARGV then
    return redis.error_reply('BADARG field=entries at=' .. at)
  end
  entries, at = entries + 1, at + width + 1
end
if entries == 0 or entries > 200 or entries >= size then
  return redis.error_reply('BADARG field=entries limit=200')
end
local bound, full, losses = plan_trim(sink_log, sink_meta, size, entries)
if full then
  return redis.error_reply(full .. ' sink=' .. sink_log)
end

local new_read, new_processed = string.format('%.0f', read + count), string.format('%.0f', (processed or 0) + count)
if redis.call('HEXISTS', meta, 'checkpoint:' .. processor) == 0 then
  return redis.error_reply('MISSING processor=' .. processor)
end
check_allowed('XGROUP', 'SETID', log, processor, next_id)
check_allowed('HSET', state, 'checkpoint', next_id)
check_allowed('HDEL', state, 'error_type')
check_allowed('XADD', sink_log, '*', 'f', 'v')
local sink = redis.call('EXISTS', sink_log) == 1 and to_table(redis.call('XINFO', 'STREAM', sink_log)) or {}
if sink['last-generated-id'] == '18446744073709551615-18446744073709551615' then
  redis.call('XADD', sink_log, '*', 'f', 'v') -- No id is left: Redis refuses this, and its error is the reply.
end
local moved = redis.pcall('XGROUP', 'SETID', log, processor, group_id, 'ENTRIESREAD', group_read or new_read)
if moved.err then
  return redis.error_reply('MISSING processor=' .. processor)
end
redis.call('HSET', meta, 'checkpoint:' .. processor, next_id)
redis.call('HSET', state, 'checkpoint', next_id, 'read', new_read, 'processed', new_processed,
  'attempts', '0', 'deaths', '0', 'event', '', 'unclean_tenures', '0', 'started', '', 'released', release,
  'moved_at', string.format('%.0f', now))
redis.call('HDEL', state, 'error_type', 'error_message', 'error_event', 'error_at')
at = 10
while at <= #ARGV do
  local width = tonumber(ARGV[at])
  redis.call('XADD', sink_log, '*', unpack(ARGV, at + 1, at + width))
  at = at + width + 1
end
if bound then trim(sink_log, sink_meta, bound, losses) end
return {1, paused}
