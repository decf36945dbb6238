#!lua flags=allow-oom
-- seek -- set a processor's position under a fresh token, so that a running worker is fenced, not corrupted.
-- KEYS[1]  log         stream  runnel:{APP:SOURCE:N}:STREAM:log
-- KEYS[2]  meta        hash    runnel:{APP:SOURCE:N}:STREAM:meta
-- KEYS[3]  state       hash    runnel:{APP:SOURCE:N}:STREAM:processor:PROCESSOR
-- ARGV[1]  processor   str     name of the processor and of its consumer group
-- ARGV[2]  start       str     first event to be processed: 0 (oldest there is), $ (the next to come) or an id
-- ARGV[3]  read        int     entries ever added before that event, or empty if start is 0 or $ or near an end
-- ARGV[4]  nonce       str     16 to 64 characters, cryptographically random; a repeat of the last seek is known by it
-- REPLY    checkpoint  id      the new checkpoint
-- REPLY    read        int     entries ever added up to it
-- ERROR    BADARG      an argument is malformed; field=read if it is needed: more than 1000 entries on either side
-- ERROR    UNREGISTERED the processor is not registered here
-- ERROR    MISSING        the log or the consumer group is missing: register again
-- WRITES   yes
-- BOUND    1001 entries looked at on each side
-- VERSION  1
local log, meta, state = KEYS[1], KEYS[2], KEYS[3]
local processor, start, read, nonce = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

-- >>> clock
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- <<< clock

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

if #KEYS ~= 3 or #ARGV ~= 4 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
elseif processor == '' or #nonce < 16 or #nonce > 64 then
  return redis.error_reply('BADARG field=' .. (processor == '' and 'processor' or 'nonce'))
elseif start ~= '0' and start ~= '$' and not string.match(start, '^%d+%-%d+$') then
  return redis.error_reply('BADARG field=start')
elseif not string.match(read, '^%d*$') then
  return redis.error_reply('BADARG field=read')
end
local is = redis.call('HMGET', state, 'checkpoint', 'epoch', 'sought')
if not is[1] or redis.call('HEXISTS', meta, 'passed:' .. processor) == 0 then
  return redis.error_reply('UNREGISTERED processor=' .. processor)
end
-- The last seek is known by its nonce, even if the partition was claimed and has moved on since.
local found, found_read, by = string.match(is[3] or '', '^(%S+) (%d+) (.+)$')
if by == nonce then
  return {found, tonumber(found_read)}
elseif redis.call('EXISTS', log) == 0 then
  return redis.error_reply('MISSING processor=' .. processor)
end
local info = named(redis.call('XINFO', 'STREAM', log))
local added, length, last = info['entries-added'], info.length, info['last-generated-id']
local checkpoint, position
if start == '0' then
  checkpoint, position = '0-0', added - length
elseif start == '$' then
  checkpoint, position = last, added
else
  local ahead = redis.pcall('XRANGE', log, start, '+', 'COUNT', 1)
  if ahead.err then return redis.error_reply('BADARG field=start') end
  ahead = ahead[1]
  local behind = redis.call('XREVRANGE', log, ahead and '(' .. ahead[1] or '+', '-', 'COUNT', 1)[1]
  if not behind then
    checkpoint, position = '0-0', added - length
  elseif not ahead then
    checkpoint, position = last, added
  else
    checkpoint, position = behind[1], tonumber(read)
    if not position then
      local rest = #redis.call('XRANGE', log, start, '+', 'COUNT', 1001)
      local done = #redis.call('XREVRANGE', log, '(' .. start, '-', 'COUNT', 1001)
      if rest <= 1000 then position = added - rest
      elseif done <= 1000 then position = added - length + done
      else return redis.error_reply('BADARG field=read') end
    elseif position > added or position < added - length then
      return redis.error_reply('BADARG field=read added=' .. added .. ' length=' .. length)
    end
  end
end

must('XGROUP', 'SETID', log, processor, checkpoint)
must('HSET', state, 'checkpoint', checkpoint)
must('HDEL', state, 'error_type')
local moved = redis.pcall('XGROUP', 'SETID', log, processor, checkpoint, 'ENTRIESREAD', position)
if moved.err then
  return redis.error_reply('MISSING processor=' .. processor)
end
local epoch = string.format('%.0f', math.max((tonumber(is[2]) or 0) + 1, now))
redis.call('HSET', meta, 'passed:' .. processor, checkpoint)
redis.call('HSET', state, 'checkpoint', checkpoint, 'read', position, 'epoch', epoch, 'nonce', nonce, 'released', '1',
  'attempts', '0', 'deaths', '0', 'event', '', 'tenures', '0', 'started', '', 'quarantined', '0',
  'sought', checkpoint .. ' ' .. position .. ' ' .. nonce)
redis.call('HDEL', state, 'error_type', 'error_message', 'error_event', 'error_at')
return {checkpoint, position}
