#!lua
-- transact -- a commit with effects, all or nothing: writes of tables, entries of derived streams such as dead letters.
-- KEYS[1]  log        stream  runnel:{APP:SOURCE:N}:STREAM:log
-- KEYS[2]  meta       hash    runnel:{APP:SOURCE:N}:STREAM:meta
-- KEYS[3]  state      hash    runnel:{APP:SOURCE:N}:STREAM:processor:PROCESSOR
-- KEYS[4+] targets    mixed   for each effect: runnel:{APP:SOURCE:N}:STREAM:table:NAME, and if its keys expire
--                             runnel:{APP:SOURCE:N}:STREAM:table:NAME:expiry; or the log and the meta of a stream
-- ARGV[1]  processor  str     name of the processor and of its consumer group
-- ARGV[2]  epoch      int     of the token
-- ARGV[3]  nonce      str     of the token
-- ARGV[4]  prev       id      the checkpoint before this commit
-- ARGV[5]  next       id      the checkpoint after it
-- ARGV[6]  count      int     events finished after prev, up to next
-- ARGV[7]  release    int     1 to release the lease, else 0
-- ARGV[8+] effects    str     1 to 20, in the order of their keys, each of one of these forms:
--                             table SETS DELETES, then a field and its value for each set, a field for each delete
--                             expiring SECONDS SETS DELETES, then the same: fields not written for so long are removed
--                             stream SIZE WHEN_FULL COUNT, then for each entry: the number of values, fields and values in turn
-- REPLY    applied    int     1, or 0 if the call repeats one that was applied
-- REPLY    paused     int     1 if an operator has paused the processor
-- ERROR    BADARG     an argument is malformed or over a limit
-- ERROR    FENCED     the token is not the partition's, or was released; epoch=STORED
-- ERROR    CONFLICT   the stored checkpoint is neither prev nor next; checkpoint=STORED; or next does not exist; missing=NEXT
-- ERROR    MISSING    the log, the consumer group or the checkpoint in meta is missing; as for CONFLICT
-- ERROR    FULL       a derived stream has no room; processor=NAME has not committed its oldest entries; sink=KEY
-- ERROR    NOT_WRITER another processor writes this table; table=NAME writer=PROCESSOR
-- WRITES   yes
-- BOUND    200 entries added, 1000 removed in each stream; 1000 fields of tables written; of a table whose keys
--                     expire, twice as many as were written, and 10, removed
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

local when_full -- Of the effect that is checked.

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

if #KEYS < 4 or #ARGV < 10 then
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

if prev == next_id then
  return redis.error_reply('BADARG field=next')
end

-- Read the effects, and check each. Nothing is written before all are known to be possible.
local effects, at, key, entries, fields = {}, 8, 4, 0, 0
local function number(i)
  return string.match(ARGV[i] or '', '^%d+$') and #ARGV[i] <= 15 and tonumber(ARGV[i])
end
while at <= #ARGV do
  local kind, effect = ARGV[at], {first = at, key = KEYS[key]}
  if kind == 'table' then
    effect.sets, effect.deletes = number(at + 1), number(at + 2)
    effect.name = string.match(effect.key or '', ':table:([^:]+)$')
    if not effect.name or not effect.sets or not effect.deletes or effect.sets + effect.deletes == 0 then
      return redis.error_reply('BADARG field=effects at=' .. at)
    end
    fields, key = fields + effect.sets + effect.deletes, key + 1
    at = at + 3 + 2 * effect.sets + effect.deletes
  elseif kind == 'expiring' then
    effect.seconds, effect.sets, effect.deletes = number(at + 1), number(at + 2), number(at + 3)
    effect.name, effect.expiry = string.match(effect.key or '', ':table:([^:]+)$'), KEYS[key + 1]
    if not effect.name or effect.expiry ~= effect.key .. ':expiry' or not effect.seconds or effect.seconds == 0
        or not effect.sets or not effect.deletes or effect.sets + effect.deletes == 0 then
      return redis.error_reply('BADARG field=effects at=' .. at)
    end
    fields, key, effect.first = fields + effect.sets + effect.deletes, key + 2, at + 1
    at = at + 4 + 2 * effect.sets + effect.deletes
  elseif kind == 'stream' then
    effect.size, effect.when_full, effect.count, effect.meta = number(at + 1), ARGV[at + 2], number(at + 3), KEYS[key + 1]
    if not effect.size or effect.size < 2 or not effect.count or effect.count == 0 or not effect.meta
        or (effect.when_full ~= 'refuse' and effect.when_full ~= 'drop_oldest') then
      return redis.error_reply('BADARG field=effects at=' .. at)
    elseif effect.count >= effect.size then
      return redis.error_reply('BADARG field=entries limit=' .. effect.size - 1)
    end
    entries, key, at = entries + effect.count, key + 2, at + 4
    for _ = 1, math.min(effect.count, 201) do
      local width = number(at)
      if not width or width < 2 or width > 1000 or width % 2 ~= 0 or at + width > #ARGV then
        return redis.error_reply('BADARG field=entries at=' .. at)
      end
      at = at + width + 1
    end
  else
    return redis.error_reply('BADARG field=effects at=' .. at)
  end
  effects[#effects + 1] = effect
  if #effects > 20 or entries > 200 or fields > 1000 then
    return redis.error_reply('BADARG field=effects effects=20 entries=200 fields=1000')
  end
end
if at ~= #ARGV + 1 or key ~= #KEYS + 1 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
end

-- Which fields of a table have not been written for so long that this commit removes them?
local function plan_expiry(effect, times_kept)
  redis.call('ZCARD', effect.expiry) -- If this is no sorted set, the error of Redis is the reply.
  check_allowed('UNLINK', effect.expiry)
  check_allowed('ZADD', effect.expiry, '1', 'f')
  check_allowed('ZREM', effect.expiry, 'f')
  effect.expired, effect.times_kept = {}, times_kept
  if not times_kept then return end
  local most, before = 2 * (effect.sets + effect.deletes) + 10, string.format('%.0f', now - effect.seconds * 1000)
  effect.expired = redis.call('ZRANGE', effect.expiry, '-inf', before, 'BYSCORE', 'LIMIT', 0, most)
end

-- Removes these fields, and notes when those were written that are written now. It comes before their write: one that was to
-- be removed lives on.
local function keep_times(effect)
  local first, times = effect.first + 3, {}
  local first_delete = first + 2 * effect.sets
  if not effect.times_kept then redis.call('UNLINK', effect.expiry) end -- Commits in between did not keep them.
  if #effect.expired > 0 then
    redis.call('HDEL', effect.key, unpack(effect.expired))
    redis.call('ZREM', effect.expiry, unpack(effect.expired))
  end
  for i = first, first_delete - 1, 2 do
    times[#times + 1] = string.format('%.0f', now)
    times[#times + 1] = ARGV[i]
  end
  if effect.sets > 0 then redis.call('ZADD', effect.expiry, unpack(times)) end
  if effect.deletes > 0 then redis.call('ZREM', effect.expiry, unpack(ARGV, first_delete, first_delete + effect.deletes - 1)) end
  redis.call('HSET', meta, 'expires:' .. effect.name, effect.seconds)
end

for _, effect in ipairs(effects) do
  if effect.name then
    local writer, expires = unpack(redis.call('HMGET', meta, 'table:' .. effect.name, 'expires:' .. effect.name))
    if writer and writer ~= processor then
      return redis.error_reply('NOT_WRITER table=' .. effect.name .. ' writer=' .. writer)
    end
    redis.call('HLEN', effect.key) -- If this is no hash, the error of Redis is the reply.
    check_allowed('HSET', effect.key, 'f', 'v')
    check_allowed('HDEL', effect.key, 'f')
    effect.forgets_times = not effect.seconds and expires and expires ~= '0'
    if effect.seconds then plan_expiry(effect, expires and expires ~= '0') end
  else
    when_full = effect.when_full
    local full
    effect.bound, full, effect.losses = plan_trim(effect.key, effect.meta, effect.size, effect.count)
    if full then return redis.error_reply(full .. ' sink=' .. effect.key) end
    check_allowed('XADD', effect.key, '*', 'f', 'v')
    local sink = redis.call('EXISTS', effect.key) == 1 and to_table(redis.call('XINFO', 'STREAM', effect.key)) or {}
    if sink['last-generated-id'] == '18446744073709551615-18446744073709551615' then
      redis.call('XADD', effect.key, '*', 'f', 'v') -- No id is left: Redis refuses this, and its error is the reply.
    end
  end
end

local new_read, new_processed = string.format('%.0f', read + count), string.format('%.0f', (processed or 0) + count)
if redis.call('HEXISTS', meta, 'checkpoint:' .. processor) == 0 then
  return redis.error_reply('MISSING processor=' .. processor)
end
local has_event, tenures = stored[8] and stored[8] ~= '', stored[9]
local event_is_ahead = has_event and string.match(stored[8], '^%d+%-%d+$') and newer(stored[8], next_id)
check_allowed('XGROUP', 'SETID', log, processor, next_id)
check_allowed('HSET', state, 'checkpoint', next_id)
check_allowed('HDEL', state, 'error_type')
local moved = redis.pcall('XGROUP', 'SETID', log, processor, group_id, 'ENTRIESREAD', group_read or new_read)
if moved.err then
  return redis.error_reply('MISSING processor=' .. processor)
end
redis.call('HSET', meta, 'checkpoint:' .. processor, next_id)
redis.call('HSET', state, 'checkpoint', next_id, 'read', new_read, 'processed', new_processed, 'released', release,
  'moved_at', string.format('%.0f', now))
if has_event or (tenures or '0') ~= '0' then
  redis.call('HSET', state, 'unclean_tenures', '0')
  -- Failures of an event after the new checkpoint stay recorded: it is not finished yet.
  if not event_is_ahead then
    redis.call('HSET', state, 'attempts', '0', 'deaths', '0', 'event', '', 'started', '')
    redis.call('HDEL', state, 'error_type', 'error_message', 'error_event', 'error_at')
  end
end
for _, effect in ipairs(effects) do
  if effect.name then
    local first_delete = effect.first + 3 + 2 * effect.sets
    redis.call('HSET', meta, 'table:' .. effect.name, processor)
    if effect.forgets_times then redis.call('HSET', meta, 'expires:' .. effect.name, '0') end
    if effect.seconds then keep_times(effect) end
    if effect.sets > 0 then redis.call('HSET', effect.key, unpack(ARGV, effect.first + 3, first_delete - 1)) end
    if effect.deletes > 0 then redis.call('HDEL', effect.key, unpack(ARGV, first_delete, first_delete + effect.deletes - 1)) end
  else
    at = effect.first + 4
    for _ = 1, effect.count do
      local width = tonumber(ARGV[at])
      redis.call('XADD', effect.key, '*', unpack(ARGV, at + 1, at + width))
      at = at + width + 1
    end
    if effect.bound then trim(effect.key, effect.meta, effect.bound, effect.losses) end
  end
end
return {1, paused}
