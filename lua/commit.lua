#!lua flags=allow-oom
-- commit -- move a processor's checkpoint, and its consumer group with it; optionally release the lease.
-- KEYS[1]  log        stream  runnel:{APP:SOURCE:N}:STREAM:log
-- KEYS[2]  meta       hash    runnel:{APP:SOURCE:N}:STREAM:meta
-- KEYS[3]  state      hash    runnel:{APP:SOURCE:N}:STREAM:processor:PROCESSOR
-- ARGV[1]  processor  str     name of the processor and of its consumer group
-- ARGV[2]  epoch      int     of the token
-- ARGV[3]  nonce      str     of the token
-- ARGV[4]  prev       id      the checkpoint that this commit starts from
-- ARGV[5]  next       id      the checkpoint that it leads to; the same as prev to release only
-- ARGV[6]  count      int     events finished behind prev, up to next
-- ARGV[7]  release    int     1 to release the lease, else 0
-- REPLY    applied    int     1, or 0 for the repeat of a commit that was applied (DUP)
-- REPLY    paused     int     1 if an operator has paused the processor
-- ERROR    BADARG     an argument is malformed
-- ERROR    FENCED     the token is not the partition's, or was released; epoch=STORED
-- ERROR    CONFLICT   the stored checkpoint is neither prev nor next; checkpoint=STORED; or next is not there; missing=NEXT
-- ERROR    MISSING       the log, the consumer group or the registration is missing: register again
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

if prev ~= next_id then
  local read, processed = string.format('%.0f', is[5] + count), string.format('%.0f', (is[6] or 0) + count)
  if redis.call('HEXISTS', meta, 'passed:' .. processor) == 0 then
    return redis.error_reply('MISSING processor=' .. processor)
  end
  -- What is known of an event behind the new checkpoint stays: that one is still to be finished.
  local ahead = string.match(is[8] or '', '^%d+%-%d+$') and newer(is[8], next_id)
  must('XGROUP', 'SETID', log, processor, next_id)
  must('HSET', state, 'checkpoint', next_id)
  if is[8] and is[8] ~= '' then must('HDEL', state, 'error_type') end
  local moved = redis.pcall('XGROUP', 'SETID', log, processor, shown, 'ENTRIESREAD', shown_read or read)
  if moved.err then
    return redis.error_reply('MISSING processor=' .. processor)
  end
  redis.call('HSET', meta, 'passed:' .. processor, next_id)
  redis.call('HSET', state, 'checkpoint', next_id, 'read', read, 'processed', processed,
    'moved', string.format('%.0f', now))
  if (is[8] or '') ~= '' or (is[9] or '0') ~= '0' then
    redis.call('HSET', state, 'tenures', '0')
    if not ahead then
      redis.call('HSET', state, 'attempts', '0', 'deaths', '0', 'event', '', 'started', '')
      redis.call('HDEL', state, 'error_type', 'error_message', 'error_event', 'error_at')
    end
  end
end
if release == '1' then
  redis.call('HSET', state, 'released', '1')
end
return {1, paused}
