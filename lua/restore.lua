#!lua flags=allow-oom
-- restore -- put the tables and the checkpoint of a snapshot in place, and end the current lease, so that its owner is fenced.
-- KEYS[1]  log        stream  runnel:{APP:SOURCE:N}:STREAM:log
-- KEYS[2]  meta       hash    runnel:{APP:SOURCE:N}:STREAM:meta
-- KEYS[3]  state      hash    runnel:{APP:SOURCE:N}:STREAM:processor:PROCESSOR
-- KEYS[4]  record     hash    runnel:{APP:SOURCE:N}:STREAM:snapshot:SNAPSHOT:PROCESSOR
-- KEYS[5+] tables     mixed   of each table of the snapshot, and each that the processor writes now, values and expiry, then
--                             those of the copy: runnel:{APP:SOURCE:N}:STREAM:table:NAME,
--                             runnel:{APP:SOURCE:N}:STREAM:table:NAME:expiry,
--                             runnel:{APP:SOURCE:N}:STREAM:snapshot:SNAPSHOT:PROCESSOR:restore:table:NAME, the same with :expiry
-- ARGV[1]  processor  str     name of the processor and of its consumer group
-- ARGV[2]  id         str     of the snapshot
-- ARGV[3]  accepted   int     events after the checkpoint that may be missing in the log
-- ARGV[4]  nonce      str     16 to 64 characters, cryptographically random; the last call, repeated, is recognised by it
-- REPLY    checkpoint id      the new checkpoint, which is that of the snapshot
-- REPLY    read       int     entries ever added up to it
-- ERROR    BADARG     an argument is malformed; field=tables missing=NAME, or incomplete=NAME if its copy is not whole
-- ERROR    UNREGISTERED the processor is not registered here
-- ERROR    NOT_WRITER another processor writes this table now; table=NAME writer=PROCESSOR
-- ERROR    MISSING    the log or the consumer group; the snapshot; snapshot=NAME; or more events after its checkpoint than
--                     were accepted; lost=NUMBER
-- REPEAT   recognised by nonce: the reply of the first call
-- WRITES   yes
-- BOUND    constant, plus the fields of meta and the number of tables; what they held is freed in the background
-- VERSION  1
local log, meta, state, record = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local processor, id, accepted, nonce = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

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

if #KEYS < 4 or #KEYS % 4 ~= 0 or #ARGV ~= 4 then
  return redis.error_reply('BADARG field=count keys=' .. #KEYS .. ' argv=' .. #ARGV)
end
local prefix, snapshot, of = string.match(record, '^(.+:)snapshot:([^:]+):([^:]+)$')
if not snapshot or of ~= processor then
  return redis.error_reply('BADARG field=processor')
elseif #id < 16 or #id > 64 or #nonce < 16 or #nonce > 64 then
  return redis.error_reply('BADARG field=' .. ((#id < 16 or #id > 64) and 'id' or 'nonce'))
elseif not string.match(accepted, '^%d+$') or #accepted > 15 then
  return redis.error_reply('BADARG field=accepted')
end
local stored_checkpoint, stored_epoch, last_seek = unpack(redis.call('HMGET', state, 'checkpoint', 'epoch', 'last_seek'))
if not stored_checkpoint or redis.call('HEXISTS', meta, 'checkpoint:' .. processor) == 0 then
  return redis.error_reply('UNREGISTERED processor=' .. processor)
end
-- It is recognised by its nonce, even if the partition was claimed and its checkpoint has moved since.
local sought_checkpoint, sought_read, sought_nonce = string.match(last_seek or '', '^(%S+) (%d+) (.+)$')
if sought_nonce == nonce then
  return {sought_checkpoint, tonumber(sought_read)}
end
local saved = to_table(redis.call('HGETALL', record))
local checkpoint, new_read = saved.checkpoint or '', tonumber(saved.read)
if saved.id ~= id or not saved.at or not string.match(checkpoint, '^%d+%-%d+$') or not new_read then
  return redis.error_reply('MISSING snapshot=' .. snapshot)
elseif redis.call('EXISTS', log) == 0 then
  return redis.error_reply('MISSING processor=' .. processor)
end
local info = to_table(redis.call('XINFO', 'STREAM', log))
local lost = math.max(0, info['entries-added'] - info.length - new_read)
if newer(checkpoint, info['last-generated-id']) then
  return redis.error_reply('MISSING checkpoint=' .. checkpoint .. ' last=' .. info['last-generated-id'])
elseif lost > tonumber(accepted) then
  return redis.error_reply('MISSING checkpoint=' .. checkpoint .. ' lost=' .. string.format('%.0f', lost))
end

local named, names = {}, {}
for i = 5, #KEYS, 4 do
  local name = string.match(KEYS[i], ':table:([^:]+)$')
  local values, copy = prefix .. 'table:' .. (name or ''), record .. ':restore:table:' .. (name or '')
  if not name or named[name] or KEYS[i] ~= values or KEYS[i + 1] ~= values .. ':expiry' or KEYS[i + 2] ~= copy
      or KEYS[i + 3] ~= copy .. ':expiry' then
    return redis.error_reply('BADARG field=tables')
  end
  named[name], names[#names + 1] = i, name
end
local current = to_table(redis.call('HGETALL', meta))
for field, value in pairs(current) do
  local name = string.match(field, '^table:(.+)$')
  if name and value == processor and not named[name] then return redis.error_reply('BADARG field=tables missing=' .. name) end
end
for field in pairs(saved) do
  local name = string.match(field, '^table:(.+)$')
  if name and not named[name] then return redis.error_reply('BADARG field=tables missing=' .. name) end
end
for _, name in ipairs(names) do
  local writer = current['table:' .. name]
  if writer and writer ~= processor then
    return redis.error_reply('NOT_WRITER table=' .. name .. ' writer=' .. writer)
  end
  if redis.call('HLEN', KEYS[named[name] + 2]) ~= (tonumber(saved['table:' .. name]) or 0) then
    return redis.error_reply('BADARG field=tables incomplete=' .. name)
  end
  redis.call('ZCARD', KEYS[named[name] + 3]) -- If this is no sorted set, the error of Redis is the reply.
end

check_allowed('XGROUP', 'SETID', log, processor, checkpoint)
check_allowed('HSET', state, 'checkpoint', checkpoint)
check_allowed('HDEL', state, 'error_type')
for _, name in ipairs(names) do
  local i = named[name]
  check_allowed('UNLINK', KEYS[i], KEYS[i + 1])
  check_allowed('RENAME', KEYS[i + 2], KEYS[i])
  check_allowed('RENAME', KEYS[i + 3], KEYS[i + 1])
end
local moved = redis.pcall('XGROUP', 'SETID', log, processor, checkpoint, 'ENTRIESREAD', string.format('%.0f', new_read))
if moved.err then
  return redis.error_reply('MISSING processor=' .. processor)
end
for _, name in ipairs(names) do
  local i = named[name]
  redis.call('UNLINK', KEYS[i], KEYS[i + 1]) -- RENAME would free them at once, and that can take long.
  for key = i, i + 1 do
    if redis.call('EXISTS', KEYS[key + 2]) == 1 then redis.call('RENAME', KEYS[key + 2], KEYS[key]) end
  end
  redis.call('HSET', meta, 'table:' .. name, processor)
  local expires = saved['expires:' .. name]
  if expires then
    redis.call('HSET', meta, 'expires:' .. name, expires)
  else
    redis.call('HDEL', meta, 'expires:' .. name)
  end
end

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
