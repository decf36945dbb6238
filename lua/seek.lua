#!lua flags=allow-oom
-- seek -- set a processor's checkpoint, empty tables with it, and end the current lease, so that a running worker is fenced.
-- KEYS[1]  log         stream  runnel:{APP:SOURCE:N}:STREAM:log
-- KEYS[2]  meta        hash    runnel:{APP:SOURCE:N}:STREAM:meta
-- KEYS[3]  state       hash    runnel:{APP:SOURCE:N}:STREAM:processor:PROCESSOR
-- KEYS[4+] tables      mixed   tables to empty: runnel:{APP:SOURCE:N}:STREAM:table:NAME; and, if meta has a field
--                              expires:NAME, runnel:{APP:SOURCE:N}:STREAM:table:NAME:expiry
-- ARGV[1]  processor   str     name of the processor and of its consumer group
-- ARGV[2]  start       str     first event to process: 0 (the oldest), $ (the next one to be added) or an id
-- ARGV[3]  read        int     entries ever added before that event; may be empty if start is 0 or $ or near an end of the log
-- ARGV[4]  nonce       str     16 to 64 characters, cryptographically random; the last seek, repeated, is recognised by it
-- REPLY    checkpoint  id      the new checkpoint
-- REPLY    read        int     entries ever added up to it
-- ERROR    BADARG      an argument is malformed; field=read if read is needed: more than 1000 entries on either side
-- ERROR    UNREGISTERED the processor is not registered here
-- ERROR    MISSING     the log or the consumer group is missing: register again
-- ERROR    NOT_WRITER  another processor writes this table; table=NAME writer=PROCESSOR
-- REPEAT   recognised by nonce: the reply of the first call
-- WRITES   yes
-- BOUND    1001 entries counted at each end, plus the number of tables; their fields are freed in the background
-- VERSION  1
local log, meta, state = KEYS[1], KEYS[2], KEYS[3]
local processor, start, read, nonce = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

-- >>> clock
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- <<< clock

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

if #KEYS < 3 or #ARGV ~= 4 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
elseif processor == '' or #nonce < 16 or #nonce > 64 then
  return redis.error_reply('BADARG field=' .. (processor == '' and 'processor' or 'nonce'))
elseif start ~= '0' and start ~= '$' and not string.match(start, '^%d+%-%d+$') then
  return redis.error_reply('BADARG field=start')
elseif not string.match(read, '^%d*$') then
  return redis.error_reply('BADARG field=read')
end
local stored_checkpoint, stored_epoch, last_seek = unpack(redis.call('HMGET', state, 'checkpoint', 'epoch', 'last_seek'))
if not stored_checkpoint or redis.call('HEXISTS', meta, 'checkpoint:' .. processor) == 0 then
  return redis.error_reply('UNREGISTERED processor=' .. processor)
end
-- The last seek is recognised by its nonce, even if the partition was claimed and its checkpoint has moved since.
local sought_checkpoint, sought_read, sought_nonce = string.match(last_seek or '', '^(%S+) (%d+) (.+)$')
if sought_nonce == nonce then
  return {sought_checkpoint, tonumber(sought_read)}
elseif redis.call('EXISTS', log) == 0 then
  return redis.error_reply('MISSING processor=' .. processor)
end

-- The tables to be emptied must be the processor's, and each must be named with all its keys.
local prefix, named = (string.match(meta, '^(.*:)meta$') or '') .. 'table:', {}
for i = 4, #KEYS do
  local name, rest = string.match(string.sub(KEYS[i], #prefix + 1), '^([^:]+)(.*)$')
  if string.sub(KEYS[i], 1, #prefix) ~= prefix or not name or (rest ~= '' and rest ~= ':expiry') or named[name .. rest] then
    return redis.error_reply('BADARG field=tables')
  end
  named[name .. rest] = name
end
for _, name in pairs(named) do
  local writer, expires = unpack(redis.call('HMGET', meta, 'table:' .. name, 'expires:' .. name))
  if writer and writer ~= processor then
    return redis.error_reply('NOT_WRITER table=' .. name .. ' writer=' .. writer)
  elseif not named[name] or (expires and not named[name .. ':expiry']) then
    return redis.error_reply('BADARG field=tables missing=' .. name)
  end
end
local info = to_table(redis.call('XINFO', 'STREAM', log))
local added, length, last = info['entries-added'], info.length, info['last-generated-id']
local checkpoint, new_read
if start == '0' then
  checkpoint, new_read = '0-0', added - length
elseif start == '$' then
  checkpoint, new_read = last, added
else
  local first = redis.pcall('XRANGE', log, start, '+', 'COUNT', 1)
  if first.err then return redis.error_reply('BADARG field=start') end
  first = first[1]
  local before = redis.call('XREVRANGE', log, first and '(' .. first[1] or '+', '-', 'COUNT', 1)[1]
  if not before then
    checkpoint, new_read = '0-0', added - length
  elseif not first then
    checkpoint, new_read = last, added
  else
    checkpoint, new_read = before[1], tonumber(read)
    if not new_read then
      local number_after = #redis.call('XRANGE', log, start, '+', 'COUNT', 1001)
      local number_before = #redis.call('XREVRANGE', log, '(' .. start, '-', 'COUNT', 1001)
      if number_after <= 1000 then new_read = added - number_after
      elseif number_before <= 1000 then new_read = added - length + number_before
      else return redis.error_reply('BADARG field=read') end
    elseif new_read > added or new_read < added - length then
      return redis.error_reply('BADARG field=read added=' .. added .. ' length=' .. length)
    end
  end
end

check_allowed('XGROUP', 'SETID', log, processor, checkpoint)
check_allowed('HSET', state, 'checkpoint', checkpoint)
check_allowed('HDEL', state, 'error_type')
if #KEYS > 3 then check_allowed('UNLINK', unpack(KEYS, 4)) end
local moved = redis.pcall('XGROUP', 'SETID', log, processor, checkpoint, 'ENTRIESREAD', new_read)
if moved.err then
  return redis.error_reply('MISSING processor=' .. processor)
end
if #KEYS > 3 then redis.call('UNLINK', unpack(KEYS, 4)) end

-- >>> moved
-- Sets the checkpoint and makes a new token that is released, so that the current owner is fenced. No event is blamed.
local epoch = string.format('%.0f', math.max((tonumber(stored_epoch) or 0) + 1, now))
redis.call('HSET', meta, 'checkpoint:' .. processor, checkpoint)
redis.call('HSET', state, 'checkpoint', checkpoint, 'read', string.format('%.0f', new_read), 'epoch', epoch, 'nonce', nonce,
  'released', '1', 'attempts', '0', 'deaths', '0', 'event', '', 'unclean_tenures', '0', 'started', '', 'quarantined', '0',
  'last_seek', checkpoint .. ' ' .. string.format('%.0f', new_read) .. ' ' .. nonce)
redis.call('HDEL', state, 'error_type', 'error_message', 'error_event', 'error_at', 'error_traceback')
note_lease(state, 'sought', epoch, nil, checkpoint)
-- <<< moved

return {checkpoint, new_read}
