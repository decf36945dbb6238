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
-- ARGV[4]  prev       id      the checkpoint that this commit starts from
-- ARGV[5]  next       id      the checkpoint that it leads to
-- ARGV[6]  count      int     events finished behind prev, up to next
-- ARGV[7]  release    int     1 to release the lease, else 0
-- ARGV[8]  size       int     entries the derived partition may hold
-- ARGV[9]  policy     str     refuse, or drop_oldest to drop what no processor has passed
-- ARGV[10+] entries   str     1 to 200 entries, each: the number of values, then fields and values in turn
-- REPLY    applied    int     1, or 0 for the repeat of a commit that was applied (DUP)
-- REPLY    paused     int     1 if an operator has paused the processor
-- ERROR    BADARG     an argument is malformed or over a limit
-- ERROR    FENCED     the token is not the partition's, or was released; epoch=STORED
-- ERROR    CONFLICT   the stored checkpoint is neither prev nor next; checkpoint=STORED; or next is not there; missing=NEXT
-- ERROR    MISSING       the log, the consumer group or the registration is missing: register again
-- ERROR    FULL       the derived stream has no room; processor=NAME holds it back; sink=KEY
-- WRITES   yes
-- BOUND    200 entries added, 1000 removed
-- VERSION  1
local log, meta, state, sink_log, sink_meta = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local processor, epoch, nonce, prev, next_id, count, release, size, policy = unpack(ARGV, 1, 9)

-- >>> clock
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- <<< clock

-- >>> ids
local function newer(a, b)
  local a_ms, a_seq = string.match(a, '^0*(%d+)%-0*(%d+)$')
  local b_ms, b_seq = string.match(b, '^0*(%d+)%-0*(%d+)$')
  if a_ms ~= b_ms then
    return #a_ms > #b_ms or (#a_ms == #b_ms and a_ms > b_ms)
  end
  return #a_seq > #b_seq or (#a_seq == #b_seq and a_seq > b_seq)
end
-- <<< ids

-- >>> named
-- XINFO answers with names and values in turn: the same as a table.
local function named(reply)
  local found = {}
  for i = 1, #reply, 2 do found[reply[i]] = reply[i + 1] end
  return found
end
-- <<< named

-- >>> allowed
-- Redis takes nothing back where a user may not run what comes behind the first write: so ask before it. What is refused
-- is called all the same, as nothing is written yet, for the refusal in Redis's own words.
local function must(...)
  if not redis.acl_check_cmd(...) then redis.call(...) end
end
-- <<< allowed

-- >>> room
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
-- <<< room

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
-- <<< commit

if not string.match(size, '^%d+$') or #size > 15 or tonumber(size) < 2 then
  return redis.error_reply('BADARG field=size')
elseif policy ~= 'refuse' and policy ~= 'drop_oldest' then
  return redis.error_reply('BADARG field=policy')
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
local bound, full, dropped = room(sink_log, sink_meta, size, entries)
if full then
  return redis.error_reply(full .. ' sink=' .. sink_log)
end

local read, processed = string.format('%.0f', is[5] + count), string.format('%.0f', (is[6] or 0) + count)
if redis.call('HEXISTS', meta, 'passed:' .. processor) == 0 then
  return redis.error_reply('MISSING processor=' .. processor)
end
must('XGROUP', 'SETID', log, processor, next_id)
must('HSET', state, 'checkpoint', next_id)
must('HDEL', state, 'error_type')
must('XADD', sink_log, '*', 'f', 'v')
local sink = redis.call('EXISTS', sink_log) == 1 and named(redis.call('XINFO', 'STREAM', sink_log)) or {}
if sink['last-generated-id'] == '18446744073709551615-18446744073709551615' then
  redis.call('XADD', sink_log, '*', 'f', 'v') -- There is no id left, and Redis says so.
end
local moved = redis.pcall('XGROUP', 'SETID', log, processor, shown, 'ENTRIESREAD', shown_read or read)
if moved.err then
  return redis.error_reply('MISSING processor=' .. processor)
end
redis.call('HSET', meta, 'passed:' .. processor, next_id)
redis.call('HSET', state, 'checkpoint', next_id, 'read', read, 'processed', processed,
  'attempts', '0', 'deaths', '0', 'event', '', 'tenures', '0', 'started', '', 'released', release,
  'moved', string.format('%.0f', now))
redis.call('HDEL', state, 'error_type', 'error_message', 'error_event', 'error_at')
at = 10
while at <= #ARGV do
  local width = tonumber(ARGV[at])
  redis.call('XADD', sink_log, '*', unpack(ARGV, at + 1, at + width))
  at = at + width + 1
end
if bound then clear(sink_log, sink_meta, bound, dropped) end
return {1, paused}
